package app_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/app"
	"github.com/jotgate/jotgate/internal/keyfile"
	"github.com/jotgate/jotgate/internal/redistest"
	"github.com/jotgate/jotgate/internal/telemetry"
	"github.com/jotgate/jotgate/issuer"
)

// A replica is a gate on a shared store whose clock is off.
type replica struct {
	*gate
	off time.Duration
}

func startReplica(t *testing.T, store string, off time.Duration) *replica {
	t.Helper()
	g := &gate{t: t, file: filepath.Join(t.TempDir(), "gate.yaml"), log: new(lines), app: newApp(t)}
	g.write(
		"watch: false", fmt.Sprintf("watch: false\nreplicas: 2\nreplay: {store: redis}\nredis: {url: %q, skew: 5s}", store),
		"  clients: [{id: web", "  code_secrets: [0123456789abcdef0123456789abcdef]\n  clients: [{id: web",
	)
	c, err := keyfile.Load(g.file)
	if err != nil {
		t.Fatal(err)
	}
	log, err := telemetry.NewLog(g.log, c.Log.Level, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	r := &replica{g, off}
	if g.Gate, err = app.New(app.Options{Config: c, ConfigPath: g.file, Log: log, Clock: r.now}); err != nil {
		t.Fatal(err)
	}
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	return r
}

func (r *replica) now() time.Time { return time.Now().Add(r.off) }

func (r *replica) post(path, bearer, body string) (int, string) {
	r.t.Helper()
	q, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.url(path), bytes.NewBufferString(body))
	if err != nil {
		r.t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		q.Header.Set("Authorization", "Bearer "+bearer)
	}
	a, err := http.DefaultTransport.RoundTrip(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return a.StatusCode, string(text)
}

// code is one that the replica issues, by its own clock.
func (r *replica) code() string {
	r.t.Helper()
	m, err := issuer.NewMinter(r.Config(), r.now)
	if err != nil {
		r.t.Fatal(err)
	}
	manage, _, err := m.Management("web", "issue_codes", "", time.Hour)
	if err != nil {
		r.t.Fatal(err)
	}
	status, body := r.post("/api/v1/authorization-codes", manage, `{"subject":"alice","role":"reader","tenant":"acme"}`)
	var answer struct {
		Code string `json:"authorization_code"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusCreated {
		r.t.Fatalf("a code: %d %s %v", status, body, err)
	}
	return answer.Code
}

// Replicas' clocks may differ from each other and from the store's by redis.skew: then each code works once, wherever
// it is redeemed. Beyond that it may be refused, and still never works twice.
func TestReplicasWhoseClocksDiffer(t *testing.T) {
	t.Parallel()
	store := redistest.Start(t).URL()
	const within = 4 * time.Second
	var all []*replica
	for _, off := range []time.Duration{
		-20 * time.Minute, -time.Minute, -within, 0, within, time.Minute,
		20 * time.Minute,
	} {
		all = append(all, startReplica(t, store, off))
	}
	for _, from := range all {
		for _, at := range all {
			code, accepted := from.code(), 0
			redeem := func(r *replica) int {
				status, body := r.post("/api/v1/tokens", "", fmt.Sprintf(`{"authorization_code":%q}`, code))
				switch status {
				case http.StatusCreated:
					accepted++
				case http.StatusBadRequest:
				default:
					t.Errorf("issued at %v, redeemed at %v: %d %s", from.off, r.off, status, body)
				}
				return status
			}
			status := redeem(at)
			near := from.off.Abs() <= within && at.off.Abs() <= within && (from.off-at.off).Abs() <= within
			if near && status != http.StatusCreated {
				t.Errorf("issued at %v, redeemed at %v: %d, want 201", from.off, at.off, status)
			}
			for range 2 {
				for _, r := range all {
					redeem(r)
				}
			}
			if accepted > 1 {
				t.Errorf("issued at %v, first redeemed at %v: accepted %d times", from.off, at.off, accepted)
			}
		}
	}
}
