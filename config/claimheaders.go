package config

import (
	"fmt"
	"net/textproto"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/internal/jose"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// A ClaimHeader tells the upstream what a claim of the token holds.
type ClaimHeader struct {
	Claim  jose.Path
	Header string // canonical
	Join   string // what stands between the encoded words of a list; "": a comma, and a text is no list of one
}

type writtenClaimHeader struct {
	claim  yaml.Setting[jose.Path]
	header yaml.Setting[string]
	join   yaml.Setting[string]
}

func claimHeaders() yaml.Kind[[]yaml.Setting[writtenClaimHeader]] {
	type t = writtenClaimHeader
	return yaml.List(0, yaml.Mapping(
		yaml.Placed("claim", claimPath(), func(x *t) *yaml.Setting[jose.Path] { return &x.claim },
			"name of the claim: names joined by dots, or a list of names").Must("name the claim"),
		yaml.Placed("header", yaml.Text(isHeader).Like(headerLike), func(x *t) *yaml.Setting[string] { return &x.header },
			"request header that carries it; the client's own is removed on every route").Must("name the header, like "+
			"X-User-Email"),
		yaml.Placed("join", yaml.Text(isJoin).Like("^[,;| ]{1,3}$"), func(x *t) *yaml.Setting[string] { return &x.join },
			`text between the words of a list; default ","`),
	))
}

func isJoin(s string) (problem, remedy string) {
	if s == "" || len(s) > 3 || strings.Trim(s, ",;| ") != "" {
		return "is not a separator", `use one to three of , ; | and space`
	}
	return "", ""
}

// buildClaimHeaders reads a list of claim headers. over is the list that it adds to: a header of both is taken from
// this one.
func (b *builder) buildClaimHeaders(written []yaml.Setting[writtenClaimHeader], over []ClaimHeader) []ClaimHeader {
	var all []ClaimHeader
	for i := range written {
		w := &written[i]
		if w.Bad {
			continue
		}
		h := ClaimHeader{Claim: w.Value.claim.Value, Header: canonicalHeader(w.Value.header.Value), Join: w.Value.join.Value}
		at := w.Value.header.At
		switch {
		case slices.Contains(b.IdentityHeaders.All(), h.Header):
			b.Fault(at, w.Value.header.Shown+" is an identity header", "choose another header, like X-User-Email")
		case strings.HasPrefix(h.Header, "X-Jotgate-"), strings.HasPrefix(h.Header, "X-Forwarded-"), h.Header == "Dpop":
			b.Fault(at, w.Value.header.Shown+" is a reserved header", "choose another header, like X-User-Email")
		case slices.ContainsFunc(all, func(other ClaimHeader) bool { return other.Header == h.Header }):
			b.Fault(at, w.Value.header.Shown+" is named twice", "give each claim a header of its own")
		}
		all = append(all, h)
	}
	for _, h := range over {
		if !slices.ContainsFunc(all, func(own ClaimHeader) bool { return own.Header == h.Header }) {
			all = append(all, h)
		}
	}
	return all
}

// AllClaimHeaders lists the headers that carry claims on any route, each once.
func (c *Config) AllClaimHeaders() (names []string) {
	for _, r := range c.Routes {
		for _, h := range r.ClaimHeaders {
			if !slices.Contains(names, h.Header) {
				names = append(names, h.Header)
			}
		}
	}
	for _, h := range c.ClaimHeaders {
		if !slices.Contains(names, h.Header) {
			names = append(names, h.Header)
		}
	}
	return names
}

// Retained lists the claims that routes ask for or pass on, each once, and reports whether routes ask for scopes.
func (c *Config) Retained() (claims []jose.Path, scopes bool) {
	add := func(p jose.Path) {
		if !slices.ContainsFunc(claims, func(other jose.Path) bool { return slices.Equal(other, p) }) {
			claims = append(claims, p)
		}
	}
	for _, r := range c.Routes {
		scopes = scopes || len(r.Require.Scopes) > 0
		for _, q := range r.Require.Claims {
			add(q.Claim)
		}
		for _, h := range r.ClaimHeaders {
			add(h.Claim)
		}
	}
	if c.Issuer != nil {
		for _, client := range c.Issuer.Clients {
			if client.Identity == nil {
				continue
			}
			for _, q := range client.Identity.Claims {
				add(q.Claim)
			}
		}
	}
	return claims, scopes
}

// lintClaimHeaders finds headers that something else on the way sets or reads.
func (b *builder) lintClaimHeaders() {
	names := b.AllClaimHeaders()
	if len(names) == 0 {
		return
	}
	for i, r := range b.Routes {
		at := b.file.routes.Value[i].At
		if r.Require.From == FromHeader && slices.Contains(names, textproto.CanonicalMIMEHeaderKey(r.Require.Name)) {
			b.Fault(at, fmt.Sprintf("reads the tenant from %s, which claim_headers sets", r.Require.Name),
				"choose another header for one of the two")
		}
		for _, set := range r.Hop.Request.Set {
			if slices.ContainsFunc(names, func(h string) bool { return foldField(h) == foldField(set.Name) }) {
				b.Fault(at, fmt.Sprintf("sets %s in headers.request, which claim_headers sets", set.Name),
					"choose another header for one of the two")
			}
		}
		if r.Upstream != nil && r.Upstream.Assertion != nil &&
			slices.Contains(names, canonicalHeader(r.Upstream.Assertion.Header)) {
			b.Fault(at, fmt.Sprintf("%s carries the upstream's assertion and a claim", r.Upstream.Assertion.Header),
				"choose another header for one of the two")
		}
	}
}
