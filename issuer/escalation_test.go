package issuer

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// A wall is an endpoint that wants a management token, with a body that would be accepted.
type wall struct{ path, body, client, scope string }

func walls() []wall {
	return []wall{
		{"/api/v1/authorization-codes", `{"subject":"alice","role":"support"}`, "shop", token.IssueCodes},
		{userTokenPath, userBody(aliceID), "shop", token.IssueUserTokens},
	}
}

// TestEscalationOtherTokens: what is no management token opens no endpoint that wants one, however authentic it is.
func TestEscalationOtherTokens(t *testing.T) {
	t.Parallel()
	foreignKey := testKey(t, "EdDSA")
	h := newHouse(t, nil)
	h.trust(foreignKey)
	master := h.created(makerID, `{"application":"m","master":true}`).ID
	own, _, err := h.minter().Own("plain", 0)
	if err != nil {
		t.Fatal(err)
	}
	forge := func(change func(*token.Claims)) string {
		now := h.clock.now()
		c := h.minter().claimsAt(h.minter().clients.byID["shop"], "shop", "7d44b3b2-5a51-4f0e-9a2f-3f2d5b1c0abc", now,
			now.Add(time.Hour))
		c.Audience, c.Scope = []string{issuerURL}, token.IssueCodes+" "+token.IssueUserTokens
		change(c)
		compact, err := testKey(t, "ES256").Sign(jose.TypeAccessToken, jose.EncodeClaims(nil, c))
		if err != nil {
			t.Fatal(err)
		}
		return compact
	}
	foreign, err := foreignKey.Sign(jose.TypeAccessToken, jose.EncodeClaims(nil, &token.Claims{
		Issuer: "https://foreign.test", Subject: "x", Audience: []string{issuerURL}, ClientID: "shop", ID: "1",
		IssuedAt: h.clock.now().UnixMilli(), Expiry: h.clock.now().Add(time.Hour).UnixMilli(), Scope: token.IssueCodes + " " +
			token.IssueUserTokens,
	}))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		bearer string
		status int
		reason refusal.Reason
	}{
		"a code":               {h.code(`{"subject":"alice","role":"support"}`), 401, refusal.TokenMalformed},
		"an access token":      {h.roleToken("shop", "support", "", "alice"), 403, refusal.TokenNotManagement},
		"a client's own token": {own, 403, refusal.TokenNotManagement},
		"a created token":      {master, 403, refusal.TokenNotManagement},
		"a user's token": {
			into[userTokenAnswer](t, h.askUser(userBody(aliceID)), 200).AccessToken, 403,
			refusal.TokenNotManagement,
		},
		"a fixed accessTokenId":    {makerID, 401, refusal.TokenMalformed},
		"a foreign issuer's token": {foreign, 401, refusal.TokenIssuerUnknown},
		"two audiences": {forge(func(c *token.Claims) {
			c.Audience = []string{issuerURL, issuerURL +
				"/api"}
		}), 403, refusal.TokenNotManagement},
		"the routes' audience, scoped": {
			forge(func(c *token.Claims) { c.Audience = []string{issuerURL + "/api"} }), 403,
			refusal.TokenNotManagement,
		},
		"scope and permissions": {
			forge(func(c *token.Claims) { c.Permissions = token.Permissions{} }), 403,
			refusal.TokenNotManagement,
		},
		"no scope":                 {forge(func(c *token.Claims) { c.Scope = "" }), 403, refusal.TokenNotManagement},
		"a scope that is not ours": {forge(func(c *token.Claims) { c.Scope = "admin" }), 403, refusal.TokenNotManagement},
		"a client that is gone":    {forge(func(c *token.Claims) { c.ClientID = "gone" }), 401, refusal.GrantorUnknown},
		"another client as subject": {
			forge(func(c *token.Claims) { c.Subject = "maker" }), 401,
			refusal.TokenSubjectReserved,
		},
		"a client without the word": {
			forge(func(c *token.Claims) { c.ClientID, c.Subject = "maker", "maker" }), 403,
			refusal.ScopeMissing,
		},
		"a born year ago": {
			forge(func(c *token.Claims) { c.Expiry = c.IssuedAt - 1000 }), 401,
			refusal.TokenExpired,
		},
	} {
		for _, w := range walls() {
			got := h.ask("POST", w.path, w.body, bearer(c.bearer))
			if reason := h.events.last().Reason; got.Status != c.status || reason != c.reason {
				t.Errorf("%s at %s: %d %s, want %d %s", name, w.path, got.Status, reason, c.status, c.reason)
			}
		}
	}
}

// trust reloads with a foreign issuer beside our own.
func (h *house) trust(key *jose.PrivateKey) {
	h.Helper()
	keys, err := jose.NewKeySet(key.Public())
	if err != nil {
		h.Fatal(err)
	}
	i := h.issuer.Load()
	i.verifier = verifier(h, h.config,
		&jose.Issuer{URL: "https://foreign.test", Keys: func() *jose.KeySet { return keys }})
}

// TestEscalationAccessTokenID: what is no master makes no tokens, however authentic it is.
func TestEscalationAccessTokenID(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	foreignKey := testKey(t, "EdDSA")
	h.trust(foreignKey)
	foreign, err := foreignKey.Sign(jose.TypeAccessToken, jose.EncodeClaims(nil, &token.Claims{
		Issuer: "https://foreign.test", Subject: "x", Audience: []string{issuerURL + "/api"}, ClientID: "maker",
		Grantor: "maker", ID: "1", Application: "x", Master: true,
		IssuedAt: h.clock.now().UnixMilli(), Expiry: h.clock.now().Add(time.Hour).UnixMilli(),
	}))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		id     string
		reason refusal.Reason
	}{
		"a code":                         {h.code(`{"subject":"alice","role":"support"}`), refusal.CredentialUnknown},
		"an access token":                {h.roleToken("shop", "support", "", "alice"), refusal.MasterRequired},
		"a created token, no master":     {h.created(makerID, `{"application":"a"}`).ID, refusal.MasterRequired},
		"a foreign issuer's master":      {foreign, refusal.TokenIssuerUnknown},
		"a management token, other word": {h.management("shop", token.IssueCodes), refusal.MasterRequired},
		"a client that may not":          {plainID, refusal.MasterRequired},
		"a master whose grantor is gone": {h.master(func(c *token.Claims) { c.Grantor = "gone" }), refusal.GrantorUnknown},
		"a master whose client is gone":  {h.master(func(c *token.Claims) { c.ClientID = "gone" }), refusal.GrantorUnknown},
		"a master for other routes": {
			h.master(func(c *token.Claims) { c.Audience = []string{"https://other.test"} }),
			refusal.TokenAudienceMismatch,
		},
		"a master with a scope of ours": {
			h.master(func(c *token.Claims) { c.Scope = token.CreateAccessTokens }),
			refusal.TokenAudienceMismatch,
		},
	} {
		got := h.create(c.id, `{"application":"a"}`)
		if reason := h.events.last().Reason; got.Status != 403 || reason != c.reason {
			t.Errorf("%s: %d %s, want 403 %s", name, got.Status, reason, c.reason)
		}
	}
}

// master is a token that our key signed and our minter would not make.
func (h *house) master(change func(*token.Claims)) string {
	h.Helper()
	now := h.clock.now()
	c := h.minter().claimsAt(h.minter().clients.byID["maker"], "m", "7d44b3b2-5a51-4f0e-9a2f-3f2d5b1c0abd", now,
		now.Add(time.Hour))
	c.Application, c.Master, c.Permissions = "m", true, token.Permissions{}
	change(c)
	compact, err := testKey(h, "ES256").Sign(jose.TypeAccessToken, jose.EncodeClaims(nil, c))
	if err != nil {
		h.Fatal(err)
	}
	return compact
}

// TestEscalationAnyTenant: "*" is no tenant's name, however wide the config's pattern is.
func TestEscalationAnyTenant(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *config.Config) {
		c.TenantPattern = regexp.MustCompile(`^.+$`)
		c.Issuer.Clients[0].Delegate = all("*", "*")
	})
	for _, tenant := range []string{"*", "{tenant}"} {
		got := h.ask("POST", "/api/v1/authorization-codes", `{"subject":"alice","role":"agent","tenant":"`+tenant+`"}`,
			bearer(h.management("shop", token.IssueCodes)))
		if got.Status != 400 {
			t.Errorf("%s: %v", tenant, got)
		}
	}
}

// TestEscalationMaster: a master makes masters only if its client may, and nothing beyond its client's delegate.
func TestEscalationMaster(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	beyond := accessFault(403, "ACTION_DENIED", "The tenantPermissions are more than the client may hand on")
	other := h.management("other", token.CreateAccessTokens)
	same(t, "a master without create_masters", h.create(other, `{"application":"a","master":true}`),
		noPermission("CREATE_MASTER_TOKEN"))
	narrow := h.management("maker", token.CreateAccessTokens)
	same(t, "a scope without create_masters", h.create(narrow, `{"application":"a","master":true}`),
		noPermission("CREATE_MASTER_TOKEN"))
	for name, permissions := range map[string]string{
		"an action beyond":           `[{"tenant":"acme","allowedActions":["DELETE_TENANT"]}]`,
		"every action":               `[{"tenant":"acme","allowedActions":["*"]}]`,
		"a tenant beyond":            `[{"tenant":"secret","allowedActions":["READ_TENANT"]}]`,
		"* hides the tenant beyond":  `[{"tenant":"*","allowedActions":["READ_TENANT"]}]`,
		"everything":                 `[{"tenant":"*","allowedActions":["*"]}]`,
		"first wins, the second not": `[{"tenant":"secret","allowedActions":["READ_TENANT"]},{"tenant":"secret","allowedActions":[]}]`,
	} {
		same(t, name, h.create(makerID, `{"application":"a","tenantPermissions":`+permissions+`}`), beyond)
	}
	// A wide master is bounded by its client's delegate all the same, and by the present one.
	master := h.created(makerID, `{"application":"m","master":true}`).ID
	const wide = `{"application":"a","tenantPermissions":[{"tenant":"acme","allowedActions":["MANAGE_TICKETS"]}]}`
	if got := h.create(master, wide); got.Status != 200 {
		t.Fatal(got)
	}
	h.change(func(c *config.Config) { c.Issuer.Clients[1].Delegate = all("acme", "READ_TENANT") })
	same(t, "delegate cut since", h.create(master, wide), beyond)
	h.change(func(c *config.Config) { c.Issuer.Clients[1].May = []string{token.CreateMasters} })
	same(t, "create_access_tokens taken since", h.create(master, `{"application":"a"}`), noPermission("CREATE_TOKEN"))
	h.change(func(c *config.Config) { c.Issuer.Clients = append(c.Issuer.Clients[:1:1], c.Issuer.Clients[2:]...) })
	same(t, "client gone since", h.create(master, `{"application":"a"}`),
		accessFault(403, "ACCESS_DENIED", `No access token found for ID "`+digest(master)+`"`))
}

// TestEscalationConfigCutAfterMinting: a management token is worth what the present config leaves its client.
func TestEscalationConfigCutAfterMinting(t *testing.T) {
	t.Parallel()
	for _, w := range walls() {
		h := newHouse(t, nil)
		bearing := bearer(h.management(w.client, w.scope))
		h.change(func(c *config.Config) { c.Issuer.Clients[0].May = nil })
		if got := h.ask("POST", w.path, w.body, bearing); got.Status != 403 ||
			h.events.last().Reason != refusal.ScopeMissing {
			t.Errorf("%s, may taken: %v", w.path, got)
		}
		h.change(func(c *config.Config) { c.Issuer.Clients = c.Issuer.Clients[1:] })
		if got := h.ask("POST", w.path, w.body, bearing); got.Status != 401 ||
			h.events.last().Reason != refusal.GrantorUnknown {
			t.Errorf("%s, client gone: %v", w.path, got)
		}
		h.change(func(*config.Config) {})
		if got := h.ask("POST", w.path, w.body, bearing); got.Status/100 != 2 {
			t.Errorf("%s, as it was: %v", w.path, got)
		}
	}
}

// TestEscalationRevokedBearer: a revoked management token manages nothing.
func TestEscalationRevokedBearer(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.on = true
	h.change(func(*config.Config) {})
	compact := h.management("shop", token.IssueCodes)
	if err := h.Revoke(t.Context(), issuerURL, h.claimsOf(compact).ID, "shop", 0); err != nil {
		t.Fatal(err)
	}
	got := h.ask("POST", "/api/v1/authorization-codes", `{"subject":"alice","role":"support"}`, bearer(compact))
	if got.Status != 401 || h.events.last().Reason != refusal.TokenRevoked {
		t.Errorf("%v", got)
	}
}

// TestMinterIsBoundByTheSame: who holds the config and the keys still mints only what the config says.
func TestMinterIsBoundByTheSame(t *testing.T) {
	t.Parallel()
	m, err := NewMinter(settings(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	role := func(client, role, tenant, subject string, ttl time.Duration) func() error {
		return func() error { _, _, err := m.ForRole(client, role, tenant, subject, ttl); return err }
	}
	management := func(client, scope, subject string, ttl time.Duration) func() error {
		return func() error { _, _, err := m.Management(client, scope, subject, ttl); return err }
	}
	for name, c := range map[string]struct {
		mint   func() error
		reason refusal.Reason
	}{
		"a client that is none": {management("nobody", token.IssueCodes, "", 0), refusal.GrantorUnknown},
		"a word beyond may": {
			management("shop", token.IssueCodes+" "+token.CreateMasters, "", 0),
			refusal.ScopeMissing,
		},
		"no word": {management("shop", "", "", 0), refusal.ScopeMissing},
		"two spaces": {
			management("shop", token.IssueCodes+"  "+token.IssueUserTokens, "", 0),
			refusal.ScopeMissing,
		},
		"a word that is none":       {management("shop", "admin", "", 0), refusal.ScopeMissing},
		"another client as subject": {management("shop", token.IssueCodes, "maker", 0), refusal.SubjectReserved},
		"beyond max_token_ttl": {
			management("shop", token.IssueCodes, "", 2*time.Hour+time.Second),
			refusal.BodyInvalid,
		},
		"a negative life":              {management("shop", token.IssueCodes, "", -time.Second), refusal.BodyInvalid},
		"a role that is none":          {role("shop", "nobody", "", "alice", 0), refusal.BodyInvalid},
		"a role beyond delegate":       {role("shop", "owner", "", "alice", 0), refusal.DelegateExceeded},
		"a tenant beyond delegate":     {role("shop", "agent", "secret", "alice", 0), refusal.DelegateExceeded},
		"* as the tenant":              {role("shop", "agent", "*", "alice", 0), refusal.BodyInvalid},
		"a role without its tenant":    {role("shop", "agent", "", "alice", 0), refusal.BodyInvalid},
		"no subject":                   {role("shop", "support", "", "", 0), refusal.BodyInvalid},
		"the client itself as subject": {role("shop", "support", "", "shop", 0), refusal.SubjectReserved},
		"a client as subject":          {role("shop", "support", "", "plain", 0), refusal.SubjectReserved},
		"a subject with a line break":  {role("shop", "support", "", "a\r\nb", 0), refusal.BodyInvalid},
		"a subject that is not UTF-8":  {role("shop", "support", "", "a\xff", 0), refusal.BodyInvalid},
	} {
		if err := c.mint(); refusal.Of(err) != c.reason {
			t.Errorf("%s: %v, want %s", name, err, c.reason)
		}
	}
}

// TestMinted: the three kinds of token that a minter makes, each with each algorithm.
func TestMinted(t *testing.T) {
	t.Parallel()
	for _, algorithm := range jose.SigningAlgorithms() {
		h := newHouse(t, func(c *config.Config) {
			c.Issuer.Keys = []*jose.PrivateKey{testKey(t, algorithm)}
		})
		now := h.clock.now().Unix() * 1000
		claims := func(kind, compact string, told *token.Claims, err error) token.Claims {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			read := h.claimsOf(compact)
			same(t, algorithm+" "+kind+": told and read", *told, read)
			read.ID = ""
			return read
		}
		compact, told, err := h.minter().Management("shop", token.IssueCodes+" "+token.IssueUserTokens, "", 90*time.Second)
		same(t, "management", claims("management", compact, told, err), token.Claims{
			Issuer: issuerURL, Subject: "shop", Audience: []string{issuerURL}, ClientID: "shop", IssuedAt: now, Expiry: now +
				90_000,
			Scope: token.IssueCodes + " " + token.IssueUserTokens,
		})
		compact, told, err = h.minter().ForRole("shop", "agent", "acme", "alice", 0)
		same(t, "role", claims("role", compact, told, err), token.Claims{
			Issuer: issuerURL, Subject: "alice", Audience: []string{issuerURL + "/api"}, ClientID: "shop", Grantor: "shop",
			IssuedAt: now, Expiry: now + 3600_000, Permissions: all("acme", "READ_TENANT"),
		})
		compact, told, err = h.minter().Own("plain", 0)
		same(t, "own", claims("own", compact, told, err), token.Claims{
			Issuer: issuerURL, Subject: "plain", Audience: []string{issuerURL + "/api"}, ClientID: "plain", Grantor: "plain",
			IssuedAt: now, Expiry: now + 3600_000, Permissions: all("acme", "READ_TENANT"),
		})
	}
}

// TestRSATurns: while all that may sign with RSA do, others are told to come again, and their codes are not spent.
func TestRSATurns(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *config.Config) { c.Issuer.Keys = []*jose.PrivateKey{testKey(t, "RS256")} })
	sealed := h.code(`{"subject":"alice","role":"support"}`)
	var taken []func()
	for range cap(h.state.rsa) {
		release, err := h.state.rsaTurn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, release)
	}
	if got := h.redeem(sealed); got.Status != 429 || got.Header["Retry-After"] == "" {
		t.Errorf("every turn taken: %v", got)
	}
	for _, release := range taken {
		release()
	}
	if got := h.redeem(sealed); got.Status != 201 {
		t.Errorf("after they ended: %v", got)
	}
}

// TestNoCredentialAnywhere plays every endpoint, well and badly, and greps all that was written for every credential.
func TestNoCredentialAnywhere(t *testing.T) {
	t.Parallel()
	p := newPeople(t)
	p.says(500, "the directory's error")
	h := newHouse(t, func(c *config.Config) {
		c.Issuer.CodeSecrets = []config.Secret{"a code secret of thirty-two bytes or more"}
		c.Issuer.Clients[0].Secret = "shop's own secret of 22 bytes"
		c.Issuer.Users = &config.Users{Lookup: &config.UserLookup{
			URL:    p.URL + "/u/{user_id}?key=a-key-in-the-url",
			Bearer: "the-directory-bearer", Timeout: 5 * time.Second, Entries: 2, Bytes: 512,
		}}
	})
	h.on = true
	h.reload(h.config)
	credentials := map[string]string{
		"a code secret": "a code secret of thirty-two bytes or more", "a client secret": "shop's own secret of 22 bytes",
		"the directory's bearer": "the-directory-bearer", "the directory's key": "a-key-in-the-url",
		"a fixed id": makerID, "another fixed id": plainID, "a secret of letters": "LettersAloneAreASecretToo",
	}
	manage := h.management("shop", token.IssueCodes+" "+token.IssueUserTokens)
	credentials["a management token"] = manage
	sealed := h.code(`{"subject":"alice","role":"support"}`)
	credentials["a code"] = sealed
	created := h.created(makerID, `{"application":"a","master":true}`)
	credentials["a created id"] = created.ID
	redeemed := h.redeem(sealed)
	credentials["an access token"] = into[tokenAnswer](t, redeemed, 201).AccessToken

	var refused strings.Builder
	note := func(r reply) {
		fmt.Fprintln(&refused, r)
		if r.Status < 400 {
			t.Errorf("meant to be refused: %v", r)
		}
	}
	for _, secret := range credentials {
		quoted := fmt.Sprintf("%q", secret)
		note(h.redeem(strings.ReplaceAll(secret, `"`, "")))
		note(h.ask("POST", "/api/v1/tokens", `{`+quoted+`:1}`))
		note(h.ask("POST", "/api/v1/tokens", `{"authorization_code":{`+quoted+`:`+quoted+`}}`))
		note(h.ask("POST", "/api/v1/tokens", secret))
		note(h.ask("POST", "/api/v1/authorization-codes", `{"subject":"alice","role":`+quoted+`}`, bearer(manage)))
		note(h.ask("POST", "/api/v1/authorization-codes", `{"subject":"alice","role":"support","client_id":`+quoted+`}`,
			bearer(manage)))
		note(h.ask("POST", "/api/v1/authorization-codes", `{}`, bearer(secret+"x")))
		note(h.ask("POST", "/api/v1/authorization-codes", `{}`, header("Authorization", secret)))
		note(h.ask("POST", "/api/v1/authorization-codes?access_token="+strings.ReplaceAll(secret, " ", "+"), `{}`))
		note(h.askUser(`{` + quoted + `:{` + quoted + `:1}}`))
		note(h.askUser(`{"user_type":` + quoted + `,"user_id":` + quoted + `}`))
		note(h.create(secret+"x", `{}`))
		note(h.create(makerID, `{`+quoted+`:1}`))
		note(h.create(makerID, `{"application":"a","tenantPermissions":[{"tenant":`+quoted+`,"allowedActions":["DELETE"]}]}`))
		if !strings.ContainsAny(secret, " ") {
			note(h.ask("GET", "/api/1/access_token/"+secret+"?accessTokenId="+plainID, ""))
			note(h.ask("GET", "/api/1/access_token/"+secret+"/more", ""))
			note(h.ask("PUT", "/api/1/access_token/"+secret, ""))
			note(h.ask("POST", "/api/1/access_token/"+secret+"x/delete?accessTokenId="+makerID, ""))
		}
	}
	note(h.askUser(userBody(aliceID)))
	h.ask("GET", "/api/1/access_token/"+created.ID+"?accessTokenId="+makerID, "")
	p.Close()
	note(h.askUser(userBody(aliceID)))
	logs := h.logs.text()
	for name, secret := range credentials {
		for _, spelling := range []string{
			secret, strings.ReplaceAll(secret, " ", "+"),
			strings.ReplaceAll(secret, " ", "%20"),
		} {
			if strings.Contains(logs, spelling) {
				t.Errorf("the log has %s", name)
			}
			if strings.Contains(refused.String(), spelling) {
				t.Errorf("an error has %s", name)
			}
		}
	}
	if !strings.Contains(logs, `"path":"/api/1/access_token/[redacted]"`) ||
		!strings.Contains(logs, `"path":"/api/1/access_token/create"`) {
		t.Error("the paths are not as they should be in the log")
	}
}
