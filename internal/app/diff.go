package app

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/proxy"
)

// A Change is something that one configuration decides otherwise than another.
type Change struct {
	Opens   bool     `json:"opens"`              // closed before; otherwise it closes
	Route   string   `json:"route,omitempty"`    // host and path of the route that decides
	Methods []string `json:"methods,omitempty"`  // none: any
	Holder  string   `json:"holder,omitempty"`   // whose requests they are
	Tenants []string `json:"tenants,omitempty"`  // none: whatever the tenant
	Setting string   `json:"setting,omitempty"`  // for what no request shows: a setting that is wider
	Count   int      `json:"requests,omitempty"` // of a log
}

// A Diff compares two configurations by what they decide.
type Diff struct{ old, fresh *Judge }

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

// Names that no configuration is likely to have, for the tenants that none names.
const (
	someTenant  = "some-tenant"
	otherTenant = "other-tenant"
)

// Changes lists what opens and closes, first what opens: by what the roles, users, clients and trusted issuers of
// either configuration can hold, and by settings that are wider.
func (d *Diff) Changes() (all []Change) {
	type key struct {
		opens         bool
		route, holder string
	}
	type found struct{ methods, tenants []string }
	changes := map[key]*found{}
	holders := d.holders()
	tenants := d.tenants()
	probes, tried := d.probes(tenants)
	for _, p := range probes {
		for _, h := range holders {
			before, after := h.allowed(d.old, 0, p), h.allowed(d.fresh, 1, p)
			if before == after {
				continue
			}
			k := key{after, p.route, h.name}
			if changes[k] == nil {
				changes[k] = new(found)
			}
			changes[k].methods = append(changes[k].methods, p.method)
			changes[k].tenants = append(changes[k].tenants, p.tenant)
		}
	}
	for k, f := range changes {
		c := Change{Opens: k.opens, Route: k.route, Holder: k.holder, Methods: sorted(f.methods)}
		if slices.Equal(c.Methods, tried) {
			c.Methods = nil
		}
		if c.Tenants = sorted(f.tenants); len(c.Tenants) == len(tenants) || slices.Equal(c.Tenants, []string{""}) {
			c.Tenants = nil
		}
		all = append(all, c)
	}
	all = slices.DeleteFunc(all, func(c Change) bool { return slices.ContainsFunc(all, c.follows) })
	for i := range all {
		all[i].Tenants = called(all[i].Tenants, strings.HasSuffix(all[i].Holder, ofATenant))
	}
	for _, setting := range wider(d.old.snap.config, d.fresh.snap.config) {
		all = append(all, Change{Opens: true, Setting: setting})
	}
	for _, setting := range wider(d.fresh.snap.config, d.old.snap.config) {
		all = append(all, Change{Setting: setting})
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
	return text
}

// follows reports whether a change goes without saying: it is another's that needs less of a holder.
func (c Change) follows(from Change) bool {
	less := from.Holder == nobody && c.Holder != nobody || from.Holder == anybody && c.Holder != nobody &&
		c.Holder != anybody
	return less && from.Opens == c.Opens && from.Route == c.Route &&
		(from.Methods == nil || c.Methods != nil && slices.Equal(from.Methods, c.Methods)) &&
		(from.Tenants == nil || c.Tenants != nil && slices.Equal(from.Tenants, c.Tenants))
}

// called names tenants for people: those that no configuration names stand for all such.
func called(tenants []string, ofATenant bool) []string {
	for i, t := range tenants {
		switch {
		case t == someTenant && ofATenant:
			tenants[i] = "its own tenant"
		case t == someTenant, t == otherTenant:
			tenants[i] = "other tenants"
		}
	}
	return slices.Compact(tenants)
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

// allowed reports whether a configuration lets the holder's request through.
func (h *holder) allowed(j *Judge, which int, p probe) bool {
	as := proxy.Bearer{}
	if h.holds[which] != nil && h.name != nobody { // a caller that does not exist yet can ask without a token
		as.Permissions = *h.holds[which]
	}
	return j.allows(p, as)
}

func (j *Judge) allows(p probe, as proxy.Bearer) bool {
	trace := j.snap.trace(newRequest(p.method, p.url, p.header), as, j.server.clock())
	return trace.Allowed && !trace.Own
}

const (
	nobody    = "without a token"
	anybody   = "with any accepted token"
	ofATenant = " of a tenant"
)

// holders lists everybody of either configuration. What one of them lacks has no holder there.
func (d *Diff) holders() (all []*holder) {
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
		add(which, nobody, nil)
		add(which, anybody, nil)
		for name, role := range c.Roles {
			if role.Permissions.Templated() {
				add(which, "role "+name+ofATenant, role.Permissions.For(someTenant))
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

// mostTenants bounds the tenants that are tried; a file that names more grants each of them alike.
const mostTenants = 64

// tenants lists those that either configuration names, and two that none does.
func (d *Diff) tenants() []string {
	var all []string
	for _, h := range d.holders() {
		for _, p := range h.holds {
			if p == nil {
				continue
			}
			for _, entry := range *p {
				all = append(all, entry.Tenant)
			}
		}
	}
	for _, j := range []*Judge{d.old, d.fresh} {
		for _, r := range j.snap.config.Routes {
			all = append(all, r.Require.Tenant)
		}
	}
	all = slices.DeleteFunc(sorted(all), func(t string) bool {
		return t == "" || t == token.Any || t == token.Placeholder || t == someTenant || t == otherTenant
	})
	if len(all) > mostTenants {
		all = all[:mostTenants]
	}
	return append(all, someTenant, otherTenant)
}

// A probe is one request, and the route that it was made for.
type probe struct {
	route, method, url, tenant string
	header                     http.Header
}

// probes makes requests for every route of either configuration, with each tenant in every place where one could stand.
// methods are those that are tried where a route takes any.
func (d *Diff) probes(tenants []string) (all []probe, methods []string) {
	header, query := http.Header{}, []string{}
	methods = []string{http.MethodGet, http.MethodPost}
	routes := slices.Concat(d.old.snap.config.Routes, d.fresh.snap.config.Routes)
	for _, r := range routes {
		switch r.Require.From {
		case config.FromHeader:
			header[r.Require.Name] = nil
		case config.FromQuery:
			query = append(query, r.Require.Name)
		}
		methods = append(methods, r.Methods...)
	}
	query, methods = sorted(query), sorted(methods)
	seen := map[string]bool{}
	for _, r := range routes {
		takes := r.Methods
		if len(takes) == 0 {
			takes = methods
		}
		hosts := []string{"any.example"}
		if len(r.Hosts) > 0 {
			hosts = nil
		}
		for _, h := range r.Hosts {
			hosts = append(hosts, h.String())
		}
		for _, host := range hosts {
			label := r.Path.String()
			if len(r.Hosts) > 0 {
				label = host + label
			}
			for _, tenant := range tenants {
				p := probe{route: label, tenant: tenant, header: http.Header{}}
				for name := range header {
					p.header[name] = []string{tenant}
				}
				p.url = "https://" + filled(host, tenant) + filled(r.Path.String(), tenant)
				if strings.HasSuffix(p.url, "/") {
					p.url += "x"
				}
				for i, name := range query {
					p.url += string("?&"[min(i, 1)]) + name + "=" + tenant
				}
				if !strings.Contains(p.url, tenant) && len(p.header) == 0 {
					p.tenant = ""
				}
				for _, method := range takes {
					if p.method = method; !seen[method+p.url+label] {
						seen[method+p.url+label] = true
						all = append(all, p)
					}
				}
			}
		}
	}
	return all, methods
}

// filled puts a tenant in the place of each {name}.
func filled(pattern, tenant string) string {
	for {
		before, rest, found := strings.Cut(pattern, "{")
		if !found {
			return pattern
		}
		_, after, _ := strings.Cut(rest, "}")
		pattern = before + tenant + after
	}
}

// wider lists the settings that are wider in fresh than in old, of those that no request shows.
func wider(old, fresh *config.Config) (all []string) {
	add := func(setting string, before, after []string) {
		for _, word := range after {
			if !slices.Contains(before, word) {
				all = append(all, setting+": "+word)
			}
		}
	}
	if old.DenyWidening && !fresh.DenyWidening { // or else a reload that narrows could open the way for the next
		all = append(all, "reload.deny_widening: false")
	}
	add("trusted_proxies", texts(old.TrustedProxies), texts(fresh.TrustedProxies))
	add("cors.origins", originsOf(old.CORS), originsOf(fresh.CORS))
	issuers := map[string]*config.TrustedIssuer{}
	for _, t := range old.TrustedIssuers {
		issuers[t.Issuer] = t
	}
	for _, t := range fresh.TrustedIssuers {
		before := issuers[t.Issuer]
		at := "trusted_issuers[" + t.Issuer + "]"
		if before == nil {
			all = append(all, "trusted_issuers: "+t.Issuer)
			continue
		}
		add(at+".audiences", before.Audiences, t.Audiences)
		add(at+".token_types", orDefault(before.TokenTypes), orDefault(t.TokenTypes))
		add(at+".kinds", texts(before.Kinds), texts(t.Kinds))
		add(at+".keys", keyIDs(before), keyIDs(t))
		add(at+".require_claims, dropped", requirements(t), requirements(before))
		if len(before.Algorithms) > 0 {
			if len(t.Algorithms) == 0 {
				all = append(all, at+".algorithms: any")
			}
			add(at+".algorithms", before.Algorithms, t.Algorithms)
		}
	}
	routes := map[string]*config.Route{}
	for _, r := range old.Routes {
		routes[nameOf(r)] = r
	}
	for _, r := range fresh.Routes {
		before, at := routes[nameOf(r)], "routes["+nameOf(r)+"]"
		if before == nil {
			before = &config.Route{Public: true} // what the new route opens is shown by requests
		}
		add(at+".insecure_allow", wordsOf(before.Allow.String()), wordsOf(r.Allow.String()))
		add(at+".cors.origins", originsOf(before.CORS), originsOf(r.CORS))
		if before.Public {
			continue
		}
		add(at+".require.scopes, dropped", r.Require.Scopes, before.Require.Scopes)
		add(at+".deny_from, dropped", texts(r.DenyFrom), texts(before.DenyFrom))
		if len(before.Audiences) > 0 {
			add(at+".audiences", before.Audiences, r.Audiences)
		}
		if before.AllowFrom != nil {
			if r.AllowFrom == nil {
				all = append(all, at+".allow_from: any")
			}
			add(at+".allow_from", texts(before.AllowFrom), texts(r.AllowFrom))
		}
		if before.Require.Issuers != nil {
			if r.Require.Issuers == nil && !r.Public {
				all = append(all, at+".require.issuers: any")
			}
			add(at+".require.issuers", before.Require.Issuers, r.Require.Issuers)
		}
		if before.Require.CertNames != nil {
			if r.Require.CertNames == nil {
				all = append(all, at+".require.client_cert: none")
			}
			add(at+".require.client_cert.san", before.Require.CertNames, r.Require.CertNames)
		}
		if r.Shadow && !before.Shadow {
			all = append(all, at+".shadow: true")
		}
	}
	if fresh.Issuer == nil {
		return all
	}
	before := &config.Issuer{}
	if old.Issuer != nil {
		before = old.Issuer
	}
	add("issuer.audiences", before.Audiences, fresh.Issuer.Audiences)
	add("issuer.serve.cors.origins", originsOf(before.Serve.CORS), originsOf(fresh.Issuer.Serve.CORS))
	if fresh.Issuer.Serve.MissingTenantIsAny && !before.Serve.MissingTenantIsAny {
		all = append(all, "issuer.serve.insecure_missing_tenant_is_any: true")
	}
	clients := map[string]*config.Client{}
	for _, c := range before.Clients {
		clients[c.ID] = c
	}
	for _, c := range fresh.Issuer.Clients {
		was := clients[c.ID]
		if was == nil {
			was = &config.Client{}
		}
		add("issuer.clients["+c.ID+"].may", was.May, c.May)
	}
	return all
}

func nameOf(r *config.Route) string { return r.Name }

func texts[T any](list []T) []string {
	all := make([]string, len(list))
	for i := range list {
		all[i] = fmt.Sprint(list[i])
	}
	return all
}

func wordsOf(words string) []string {
	if words == "none" { // an oddity's word for no oddity
		return nil
	}
	return strings.FieldsFunc(words, func(c rune) bool { return c == ',' || c == ' ' })
}

func orDefault(types []string) []string {
	all := slices.Clone(types)
	for i := range all {
		if all[i] == "" {
			all[i] = "none"
		}
	}
	return all
}

func originsOf(c *config.CORS) []string {
	if c == nil {
		return nil
	}
	return c.Origins
}

// keyIDs lists where a trusted issuer's keys come from: each key of its files, or the address that they are fetched
// from.
func keyIDs(t *config.TrustedIssuer) (all []string) {
	if t.Remote != nil {
		all = append(all, "fetched from "+orElse(t.Remote.URL, "where its metadata says"))
	}
	if t.Keys != nil {
		for _, k := range t.Keys.Keys() {
			all = append(all, k.ID())
		}
	}
	return all
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func requirements(t *config.TrustedIssuer) (all []string) {
	for _, r := range t.Require {
		all = append(all, fmt.Sprintf("%s %+v", strings.Join(r.Claim, "."), r.Condition))
	}
	return all
}

// A logged is what an access line says of its request.
type logged struct {
	Log      string `json:"log"`
	Message  string `json:"msg"`
	Method   string `json:"method"`
	Host     string `json:"host"`
	Path     string `json:"path"`
	Issuer   string `json:"issuer"`
	Tenant   string `json:"tenant"`
	Entry    string `json:"entry"`
	ClientID string `json:"client_id"`
}

// longestLine bounds a line of a log.
const longestLine = 1 << 20

// Log judges the requests of an access log by both configurations, each with the entry of its token's permissions that
// decided then, and lists those that are decided otherwise. Lines that are no access lines are skipped.
func (d *Diff) Log(log io.Reader) (changes []Change, lines int, err error) {
	counts := map[string]*Change{}
	in := bufio.NewReaderSize(log, longestLine)
	for {
		text, err := nextLine(in)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, lines, err
		}
		var l logged
		if json.Unmarshal(text, &l) != nil || l.Log != "access" || l.Message != "request" || !strings.HasPrefix(l.Path, "/") {
			continue
		}
		lines++
		p, as := l.probe(d)
		if before, after := d.old.allows(p, as), d.fresh.allows(p, as); before != after {
			key := fmt.Sprint(after, p.method, p.route, l.Entry, l.ClientID)
			if counts[key] == nil {
				c := &Change{Opens: after, Route: p.route, Methods: []string{p.method}, Holder: nobody}
				if as.Permissions != nil {
					c.Holder = "client " + orElse(l.ClientID, "unknown")
				}
				if l.Tenant != "" {
					c.Tenants = []string{l.Tenant}
				}
				counts[key] = c
			}
			counts[key].Count++
		}
	}
	for _, c := range counts {
		changes = append(changes, *c)
	}
	slices.SortFunc(changes, func(a, b Change) int {
		return strings.Compare(a.order()+strings.Join(a.Methods, ""), b.order()+strings.Join(b.Methods, ""))
	})
	return changes, lines, nil
}

// probe asks again what was asked, as far as the line knows it.
func (l *logged) probe(d *Diff) (p probe, as proxy.Bearer) {
	p = probe{
		route: l.Host + l.Path, method: l.Method, url: "https://" + orElse(l.Host, "any.example") + l.Path,
		header: http.Header{},
	}
	var query []string
	for _, r := range slices.Concat(d.old.snap.config.Routes, d.fresh.snap.config.Routes) {
		switch {
		case l.Tenant == "":
		case r.Require.From == config.FromHeader:
			p.header[r.Require.Name] = []string{l.Tenant}
		case r.Require.From == config.FromQuery:
			query = append(query, r.Require.Name+"="+l.Tenant)
		}
	}
	if query = sorted(query); len(query) > 0 {
		p.url += "?" + strings.Join(query, "&")
	}
	if l.Issuer == "" && l.ClientID == "" {
		return p, as
	}
	as.Permissions = token.Permissions{}
	if i := strings.LastIndexByte(l.Entry, ' '); i >= 0 {
		entry := token.TenantPermission{Tenant: l.Entry[:i], AllowedActions: wordsOf(l.Entry[i+1:])}
		as.Permissions = append(as.Permissions, entry)
	}
	return p, as
}

// nextLine returns the next line; what is over the reader's room is dropped.
func nextLine(in *bufio.Reader) ([]byte, error) {
	line, more, err := in.ReadLine()
	for dropped := more; dropped && err == nil; {
		_, dropped, err = in.ReadLine()
	}
	if more {
		line = nil
	}
	return line, err
}
