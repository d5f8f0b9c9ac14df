package app

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/proxy"
)

// A logged is what an access line says of its request.
type logged struct {
	Log      string `json:"log"`
	Message  string `json:"msg"`
	Method   string `json:"method"`
	Host     string `json:"host"`
	Path     string `json:"path"`
	Status   int    `json:"status"`
	Reason   string `json:"reason"`
	Issuer   string `json:"issuer"`
	Tenant   string `json:"tenant"`
	Entry    string `json:"entry"`
	ClientID string `json:"client_id"`
}

// longestLine bounds a line of a log.
const longestLine = 1 << 20

// A LogDiff is what two configurations decide otherwise of logged requests.
type LogDiff struct {
	Requests   int      `json:"requests"`         // access lines
	Unknown    int      `json:"unknown"`          // those of them that say too little to be judged by both
	Unreadable int      `json:"unreadable_lines"` // lines that are no JSON, or too long
	Changes    []Change `json:"changes"`
}

// Log judges the requests of an access log by both configurations, and lists those that are decided otherwise. A line
// says which entry of its token's permissions decided, but neither what the others are nor what else the token says:
// where a verdict depends on that, the request is counted as unknown.
func (d *Diff) Log(log io.Reader) (report LogDiff, err error) {
	counts := map[string]*Change{}
	in := bufio.NewReaderSize(log, longestLine)
	w := d.witness()
	for {
		text, err := nextLine(in)
		if err == io.EOF {
			break
		}
		if err != nil {
			return report, err
		}
		var l logged
		switch {
		case json.Unmarshal(text, &l) != nil:
			report.Unreadable++
			continue
		case l.Log != "access" || l.Message != "request":
			continue
		}
		report.Requests++
		opens, differs, known := w.compare(&l)
		if !known {
			report.Unknown++
			continue
		}
		if !differs {
			continue
		}
		c := l.change(opens)
		key := fmt.Sprint(opens, c.Methods, c.Route, c.Holder, c.Tenants, l.Entry)
		if counts[key] == nil {
			counts[key] = c
		}
		counts[key].Count++
	}
	report.Changes = []Change{}
	for _, c := range counts {
		report.Changes = append(report.Changes, *c)
	}
	slices.SortFunc(report.Changes, func(a, b Change) int {
		return strings.Compare(a.order()+strings.Join(a.Methods, ""), b.order()+strings.Join(b.Methods, ""))
	})
	return report, nil
}

func (l *logged) change(opens bool) *Change {
	c := &Change{Opens: opens, Route: l.Host + l.Path, Methods: []string{l.Method}}
	switch l.bearing() {
	case withoutToken:
		c.Holder = anonymous
	case withAccepted:
		c.Holder = "client " + orElse(l.ClientID, "unknown")
	default:
		c.Holder = "whatever the token"
	}
	if l.Tenant != "" {
		c.Tenants = []string{l.Tenant}
	}
	for _, text := range []*string{&c.Route, &c.Methods[0], &c.Holder} { // clients had a part in them
		*text = unprintable.ReplaceAllString(*text, "?")
	}
	for i := range c.Tenants {
		c.Tenants[i] = unprintable.ReplaceAllString(c.Tenants[i], "?")
	}
	return c
}

// A bearing is what a line tells of a request's token.
type bearing int

const (
	withoutToken bearing = iota
	withAccepted
	withUnknown // none was looked at, or it was refused
)

func (l *logged) bearing() bearing {
	switch {
	case l.Issuer != "":
		return withAccepted
	case l.Reason == string(refusal.TokenMissing), l.Reason == "" && l.Status == http.StatusUnauthorized:
		return withoutToken
	}
	return withUnknown
}

// redactedPath marks a path of the log that is not the one that was asked for.
const redactedPath = "[redacted]"

// A witness judges logged requests by both configurations.
type witness struct {
	*Diff
	alike bool // both take the same tokens for the same
}

func (d *Diff) witness() *witness {
	w := &witness{d, true}
	old, fresh := d.old.snap.config.Said, d.fresh.snap.config.Said
	for _, name := range []string{"issuer", "trusted_issuers", "roles", "token_from", "tenant_pattern"} {
		w.alike = w.alike && same(keyOf(old, fresh, name), keyOf(fresh, old, name))
	}
	return w
}

// A sight is a configuration's verdict on a logged request: with the least and with the most that its token can be.
type sight struct {
	low, high  bool
	route      *config.Route // nil: none decides
	conditions string
}

func (w *witness) compare(l *logged) (opens, differs, known bool) {
	if !strings.HasPrefix(l.Path, "/") || l.Method == "" || strings.Contains(l.Path, redactedPath) {
		return false, false, false
	}
	var s [2]sight
	for which := range s {
		s[which] = w.judge(which, l)
	}
	a, b := &s[0], &s[1]
	if w.alike && a.asksAs(b) { // whatever it brought, both decide alike
		return false, false, true
	}
	for which := range s {
		s[which].unsure(l, &s[1-which])
	}
	if a.low != a.high || b.low != b.high {
		return false, false, false
	}
	return b.high, a.high != b.high, true
}

func (w *witness) judge(which int, l *logged) (s sight) {
	j := w.both()[which]
	p := l.probe(w.Diff)
	least, most := l.bearers(j.snap.config, w.alike)
	low, high := j.trace(p, least), j.trace(p, most)
	s.low, s.high = passes(low), passes(high)
	if s.route = high.Chosen; s.route == nil || high.Own {
		return sight{}
	}
	s.conditions = conditionsOf(s.route)
	if s.route.Require.Optional && l.bearing() == withUnknown { // a token that is refused is refused there, too
		s.low = false
	}
	if r := &s.route.Require; l.bearing() == withAccepted && len(r.Issuers) > 0 {
		// One of ours may have been exchanged: the original's issuer counts then, which the line does not tell.
		_, own := accepts(j.snap.config, l.Issuer)
		listed := slices.Contains(r.Issuers, l.Issuer)
		s.low, s.high = s.low && listed && !own, s.high && (listed || own)
	}
	return s
}

func passes(t *proxy.Trace) bool { return (t.Allowed || t.Shadow) && !t.Own }

// unsure widens a verdict by what the line does not say: how the request stands to conditions that the other
// configuration does not have, and the tenant where it would have been read elsewhere.
func (s *sight) unsure(l *logged, other *sight) {
	if s.route == nil {
		return
	}
	if s.conditions != "" && s.conditions != other.conditions {
		s.low = false
	}
	q := &s.route.Require
	if s.route.Public || l.bearing() == withoutToken || q.Action == "" ||
		q.From != config.FromHeader && q.From != config.FromQuery {
		return
	}
	if l.Tenant == "" || other.route == nil || q.From != other.route.Require.From || q.Name != other.route.Require.Name {
		s.low, s.high = false, true
	}
}

// asksAs reports whether two routes ask the same of the same requests.
func (s *sight) asksAs(other *sight) bool {
	a, b := s.route, other.route
	if a == nil || b == nil {
		return a == b
	}
	q, o := &a.Require, &b.Require
	return labelOf(a) == labelOf(b) && a.Public == b.Public && a.Shadow == b.Shadow && a.Allow == b.Allow &&
		q.Action == o.Action && q.Global == o.Global && q.Tenant == o.Tenant && q.From == o.From && q.Name == o.Name &&
		q.Optional == o.Optional && slices.Equal(q.Issuers, o.Issuers) && s.conditions == other.conditions
}

// conditionsOf spells what a route asks for that an access line does not show.
func conditionsOf(r *config.Route) string {
	var c comparison
	c.more("listeners", nil, r.Listeners)
	c.more("allow_from", nil, texts(r.AllowFrom))
	c.more("deny_from", nil, texts(r.DenyFrom))
	c.more("client_cert", nil, r.Require.CertNames)
	c.rates("rate_limit", r.RateLimits, nil)
	if !r.Public {
		c.more("scopes", nil, r.Require.Scopes)
		c.more("claims", nil, claimsOf(r.Require.Claims))
		c.more("audiences", nil, r.Audiences)
		c.more("resource", nil, resourceOf(r))
		if r.TokenFrom != nil {
			c.more("token_from", nil, sourcesOf(r.TokenFrom))
		}
	}
	return strings.Join(sorted(c.list), "\n")
}

// probe asks again what was asked, as far as the line knows it.
func (l *logged) probe(d *Diff) *probe {
	p := &probe{
		method: l.Method, url: "https://" + orElse(l.Host, "any.example") + l.Path,
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
	return p
}

// bearers are the least and the most that a request can have brought. alike: what its token opened then, it opens under
// this configuration.
func (l *logged) bearers(c *config.Config, alike bool) (least, most proxy.Bearer) {
	anything := token.TenantPermission{Tenant: token.Any, AllowedActions: []string{token.Any}}
	switch l.bearing() {
	case withoutToken:
		return least, most
	case withUnknown:
		most.Permissions = token.Permissions{anything}
		return least, most
	}
	known, own := accepts(c, l.Issuer)
	if !known { // the token would be refused
		return least, most
	}
	least.Permissions = token.Permissions{}
	if own || alike { // what another issuer's tokens open is the configuration's word
		if entry, decided := l.entry(); decided {
			least.Permissions = append(least.Permissions, entry)
		}
	}
	most.Permissions = append(slices.Clone(least.Permissions), anything)
	return least, most
}

// entry is what the token opens on the line's tenant, whichever entry it was that decided.
func (l *logged) entry() (e token.TenantPermission, decided bool) {
	i := strings.LastIndexByte(l.Entry, ' ')
	switch {
	case i >= 0:
		e = token.TenantPermission{Tenant: orElse(l.Tenant, token.Global), AllowedActions: wordsOf(l.Entry[i+1:])}
	case l.Reason == string(refusal.TenantDenied):
		e.Tenant = orElse(l.Tenant, token.Global)
	}
	return e, e.Tenant != ""
}

// accepts reports whether tokens of an issuer are taken, and whether the issuer is the configuration's own.
func accepts(c *config.Config, issuer string) (known, own bool) {
	if c.Issuer != nil && c.Issuer.URL == issuer {
		return true, true
	}
	return slices.ContainsFunc(c.TrustedIssuers, func(t *config.TrustedIssuer) bool { return t.Issuer == issuer }), false
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
