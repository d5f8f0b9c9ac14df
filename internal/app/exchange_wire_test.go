package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// An asked is a request to the token endpoint, of the client svc unless it says otherwise.
type asked struct {
	method, kind, body, secret string
}

// tokenRequest gives the whole answer.
func (g *gate) tokenRequest(a asked) (status int, h http.Header, members map[string]any) {
	g.t.Helper()
	if a.method == "" {
		a.method = http.MethodPost
	}
	if a.kind == "" {
		a.kind = "application/x-www-form-urlencoded"
	}
	r, err := http.NewRequestWithContext(g.t.Context(), a.method, g.url("/oauth2/token"), strings.NewReader(a.body))
	must(g.t, err)
	r.Header.Set("Content-Type", a.kind)
	if a.secret == "" {
		a.secret = "0123456789abcdefghijkl"
	}
	r.SetBasicAuth("svc", a.secret)
	response := exchangeOf(g.t, r)
	text, err := io.ReadAll(response.Body)
	must(g.t, err)
	if err := json.Unmarshal(text, &members); err != nil {
		g.t.Errorf("%d %s: %v", response.StatusCode, text, err)
	}
	return response.StatusCode, response.Header, members
}

// TestExchangeOnTheWire is RFC 8693 §2 as a client sees it: which requests are taken, the members and fields of the
// answers, and the one error for whatever is wrong with a token.
func TestExchangeOnTheWire(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	g := exchangeGate(t, f)
	original := f.user(nil)
	form := func(pairs ...string) string {
		all := url.Values{"grant_type": {exchangeGrant}, "subject_token": {original}, "subject_token_type": {accessType}}
		for i := 0; i < len(pairs); i += 2 {
			if all.Del(pairs[i]); pairs[i+1] != "" {
				all.Set(pairs[i], pairs[i+1])
			}
		}
		return all.Encode()
	}
	twice := func(name, value string) string { return form() + "&" + url.Values{name: {value}}.Encode() }
	other := f.user(map[string]any{"sub": "bob"})
	for _, c := range []struct {
		name   string
		asked  asked
		status int
		fault  string // "": a token
	}{
		{"the least that it needs", asked{body: form()}, 200, ""},
		{"of the original again", asked{body: form()}, 200, ""},
		{"parameters that are not known", asked{body: form("purpose", "test")}, 200, ""},
		{
			"parameters without a value", asked{body: form() + "&resource=&audience=&scope=&actor_token="}, 200, "",
		},
		{
			"two resources",
			asked{body: form("resource", "https://gate.test/api") + "&resource=https://gate.test/api"},
			200, "",
		},
		{"GET", asked{method: "GET"}, 405, "invalid_request"},
		{"PUT", asked{method: "PUT", body: form()}, 405, "invalid_request"},
		{"JSON", asked{kind: "application/json", body: `{"grant_type":"` + exchangeGrant + `"}`}, 415, "invalid_request"},
		{
			"another grant_type",
			asked{body: form("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")},
			400, "unsupported_grant_type",
		},
		{
			"grant_type in capitals",
			asked{body: form("grant_type", strings.ToUpper(exchangeGrant))},
			400, "unsupported_grant_type",
		},
		{
			"a client that is not authenticated",
			asked{body: form(), secret: "another-secret-of-22-letters"},
			401, "invalid_client",
		},
		{"no subject_token", asked{body: form("subject_token", "")}, 400, "invalid_request"},
		{"no subject_token_type", asked{body: form("subject_token_type", "")}, 400, "invalid_request"},
		{"two subject_tokens", asked{body: twice("subject_token", other)}, 400, "invalid_request"},
		{"two subject_token_types", asked{body: twice("subject_token_type", jwtType)}, 400, "invalid_request"},
		{"two scopes", asked{body: form("scope", "READ") + "&scope=READ"}, 400, "invalid_request"},
		{"an actor_token without its type", asked{body: form("actor_token", other)}, 400, "invalid_request"},
		{
			"an actor_token_type without actor_token",
			asked{body: form("actor_token_type", accessType)},
			400, "invalid_request",
		},
		{"an invalid subject_token", asked{body: form("subject_token", original+"x")}, 400, "invalid_request"},
		{
			"an invalid actor_token",
			asked{body: form("actor_token", "x", "actor_token_type", accessType)},
			400, "invalid_request",
		},
		{
			"an unacceptable actor_token",
			asked{body: form("actor_token", other, "actor_token_type", accessType)},
			400, "invalid_request",
		},
		{"a type that is none", asked{body: form("subject_token_type", "access_token")}, 400, "invalid_request"},
		{"a type that is not issued", asked{body: form("requested_token_type", idType)}, 400, "invalid_request"},
		{"an unknown target", asked{body: form("resource", "https://other.test")}, 400, "invalid_target"},
		{"a resource with a fragment", asked{body: form("resource", "https://gate.test/api#x")}, 400, "invalid_target"},
		{"a resource that is no absolute URI", asked{body: form("resource", "/api")}, 400, "invalid_target"},
		{"a resource with a query", asked{body: form("resource", "https://gate.test/api?x=1")}, 400, "invalid_target"},
		{"a resource in capitals", asked{body: form("resource", "HTTPS://GATE.TEST/api")}, 400, "invalid_target"},
		{"a resource with dots", asked{body: form("resource", "https://gate.test/x/../api")}, 400, "invalid_target"},
		{"a resource with a slash", asked{body: form("resource", "https://gate.test/api/")}, 400, "invalid_target"},
		{"a resource in escapes", asked{body: form("resource", "https://gate.test/%61pi")}, 400, "invalid_target"},
		{
			"a known and an unknown target",
			asked{body: form("resource", "https://gate.test/api", "audience", "x")},
			400, "invalid_target",
		},
		{"a scope that opens nothing", asked{body: form("scope", "FLY")}, 400, "invalid_scope"},
	} {
		status, h, members := g.tokenRequest(c.asked)
		if status != c.status || h.Get("Cache-Control") != "no-store" || h.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %v %v", c.name, status, h, members)
			continue
		}
		got := slices.Sorted(maps.Keys(members))
		want := []string{"access_token", "expires_in", "issued_token_type", "token_type"}
		if c.fault != "" {
			want = []string{"error", "error_description"}
		}
		if !slices.Equal(got, want) || c.fault != "" && members["error"] != c.fault {
			t.Errorf("%s: %v, want %v", c.name, members, append(want, c.fault))
		}
	}
	// Narrower than it was asked for: the scope is told.
	if _, _, members := g.tokenRequest(asked{body: form("scope", "READ WRITE")}); members["scope"] != "READ" {
		t.Errorf("scope READ WRITE: %v", members["scope"])
	}
	if got := g.open("acme", original); got != "200" {
		t.Errorf("the original, which an exchange leaves as it is: %s", got)
	}
}

// TestWorkloadExchanges: a client that authenticates with its platform's token exchanges a user's.
func TestWorkloadExchanges(t *testing.T) {
	t.Parallel()
	f, cluster := newForeigner(t), newForeigner(t)
	worker := `{id: worker, may: [exchange], delegate: [{tenant: acme, actions: [READ]}], identity: {issuer: "` +
		cluster.URL + `", subject: "` + clusterUser + `"}}`
	g := exchangeGate(t, f, "routes:\n", "trusted_issuers:\n  - {issuer: \""+f.URL+"\", "+likeIdP+"}\n  - {issuer: \""+
		cluster.URL+`", `+clusterEntry+`, audiences: [cluster], permissions: []}`+"\nrevocations: {file: revoked}\nroutes:\n",
		"}]}]\nroles: {", strings.Replace(exchangers, "{id: idle,", worker+", {id: idle,", 1))
	swap := func(assertion, subject string) (int, string, map[string]any) {
		return g.assert(assertion, "grant_type", exchangeGrant, "subject_token", subject, "subject_token_type", accessType)
	}
	projection := cluster.token(cluster.key, "", projected(nil))
	status, _, body := swap(projection, f.user(nil))
	if status != 200 {
		t.Fatalf("%d %v", status, body)
	}
	compact := body["access_token"].(string)
	if c := claimsOf(t, compact); c.Grantor != "worker" || c.Subject != "alice" || c.Ancestors[0].Issuer != f.URL {
		t.Errorf("%+v", c)
	}
	if got := g.open("acme", compact); got != "200" {
		t.Errorf("what came out: %s", got)
	}
	another := cluster.token(cluster.key, "", projected(map[string]any{"sub": "system:serviceaccount:prod:db"}))
	for name, c := range map[string]struct{ assertion, subject string }{
		"its own projected token":         {projection, projection},
		"a user's token as the assertion": {f.user(nil), f.user(nil)},
		"another workload's":              {another, f.user(nil)},
		"what came out, as the assertion": {compact, f.user(nil)},
	} {
		if status, _, body := swap(c.assertion, c.subject); status < 400 || body["access_token"] != nil {
			t.Errorf("%s: %d %v", name, status, body)
		}
	}
}

// TestExchangeOfAnExchangedNeverWidens: neither tenant nor action, audience, lifetime or claims of a token grow by
// exchanging it again, by a client that may more, or with an actor that may more.
func TestExchangeOfAnExchangedNeverWidens(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	edits := edited(exchangeEdits(f, "issuer:\n", "issuer:\n  audiences: [https://a.test, https://b.test]\n"),
		`delegate: [{tenant: "*", actions: [READ]}]`,
		`claims: [plan, email], permissions: [{tenant: "*", actions: ["*"]}], delegate: [{tenant: "*", actions: ["*"]}]`)
	g := startGate(t, edited(edits, "may: [exchange, introspect]", "claims: [plan], may: [exchange, introspect]")...)
	now := time.Now().Unix()
	original := f.user(map[string]any{"plan": "free", "email": "a@b.test", "may_act": nil})
	narrow, reason := g.swap("svc", original, "resource", "https://a.test", "expires_in", "100")
	if narrow.Status != 200 {
		t.Fatal(narrow.Status, reason)
	}
	bound := claimsOf(t, narrow.Token)
	own, reason := g.swap("back", g.own("back"), "expires_in", "3000")
	if own.Status != 200 {
		t.Fatal(own.Status, reason)
	}
	all := `[{"tenant":"*","allowedActions":["*"]},{"tenant":"evil","allowedActions":["READ"]}]`
	for _, c := range []struct {
		name string
		more []string
	}{
		{"plain", nil},
		{"all permissions", []string{"tenant_permissions", all}},
		{"a longer life", []string{"expires_in", "3600"}},
		{"every action of a role", []string{"scope", "support reader"}},
		{"a claim that was left out", []string{"claims", "email plan"}},
		{"the client's own token as actor", []string{"actor_token", own.Token, "actor_token_type", accessType}},
	} {
		a, reason := g.swap("back", narrow.Token, c.more...)
		if a.Status != 200 {
			t.Errorf("%s: %d %s %s", c.name, a.Status, reason, a.Description)
			continue
		}
		got := claimsOf(t, a.Token)
		if !slices.Equal(got.Audience, bound.Audience) || got.Expiry > bound.Expiry || got.Expiry > (now+110)*1000 ||
			!bound.Permissions.Covers(got.Permissions) || got.Grantor != "svc" || got.Subject != "alice" ||
			payloadOf(t, a.Token)["email"] != nil {
			t.Errorf("%s: %+v", c.name, got)
		}
		for _, tenant := range []string{"evil", "other"} {
			if opened := g.open(tenant, a.Token); !strings.HasPrefix(opened, "403") {
				t.Errorf("%s opens %s: %s", c.name, tenant, opened)
			}
		}
	}
	for _, resource := range []string{"https://b.test", "https://gate.test", "https://A.test", "https://a.test/", "api"} {
		if a, _ := g.swap("back", narrow.Token, "resource", resource); a.Error != "invalid_target" {
			t.Errorf("for %s: %d %s", resource, a.Status, a.Error)
		}
	}
	// With the actor's token it ends with that, too.
	actor, _ := g.swap("back", g.own("back"), "expires_in", "30")
	a, reason := g.swap("back", narrow.Token, "actor_token", actor.Token, "actor_token_type", accessType)
	if a.Status != 200 || a.ExpiresIn > 30 {
		t.Errorf("with an actor that ends: %d %s, %d s", a.Status, reason, a.ExpiresIn)
	}
}

// own is a client's token of its own.
func (g *gate) own(client string) string {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), http.MethodPost, g.url("/oauth2/token"),
		strings.NewReader("grant_type=client_credentials"))
	must(g.t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(client, "0123456789abcdefghijkl")
	var answer exchanged
	must(g.t, json.NewDecoder(exchangeOf(g.t, r).Body).Decode(&answer))
	if answer.Token == "" {
		g.t.Fatalf("%+v", answer)
	}
	return answer.Token
}

// TestExchangedTokensAfterARestart: the lineage is in the token, so that a process that began later ends it with what
// it came from, and a revocation of before holds on.
func TestExchangedTokensAfterARestart(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	g := exchangeGate(t, f)
	var tokens []string
	for n := range 3 {
		original := f.user(map[string]any{"jti": fmt.Sprint("original-", n), "sub": fmt.Sprint("user-", n)})
		first, _ := g.swap("svc", original)
		second, reason := g.swap("back", first.Token)
		if second.Status != 200 {
			t.Fatal(second.Status, reason)
		}
		tokens = append(tokens, second.Token)
	}
	end := func(issuer, id string) {
		t.Helper()
		if status := g.revoke(adminToken, fmt.Sprintf(`{"kind":"token","issuer":%q,"value":%q,"at":%d}`, issuer, id,
			time.Now().Add(time.Hour).UnixMilli())); status != 204 {
			t.Fatal(status)
		}
	}
	want := func(when string, want ...string) {
		t.Helper()
		for n, compact := range tokens {
			if got := g.open("acme", compact); got != want[n] {
				t.Errorf("%s, %d: %s, want %s", when, n, got, want[n])
			}
		}
	}
	end(f.URL, "original-0")
	want("before the restart", "401 token_revoked", "200", "200")
	_ = g.Close()
	g.run()
	want("after the restart", "401 token_revoked", "200", "200")
	end(f.URL, "original-1")
	end("https://gate.test", claimsOf(t, tokens[2]).Ancestors[0].ID) // the one in the middle
	want("revoked after the restart", "401 token_revoked", "401 token_revoked", "401 token_revoked")
}

// TestExchangedTokenIsNothingElse: what came out of an exchange opens routes, and none of the endpoints that take other
// tokens.
func TestExchangedTokenIsNothingElse(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	g := startGate(t, edited(exchangeEdits(f), "exchange: true", "exchange: true, logout_audiences: [shop]")...)
	a, reason := g.swap("svc", f.user(nil))
	if a.Status != 200 {
		t.Fatal(a.Status, reason)
	}
	if status, _, _ := g.logout(tokenForm(a.Token)); status != 400 {
		t.Errorf("as a logout token: %d", status)
	}
	if status, _, body := g.assert(a.Token); status != 401 {
		t.Errorf("as an assertion: %d %v", status, body)
	}
	for _, path := range []string{"/api/v1/authorization-codes", "/api/v1/authorization-tokens", "/oauth2/introspect"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.url(path), strings.NewReader("token=x"))
		must(t, err)
		r.Header.Set("Authorization", "Bearer "+a.Token)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if got := exchangeOf(t, r); got.StatusCode != 403 && got.StatusCode != 401 {
			t.Errorf("as a management token at %s: %d", path, got.StatusCode)
		}
	}
	farewell := f.farewell(f.key, "logout+jwt", map[string]any{"sid": "session-9"})
	for _, kind := range []string{accessType, jwtType, idType} {
		if got, _ := g.swap("svc", farewell, "subject_token_type", kind); got.Status != 400 || got.Token != "" {
			t.Errorf("a logout token, exchanged as %s: %d", kind, got.Status)
		}
	}
	if status, reason, _ := g.logout(tokenForm(farewell)); status != 200 {
		t.Errorf("which nothing above has used: %d %s", status, reason)
	}
}

// TestLogoutIgnoresWhatItDoesNotKnow: further claims and further parameters of the form are no fault (§2.4, §2.5); an
// encrypted token is one that cannot be read.
func TestLogoutIgnoresWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	g := startGate(t, f.telling()...)
	session := f.bearer("s")
	sign := func(over map[string]any) string {
		all := map[string]any{"sid": "s"}
		maps.Copy(all, over)
		return f.farewell(f.key, "logout+jwt", all)
	}
	segments := strings.Split(sign(nil), ".")
	for name, token := range map[string]string{
		"encrypted":               "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0.." + strings.Join(segments, "."),
		"with another's header":   "eyJhbGciOiJub25lIiwidHlwIjoibG9nb3V0K2p3dCJ9." + segments[1] + "." + segments[2],
		"without its last letter": strings.Join(segments, ".")[:len(strings.Join(segments, "."))-1],
	} {
		if status, _, _ := g.logout(tokenForm(token)); status != 400 {
			t.Errorf("%s: %d", name, status)
		}
	}
	if got := g.open("acme", session); got != "200" {
		t.Fatalf("before: %s", got)
	}
	if status, reason, _ := g.logout(tokenForm(sign(map[string]any{
		"trace_id": "x", "org": map[string]any{"a": 1}, "sid": "another",
	}))); status != 200 {
		t.Errorf("claims that are not known: %d %s", status, reason)
	}
	form := tokenForm(sign(nil))
	form.Set("state", "x")
	form["more"] = []string{"1", "2"}
	if status, reason, _ := g.logout(form); status != 200 {
		t.Errorf("parameters that are not known: %d %s", status, reason)
	}
	if got := g.open("acme", session); got != "401 token_revoked" {
		t.Errorf("after it: %s", got)
	}
	// A session that has ended ends once more.
	if status, reason, _ := g.logout(tokenForm(sign(nil))); status != 200 {
		t.Errorf("again, by another token: %d %s", status, reason)
	}
}
