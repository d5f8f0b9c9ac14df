package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/token"
)

// A Change is something that one configuration decides otherwise than another.
type Change struct {
	Opens   bool     `json:"opens"`             // closed before; otherwise it closes
	Route   string   `json:"route,omitempty"`   // host and path of the route that decides
	Methods []string `json:"methods,omitempty"` // none: any
	Holder  string   `json:"holder,omitempty"`  // whose requests they are
	Tenants []string `json:"tenants,omitempty"` // none: whatever the tenant
	// none: any that has the route
	Listeners []string `json:"listeners,omitempty"`
	Setting   string   `json:"setting,omitempty"`  // for what no request shows: a setting that is wider
	Count     int      `json:"requests,omitempty"` // of a log
	Example   string   `json:"example,omitempty"`  // a request that is decided otherwise
}

// A Diff compares two configurations by what they decide.
type Diff struct {
	old, fresh *Judge
}

// NewDiff makes a judge of each of two configurations. Close it.
func NewDiff(old, fresh *config.Config, clock func() time.Time) (*Diff, error) {
	a, err := NewJudge(old, clock)
	if err != nil {
		return nil, err
	}
	b, err := NewJudge(fresh, clock)
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return &Diff{a, b}, nil
}

// Close lets go of what the judges hold.
func (d *Diff) Close() error { return errors.Join(d.old.Close(), d.fresh.Close()) }

// Changes lists what opens and closes, first what opens: by what the roles, users, clients and trusted issuers of
// either configuration can hold, by the conditions of routes that decide about the same requests, and by settings that
// no request shows.
func (d *Diff) Changes() []Change {
	t := d.tables()
	all := t.changes()
	all = slices.DeleteFunc(all, func(c Change) bool { return slices.ContainsFunc(all, c.follows) })
	for i := range all {
		all[i].Tenants = t.called(all[i].Tenants, strings.HasSuffix(all[i].Holder, ofATenant))
	}
	old, fresh := d.old.snap.config, d.fresh.snap.config
	setting := func(opens bool, list []string) {
		for _, s := range sorted(list) {
			all = append(all, Change{Opens: opens, Setting: s})
		}
	}
	setting(true, slices.Concat(widerKeys(old, fresh), widerMade(old, fresh), t.looser(false)))
	setting(false, slices.Concat(widerKeys(fresh, old), widerMade(fresh, old), t.looser(true)))
	if !t.whole {
		setting(true, []string{"routes: too many that overlap each other: their requests cannot all be compared"})
	}
	slices.SortFunc(all, func(a, b Change) int {
		return strings.Compare(a.order(), b.order())
	})
	return all
}

// String says what changes, but for the direction.
func (c Change) String() string {
	if c.Setting != "" {
		return c.Setting
	}
	text := orElse(strings.Join(c.Methods, ","), "any method of") + " " + c.Route + " " + c.Holder
	if len(c.Tenants) > 0 {
		text += " on " + strings.Join(c.Tenants, ", ")
	}
	if len(c.Listeners) > 0 {
		text += " at listener " + strings.Join(c.Listeners, ", ")
	}
	return text
}

// follows reports whether a change goes without saying: it is another's that needs less of a holder.
func (c Change) follows(from Change) bool {
	if from.Listeners != nil && !slices.Equal(from.Listeners, c.Listeners) {
		return false
	}
	less := from.Holder == anonymous && c.Holder != anonymous || from.Holder == anybody && c.Holder != anonymous &&
		c.Holder != anybody
	if base, tenant, is := strings.Cut(c.Holder, ofTenant); is { // as of any tenant
		less = less || from.Holder == base+ofATenant && (from.Tenants == nil || slices.Equal(c.Tenants, []string{tenant}) &&
			len(from.Tenants) == 1)
		if less && from.Holder == base+ofATenant {
			return from.Opens == c.Opens && from.Route == c.Route &&
				(from.Methods == nil || slices.Equal(from.Methods, c.Methods))
		}
	}
	return less && from.Opens == c.Opens && from.Route == c.Route &&
		(from.Methods == nil || c.Methods != nil && slices.Equal(from.Methods, c.Methods)) &&
		(from.Tenants == nil || c.Tenants != nil && slices.Equal(from.Tenants, c.Tenants))
}

func (c *Change) order() string {
	return fmt.Sprint(!c.Opens, c.Setting != "", c.Route, "\x00", c.Holder, "\x00", c.Setting)
}

func sorted(words []string) []string {
	slices.Sort(words)
	return slices.Compact(words)
}

// A holder is a caller, with what is held under each of the two configurations; nil: nothing, not even a token.
type holder struct {
	name  string
	holds [2]*token.Permissions
}

const (
	anonymous = "without a token"
	anybody   = "with any accepted token"
	ofATenant = " of a tenant"
	ofTenant  = " of tenant "
)

// holdersOf lists everybody of either configuration. What one of them lacks has no holder there. A role that is given
// for a tenant is judged with a sample that no configuration names, and with each that one does.
func (d *Diff) holdersOf(sample string, named []string) (all []*holder) {
	byName := map[string]*holder{}
	add := func(which int, name string, p token.Permissions) {
		if byName[name] == nil {
			byName[name] = &holder{name: name}
			all = append(all, byName[name])
		}
		held := append(token.Permissions{}, p...) // never nil: a token that opens nothing is a token
		byName[name].holds[which] = &held
	}
	for which, j := range []*Judge{d.old, d.fresh} {
		c := j.snap.config
		add(which, anonymous, nil)
		add(which, anybody, nil)
		for name, role := range c.Roles {
			if role.Permissions.Templated() {
				if sample == "" { // for the names alone
					add(which, "role "+name, role.Permissions)
					continue
				}
				add(which, "role "+name+ofATenant, role.Permissions.For(sample))
				for _, tenant := range named {
					add(which, "role "+name+ofTenant+tenant, role.Permissions.For(tenant))
				}
			} else {
				add(which, "role "+name, role.Permissions)
			}
		}
		for _, t := range c.TrustedIssuers {
			add(which, "tokens of "+t.Issuer+", at most", t.Permissions)
		}
		if c.Issuer == nil {
			continue
		}
		for _, client := range c.Issuer.Clients {
			add(which, "client "+client.ID, client.Permissions)
			if len(client.Delegate) > 0 {
				add(which, "what client "+client.ID+" grants, at most", client.Delegate)
			}
		}
		if c.Issuer.Users != nil {
			for id, user := range c.Issuer.Users.List {
				add(which, "user "+id, user.Permissions)
			}
		}
	}
	slices.SortFunc(all, func(a, b *holder) int { return strings.Compare(a.name, b.name) })
	return all
}
