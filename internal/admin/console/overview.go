package console

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/telemetry"
)

const (
	trafficSpan  = 5 * time.Minute
	recentSpan   = time.Hour
	recentParts  = 60
	mostReasons  = 8  // that are shown
	mostRouteRow = 50 // on the overview
)

// The kinds of refusals that have a color of their own.
var kinds = [...]string{"401", "403", "other 4xx", "5xx"}

func kindOf(r refusal.Reason) int {
	switch status := r.Status(); {
	case status == http.StatusUnauthorized:
		return 0
	case status == http.StatusForbidden:
		return 1
	case status < 500:
		return 2
	}
	return 3
}

// A moment is what the overview shows that changes: the page has it from the start, and events replace it. Texts and
// attributes are named by the places of the page that show them.
type moment struct {
	Text map[string]string            `json:"text"`
	Attr map[string]map[string]string `json:"attr"`
}

func (m *moment) set(place, text string) { m.Text[place] = text }

func (m *moment) attr(place, name, value string) {
	if m.Attr[place] == nil {
		m.Attr[place] = map[string]string{}
	}
	m.Attr[place][name] = value
}

type overviewView struct {
	Overview
	moment
	Uptime  time.Duration
	Reasons []int // the places of reasons
	Kinds   []string
	Routes  []string
	More    int // routes that are not shown
	Since   time.Time
}

func (c *Console) overview(r *http.Request, _ *session) (view, error) {
	o := c.Overview()
	all := c.sampler.take()
	v := overviewView{Overview: o, moment: c.moment(all), Uptime: c.Clock().Sub(o.Started), Kinds: kinds[:]}
	for i := range mostReasons {
		v.Reasons = append(v.Reasons, i)
	}
	v.Routes, v.More = shownRoutes(&all[len(all)-1])
	return view{Template: "overview", Title: "Overview", Content: v}, nil
}

func shownRoutes(last *sample) (names []string, more int) {
	counts := make(map[string]uint64, len(last.routes))
	for name, r := range last.routes {
		counts[name] = r.requests
	}
	if names = counted(counts); len(names) > mostRouteRow {
		return names[:mostRouteRow], len(names) - mostRouteRow
	}
	return names, 0
}

// moment puts together what is shown of the samples.
func (c *Console) moment(all []sample) moment {
	m := moment{Text: map[string]string{}, Attr: map[string]map[string]string{}}
	last := &all[len(all)-1]
	m.rates(all)
	m.latency("gate", last.added, since(all, lastMinute, false).added)
	m.latency("app", last.waited, since(all, lastMinute, false).waited)
	load := c.Load()
	m.set("in-flight", number(load.InFlight))
	m.set("streams", number(load.Streams))
	m.set("connections", number(load.Connections))
	m.traffic(all)
	m.recent(c.Recent(c.Clock().Add(-recentSpan)), c.Clock())
	m.reasons(last)
	m.routes(all)
	m.set("at", last.at.UTC().Format("15:04:05"))
	return m
}

func (m *moment) rates(all []sample) {
	last, before := &all[len(all)-1], since(all, lately, false)
	between := last.at.Sub(before.at)
	requests, refused := "–", "–"
	if between > 0 {
		requests = rate(perSecond(before.requests, last.requests, between))
		refused = rate(perSecond(before.refused, last.refused, between))
	}
	m.set("requests", requests)
	m.set("requests-total", number(last.requests))
	m.set("refused", refused)
	m.set("refused-total", number(last.refused))
	share := "–"
	if last.requests > 0 {
		share = strconv.FormatFloat(100*float64(last.refused)/float64(last.requests), 'f', 1, 64) + " %"
	}
	m.set("refused-share", share)
}

// latency tells the last minute, or else all since the start.
func (m *moment) latency(place string, now, before telemetry.Spread) {
	spread, note := now.Minus(before), "last minute"
	if _, any := spread.Quantile(.5); !any {
		spread, note = now, "since start"
	}
	m.set(place+"-p50", quantile(spread, .5))
	m.set(place+"-p99", quantile(spread, .99))
	m.set(place+"-note", note)
}

func quantile(s telemetry.Spread, share float64) string {
	d, any := s.Quantile(share)
	if !any {
		return "–"
	}
	return brief(d)
}

func (m *moment) traffic(all []sample) {
	last := &all[len(all)-1]
	var ages []time.Duration
	var requests, refused []float64
	most := 0.0
	for i := 1; i < len(all); i++ {
		a, b := &all[i-1], &all[i]
		between := b.at.Sub(a.at)
		ages = append(ages, last.at.Sub(b.at))
		requests = append(requests, perSecond(a.requests, b.requests, between))
		refused = append(refused, perSecond(a.refused, b.refused, between))
		most = max(most, requests[len(requests)-1])
	}
	top := nice(most)
	path, area := line(ages, requests, top)
	m.attr("traffic-line", "d", path)
	m.attr("traffic-area", "d", area)
	path, area = line(ages, refused, top)
	m.attr("refused-line", "d", path)
	m.attr("refused-area", "d", area)
	m.set("traffic-top", rate(top))
	m.set("traffic-half", rate(top/2))
}

func (m *moment) recent(all []Recent, now time.Time) {
	counts := make([][]int, recentParts)
	for i := range counts {
		counts[i] = make([]int, len(kinds))
	}
	sums := make([]int, len(kinds))
	reasons := map[string]uint64{}
	for _, one := range all {
		age := now.Sub(one.At)
		part := recentParts - 1 - int(age*recentParts/recentSpan)
		if age < 0 {
			part = recentParts - 1
		}
		if part < 0 {
			continue
		}
		kind := kindOf(one.Reason)
		counts[part][kind]++
		sums[kind]++
		reasons[string(one.Reason)]++
	}
	most := 0
	for _, column := range counts {
		sum := 0
		for _, n := range column {
			sum += n
		}
		most = max(most, sum)
	}
	top := nice(float64(most))
	for k, path := range columns(counts, len(kinds), top) {
		m.attr(fmt.Sprintf("recent-%d", k), "d", path)
		m.set(fmt.Sprintf("recent-count-%d", k), number(sums[k]))
	}
	m.set("recent-top", rate(top))
	m.set("recent-half", rate(top/2))
	for name, n := range reasons {
		m.set("hour:"+name, number(n))
	}
}

// reasons fills the places of reasons, the most frequent first.
func (m *moment) reasons(last *sample) {
	names := counted(last.reasons)
	for i := range mostReasons {
		place := fmt.Sprintf("reason-%d", i)
		if i >= len(names) {
			m.set(place, "")
			m.set(place+"-count", "")
			m.set(place+"-hour", "")
			m.attr(place, "href", basePath+"refusals")
			m.attr(place+"-bar", "width", "0")
			m.attr(place+"-row", "class", "none")
			continue
		}
		m.set(place, names[i])
		m.set(place+"-count", number(last.reasons[names[i]]))
		hour := m.Text["hour:"+names[i]]
		if hour == "" {
			hour = "0"
		}
		m.set(place+"-hour", hour)
		m.attr(place, "href", basePath+"refusals?"+url.Values{"reason": {names[i]}}.Encode())
		m.attr(place+"-bar", "width",
			coordinate(100*float64(last.reasons[names[i]])/float64(last.reasons[names[0]]))+"%")
		m.attr(place+"-row", "class", "some")
	}
	maps.DeleteFunc(m.Text, func(place, _ string) bool { return strings.HasPrefix(place, "hour:") })
}

func (m *moment) routes(all []sample) {
	last, before := &all[len(all)-1], since(all, lately, true)
	between := last.at.Sub(before.at)
	names, _ := shownRoutes(last)
	for _, name := range names {
		now, then := last.routes[name], before.routes[name]
		place := "route:" + name
		perSec := "–"
		if between > 0 {
			perSec = rate(perSecond(then.requests, now.requests, between))
		}
		m.set(place+":rate", perSec)
		m.set(place+":requests", number(now.requests))
		m.set(place+":refused", number(now.refused))
		spread := now.waited.Minus(then.waited)
		if _, any := spread.Quantile(.5); !any {
			spread = now.waited
		}
		m.set(place+":p50", quantile(spread, .5))
		m.set(place+":p99", quantile(spread, .99))
	}
}
