package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
	"github.com/jotgate/jotgate/internal/token"
)

// lint warns of what is not wrong but cannot be meant. A config that both issues and judges shows that a role opens
// nothing, or that no token can open a route.
func (b *builder) lint() {
	if b.Faulty() {
		return // what refers to a faulty value would be warned of for nothing
	}
	b.lintRoles()
	b.lintRoutes()
	b.lintDelegates()
	b.lintCase()
	b.lintShadow()
	b.lintNested()
	b.lintCapacity()
	b.lintLiterals()
	b.lintCORS()
	b.lintLogin()
	b.lintListeners()
	b.lintCertificates()
	b.lintExchange()
	b.lintExchangers()
	b.lintWorkloads()
	b.lintLogouts()
	b.lintResources()
	b.lintGeneral()
	b.checkCertificates()
}

// literalPlaceholder is how other routers write a parameter; here such a segment matches itself alone.
var literalPlaceholder = regexp.MustCompile(
	`^(?::([A-Za-z_][A-Za-z0-9_]*)|<(?:[a-z]+:)?([A-Za-z_][A-Za-z0-9_]*)>|\$([A-Za-z_][A-Za-z0-9_]*))$`,
)

// lintLiterals warns of path segments that are parameters in other routers.
func (b *builder) lintLiterals() {
	for _, w := range b.file.routes.Value {
		for _, segment := range strings.Split(w.Value.path.Value, "/") {
			if m := literalPlaceholder.FindStringSubmatch(segment); m != nil {
				b.Warn(w.Value.path.At, "the segment "+yaml.Quote(segment)+" matches only itself",
					"write {"+cmp.Or(m[1], m[2], m[3])+"} to match any one segment")
			}
		}
	}
}

// lintRoles warns of roles that open no route. Where no route asks for an action, others judge, and the roles are
// theirs.
func (b *builder) lintRoles() {
	asks := func(r *Route) bool { return r.Require.Action != "" }
	if !slices.ContainsFunc(b.Routes, asks) {
		return
	}
	for _, w := range b.file.roles {
		p := b.Roles[w.Name].Permissions
		if !slices.ContainsFunc(b.Routes, func(r *Route) bool { return asks(r) && opens(p, &r.Require) }) {
			b.Warn(
				w.At,
				"opens no route that requires an action",
				"compare its tenants and actions with what the routes require",
			)
		}
	}
}

// lintRoutes warns of routes that nothing in this file can open.
func (b *builder) lintRoutes() {
	sets := indexed(b.given())
	for i, r := range b.Routes {
		if r.Require.Action == "" || sets.open(&r.Require) {
			continue
		}
		b.Warn(
			b.file.routes.Value[i].Value.require.At,
			"cannot be met: no role, client, user or trusted issuer has "+r.Require.Action+" on that tenant",
			"add it to a role, or require another action",
		)
	}
}

// lintShadow warns of routes that let through what they should refuse, as long as they do.
func (b *builder) lintShadow() {
	for i, r := range b.Routes {
		if r.Shadow {
			b.Warn(
				b.file.routes.Value[i].Value.shadow.At,
				"forwards every request that this route would refuse for its token, tenant or permission",
				"remove it once the access log shows no unexpected shadow_reason",
			)
		}
	}
}

// given lists all the permissions that a token can come to have.
func (b *builder) given() (sets []token.Permissions) {
	for _, role := range b.Roles {
		sets = append(sets, role.Permissions)
	}
	for _, t := range b.TrustedIssuers {
		sets = append(sets, t.Permissions)
	}
	if b.Issuer == nil {
		return sets
	}
	for _, c := range b.Issuer.Clients {
		sets = append(sets, c.Permissions)
		if grantsFreely(c) {
			sets = append(sets, c.Delegate)
		}
	}
	if b.Issuer.Users != nil {
		for _, u := range b.Issuer.Users.List {
			sets = append(sets, u.Permissions)
		}
		if b.Issuer.Users.Lookup != nil { // whatever the directory says
			sets = append(sets, token.Permissions{{Tenant: token.Any, AllowedActions: []string{token.Any}}})
		}
	}
	return sets
}

// granted are sets of permissions, each once. A file may have ten thousand clients, and as many routes.
type granted struct {
	all    []token.Permissions
	named  map[string][]token.Permissions // by the tenants that they name
	wild   []token.Permissions            // that may decide for a tenant without naming it
	opened map[requirement]bool           // what was asked before
}

// A requirement is the part of a [Require] that permissions meet.
type requirement struct {
	global         bool
	tenant, action string
}

func indexed(sets []token.Permissions) *granted {
	g := &granted{named: map[string][]token.Permissions{}, opened: map[requirement]bool{}}
	known := map[string]bool{}
	for _, p := range sets {
		text := fmt.Sprintf("%q", p)
		if known[text] {
			continue
		}
		known[text], g.all = true, append(g.all, p)
		wild := false
		for i, e := range p {
			switch {
			case e.Tenant == token.Any || e.Tenant == token.Placeholder:
				wild = true
			case p[:i].Deciding(e.Tenant) < 0:
				g.named[e.Tenant] = append(g.named[e.Tenant], p)
			}
		}
		if wild {
			g.wild = append(g.wild, p)
		}
	}
	return g
}

// open reports whether one of the sets meets what a route requires, for some tenant.
func (g *granted) open(q *Require) bool {
	key := requirement{q.Global, q.Tenant, q.Action}
	opened, asked := g.opened[key]
	if !asked {
		meets := func(p token.Permissions) bool { return opens(p, q) }
		if q.Tenant == "" || q.Global {
			opened = slices.ContainsFunc(g.all, meets)
		} else {
			opened = slices.ContainsFunc(g.named[q.Tenant], meets) || slices.ContainsFunc(g.wild, meets)
		}
		g.opened[key] = opened
	}
	return opened
}

// grantsFreely tells clients that hand on permissions of their own choice, and not by roles alone.
func grantsFreely(c *Client) bool {
	return slices.Contains(c.May, token.CreateAccessTokens) || slices.Contains(c.May, token.Exchange)
}

// opens reports whether p, with some tenant in place of {tenant}, meets what a route requires, for some tenant.
func opens(p token.Permissions, q *Require) bool {
	switch {
	case q.Global:
		return p.Allows(token.Any, q.Action)
	case q.Tenant != "":
		return p.Allows(q.Tenant, q.Action) || p.For(q.Tenant).Allows(q.Tenant, q.Action)
	}
	return slices.ContainsFunc(p, func(e token.TenantPermission) bool { return p.Allows(e.Tenant, q.Action) })
}

// lintDelegates warns of actions that a client may hand on and that no role has: it hands on by roles, so they are
// never used, or misspelled. "*" is a deliberate word for all.
func (b *builder) lintDelegates() {
	if b.Issuer == nil || len(b.Roles) == 0 {
		return
	}
	asked := map[string]bool{} // the actions that routes require
	for _, r := range b.Routes {
		if r.Require.Action != "" {
			asked[r.Require.Action] = true
		}
	}
	for i, c := range b.Issuer.Clients {
		if b.Issuer.Users != nil && (b.Issuer.Users.List != nil || b.Issuer.Users.Lookup != nil) {
			continue
		}
		w := b.file.issuer.Value.clients[i].Value.delegate
		for j, e := range c.Delegate {
			unused := b.unused(e)
			if grantsFreely(c) {
				if unused = unasked(unused, asked); len(unused) > 0 {
					b.Warn(
						w.Value[j].At,
						fmt.Sprintf(
							"grants %s, which no role has on that tenant and no route requires",
							strings.Join(unused, ", "),
						),
						"correct the spelling, or remove it: a client should grant no more than is used",
					)
				}
				continue
			}
			if len(unused) > 0 {
				b.Warn(
					w.Value[j].At,
					fmt.Sprintf("grants %s, which no role has on that tenant", strings.Join(unused, ", ")),
					"add it to a role, or remove it: a client should grant no more than is used",
				)
			}
		}
	}
}

// unused are the actions of a delegate's entry that no role has for a tenant of it.
func (b *builder) unused(e token.TenantPermission) (actions []string) {
	for _, action := range e.AllowedActions {
		has := func(r token.TenantPermission) bool {
			overlap := e.Tenant == token.Any || r.Tenant == e.Tenant || r.Tenant == token.Any ||
				r.Tenant == token.Placeholder
			return overlap &&
				(slices.Contains(r.AllowedActions, action) || slices.Contains(r.AllowedActions, token.Any))
		}
		used := action == token.Any
		for _, role := range b.Roles {
			used = used || slices.ContainsFunc(role.Permissions, has)
		}
		if !used {
			actions = append(actions, action)
		}
	}
	return actions
}

// unasked are those of the actions that no route asks for. Where no route asks for any, others judge, and know them.
func unasked(actions []string, asked map[string]bool) (left []string) {
	if len(asked) == 0 {
		return nil
	}
	return slices.DeleteFunc(actions, func(action string) bool { return asked[action] })
}

// lintCapacity warns where the memory of used codes cannot hold those that a client may issue while one lives: the
// oldest would leave it, and every code from before them would be refused. Where the file says nothing of the three
// numbers there is nothing to compare with what it means.
func (b *builder) lintCapacity() {
	if b.Issuer == nil || b.file.replay.Value.store.Value == "redis" {
		return
	}
	issuing := issuingClients(b.Issuer)
	said := b.file.replay.Value.capacity.Given || b.Limits.IssueRate != defaultIssueRate
	for i, c := range b.Issuer.Clients {
		if !slices.Contains(c.May, token.IssueCodes) || !said && c.CodeTTL == defaultCodeTTL {
			continue
		}
		most, share := b.Limits.IssueRate*int(c.CodeTTL/time.Second), b.Replay.Capacity/issuing
		if most <= share {
			continue
		}
		remedy := "lower limits.issue_rate or code_ttl"
		if enough := most * issuing; enough <= mostReplayCapacity {
			remedy = fmt.Sprintf("raise replay.capacity to %d, or ", enough) + remedy
		}
		b.Warn(
			b.file.issuer.Value.clients[i].At,
			fmt.Sprintf(
				"may issue %d codes within their lifetime (limits.issue_rate %d × code_ttl %s), but its share of "+
					"replay.capacity is %d: when that is full, unused codes are refused",
				most,
				b.Limits.IssueRate,
				c.CodeTTL,
				share,
			),
			remedy,
		)
	}
}

// lintCase warns of names that look alike: tenants compare byte by byte, hosts in lower case.
func (b *builder) lintCase() {
	tenants := map[string]string{} // by lower case, the first spelling
	var lowered bool               // some route takes its tenant from the host, which is in lower case
	for _, r := range b.Routes {
		lowered = lowered || r.Require.From == FromHost
	}
	b.tenants(func(w yaml.Setting[string]) {
		if w.Value == token.Any || w.Value == token.Placeholder || !w.Given {
			return
		}
		lower := strings.ToLower(w.Value)
		if first, seen := tenants[lower]; seen && first != w.Value {
			b.Warn(
				w.At,
				w.Shown+" differs from the tenant "+yaml.Quote(first)+" only in case",
				"use one spelling if one tenant is meant: tenants are compared byte by byte",
			)
		} else if lowered && lower != w.Value && !seen {
			b.Warn(
				w.At,
				w.Shown+" has capitals, but a tenant taken from a host is in lower case",
				"write it in lower case, or take the tenant from another part of the request",
			)
		}
		if _, seen := tenants[lower]; !seen {
			tenants[lower] = w.Value
		}
	})
	hosts := map[string]string{}
	b.hosts(func(w yaml.Setting[string]) {
		lower := strings.ToLower(w.Value)
		if first, seen := hosts[lower]; seen && first != w.Value {
			b.Warn(
				w.At,
				w.Shown+" differs from the host "+yaml.Quote(first)+" only in case",
				"use one spelling: hosts are compared in lower case",
			)
		} else if !seen {
			hosts[lower] = w.Value
		}
	})
}

// tenants yields each tenant that the file names, in the file's order of sections.
func (b *builder) tenants(yield func(yaml.Setting[string])) {
	entries := func(p writtenPermissions) {
		for _, e := range p {
			yield(e.Value.tenant)
		}
	}
	for _, role := range b.file.roles {
		entries(role.Value)
	}
	if b.file.issuer.Given {
		for _, c := range b.file.issuer.Value.clients {
			entries(c.Value.permissions.Value)
			entries(c.Value.delegate.Value)
		}
		for _, u := range b.file.issuer.Value.users.Value.list {
			entries(u.Value.permissions.Value)
		}
	}
	for _, t := range b.file.trustedIssuers {
		entries(t.Value.permissions.Value)
	}
	for _, r := range b.file.routes.Value {
		yield(r.Value.require.Value.tenant)
	}
}

func (b *builder) hosts(yield func(yaml.Setting[string])) {
	if b.file.issuer.Given {
		for _, h := range b.file.issuer.Value.serve.hosts {
			yield(h)
		}
	}
	for _, r := range b.file.routes.Value {
		for _, h := range r.Value.hosts {
			yield(h)
		}
	}
}
