package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/internal/route"
)

// asks lists what a request to r at a host of this pattern must meet, so that routes can be compared by what they ask for.
// A condition that is new here must come into the list, or a path that two readers take differently could escape it.
func (r *Route) asks(host route.Host) []route.Demand {
	if r.Public {
		return nil
	}
	list := []route.Demand{{What: "a token"}}
	if len(r.Audiences) > 0 {
		list = append(list, route.Demand{What: "audience " + strings.Join(slices.Sorted(slices.Values(r.Audiences)), " ")})
	}
	q := &r.Require
	switch {
	case q.Action == "":
	case q.Global:
		list = append(list, route.Demand{What: q.Action + " globally"})
	case q.Tenant != "":
		list = append(list, route.Demand{What: q.Action + " on " + q.Tenant})
	default:
		d := route.Demand{What: fmt.Sprintf("%s on %s %s", q.Action, tenantSources[q.From], q.Name)}
		switch q.From {
		case FromPath: // by its place, since another route may call it otherwise
			d.Segment = r.Path.Place(q.Name) + 1
			d.What = q.Action + " on path"
		case FromHost:
			d.What = fmt.Sprintf("%s on label %d of the host", q.Action, host.Place(q.Name))
		}
		list = append(list, d)
	}
	return list
}

var tenantSources = map[Source]string{FromHeader: "header", FromQuery: "query"}
