package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/app"
	"github.com/jotgate/jotgate/internal/keyfile"
	"github.com/jotgate/jotgate/internal/redistest"
	"github.com/jotgate/jotgate/internal/telemetry"
	"github.com/jotgate/jotgate/issuer"
)

// sharing is the edit that lets a gate share a store.
func sharing(s *redistest.Server) (before, after string) {
	return "issuer:\n", `redis: {url: "` + s.URL() + `", timeout: 300ms}
replay: {store: redis}
replicas: 2
issuer:
  code_secrets: [a123456789012345678901234567890123456789]
`
}

// admin asks the admin listener.
func (g *gate) admin(path string) (status int, body string) {
	g.t.Helper()
	a, err := http.Get("http://" + g.AdminAddr().String() + path)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return a.StatusCode, string(text)
}

// code asks for a code, which the status says whether there is.
func (g *gate) code(bearer string) (status int, retry, code string) {
	g.t.Helper()
	status, header, body := g.postJSON("/api/v1/authorization-codes", bearer,
		`{"subject":"alice","role":"reader","tenant":"acme"}`)
	_, rest, _ := strings.Cut(body, `"authorization_code":"`)
	code, _, _ = strings.Cut(rest, `"`)
	return status, header.Get("Retry-After"), code
}

func (g *gate) redeemed(code string) (status int, retry string) {
	g.t.Helper()
	status, header, _ := g.postJSON("/api/v1/tokens", "", `{"authorization_code":"`+code+`"}`)
	return status, header.Get("Retry-After")
}

func (g *gate) postJSON(path, bearer, body string) (int, http.Header, string) {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), http.MethodPost, g.url(path), strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	a, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return a.StatusCode, a.Header, string(text)
}

// management is a token that may ask for codes.
func (g *gate) management() string {
	g.t.Helper()
	m, err := issuer.NewMinter(g.Config(), time.Now)
	if err != nil {
		g.t.Fatal(err)
	}
	token, _, err := m.Management("web", "issue_codes", "", time.Hour)
	if err != nil {
		g.t.Fatal(err)
	}
	return token
}

// TestUndoIsShared: what one replica undoes, the other serves again; the latest of the other marks stays.
func TestUndoIsShared(t *testing.T) {
	t.Parallel()
	store := redistest.Start(t)
	before, after := sharing(store)
	replicas := []*gate{startGate(t, before, after), startGate(t, before, after)}
	old := time.Now().Add(-time.Minute)
	tokens := make([]string, len(replicas))
	for i, g := range replicas {
		m, err := issuer.NewMinter(g.Config(), func() time.Time { return old })
		if err != nil {
			t.Fatal(err)
		}
		if tokens[i], _, err = m.ForRole("web", "reader", "acme", "alice", time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	everywhere := func(what string, want int) {
		t.Helper()
		for i, g := range replicas {
			redistest.Eventually(t, what, func() bool {
				status, _, _ := g.get("/t/acme/", "Authorization", "Bearer "+tokens[i])
				return status == want
			})
		}
	}
	marks := map[int64]string{}
	for _, at := range []time.Time{old.Add(-time.Hour), old.Add(time.Second), old.Add(2 * time.Second)} {
		body := fmt.Sprintf(`{"kind":"subject","issuer":"https://gate.test","value":"alice","at":%d}`, at.UnixMilli())
		if got := replicas[0].revoke(adminToken, body); got != 204 {
			t.Fatalf("revoke: %d", got)
		}
		marks[at.UnixMilli()] = ""
	}
	everywhere("marked", 401)
	status, body := replicas[1].askAdmin("GET", "/revocations", adminToken)
	var page struct {
		Revocations []struct {
			ID     string
			Before time.Time
		}
	}
	if err := json.Unmarshal(body, &page); status != 200 || err != nil || len(page.Revocations) != 3 {
		t.Fatalf("%d %s: %v", status, body, err)
	}
	for _, e := range page.Revocations {
		marks[e.Before.UnixMilli()] = e.ID
	}
	undo := func(at time.Time) {
		t.Helper()
		for i, want := range []int{204, 404} { // by the other replica, at once
			path := "/revocations/" + marks[at.UnixMilli()]
			if got, body := replicas[1-i].askAdmin("DELETE", path, adminToken); got != want {
				t.Errorf("undo: %d %s, want %d", got, body, want)
			}
		}
	}
	undo(old.Add(2 * time.Second))
	everywhere("another mark stays", 401)
	undo(old.Add(time.Second))
	everywhere("undone", 200)
	store.Do("FLUSHALL")
	undo(old.Add(-time.Hour))
	everywhere("undone after the store has lost its memory", 200)
	replicas[1].eventually(`"event":"undo","outcome":"done","kind":"subject"`)
}

// TestGateWithoutItsStore: the store is down at the start, comes, hangs and comes again. Tokens are judged all the
// time, codes are neither issued nor redeemed without it, and readiness says so.
func TestGateWithoutItsStore(t *testing.T) {
	t.Parallel()
	store := redistest.Start(t)
	store.Kill()
	before, after := sharing(store)
	g := startGate(t, before, after)
	management := g.management()
	minter, err := issuer.NewMinter(g.Config(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := minter.ForRole("web", "reader", "acme", "alice", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	down := func(stage string) {
		t.Helper()
		if status, retry, _ := g.code(management); status != 503 || retry == "" {
			t.Errorf("%s: asking for a code: %d, Retry-After %q", stage, status, retry)
		}
		if status, _, _ := g.get("/t/acme/", "Authorization", "Bearer "+token); status != 200 {
			t.Errorf("%s: a token: %d", stage, status)
		}
		status, body := g.admin("/readyz")
		if status != 200 || !strings.Contains(body,
			"warning: the shared store cannot be used, no code is issued or redeemed: ") {
			t.Errorf("%s: readyz: %d %q", stage, status, body)
		}
		if _, body := g.admin("/metrics"); !strings.Contains(body, "\njotgate_redis_up 0\n") {
			t.Errorf("%s: metrics", stage)
		}
	}
	down("at the start")
	store.Restart()
	working := func() bool {
		status, _, code := g.code(management)
		if status != 201 {
			return false
		}
		status, _ = g.redeemed(code)
		return status == 201
	}
	redistest.Eventually(t, "codes", working)
	redistest.Eventually(t, "nothing is amiss any more",
		func() bool { status, body := g.admin("/readyz"); return status == 200 && body == "ready\n" })
	_, _, code := g.code(management)
	store.Stop()
	if status, retry := g.redeemed(code); status != 503 || retry == "" {
		t.Errorf("redeeming while the store hangs: %d, Retry-After %q", status, retry)
	}
	redistest.Eventually(t, "noticed", func() bool { status, _, _ := g.code(management); return status == 503 })
	down("while it hangs")
	store.Continue()
	redistest.Eventually(t, "codes again", working)
}

// TestStoreThatMayForget: a gate does not start with it, and says what to do.
func TestStoreThatMayForget(t *testing.T) {
	t.Parallel()
	store := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	g := &gate{t: t, file: filepath.Join(t.TempDir(), "gate.yaml"), log: new(lines), app: newApp(t)}
	before, after := sharing(store)
	g.write(before, after)
	c, err := keyfile.Load(g.file)
	if err != nil {
		t.Fatal(err)
	}
	log, err := telemetry.NewLog(g.log, c.Log.Level, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	_, err = app.New(app.Options{Config: c, ConfigPath: g.file, Log: log})
	if err == nil || !strings.Contains(err.Error(), "maxmemory-policy is allkeys-lru") ||
		!strings.Contains(err.Error(), "set it to noeviction") {
		t.Errorf("got %v", err)
	}
	judge, err := app.NewJudge(c, time.Now) // check and explain ask no store
	if err != nil {
		t.Fatal(err)
	}
	_ = judge.Close()
}

// TestReloadOfTheStore: what is not about the store changes as ever; the store itself does not change while the gate
// runs.
func TestReloadOfTheStore(t *testing.T) {
	t.Parallel()
	store := redistest.Start(t)
	before, after := sharing(store)
	g := startGate(t, before, after)
	g.write(before, after, "path: /open/", "path: /opened/")
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string][2]string{
		"redis":        {"timeout: 300ms", "timeout: 400ms"},
		"replay.store": {"replay: {store: redis}\nreplicas: 2\n", ""},
		"revocations":  {"watch: false", "watch: false\nrevocations: {poll: 2s}"},
	} {
		text, err := os.ReadFile(g.file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(g.file, []byte(strings.Replace(string(text), edit[0], edit[1], 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		want := name + ": cannot change while the gate runs; restart it to change that"
		if err := g.Reload(); err == nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
		if err := os.WriteFile(g.file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	management := g.management()
	if status, _, code := g.code(management); status != 201 {
		t.Errorf("%d", status)
	} else if status, _ := g.redeemed(code); status != 201 {
		t.Errorf("redeem: %d", status)
	}
}
