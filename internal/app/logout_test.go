package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/redistest"
)

const (
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
	likeOP      = `audiences: [api], logout_audiences: [shop], permissions: [{tenant: acme, actions: [READ]}], ` +
		`roles: {from: roles, map: {support: support}}`
)

// telling edits settings: the foreigner tells of logouts, which are kept in a file.
func (f *foreigner) telling() []string {
	return append(f.trusting(likeOP), "watch: false", "revocations: {file: revoked}")
}

var logoutIDs struct {
	sync.Mutex
	last int
}

// farewell is a logout token by key.
func (f *foreigner) farewell(key *jose.PrivateKey, typ string, over map[string]any) string {
	logoutIDs.Lock()
	logoutIDs.last++
	id := fmt.Sprint("logout-", logoutIDs.last)
	logoutIDs.Unlock()
	all := map[string]any{
		"aud": "shop", "jti": id, "events": map[string]any{logoutEvent: map[string]any{}},
		"exp": time.Now().Unix() + 120,
	}
	for name, value := range over {
		all[name] = value
	}
	return f.token(key, typ, all)
}

// bearer is an access token of a session of alice's.
func (f *foreigner) bearer(sid string) string {
	return f.token(f.key, "at+jwt", map[string]any{"sid": sid, "scope": "x", "roles": []string{"support"}})
}

// logout posts a logout token; the body is decoded where there is one.
func (g *gate) logout(form url.Values) (status int, reason string, body map[string]any) {
	g.t.Helper()
	a, err := http.PostForm(g.url("/oauth2/backchannel-logout"), form)
	if err != nil {
		g.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	if a.Header.Get("Cache-Control") != "no-store" {
		g.t.Errorf("Cache-Control: %q", a.Header["Cache-Control"])
	}
	if a.StatusCode == 200 {
		if len(text) > 0 {
			g.t.Errorf("200 with %q", text)
		}
		return 200, "", nil
	}
	if err := json.Unmarshal(text, &body); err != nil || a.Header.Get("Content-Type") != "application/problem+json" {
		g.t.Errorf("%d %s: %v", a.StatusCode, text, err)
	}
	return a.StatusCode, g.reason(a.Header.Get("X-Request-Id")), body
}

func tokenForm(token string) url.Values { return url.Values{"logout_token": {token}} }

// A logout with a sid ends the tokens of that session alone, also after a restart; one without ends all the subject's.
func TestBackChannelLogout(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	g := startGate(t, f.telling()...)
	one, two := f.bearer("one"), f.bearer("two")
	if a, b := g.open("acme", one), g.open("acme", two); a != "200" || b != "200" {
		t.Fatalf("before: %s, %s", a, b)
	}
	farewell := f.farewell(f.key, "logout+jwt", map[string]any{"sid": "one"})
	if status, reason, _ := g.logout(tokenForm(farewell)); status != 200 {
		t.Fatalf("logout: %d %s", status, reason)
	}
	if a, b := g.open("acme", one), g.open("acme", two); a != "401 token_revoked" || b != "200" {
		t.Errorf("after the logout of session one: %s, %s", a, b)
	}
	if status, body := g.operate("GET", "/revocations", operatorToken, ""); status != 200 ||
		!strings.Contains(body, `"sid":"one"`) {
		t.Errorf("the list: %d %s", status, body)
	}
	_ = g.Close()
	g.run()
	if a, b := g.open("acme", one), g.open("acme", two); a != "401 token_revoked" || b != "200" {
		t.Errorf("after a restart: %s, %s", a, b)
	}
	waitForSecond()
	if status, reason, _ := g.logout(tokenForm(f.farewell(f.key, "", nil))); status != 200 {
		t.Fatalf("logout of the subject: %d %s", status, reason)
	}
	if got := g.open("acme", two); got != "401 token_revoked" {
		t.Errorf("after the subject's logout: %s", got)
	}
	waitForSecond()
	if got := g.open("acme", f.bearer("three")); got != "200" {
		t.Errorf("a new login: %s", got)
	}
	g.eventually(`"event":"backchannel_logout"`)
}

// waitForSecond waits for the next whole second, as iat is in whole seconds.
func waitForSecond() { time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) }

// What is no logout token for us, by each rule of OpenID Connect Back-Channel Logout 1.0 §2.6, marks nothing.
func TestAttacksOnBackChannelLogout(t *testing.T) {
	t.Parallel()
	f, other := newForeigner(t), newForeigner(t)
	g := startGate(t, f.telling()...)
	session := f.bearer("s")
	if got := g.open("acme", session); got != "200" {
		t.Fatal(got)
	}
	now := time.Now().Unix()
	sign := func(over map[string]any) string {
		if _, named := over["sid"]; !named {
			over["sid"] = "s"
		}
		return f.farewell(f.key, "logout+jwt", over)
	}
	segments := strings.Split(sign(map[string]any{}), ".")
	signed := segments[0] + "." + segments[1] + "."
	for name, c := range map[string]struct{ token, reason string }{
		"for another":             {sign(map[string]any{"aud": "other"}), "logout_refused"},
		"for a route":             {sign(map[string]any{"aud": "api"}), "logout_refused"},
		"for no one":              {sign(map[string]any{"aud": nil}), "logout_refused"},
		"with a nonce":            {sign(map[string]any{"nonce": "n"}), "logout_refused"},
		"with an empty nonce":     {sign(map[string]any{"nonce": ""}), "logout_refused"},
		"without events":          {sign(map[string]any{"events": nil}), "logout_refused"},
		"events of another kind":  {sign(map[string]any{"events": map[string]any{"x": map[string]any{}}}), "logout_refused"},
		"events of two kinds":     {sign(map[string]any{"events": twoEvents("x")}), "logout_refused"},
		"events as a list":        {sign(map[string]any{"events": []string{logoutEvent}}), "logout_refused"},
		"events as a text":        {sign(map[string]any{"events": logoutEvent}), "logout_refused"},
		"an event that is text":   {sign(map[string]any{"events": map[string]any{logoutEvent: "x"}}), "logout_refused"},
		"an event that is null":   {sign(map[string]any{"events": map[string]any{logoutEvent: nil}}), "logout_refused"},
		"no jti":                  {sign(map[string]any{"jti": nil}), "logout_refused"},
		"old iat":                 {sign(map[string]any{"iat": now - 121}), "logout_refused"},
		"future iat":              {sign(map[string]any{"iat": now + 60}), "token_not_yet_valid"},
		"no iat":                  {sign(map[string]any{"iat": nil}), "token_claims_malformed"},
		"no exp":                  {sign(map[string]any{"exp": nil}), "token_claims_malformed"},
		"expired":                 {sign(map[string]any{"iat": now - 60, "exp": now - 1}), "token_expired"},
		"neither sub nor sid":     {sign(map[string]any{"sub": nil, "sid": nil}), "logout_refused"},
		"a sid that is no text":   {sign(map[string]any{"sid": 7}), "logout_refused"},
		"typ of an access token":  {f.farewell(f.key, "at+jwt", map[string]any{"sid": "s"}), "token_type_refused"},
		"typ JWT":                 {f.farewell(f.key, "JWT", map[string]any{"sid": "s"}), "token_type_refused"},
		"another's key":           {f.farewell(other.key, "logout+jwt", nil), "token_key_unknown"},
		"of another issuer":       {other.farewell(other.key, "logout+jwt", nil), "token_issuer_unknown"},
		"of us":                   {sign(map[string]any{"iss": "https://gate.test"}), "token_issuer_unknown"},
		"none":                    {"eyJhbGciOiJub25lIn0." + segments[1] + ".", "token_malformed"},
		"another's signature":     {signed + strings.Repeat("A", 86), "token_signature_invalid"},
		"an access token":         {session, "token_type_refused"},
		"not a token":             {"x", "token_malformed"},
		"larger than a token":     {strings.Repeat("x", 9000), "token_too_large"},
		"a token of ours":         {g.token("acme"), "token_type_refused"},
		"an id_token, typ absent": {f.token(f.key, "", map[string]any{"nonce": "n", "aud": "shop"}), "logout_refused"},
	} {
		status, reason, body := g.logout(tokenForm(c.token))
		if status != 400 || reason != c.reason || body["error"] != "invalid_request" || body["error_description"] == "" {
			t.Errorf("%s: %d %s %v, want 400 %s", name, status, reason, body, c.reason)
		}
	}
	for name, form := range map[string]url.Values{
		"nothing": {}, "empty": {"logout_token": {""}},
		"two": {"logout_token": {sign(map[string]any{}), sign(map[string]any{})}},
	} {
		if status, reason, _ := g.logout(form); status != 400 || reason != "logout_refused" {
			t.Errorf("%s: %d %s", name, status, reason)
		}
	}
	if status, _, _ := g.get("/oauth2/backchannel-logout?logout_token=" + sign(map[string]any{})); status != 405 {
		t.Errorf("GET: %d", status)
	}
	if got := g.open("acme", session); got != "200" {
		t.Errorf("after all of these: %s", got)
	}
	farewell := sign(map[string]any{"sid": "another"})
	if got := g.open("acme", farewell); !strings.HasPrefix(got, "401 ") {
		t.Errorf("a logout token as a bearer: %s", got)
	}
	if got := g.open("acme", f.farewell(f.key, "at+jwt", map[string]any{"aud": "api"})); !strings.HasPrefix(got, "401 ") {
		t.Errorf("the same, typ and aud of an access token: %s", got)
	}
	if status, _, _ := g.logout(tokenForm(farewell)); status != 200 {
		t.Errorf("the good one: %d", status)
	}
	if status, reason, _ := g.logout(tokenForm(farewell)); status != 400 || reason != "logout_used" {
		t.Errorf("replayed: %d %s", status, reason)
	}
	if strings.Contains(g.log.String(), strings.Split(farewell, ".")[2]) {
		t.Error("the log has a logout token")
	}
}

func twoEvents(more string) map[string]any {
	return map[string]any{logoutEvent: map[string]any{}, more: map[string]any{}}
}

// Of many that come with one logout token at once, one is done. A flood of the endpoint is refused, while tokens
// are judged as ever.
func TestFloodOfBackChannelLogouts(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	g := startGate(t, append(f.telling(), "drain: {", "limits: {logout_rate: 20}\ndrain: {")...)
	token := f.farewell(f.key, "logout+jwt", map[string]any{"sid": "s"})
	var all sync.WaitGroup
	var mu sync.Mutex
	counts := map[string]int{}
	for range 16 {
		all.Go(func() {
			for range 10 {
				status, reason, _ := g.logout(tokenForm(token))
				mu.Lock()
				counts[fmt.Sprint(status, " ", reason)]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if counts["200 "] != 1 || counts["429 rate_limited"] == 0 || counts["400 logout_used"] == 0 ||
		counts["200 "]+counts["429 rate_limited"]+counts["400 logout_used"] != 160 {
		t.Errorf("160 with one token: %v", counts)
	}
	if got := g.open("acme", f.bearer("other")); got != "200" {
		t.Errorf("a token, meanwhile: %s", got)
	}
}

// An issuer with more logouts than limits.logout_rate is asked to tell the rest again, and what it tells again counts.
func TestLogoutsBeyondTheRateMayComeAgain(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	g := startGate(t, append(f.telling(), "drain: {", "limits: {logout_rate: 1}\ndrain: {")...)
	var late []string
	for n := range 6 {
		token := f.farewell(f.key, "logout+jwt", map[string]any{"sid": fmt.Sprint("s", n)})
		switch status, reason, _ := g.logout(tokenForm(token)); {
		case status == 429 && reason == "rate_limited":
			late = append(late, token)
		case status != 200:
			t.Errorf("logout %d: %d %s", n, status, reason)
		}
	}
	if len(late) == 0 {
		t.Fatal("six at once are within a rate of one in a second")
	}
	status, reason := 0, ""
	for deadline := time.Now().Add(60 * time.Second); status != 200 && time.Now().Before(deadline); waitForSecond() {
		if status, reason, _ = g.logout(tokenForm(late[0])); status != 200 && status != 429 {
			break
		}
	}
	if status != 200 {
		t.Errorf("told again: %d %s", status, reason)
	}
}

// What one replica is told holds on the other within a poll, and is durable before the answer: without the store there
// is no 200. A logout token that one has taken is used for both.
func TestBackChannelLogoutOnReplicas(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	store := redistest.Start(t)
	before, after := sharing(store)
	edits := append(f.trusting(likeOP), before, after, "watch: false", "revocations: {store: redis, poll: 100ms}")
	a, b := startGate(t, edits...), startGate(t, edits...)
	session := f.bearer("s")
	if got := b.open("acme", session); got != "200" {
		t.Fatal(got)
	}
	status, reason := 0, ""
	for deadline := time.Now().Add(60 * time.Second); status != 200 && time.Now().Before(deadline); {
		farewell := tokenForm(f.farewell(f.key, "logout+jwt", map[string]any{"sid": "s"}))
		if status, reason, _ = a.logout(farewell); status == 503 { // the store has not answered yet
			waitForSecond()
		}
	}
	got := ""
	for deadline := time.Now().Add(60 * time.Second); got != "401 token_revoked" && time.Now().Before(deadline); {
		got = b.open("acme", session)
	}
	if got != "401 token_revoked" {
		t.Errorf("at the other replica: %s", got)
	}
	// What was made before the store's memory began is taken by each.
	for deadline := time.Now().Add(60 * time.Second); status != 400 && time.Now().Before(deadline); {
		waitForSecond()
		again := tokenForm(f.farewell(f.key, "logout+jwt", map[string]any{"sid": "t"}))
		if status, _, _ = a.logout(again); status == 200 {
			status, reason, _ = b.logout(again)
		}
	}
	if status != 400 || reason != "logout_used" {
		t.Errorf("replayed at the other replica: %d %s", status, reason)
	}
	store.Kill()
	if status, reason, body := a.logout(tokenForm(f.farewell(f.key, "logout+jwt", nil))); status != 503 ||
		reason != "store_unavailable" || body["error"] != "temporarily_unavailable" {
		t.Errorf("without the store: %d %s %v", status, reason, body)
	}
}
