package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What is revoked on one replica is revoked on all, and stays so through whatever happens to the store.

// revoke revokes one token on a gate's admin side, and returns the status.
func (f *fleet) revoke(t *testing.T, r *replica, token string) int {
	t.Helper()
	segments := strings.Split(token, ".")
	if len(segments) != 3 {
		t.Fatalf("no token: %q", token)
	}
	payload, err := base64.RawURLEncoding.DecodeString(segments[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		JTI string `json:"jti"`
		Exp int64  `json:"exp"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return f.post(t, "http://"+r.admin+"/revocations", adminToken,
		fmt.Sprintf(`{"kind":"token","issuer":"http://gate.test","value":%q,"at":%d}`, claims.JTI, claims.Exp*1000)).status
}

// token is a fresh one.
func (f *fleet) token(t *testing.T) string {
	t.Helper()
	return f.want(t, "a token", f.gates[0], f.code(t, f.gates[0]), http.StatusCreated).token
}

// opens is the status of a request with a token.
func (r *replica) opens(t *testing.T, token string) int {
	t.Helper()
	status, _, _ := ask(t, "GET", r.url+"/t/acme/x", token, "")
	return status
}

// metric is one number that a gate tells.
func (r *replica) metric(t *testing.T, name string) float64 {
	t.Helper()
	_, _, text := ask(t, "GET", "http://"+r.admin+"/metrics", "", "")
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// heard waits until a gate has refused a token that was revoked at a time. A gate that says that it has asked the
// store since then must refuse it: that is what bounds the propagation, however slow this machine is.
func (r *replica) heard(t *testing.T, token string, revoked time.Time) {
	t.Helper()
	poll(t, "a revocation arrives", func() bool {
		asked := time.Now()
		age := r.metric(t, "jotgate_revocations_age_seconds")
		knows := age >= 0 && asked.Add(-time.Duration(age*float64(time.Second))).After(revoked)
		status := r.opens(t, token)
		if knows && status != http.StatusUnauthorized {
			t.Fatalf("%d: the list was read %.3f s ago, after the revocation was answered", status, age)
		}
		return status == http.StatusUnauthorized
	})
	t.Logf("refused %s after the revocation was answered", time.Since(revoked).Round(time.Millisecond))
}

// refuses waits until a gate refuses a token, however it learned of it.
func (r *replica) refuses(t *testing.T, token string) {
	t.Helper()
	poll(t, "a revocation arrives", func() bool { return r.opens(t, token) == http.StatusUnauthorized })
}

func TestWhatIsRevokedOnOneReplicaIsRefusedOnAll(t *testing.T) {
	t.Parallel()
	f := newFleet(t, newStore(t), 3, "")
	f.well(t)
	for range 3 {
		token, other := f.token(t), f.token(t)
		for i, r := range f.gates {
			for range 2 { // the second time from the cache
				if got := r.opens(t, token); got != http.StatusOK {
					t.Fatalf("gate %d before: %d", i, got)
				}
			}
		}
		if got := f.revoke(t, f.gates[0], token); got != http.StatusNoContent {
			t.Fatalf("revoked: %d", got)
		}
		revoked := time.Now()
		if got := f.gates[0].opens(t, token); got != http.StatusUnauthorized {
			t.Errorf("the gate that revoked it answers %d on the very next request", got)
		}
		for i, r := range f.gates[1:] {
			r.heard(t, token, revoked)
			if got := r.opens(t, other); got != http.StatusOK {
				t.Errorf("gate %d: another token: %d", i+1, got)
			}
		}
	}
}

func TestRevocationsSurviveTheirStore(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, s *store){
		"flushed":            func(_ *testing.T, s *store) { s.Do("FLUSHALL") },
		"killed and emptied": func(_ *testing.T, s *store) { s.Restart() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			f := newFleet(t, s, 3, "")
			f.well(t)
			late := f.gates[2]
			early, apart := f.token(t), f.token(t)
			if got := f.revoke(t, f.gates[0], early); got != http.StatusNoContent {
				t.Fatalf("revoked: %d", got)
			}
			f.gates[1].heard(t, early, time.Now())
			late.kill() // it will know only what the store knows

			f.gates[1].link.turn(ended, 0)
			if got := f.revoke(t, f.gates[1], apart); got != http.StatusServiceUnavailable {
				t.Errorf("revoked without a store: %d, want 503", got)
			}
			if got := f.revoke(t, f.gates[0], apart); got != http.StatusNoContent {
				t.Fatalf("revoked: %d", got)
			}
			lose(t, s)
			f.gates[1].link.turn(fair, 0)
			f.gates[1].refuses(t, apart)
			for i, r := range f.gates[:2] {
				if got := r.opens(t, early); got != http.StatusUnauthorized {
					t.Errorf("gate %d after the store's loss: %d", i, got)
				}
			}
			late.start(t)
			for _, token := range []string{early, apart} {
				late.refuses(t, token)
			}
		})
	}
}

func TestAStaleReplicaServesOrRefusesAsItIsTold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		onStale string
		while   int
	}{{"serve", http.StatusOK}, {"refuse", http.StatusServiceUnavailable}} {
		t.Run(c.onStale, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, newStore(t), 2, "revocations: {poll: 100ms, max_staleness: 1s, on_stale: "+c.onStale+"}\n")
			f.well(t)
			token, revoked := f.token(t), f.token(t)
			far := f.gates[1]
			if got := far.opens(t, token); got != http.StatusOK {
				t.Fatalf("before: %d", got)
			}
			for _, w := range []weather{ended, hole} {
				far.link.turn(w, 0)
				poll(t, "the list is stale", func() bool { return far.metric(t, "jotgate_revocations_stale") == 1 })
				if got := far.opens(t, token); got != c.while {
					t.Errorf("while stale: %d, want %d", got, c.while)
				}
				if status, _, _ := ask(t, "GET", far.url+"/.well-known/jwks.json", "", ""); status != http.StatusOK {
					t.Errorf("the key set while stale: %d", status)
				}
				if got := f.gates[0].opens(t, token); got != http.StatusOK {
					t.Errorf("who reaches the store: %d", got)
				}
				if w == ended {
					if got := f.revoke(t, f.gates[0], revoked); got != http.StatusNoContent {
						t.Fatalf("revoked: %d", got)
					}
				}
				far.link.turn(fair, 0)
				poll(t, "the list is known again", func() bool { return far.metric(t, "jotgate_revocations_stale") == 0 })
				if got := far.opens(t, token); got != http.StatusOK {
					t.Errorf("afterwards: %d", got)
				}
				if got := far.opens(t, revoked); got != http.StatusUnauthorized {
					t.Errorf("revoked meanwhile: %d", got)
				}
			}
		})
	}
}
