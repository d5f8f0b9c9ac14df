package config

import (
	"net/url"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/internal/jose"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
	"github.com/jotgate/jotgate/internal/token"
)

// lintExchange warns of tokens that could be exchanged, but by no client or for nothing.
func (b *builder) lintExchange() {
	var exchangers []*Client
	if b.Issuer != nil && b.Issuer.Serve.OAuth2 {
		for _, c := range b.Issuer.Clients {
			if slices.Contains(c.May, token.Exchange) && !c.Public {
				exchangers = append(exchangers, c)
			}
		}
	}
	delegates := func(c *Client) bool { return len(c.Delegate) > 0 }
	for _, w := range b.file.trustedIssuers {
		at := w.Value.exchange
		if !at.Value {
			continue
		}
		t := w.Value.made
		overlaps := func(c *Client) bool { return allowsAny(t.Permissions.Cut(c.Delegate)) }
		switch {
		case b.Issuer == nil:
			b.Warn(at.At, "has no effect without issuer: what tokens are exchanged for is issued here",
				"add issuer, or remove it")
		case !b.Issuer.Serve.OAuth2:
			b.Warn(at.At, "has no effect: issuer.serve.dialects lacks oauth2, where tokens are exchanged",
				"add oauth2, or remove it")
		case len(exchangers) == 0:
			b.Warn(at.At, "has no effect: no client may exchange tokens", "add exchange to a client's may, or remove it")
		case !slices.ContainsFunc(exchangers, delegates):
			b.Warn(at.At, "opens nothing: no client with exchange has permissions to hand on",
				"add delegate to the client: it is the upper bound of what comes out")
		case !slices.ContainsFunc(exchangers, overlaps):
			b.Warn(at.At, "opens nothing: no delegate of a client with exchange allows what permissions of the issuer do",
				"compare tenants and actions of the two: what comes out is what both allow")
		case b.ownTokensOpenNothing():
			b.Warn(at.At, "opens nothing here: no route takes a token for issuer.audiences, which exchanged ones are for",
				"add one of issuer.audiences to the audiences of a route, or remove it if other services judge the tokens")
		}
	}
}

// ownTokensOpenNothing reports whether routes ask for tokens, but none for one of ours.
func (b *builder) ownTokensOpenNothing() bool {
	asks := false
	for _, r := range b.Routes {
		if r.Public {
			continue
		}
		asks = true
		ours := func(a string) bool { return slices.Contains(b.Issuer.Audiences, a) }
		if len(r.Audiences) == 0 || slices.ContainsFunc(r.Audiences, ours) {
			return false
		}
	}
	return asks
}

// allowsAny reports whether some entry has an action.
func allowsAny(p token.Permissions) bool {
	return slices.ContainsFunc(p, func(e token.TenantPermission) bool { return len(e.AllowedActions) > 0 })
}

// lintExchangers warns of clients that may exchange tokens, but cannot.
func (b *builder) lintExchangers() {
	if b.Issuer == nil {
		return
	}
	issues := func(c *Client) bool {
		return slices.ContainsFunc(c.May, func(word string) bool {
			return word == token.IssueCodes || word == token.IssueUserTokens || word == token.CreateAccessTokens
		})
	}
	source := slices.ContainsFunc(b.TrustedIssuers, func(t *TrustedIssuer) bool { return t.Exchange }) ||
		slices.ContainsFunc(b.Issuer.Clients, issues)
	for i, c := range b.Issuer.Clients {
		may := b.file.issuer.Value.clients[i].Value.may
		n := slices.IndexFunc(may, func(w yaml.Setting[string]) bool { return w.Value == token.Exchange })
		if n < 0 {
			continue
		}
		at := may[n].At
		switch {
		case c.Public:
			b.Warn(at, "has no effect: a client that cannot authenticate exchanges no tokens",
				"give it a secret, keys or identity in place of public, or remove the word")
		case !b.Issuer.Serve.OAuth2:
			b.Warn(at, "has no effect: issuer.serve.dialects lacks oauth2, where tokens are exchanged",
				"add oauth2, or remove the word")
		case !allowsAny(c.Delegate) && !allowsAny(c.Permissions):
			b.Warn(at, "opens nothing: the client has no permissions to hand on",
				"add delegate: it is the upper bound of what comes out")
		case !source && !allowsAny(c.Permissions):
			b.Warn(at, "has nothing to exchange: no trusted issuer has exchange: true, and no client issues tokens",
				"add exchange: true to a trusted issuer, or remove the word")
		}
	}
}

// lintWorkloads warns of identities that more tokens have than is likely meant, or fewer.
func (b *builder) lintWorkloads() {
	if b.Issuer == nil {
		return
	}
	for i, c := range b.Issuer.Clients {
		w, is := &b.file.issuer.Value.clients[i].Value.identity.Value, c.Identity
		if is == nil {
			continue
		}
		n := slices.IndexFunc(b.TrustedIssuers, func(t *TrustedIssuer) bool { return t.Issuer == is.Issuer })
		t := b.TrustedIssuers[n]
		if owner := ownersPrefix(is.Prefix); owner != "" && len(is.Claims) == 0 {
			b.Warn(w.subject.At, "is met by any repository of "+yaml.Quote(owner)+", in any branch",
				"name the repository, or add claims that say what is meant, like repository_owner")
		}
		if w.maxLifetime.Given && is.MaxLifetime > t.MaxTokenTTL {
			b.Warn(w.maxLifetime.At, "has no effect beyond "+yaml.SpellDuration(t.MaxTokenTTL)+
				", max_token_ttl of the trusted issuer", "raise max_token_ttl there, or lower it")
		}
		if is.Once && t.Preset == "kubernetes" {
			b.Warn(w.once.At, "locks the workload out for most of the time: kubelet projects the same token until 80 % of "+
				"its lifetime have passed", "remove it, and keep the lifetime of the projected token short")
		}
	}
}

// ownersPrefix is the owner that a prefix of GitHub's or GitLab's subjects names, without a repository; or "".
func ownersPrefix(prefix string) string {
	for _, scheme := range []string{"repo:", "project_path:"} {
		if owner, is := strings.CutPrefix(prefix, scheme); is && strings.Index(owner, "/") == len(owner)-1 {
			return strings.TrimSuffix(owner, "/")
		}
	}
	return ""
}

// lintLogouts warns of logouts that will not come, or will be refused.
func (b *builder) lintLogouts() {
	for _, w := range b.file.trustedIssuers {
		if !w.Value.logout.Given {
			continue
		}
		t := w.Value.made
		if len(t.Kinds) == 1 && t.Kinds[0] == jose.KindWorkload {
			b.Warn(w.Value.logout.At, "has no effect: workloads have no session that ends", "remove it")
			continue
		}
		for _, a := range w.Value.logout.Value {
			// An id_token has the client's id as its aud, as a logout token has; of access tokens a URL is the API's.
			if strings.Contains(a.Value, "://") && slices.Contains(t.Audiences, a.Value) &&
				!slices.Contains(t.Kinds, jose.KindID) {
				b.Warn(a.At, a.Shown+" is an audience of access tokens, which logout tokens do not have",
					"write the id that the client of the login has at the issuer")
			}
		}
	}
}

// lintResources warns of resources whose metadata send clients to where they get no token that opens them.
func (b *builder) lintResources() {
	for _, r := range b.Resources {
		w := b.writtenResource(r)
		if u, err := url.Parse(r.URL); err == nil && u.Scheme == "http" && !onThisMachine(u) {
			b.Warn(w.resource.At, "is plain http, so that others can replace its metadata (RFC 9728 §1.2)",
				"write https, as clients reach it")
		}
		own := ""
		if b.Issuer != nil {
			own = b.Issuer.URL
		}
		for _, s := range w.servers {
			known := func(t *TrustedIssuer) bool {
				return t.Issuer == s.Value || t.Pattern != "" && originOf(t.Pattern) == originOf(s.Value)
			}
			if s.Value != own && !slices.ContainsFunc(b.TrustedIssuers, known) {
				b.Warn(s.At, s.Shown+" is neither issuer.url nor one of trusted_issuers, so its tokens are refused",
					"add it to trusted_issuers, or remove it")
			}
		}
		if own == "" || !slices.Contains(r.Servers, own) {
			continue
		}
		if !slices.Contains(b.Issuer.Audiences, r.URL) {
			b.Warn(w.resource.At, "sends clients to issuer.url for tokens, which issues none for it",
				"add it to issuer.audiences, or list other authorization_servers")
		}
		if len(w.scopes) > 0 && len(r.Servers) == 1 {
			b.Warn(w.scopes[0].At, "sends clients with this scope to issuer.url, which knows the words of may alone",
				"remove scopes: what a token of a client opens is its permissions")
		}
	}
}

// originOf is the beginning of a URL that names its host.
func originOf(address string) string {
	scheme, rest, _ := strings.Cut(address, "://")
	host, _, _ := strings.Cut(rest, "/")
	return scheme + "://" + host
}

// lintGeneral warns of resources that leave no audience for the other routes, so that a token for one of them opens
// these, too.
func (b *builder) lintGeneral() {
	if b.Issuer == nil {
		return
	}
	for _, a := range b.Issuer.Audiences {
		if !slices.ContainsFunc(b.Resources, func(r *Resource) bool { return r.URL == a }) {
			return
		}
	}
	for _, r := range b.Routes {
		if !r.Public && len(r.Audiences) == 0 && r.Resource == nil {
			at := b.file.issuer.At
			if w := b.file.issuer.Value.audiences; w.Given {
				at = w.At
			}
			b.Warn(at, "has resources alone as audiences, so that a token for one of them opens route "+r.Name+", too",
				"add an audience that is no resource, or give the route audiences")
			return
		}
	}
}

func (b *builder) writtenResource(r *Resource) *writtenResource {
	n := slices.IndexFunc(b.file.resources, func(w yaml.Setting[writtenResource]) bool {
		return w.Value.resource.Value == r.URL
	})
	return &b.file.resources[n].Value
}
