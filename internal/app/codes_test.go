package app_test

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/issuer"
)

// TestMarksReachCodesThatAreOut issues a code, marks, and redeems it, at either endpoint. A code that is issued after
// the mark is good, and a mark that is about somebody else reaches no code.
func TestMarksReachCodesThatAreOut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind, value string
		reached     bool
	}{
		{"subject", "alice", true},
		{"client", "web", true},
		{"tenant", "acme", true},
		{"issuer", "", true},
		{"subject", "bob", false},
		{"client", "other", false},
		{"tenant", "globex", false},
		{"key", "no-key-signed-a-code", false},
	} {
		t.Run(c.kind+" "+c.value, func(t *testing.T) {
			t.Parallel()
			g := startGate(t, "drain:", "revocations: {file: "+filepath.Join(t.TempDir(), "revoked")+"}\ndrain:")
			manage := func() string {
				m, err := issuer.NewMinter(g.Config(), time.Now)
				must(t, err)
				bearer, _, err := m.Management("web", "issue_codes", "", time.Hour)
				must(t, err)
				return bearer
			}
			code := func() string {
				t.Helper()
				status, _, code := g.code(manage())
				if status != 201 {
					t.Fatalf("a code: %d", status)
				}
				return code
			}
			redeem := func(code string) int {
				t.Helper()
				status, _ := g.redeemed(code)
				return status
			}
			oauth := func(code string) int {
				t.Helper()
				r, err := http.NewRequest(http.MethodPost, g.url("/oauth2/token"),
					strings.NewReader(url.Values{"grant_type": {"authorization_code"}, "code": {code}}.Encode()))
				must(t, err)
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				return exchangeOf(t, r).StatusCode
			}
			before := [2]string{code(), code()}
			time.Sleep(2 * time.Millisecond) // the mark lies after both
			body := fmt.Sprintf(`{"kind":%q,"issuer":"https://gate.test","value":%q,"at":%d}`, c.kind, c.value,
				time.Now().UnixMilli())
			if got := g.revoke(adminToken, body); got != 204 {
				t.Fatalf("the mark: %d", got)
			}
			want := [2]int{201, 200}
			if c.reached {
				want = [2]int{400, 400}
			}
			for range 2 { // what is refused is not consumed, and stays refused
				if got := [2]int{redeem(before[0]), oauth(before[1])}; got != want {
					t.Errorf("codes of before the mark: %v, want %v", got, want)
				}
				want = [2]int{400, 400}
			}
			if c.reached {
				g.eventually(`"reason":"code_revoked"`)
			}
			// The management tokens of the marked client are revoked, too: iat is in whole seconds.
			time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
			if got := [2]int{redeem(code()), oauth(code())}; got != [2]int{201, 200} {
				t.Errorf("codes of after the mark: %v", got)
			}
		})
	}
}
