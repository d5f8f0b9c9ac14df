package config

import (
	"slices"

	"github.com/jotgate/jotgate/internal/route"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

func (b *builder) buildIssuer() {
	if !b.file.issuer.Given {
		return
	}
	w := &b.file.issuer.Value
	i := &Issuer{
		URL:               w.url.Value,
		Audiences:         b.audiences(w.audiences, w.url),
		CodeSecrets:       yaml.Values(w.codeSecrets),
		CodePrefixes:      yaml.Values(w.codePrefixes),
		CodeTTL:           w.codeTTL,
		TokenTTL:          w.tokenTTL.Value,
		MaxTokenTTL:       w.maxTokenTTL,
		MaxAccessTokenTTL: w.maxAccessToken,
	}
	b.Issuer = i
	if len(i.CodePrefixes) > 255 {
		b.Fault(w.codePrefixes[255].At, "is the 256th prefix", "list at most 255: a code holds a prefix in one byte")
	}
	if w.tokenTTL.Usable() && w.maxTokenTTL > 0 && i.TokenTTL > i.MaxTokenTTL {
		b.Fault(
			w.tokenTTL.At,
			yaml.SpellDuration(i.TokenTTL)+" is more than max_token_ttl, "+yaml.SpellDuration(i.MaxTokenTTL),
			"lower it, or raise the limit",
		)
	}
	b.buildServe(w.serve)
	b.buildKeys(w.keys)
	b.buildClients(w.clients)
	b.buildUsers(w.users)
}

// audiences never hold the issuer's own URL: that is what marks a management token.
func (b *builder) audiences(w yaml.Setting[[]yaml.Setting[string]], url yaml.Setting[string]) []string {
	if !w.Given {
		return []string{url.Value + "/api"}
	}
	b.notOurURL(w.Value, url.Value)
	return yaml.Values(w.Value)
}

func (b *builder) notOurURL(audiences []yaml.Setting[string], url string) {
	for _, a := range audiences {
		if !a.Bad && url != "" && a.Value == url {
			b.Fault(
				a.At,
				a.Shown+" is issuer.url, which marks management tokens",
				"choose another audience, like "+yaml.Quote(url+"/api"),
			)
		}
	}
}

func (b *builder) buildServe(w writtenServe) {
	all := len(w.dialects) == 0
	has := func(dialect string) bool { return all || slices.Contains(yaml.Values(w.dialects), dialect) }
	b.Issuer.Serve = Serve{
		Codes: has(codesDialect), UserTokens: has(userTokensDialect),
		AccessTokens: has(accessTokensDialect), OAuth2: has(oauth2Dialect),
		AccessTokenPrefix: w.accessTokenPrefix, MissingTenantIsAny: w.missingTenantIsAny,
	}
	b.Issuer.Serve.CORS = b.buildCORS(w.cors)
	for _, host := range yaml.Values(w.hosts) {
		canonical, err := route.ParseHost(host) // checked when it was read
		if err == nil {
			b.Issuer.Serve.Hosts = append(b.Issuer.Serve.Hosts, canonical.String())
		}
	}
}
