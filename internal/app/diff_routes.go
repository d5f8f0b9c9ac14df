package app

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
)

// A comparison lists what one side lets pass and the other does not.
type comparison struct{ list []string }

func (c *comparison) say(setting, what string) { c.list = append(c.list, setting+": "+what) }

// more tells of each word that is new, fewer of each that was dropped.
func (c *comparison) more(setting string, before, after []string) {
	for _, word := range after {
		if !slices.Contains(before, word) {
			c.say(setting, word)
		}
	}
}

func (c *comparison) fewer(setting string, before, after []string) {
	c.more(setting+", dropped", after, before)
}

// within tells of what a closed list lets in anew; a list that is empty lets everything in.
func (c *comparison) within(setting string, before, after []string) {
	switch {
	case len(before) == 0:
	case len(after) == 0:
		c.say(setting, "any")
	default:
		c.more(setting, before, after)
	}
}

// changed tells of what no rule can judge: any change of it may widen.
func (c *comparison) changed(setting, before, after string) {
	if before != after {
		c.say(setting, orElse(after, "none"))
	}
}

func (c *comparison) on(setting string, before, after bool) {
	if after && !before {
		c.say(setting, "true")
	}
}

func (c *comparison) off(setting string, before, after bool) {
	if before && !after {
		c.say(setting, "false")
	}
}

// looser lists by which conditions, beside a token and its permission, a route lets requests pass that another one
// would refuse: both are the ones that decide about the same requests.
func looser(old, fresh *config.Config, a, b *config.Route) []string {
	var c comparison
	at := "routes[" + b.Name + "]."
	c.more(at+"insecure_allow", wordsOf(a.Allow.String()), wordsOf(b.Allow.String()))
	c.ranges(at, a, b)
	c.within(at+"require.client_cert.san", a.Require.CertNames, b.Require.CertNames)
	c.rates(at+"rate_limit", a.RateLimits, b.RateLimits)
	c.off(at+"end_with_token", a.EndWithToken, b.EndWithToken)
	c.on(at+"upgrade", a.Upgrade, b.Upgrade)
	c.on(at+"forward_token", a.ForwardToken, b.ForwardToken)
	if a.CORS != old.CORS || b.CORS != fresh.CORS { // what both have from the top level is told once, there
		c.cors(at+"cors", a.CORS, b.CORS)
	}
	c.changed(at+"upstream", upstreamOf(a), upstreamOf(b))
	c.changed(at+"strip_prefix", a.Hop.StripPrefix, b.Hop.StripPrefix)
	c.changed(at+"add_prefix", a.Hop.AddPrefix, b.Hop.AddPrefix)
	c.changed(at+"headers.request.set", edits(a.Hop.Request.Set), edits(b.Hop.Request.Set))
	c.fewer(at+"headers.request.remove", a.Hop.Request.Remove, b.Hop.Request.Remove)
	c.changed(at+"headers.response.set", edits(a.Hop.Response.Set), edits(b.Hop.Response.Set))
	c.fewer(at+"headers.response.remove", a.Hop.Response.Remove, b.Hop.Response.Remove)
	if a.Public { // whatever its token says
		return c.list
	}
	c.on(at+"public or in shadow, for tokens that are not accepted", !a.Require.Optional || a.Shadow, b.Public || b.Shadow)
	c.sources(at+"token_from", a.TokenFrom, b.TokenFrom)
	c.changed(at+"claim_headers", claimHeaders(a), claimHeaders(b))
	if b.Public || b.Shadow { // requests show it
		return c.list
	}
	c.fewer(at+"require.scopes", a.Require.Scopes, b.Require.Scopes)
	c.fewer(at+"require.claims", claimsOf(a.Require.Claims), claimsOf(b.Require.Claims))
	c.within(at+"require.issuers", a.Require.Issuers, b.Require.Issuers)
	c.changedLists(at+"audiences", a.Audiences, b.Audiences)
	c.fewer(at+"resource", resourceOf(a), resourceOf(b))
	return c.list
}

// ranges compares addresses: each of the new side's must lie within one of the old side's.
func (c *comparison) ranges(at string, a, b *config.Route) {
	inside := func(all []netip.Prefix, one netip.Prefix) bool {
		return slices.ContainsFunc(all, func(p netip.Prefix) bool {
			return p.Bits() <= one.Bits() && p.Contains(one.Addr())
		})
	}
	if len(a.AllowFrom) > 0 {
		if len(b.AllowFrom) == 0 {
			c.say(at+"allow_from", "any")
		}
		for _, p := range b.AllowFrom {
			if !inside(a.AllowFrom, p) {
				c.say(at+"allow_from", p.String())
			}
		}
	}
	for _, p := range a.DenyFrom {
		if !inside(b.DenyFrom, p) {
			c.say(at+"deny_from, dropped", p.String())
		}
	}
}

// rates asks for each old limit whether a new one is at least as tight.
func (c *comparison) rates(at string, before, after []config.RateLimit) {
	for i := range before {
		a := &before[i]
		if !slices.ContainsFunc(after, func(b config.RateLimit) bool {
			return b.By == a.By && b.Burst <= a.Burst && (b.Shared || !a.Shared) &&
				float64(b.Requests)*a.Per.Seconds() <= float64(a.Requests)*b.Per.Seconds()
		}) {
			c.say(at+", dropped or looser", fmt.Sprintf("%d per %v by %s", a.Requests, a.Per, a.By))
		}
	}
}

func (c *comparison) cors(at string, a, b *config.CORS) {
	if b == nil { // the gate says nothing to scripts, and what the app says is the app's affair
		return
	}
	before := config.CORS{}
	if a != nil {
		before = *a
	}
	c.more(at+".origins", before.Origins, b.Origins)
	c.on(at+".credentials", before.Credentials, b.Credentials)
	if a != nil {
		c.within(at+".methods", before.Methods, b.Methods)
		c.more(at+".headers", before.Headers, b.Headers)
		c.more(at+".expose", before.Expose, b.Expose)
	}
}

func (c *comparison) sources(at string, a, b *config.TokenSources) {
	c.more(at, sourcesOf(a), sourcesOf(b))
}

// changedLists is for lists whose empty one stands for a default: it is told unless the words are fewer of the same.
func (c *comparison) changedLists(at string, before, after []string) {
	if len(before) == 0 && len(after) > 0 || len(before) > 0 && len(after) == 0 {
		c.say(at, orElse(strings.Join(after, ", "), "the default"))
		return
	}
	c.more(at, before, after)
}

func sourcesOf(s *config.TokenSources) (all []string) {
	if s == nil {
		return []string{"authorization"}
	}
	for word, is := range map[string]bool{
		"authorization": s.Authorization, "websocket_protocol": s.WebSocketProtocol, "ticket": s.Ticket,
	} {
		if is {
			all = append(all, word)
		}
	}
	for _, name := range s.Headers {
		all = append(all, "header "+name)
	}
	for _, name := range s.Cookies {
		all = append(all, "cookie "+name)
	}
	slices.Sort(all)
	return all
}

func upstreamOf(r *config.Route) string {
	if r.Upstream == nil {
		return "none"
	}
	return r.Upstream.Name
}

func claimHeaders(r *config.Route) string {
	var all []string
	for _, h := range r.ClaimHeaders {
		all = append(all, fmt.Sprintf("%s in %s %q", h.Claim, h.Header, h.Join))
	}
	return strings.Join(sorted(all), ", ")
}

func claimsOf(all []jose.Requirement) (words []string) {
	for i := range all {
		words = append(words, all[i].Claim.String()+" "+all[i].Condition.String())
	}
	return words
}

func resourceOf(r *config.Route) []string {
	if r.Resource == nil {
		return nil
	}
	return []string{r.Resource.URL}
}

// edits names the fields that a route sets. A value may be a credential of the app's, so that it is told by its digest.
func edits(list []config.HeaderValue) string {
	all := make([]string, len(list))
	for i, h := range list {
		sum := sha256.Sum256([]byte(h.Value))
		all[i] = h.Name + " (value " + hex.EncodeToString(sum[:4]) + "…)"
	}
	return strings.Join(sorted(all), ", ")
}
