package logout_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/keysets"
	"github.com/jotgate/jotgate/internal/logout"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/replay"
	"github.com/jotgate/jotgate/internal/revoke"
	"github.com/jotgate/jotgate/internal/token"
)

const (
	op    = "https://op.test"
	event = "http://schemas.openid.net/event/backchannel-logout"

	settings = `version: 1
listen: 127.0.0.1:0
revocations: {file: revoked}
trusted_issuers:
  - issuer: https://op.test
    keys: [{file: op.json}]
    audiences: [api]
    logout_audiences: [shop]
    permissions: []
routes: [{path: /, require: {tenant: acme, action: READ}, upstream: "http://127.0.0.1:9"}]
`
)

// A world is an issuer, and what a gate that hears of its logouts has kept. Processes come and go in it.
type world struct {
	t      *testing.T
	now    time.Time
	key    *jose.PrivateKey
	config *config.Config
	list   *revoke.List
	guard  logout.Guard // of the store that replicas share
	told   []logout.Event
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 400e6, time.UTC)}
	folder := t.TempDir()
	key, err := jose.Generate("ES256")
	w.must(err)
	w.key = key
	set, err := jose.NewKeySet(key.Public())
	w.must(err)
	w.must(os.WriteFile(filepath.Join(folder, "op.json"), set.JWKS(), 0o600))
	w.must(os.WriteFile(filepath.Join(folder, "gate.yaml"), []byte(settings), 0o600))
	w.config, err = config.Load(filepath.Join(folder, "gate.yaml"))
	w.must(err)
	w.list, err = revoke.Open(revoke.Options{
		File: filepath.Join(folder, "revoked"), Capacity: 100, Clients: 1, Clock: w.clock,
	})
	w.must(err)
	t.Cleanup(func() { _ = w.list.Close() })
	return w
}

func (w *world) clock() time.Time { return w.now }

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// start is a new process.
func (w *world) start() *logout.Endpoint {
	w.t.Helper()
	state, err := logout.NewState(w.clock)
	w.must(err)
	w.must(state.Reconfigure([]string{op}))
	verifier, err := keysets.LogoutVerifier(w.config, nil)
	w.must(err)
	return logout.New(logout.Options{
		Config: w.config, Verifier: verifier, Marks: w.list, State: state, Guard: w.guard, Clock: w.clock,
		Audit: func(e logout.Event) { w.told = append(w.told, e) },
	})
}

// farewell is a logout token of session s, made now.
func (w *world) farewell(id string, over map[string]any) string {
	w.t.Helper()
	claims := map[string]any{
		"iss": op, "sub": "alice", "sid": "s", "aud": "shop", "jti": id, "iat": w.now.Unix(), "exp": w.now.Unix() + 120,
		"events": map[string]any{event: map[string]any{}},
	}
	maps.Copy(claims, over)
	text, err := json.Marshal(claims)
	w.must(err)
	signed, err := w.key.Sign("logout+jwt", text)
	w.must(err)
	return signed
}

// tell posts a logout token, and gives the status with the reason of the audit.
func (w *world) tell(e *logout.Endpoint, compact string) string {
	w.t.Helper()
	r := httptest.NewRequestWithContext(w.t.Context(), http.MethodPost, "/oauth2/backchannel-logout",
		strings.NewReader(url.Values{"logout_token": {compact}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	a := httptest.NewRecorder()
	e.ServeHTTP(a, r)
	said := w.told[len(w.told)-1]
	if (a.Code == http.StatusOK) != (said.Outcome == "done") {
		w.t.Errorf("%d, but the audit has %+v", a.Code, said)
	}
	return strings.TrimSpace(fmt.Sprint(a.Code, " ", said.Reason))
}

// ended reports whether a token of the session that was issued so long after the world began is revoked.
func (w *world) ended(issued time.Time) bool {
	c := &token.Claims{Issuer: op, Subject: "alice", Session: "s", IssuedAt: issued.Truncate(time.Second).UnixMilli()}
	return refusal.Of(w.list.Check(c, "")) == refusal.TokenRevoked
}

// TestLogoutFromBeforeTheProcess: a logout around a restart is not lost, and a token that another process has taken
// before ends nothing that is younger than itself, however often it is replayed.
func TestLogoutFromBeforeTheProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.start()
	w.now = w.now.Add(10 * time.Second)
	issued := w.now
	farewell := w.farewell("one", nil)
	w.now = w.now.Add(5 * time.Second)
	if got := w.tell(before, farewell); got != "200" {
		t.Fatal(got)
	}
	for n := range 3 { // each of them is a process that knows nothing of the token
		w.now = w.now.Add(20 * time.Second)
		login := w.now
		after := w.start()
		w.now = w.now.Add(2 * time.Second)
		if got := w.tell(after, farewell); got != "200" {
			t.Errorf("process %d: %s", n, got)
		}
		if got := w.tell(after, farewell); got != "400 logout_used" {
			t.Errorf("process %d, replayed: %s", n, got)
		}
		if !w.ended(issued) || w.ended(login) {
			t.Errorf("process %d: the session of before has ended: %t, that of a later login: %t", n, w.ended(issued),
				w.ended(login))
		}
	}
	if got := w.list.Stats().Marks; got != 2 { // at the receipt of the first, and at its iat
		t.Errorf("%d marks", got)
	}
	w.now = w.now.Add(2 * time.Minute)
	if got := w.tell(w.start(), farewell); !strings.HasPrefix(got, "400 ") {
		t.Errorf("after two minutes: %s", got)
	}
}

// TestLogoutLostByNoRestart: the process that ended never heard of it.
func TestLogoutLostByNoRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	issued := w.now.Add(-time.Minute)
	farewell := w.farewell("one", map[string]any{"sid": nil})
	w.now = w.now.Add(30 * time.Second)
	if got := w.tell(w.start(), farewell); got != "200" || !w.ended(issued) {
		t.Errorf("%s, ended %t", got, w.ended(issued))
	}
}

// A verdict is a store that always says the same.
type verdict refusal.Reason

func (v verdict) Consume(context.Context, replay.Use, int64) error {
	if v == "" {
		return nil
	}
	return refusal.Because(refusal.Reason(v), "the store's word")
}

// TestWhatTheSharedStoreSays decides whether a logout counts, and from which moment on.
func TestWhatTheSharedStoreSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		says        refusal.Reason
		once, again string
		issued      bool // a token that is issued before iat has ended
		young       bool // so has one that is issued between iat and receipt
	}{
		{"", "200", "400 logout_used", true, true},
		{refusal.CodeUsed, "400 logout_used", "400 logout_used", true, false}, // elsewhere, perhaps without its mark
		{refusal.CodeBelowFloor, "200", "400 logout_used", true, false},
		{refusal.CodeNotYetValid, "200", "400 logout_used", true, false},
		{refusal.StoreUnavailable, "503 store_unavailable", "503 store_unavailable", false, false},
	} {
		w := newWorld(t)
		w.guard = verdict(c.says)
		e := w.start()
		w.now = w.now.Add(5 * time.Second)
		issued, farewell := w.now, w.farewell("one", nil)
		w.now = w.now.Add(20 * time.Second)
		young := w.now.Add(-10 * time.Second)
		if once, again := w.tell(e, farewell), w.tell(e, farewell); once != c.once || again != c.again {
			t.Errorf("%q: %s, then %s", c.says, once, again)
		}
		if w.ended(young) != c.young || w.ended(issued) != c.issued {
			t.Errorf("%q: of then %t, a little younger %t", c.says, w.ended(issued), w.ended(young))
		}
	}
}

// full is a list of revocations without room, for a while.
type full struct {
	*revoke.List
	err error
}

func (f *full) LogOut(ctx context.Context, kind revoke.Kind, issuer, value string, at time.Time) error {
	if f.err != nil {
		return f.err
	}
	return f.List.LogOut(ctx, kind, issuer, value, at)
}

// TestLogoutWithoutItsMarkComesAgain: what could not be kept is not used up, and says as little as before of what is
// younger than itself.
func TestLogoutWithoutItsMarkComesAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	issued, farewell := w.now, w.farewell("one", nil)
	w.now = w.now.Add(10 * time.Second)
	young := w.now
	e := w.start()
	marks := &full{w.list, refusal.Because(refusal.StoreUnavailable, "disk")}
	o := e.Options
	o.Marks = marks
	e = logout.New(o)
	w.now = w.now.Add(10 * time.Second)
	if got := w.tell(e, farewell); got != "503 store_unavailable" || w.ended(issued) {
		t.Errorf("%s, ended %t", got, w.ended(issued))
	}
	marks.err = nil
	if got := w.tell(e, farewell); got != "200" || !w.ended(issued) || w.ended(young) {
		t.Errorf("again: %s, of then %t, younger %t", got, w.ended(issued), w.ended(young))
	}
	if got := w.tell(e, farewell); got != "400 logout_used" {
		t.Errorf("once more: %s", got)
	}
}

// TestNoEndpointWithoutLogoutAudiences: a gate whose issuers tell of no logouts has none.
func TestNoEndpointWithoutLogoutAudiences(t *testing.T) {
	t.Parallel()
	c := newWorld(t).config
	c.TrustedIssuers[0].LogoutAudiences = nil
	if e := logout.New(logout.Options{Config: c}); e != nil {
		t.Error("there is an endpoint")
	}
}
