package config

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/route"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
	"github.com/jotgate/jotgate/internal/token"
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
		b.Fault(w.tokenTTL.At, yaml.SpellDuration(i.TokenTTL)+" is more than max_token_ttl, "+yaml.SpellDuration(i.MaxTokenTTL), "lower the one or raise the other")
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
			b.Fault(a.At, a.Shown+" is issuer.url, which marks management tokens", "choose another audience, like "+yaml.Quote(url+"/api"))
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
	for _, host := range yaml.Values(w.hosts) {
		canonical, err := route.ParseHost(host) // checked when it was read
		if err == nil {
			b.Issuer.Serve.Hosts = append(b.Issuer.Serve.Hosts, canonical.String())
		}
	}
}

func (b *builder) buildClients(w []yaml.Setting[writtenClient]) {
	b.Issuer.Clients = []*Client{}
	for i := range w {
		c := &w[i].Value
		client := &Client{
			ID:            c.id.Value,
			Secret:        c.secret.Value,
			AccessTokenID: c.accessTokenID.Value,
			Permissions:   b.permissions(c.permissions.Value, noTemplates),
			May:           yaml.Values(c.may),
			Delegate:      b.permissions(c.delegate.Value, noTemplates),
			CodeTTL:       c.codeTTL.Value,
			Public:        c.public.Value,
			Bound:         c.dpop.Value == dpopRequired,
		}
		if !c.codeTTL.Given {
			client.CodeTTL = b.Issuer.CodeTTL
		}
		if c.audiences.Given {
			client.Audiences = yaml.Values(c.audiences.Value)
		}
		if c.keys.Given {
			client.Keys = b.clientKeys(c.keys.Value)
		}
		b.checkSecrets(c, client)
		b.checkUnique(c, client)
		b.Issuer.Clients = append(b.Issuer.Clients, client)
		if slices.Contains(client.May, token.IssueCodes) && c.delegate.Usable() == c.delegate.Given && len(client.Delegate) == 0 {
			b.Warn(w[i].At, "may issue codes, but has nothing to hand on", "give it delegate: it is the most that its codes can open")
		}
	}
}

func (b *builder) checkSecrets(c *writtenClient, client *Client) {
	if c.secret.Given && c.secretSHA256.Given {
		b.Fault(c.secretSHA256.At, "is there beside secret", "keep one of the two")
	}
	if c.secretSHA256.Usable() {
		client.SecretSHA256, _ = hex.DecodeString(c.secretSHA256.Value) // checked when it was read
	}
	if c.public.Value && (c.secret.Given || c.secretSHA256.Given || c.keys.Given) {
		b.Fault(c.public.At, "is there beside a secret or keys", "a public client has neither: keep one of the two")
	}
}

// clientKeys are what a client signs its assertions with. A shared secret is no such key: it is for secret alone.
func (b *builder) clientKeys(w []yaml.Setting[writtenKeySet]) *jose.KeySet {
	set := b.keySet(w)
	if set == nil {
		return nil
	}
	if slices.ContainsFunc(set.Keys(), (*jose.PublicKey).Symmetric) {
		b.Fault(w[0].At, "holds a shared secret", "list public keys alone; a secret goes into secret")
	}
	return set
}

func (b *builder) checkUnique(c *writtenClient, client *Client) {
	for i, other := range b.Issuer.Clients {
		if c.id.Usable() && other.ID == client.ID {
			b.Fault(c.id.At, fmt.Sprintf("%s is the id of issuer.clients[%d] already", c.id.Shown, i), "give each client its own id")
		} else if c.id.Usable() && token.DigestOf(other.ID) == token.DigestOf(client.ID) {
			b.Fault(c.id.At, fmt.Sprintf("%s has the digest of issuer.clients[%d], so that codes could not tell the two apart", c.id.Shown, i), "rename one of them")
		}
		if c.accessTokenID.Usable() && other.AccessTokenID == client.AccessTokenID {
			b.Fault(c.accessTokenID.At, fmt.Sprintf("is that of issuer.clients[%d] already", i), "give each client its own: it is a credential")
		}
	}
}

// isClient reports whether some client has this id, in whatever case: an id must not look like another.
func (b *builder) isClient(id string) bool {
	return slices.ContainsFunc(b.Issuer.Clients, func(c *Client) bool { return c.ID != "" && strings.EqualFold(c.ID, id) })
}

func (b *builder) buildUsers(w yaml.Setting[writtenUsers]) {
	u := &w.Value
	modes := 0
	for _, given := range []bool{u.open.Given, u.lookup.Given, u.list != nil} {
		if given {
			modes++
		}
	}
	switch {
	case !w.Given || w.Bad && modes == 0:
		return
	case modes != 1:
		b.Fault(w.At, "does not say who the users are in exactly one way", "write a list, {open: true, role: …} or {lookup: {url: …}}")
	case u.open.Given && !u.role.Given:
		b.Fault(w.At.Key("role"), "is missing", "name the role that every user has")
	case u.role.Given && !u.open.Given:
		b.Fault(u.role.At, "has a meaning only beside open: true", "remove it")
	}
	b.Issuer.Users = &Users{Open: b.fixedRole(u.role)}
	if u.lookup.Given {
		b.Issuer.Users.Lookup = &u.lookup.Value
	}
	if u.list != nil {
		b.Issuer.Users.List = map[string]*User{}
		for _, user := range u.list {
			if !user.Bad {
				b.buildUser(user)
			}
		}
	}
}

func (b *builder) buildUser(w yaml.Setting[writtenUser]) {
	id := strings.ToLower(w.Value.id.Value)
	users := b.Issuer.Users.List
	if users[id] != nil {
		b.Fault(w.Value.id.At, w.Value.id.Shown+" is there twice", "keep one")
	}
	if b.isClient(id) {
		b.Fault(w.Value.id.At, w.Value.id.Shown+" is a client's id", "users and clients must not be named alike")
	}
	user := &User{ID: id, Type: w.Value.kind}
	users[id] = user
	switch {
	case w.Value.role.Given && w.Value.permissions.Given:
		b.Fault(w.Value.permissions.At, "is there beside role", "keep one of the two")
	case w.Value.role.Given:
		if role := b.fixedRole(w.Value.role); role != nil {
			user.Permissions = role.Permissions
		}
	case w.Value.permissions.Given:
		user.Permissions = b.permissions(w.Value.permissions.Value, noTemplates)
	case user.Type == "end_user":
		b.Fault(w.At.Key("role"), "is missing", "give the user a role or permissions")
	}
}

func (b *builder) buildTrustedIssuers() {
	for _, t := range b.file.trustedIssuers {
		if !t.Value.issuer.Usable() {
			continue
		}
		b.buildTrusted(&t.Value)
	}
}

func (b *builder) buildTrusted(w *writtenTrusted) {
	t := &TrustedIssuer{
		Issuer:        w.issuer.Value,
		Audiences:     yaml.Values(w.audiences),
		Algorithms:    yaml.Values(w.algorithms),
		TokenTypes:    []string{"at+jwt", "application/at+jwt"},
		RequireClaims: map[string]string{},
		ClientClaim:   w.clientClaim,
		RolesMap:      map[string]*Role{},
		Permissions:   b.permissions(w.permissions.Value, noTemplates),
		MaxTokenTTL:   w.maxTokenTTL,
	}
	if w.tokenTypes.Given {
		t.TokenTypes = yaml.Values(w.tokenTypes.Value)
	}
	for _, claim := range w.requireClaims {
		t.RequireClaims[claim.Name] = claim.Value
	}
	if w.roles.Usable() {
		t.RolesFrom = w.roles.Value.from
		for _, role := range w.roles.Value.roles {
			t.RolesMap[role.Name] = b.fixedRole(role.Setting)
		}
	}
	switch same := func(o *TrustedIssuer) bool { return o.Issuer == t.Issuer }; {
	case b.Issuer != nil && b.Issuer.URL == t.Issuer:
		b.Fault(w.issuer.At, w.issuer.Shown+" is issuer.url", "our own tokens are trusted already: remove this entry")
	case slices.ContainsFunc(b.TrustedIssuers, same):
		b.Fault(w.issuer.At, w.issuer.Shown+" is there twice", "keep one entry for each issuer")
	}
	if w.keys.Given {
		t.Keys = b.keySet(w.keys.Value)
		b.onlyFetched(w)
	} else {
		t.Remote = b.remoteKeys(w)
	}
	b.TrustedIssuers = append(b.TrustedIssuers, t)
}

func (b *builder) buildReplay() {
	w := &b.file.replay.Value
	b.Replay.Capacity = w.capacity.Value
	if b.Issuer == nil || !w.capacity.Usable() {
		return
	}
	issuing := issuingClients(b.Issuer)
	if b.Replay.Capacity < issuing {
		b.Fault(w.capacity.At, fmt.Sprintf("%d is less than one entry for each of %d clients that may issue codes", b.Replay.Capacity, issuing),
			"raise it: a client needs one for every code that can be live")
	}
}

// issuingClients counts those that share replay.capacity.
func issuingClients(i *Issuer) (n int) {
	for _, c := range i.Clients {
		if slices.Contains(c.May, token.IssueCodes) {
			n++
		}
	}
	return n
}
