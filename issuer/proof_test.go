package issuer

import (
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/dpop"
	"github.com/jotgate/jotgate/internal/dpop/dpoptest"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// proven sends a proof for a request to path.
func (h *house) proven(key *dpoptest.Key, path string, changes ...dpoptest.Change) option {
	h.Helper()
	return header("Dpop", key.Proof("POST", issuerURL+path, h.clock.now(), changes...))
}

func (h *house) atToken(key *dpoptest.Key, changes ...dpoptest.Change) option {
	h.Helper()
	return h.proven(key, "/oauth2/token", changes...)
}

// bound authenticates with a token of the scheme DPoP.
func bound(compact string) option { return header("Authorization", "DPoP "+compact) }

func badProof() reply {
	return oauthFault(400, "invalid_dpop_proof", "The DPoP proof is not accepted for this request")
}

func claim(name string, value any) dpoptest.Change {
	return dpoptest.Change{Claims: map[string]any{name: value}}
}

// TestProofBindsTheToken: by every grant, where the client asks for it, and only there.
func TestProofBindsTheToken(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	key := dpoptest.New(t, "ES256", 0)
	svc := basicAuth("svc", svcSecret)
	old := h.roleToken("shop", "support", "", "alice")
	for name, c := range map[string]struct {
		form    string
		options []option
		want    oauthAnswer
	}{
		"client_credentials": {"grant_type=client_credentials", []option{svc}, oauthAnswer{ExpiresIn: 3600}},
		"client_credentials, a scope": {
			"grant_type=client_credentials&scope=issue_codes",
			[]option{svc},
			oauthAnswer{ExpiresIn: 3600, Scope: "issue_codes"},
		},
		"authorization_code": {
			"grant_type=authorization_code&code=" + h.codeFor(""), nil,
			oauthAnswer{ExpiresIn: 3600},
		},
		"authorization_code of a key's": {"grant_type=authorization_code&code=" +
			h.codeFor(`,"dpop_jkt":"`+key.Thumbprint+`"`), nil, oauthAnswer{ExpiresIn: 3600}},
		"exchange": {
			exchangeForm(old),
			[]option{svc},
			oauthAnswer{IssuedTokenType: typeAccessToken, ExpiresIn: 3600},
		},
	} {
		c.want.TokenType = "DPoP"
		if claims := h.granted(h.token(c.form, append(c.options, h.atToken(key))...), c.want); claims.Key != key.Thumbprint {
			t.Errorf("%s: %+v", name, claims)
		}
	}
	if claims := h.granted(h.token("grant_type=client_credentials", svc),
		oauthAnswer{TokenType: "Bearer", ExpiresIn: 3600}); claims.Key != "" {
		t.Errorf("without a proof: %+v", claims)
	}
}

// TestProofRefusalsAtTheTokenEndpoint: 400, one error, no challenge, and nothing is spent.
func TestProofRefusalsAtTheTokenEndpoint(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	key, other := dpoptest.New(t, "ES256", 0), dpoptest.New(t, "ES256", 0)
	svc := basicAuth("svc", svcSecret)
	used := h.atToken(key)
	if got := h.token("grant_type=client_credentials", svc, used); got.Status != 200 {
		t.Fatal(got)
	}
	sealed := h.codeFor("")
	ofKey := h.codeFor(`,"dpop_jkt":"` + key.Thumbprint + `"`)
	byCode := func(code string) string { return "grant_type=authorization_code&code=" + code }
	for name, c := range map[string]struct {
		form    string
		options []option
		want    reply
		reason  refusal.Reason
	}{
		"replayed":             {"grant_type=client_credentials", []option{svc, used}, badProof(), refusal.ProofUsed},
		"replayed with a code": {byCode(sealed), []option{used}, badProof(), refusal.ProofUsed},
		"two": {
			byCode(sealed),
			[]option{h.atToken(key), h.atToken(key)},
			badProof(),
			refusal.ProofMalformed,
		},
		"empty": {byCode(sealed), []option{header("Dpop", "")}, badProof(), refusal.ProofMalformed},
		"another endpoint": {
			byCode(sealed),
			[]option{h.proven(key, "/oauth2/revoke")},
			badProof(),
			refusal.ProofMismatch,
		},
		"another method": {
			byCode(sealed),
			[]option{h.atToken(key, claim("htm", "GET"))},
			badProof(),
			refusal.ProofMismatch,
		},
		"where it was sent to": {
			byCode(sealed),
			[]option{h.atToken(key, claim("htu", h.server.URL+"/oauth2/token"))},
			badProof(), refusal.ProofMismatch,
		},
		"of yesterday": {
			byCode(sealed),
			[]option{h.atToken(key, claim("iat", h.clock.now().Unix()-86400))},
			badProof(), refusal.ProofStale,
		},
		"another key's": {
			byCode(sealed),
			[]option{h.atToken(other, dpoptest.Change{Header: map[string]any{"jwk": key.JWK}})},
			badProof(),
			refusal.ProofSignatureInvalid,
		},
		"a code of a key's, nil": {byCode(ofKey), nil, badGrant(), refusal.CodeUnknown},
		"a code of another key":  {byCode(ofKey), []option{h.atToken(other)}, badGrant(), refusal.CodeUnknown},
		"no client": {
			"grant_type=client_credentials",
			[]option{h.atToken(key)},
			badClient(),
			refusal.ClientUnauthenticated,
		},
	} {
		same(t, name, h.token(c.form, c.options...), c.want)
		if ev := h.events.last(); ev.Outcome != "refused" || ev.Reason != c.reason {
			t.Errorf("%s: the audit says %+v", name, ev)
		}
	}
	if got := h.redeem(ofKey); got.Status != 404 {
		t.Errorf("a code of a key's where there are no proofs: %v", got)
	}
	for _, code := range []string{sealed, ofKey} {
		if got := h.token(byCode(code), h.atToken(key)); got.Status != 200 {
			t.Errorf("after all that, the right one: %v", got)
		}
	}
	if got := h.ask("POST", "/api/v1/authorization-codes", `{"subject":"a","role":"support","dpop_jkt":"x"}`,
		bearer(h.management("shop", token.IssueCodes))); got.Status != 400 {
		t.Errorf("a dpop_jkt that is none: %v", got)
	}
}

// TestExchangeNeverLoosensABinding: a bound token is exchanged for the holder of its key, and the new one is bound as
// well.
func TestExchangeNeverLoosensABinding(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	key, other := dpoptest.New(t, "ES256", 0), dpoptest.New(t, "ES256", 0)
	svc := basicAuth("svc", svcSecret)
	subject := into[oauthAnswer](t, h.token("grant_type=authorization_code&code="+h.codeFor(""), h.atToken(key)),
		200).AccessToken
	refused := oauthFault(400, "invalid_request", "The subject_token is not one that can be exchanged here")
	for name, options := range map[string][]option{"no proof": {svc}, "another key's": {svc, h.atToken(other)}} {
		same(t, name, h.token(exchangeForm(subject), options...), refused)
		if ev := h.events.last(); ev.Reason != refusal.SubjectTokenRefused {
			t.Errorf("%s: %+v", name, ev)
		}
	}
	claims := h.granted(h.token(exchangeForm(subject), svc, h.atToken(key)),
		oauthAnswer{IssuedTokenType: typeAccessToken, TokenType: "DPoP", ExpiresIn: 3600})
	if claims.Key != key.Thumbprint {
		t.Errorf("%+v", claims)
	}
}

// TestBoundManagementTokens: with a proof they open what they open, and as plain bearers nothing, in no dialect.
func TestBoundManagementTokens(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, func(c *config.Config) {
		c.Issuer.Clients[5].May = append(c.Issuer.Clients[5].May, token.CreateAccessTokens)
	})
	key, other := dpoptest.New(t, "ES256", 0), dpoptest.New(t, "ES256", 0)
	svc := basicAuth("svc", svcSecret)
	manage := into[oauthAnswer](t,
		h.token("grant_type=client_credentials&scope=issue_codes+introspect+create_access_tokens", svc, h.atToken(key)),
		200).AccessToken
	const codes, body = "/api/v1/authorization-codes", `{"subject":"bob","role":"agent","tenant":"acme"}`
	for name, c := range map[string]struct {
		options   []option
		status    int
		challenge string
	}{
		"with a proof": {[]option{bound(manage), h.proven(key, codes, dpoptest.For(manage))}, 201, ""},
		"no proof":     {[]option{bound(manage)}, 401, "invalid_dpop_proof"},
		"as Bearer":    {[]option{bearer(manage)}, 401, "invalid_token"},
		"no ath":       {[]option{bound(manage), h.proven(key, codes)}, 401, "invalid_dpop_proof"},
		"another key":  {[]option{bound(manage), h.proven(other, codes, dpoptest.For(manage))}, 401, "invalid_dpop_proof"},
		"another path": {
			[]option{bound(manage), h.proven(key, "/oauth2/token", dpoptest.For(manage))},
			401,
			"invalid_dpop_proof",
		},
		"unbound":       {[]option{bound(h.management("shop", token.IssueCodes))}, 401, "invalid_token"},
		"unbound, both": {[]option{bound(h.management("shop", token.IssueCodes)), bearer(manage)}, 400, "invalid_request"},
	} {
		got := h.ask("POST", codes, body, c.options...)
		challenge := got.Header["Www-Authenticate"]
		if got.Status != c.status || c.challenge != "" && !strings.Contains(challenge, `error="`+c.challenge+`"`) ||
			c.status == 401 && !strings.HasPrefix(challenge, `DPoP realm="jotgate", error=`) {
			t.Errorf("%s: %v", name, got)
		}
	}
	asked := h.post("/oauth2/introspect", form("token", manage), bound(manage),
		h.proven(key, "/oauth2/introspect", dpoptest.For(manage)))
	if asked.Status != 200 {
		t.Errorf("introspection by a bound token: %v", asked)
	}
	if got := h.post("/oauth2/introspect", form("token", manage), bearer(manage)); got.Status != 401 ||
		!strings.Contains(got.Body, "invalid_token") {
		t.Errorf("introspection by it as Bearer: %v", got)
	}
	const create, app = "/api/1/access_token/create", `{"application":"a","tenantPermissions":[]}`
	for name, options := range map[string][]option{
		"as Bearer": {bearer(manage)}, "with a proof": {bound(manage), h.proven(key, create, dpoptest.For(manage))},
	} {
		if got := h.ask("POST", create, app, options...); got.Status != 403 || !strings.Contains(got.Body, "bound to a key") {
			t.Errorf("the access-token API, %s: %v", name, got)
		}
	}
	if got := h.ask("POST", create+"?accessTokenId="+manage, app); got.Status != 403 ||
		!strings.Contains(got.Body, "bound to a key") {
		t.Errorf("the access-token API, in the query: %v", got)
	}
}

// TestIntrospectTellsTheKey is RFC 9449 §6.2.
func TestIntrospectTellsTheKey(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	key := dpoptest.New(t, "EdDSA", 0)
	svc := basicAuth("svc", svcSecret)
	compact := into[oauthAnswer](t, h.token("grant_type=client_credentials", svc, h.atToken(key)), 200).AccessToken
	said := into[introspection](t, h.post("/oauth2/introspect", form("token", compact), svc), 200)
	if !said.Active || said.TokenType != "DPoP" || said.Confirm == nil || said.Confirm.Thumbprint != key.Thumbprint {
		t.Errorf("%+v", said)
	}
}

// TestClientThatMustBind is dpop_bound_access_tokens of RFC 9449 §5.2: no token of its goes unbound, whatever API or
// command makes it, and one that it has from before is worth nothing.
func TestClientThatMustBind(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	key := dpoptest.New(t, "ES256", 0)
	svc, byCode := basicAuth("svc", svcSecret), func() string {
		return "grant_type=authorization_code&code=" +
			h.codeFor("")
	}
	before := into[oauthAnswer](t, h.token("grant_type=client_credentials", svc), 200).AccessToken
	manages := into[oauthAnswer](t, h.token("grant_type=client_credentials&scope=issue_codes", svc), 200).AccessToken
	user := h.management("shop", token.IssueUserTokens)
	issues := h.codeFor("")
	for _, c := range h.config.Issuer.Clients {
		c.Bound = c.ID == "svc" || c.ID == "maker"
	}
	h.reload(h.config)
	lacking := oauthFault(400, "invalid_dpop_proof", "The client must show its key: send a DPoP proof")
	same(t, "its own", h.token("grant_type=client_credentials", svc), lacking)
	same(t, "a management token", h.token("grant_type=client_credentials&scope=issue_codes", svc), lacking)
	same(t, "by a code", h.token(byCode(), svc), lacking)
	same(t, "by an exchange", h.token(exchangeForm(h.roleToken("shop", "support", "", "alice")), svc), lacking)
	if got := h.token("grant_type=client_credentials", svc, h.atToken(key)); got.Status != 200 {
		t.Errorf("with a proof: %v", got)
	}
	if got := h.token(byCode()); got.Status != 200 {
		t.Errorf("another client's code: %v", got)
	}
	said := into[introspection](t, h.post("/oauth2/introspect", form("token", before), svc), 200)
	if said.Active {
		t.Errorf("its token of before: %+v", said)
	}
	if got := h.ask("POST", "/api/v1/authorization-codes", `{"subject":"bob","role":"agent","tenant":"acme"}`,
		bearer(manages)); got.Status != 401 {
		t.Errorf("its management token of before: %v", got)
	}
	if got := h.create(makerID, `{"application":"a","tenantPermissions":[]}`); got.Status != 403 {
		t.Errorf("by the access-token API: %v", got)
	}
	if _, _, err := h.minter().Own("svc", time.Minute); refusal.Of(err) != refusal.ProofMissing {
		t.Errorf("by mint: %v", err)
	}
	h.config.Issuer.Clients[0].Bound = true // shop
	h.reload(h.config)
	if got := h.redeem(issues); got.Status != 400 {
		t.Errorf("its code, where there are no proofs: %v", got)
	}
	if got := h.ask("POST", "/api/v1/authorization-tokens", `{"user_type":"end_user","user_id":"`+aliceID+`"}`,
		bearer(user)); got.Status != 401 {
		t.Errorf("a user's token, by an unbound management token: %v", got)
	}
}

// TestNonceAtTheTokenEndpoint is RFC 9449 §8: the refusal brings a nonce, and with it the same request is granted.
func TestNonceAtTheTokenEndpoint(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	state, err := dpop.NewState(dpop.LeastCapacity, time.Minute, h.clock.now)
	if err != nil {
		t.Fatal(err)
	}
	h.issuer.Load().proofs, err = dpop.New(dpop.Options{
		MaxAge: time.Minute, NonceTTL: time.Minute, RequireNonce: true,
		State: state, Clock: h.clock.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	key := dpoptest.New(t, "ES256", 0)
	svc := basicAuth("svc", svcSecret)
	got := h.token("grant_type=client_credentials", svc, h.atToken(key))
	nonce := got.Header["Dpop-Nonce"]
	want := oauthFault(400, "use_dpop_nonce", "The DPoP proof needs a nonce; the DPoP-Nonce header has one", "Dpop-Nonce",
		nonce)
	if same(t, "without", got, want); nonce == "" {
		t.Fatal("no nonce")
	}
	if got := h.token("grant_type=client_credentials", svc, h.atToken(key, dpoptest.Nonce(nonce))); got.Status != 200 ||
		got.Header["Dpop-Nonce"] != "" {
		t.Errorf("with: %v", got)
	}
	h.clock.advance(31 * time.Second)
	if got := h.token("grant_type=client_credentials", svc, h.atToken(key, dpoptest.Nonce(nonce))); got.Status != 200 ||
		got.Header["Dpop-Nonce"] == "" {
		t.Errorf("half its life later: %v", got)
	}
	h.clock.advance(29 * time.Second)
	if got := h.token("grant_type=client_credentials", svc, h.atToken(key, dpoptest.Nonce(nonce))); got.Status != 400 ||
		!strings.Contains(got.Body, "use_dpop_nonce") {
		t.Errorf("when it ended: %v", got)
	}
	// With a bound management token the status is 401, and the challenge says the same.
	fresh := h.issuer.Load().proofs.Nonce()
	manage := into[oauthAnswer](t, h.token("grant_type=client_credentials&scope=introspect", svc,
		h.atToken(key, dpoptest.Nonce(fresh))), 200).AccessToken
	got = h.post("/oauth2/introspect", form("token", manage), bound(manage),
		h.proven(key, "/oauth2/introspect", dpoptest.For(manage)))
	if got.Status != 401 || !strings.Contains(got.Header["Www-Authenticate"],
		`DPoP realm="jotgate", error="use_dpop_nonce", algs=`) || got.Header["Dpop-Nonce"] == "" {
		t.Errorf("by a bound token: %v", got)
	}
}
