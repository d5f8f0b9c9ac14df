package app_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/issuer"
)

// revoke posts a revocation to the admin listener.
func (g *gate) revoke(token, body string) int {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), http.MethodPost, "http://"+g.AdminAddr().String()+"/revocations",
		strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	a, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		g.t.Fatal(err)
	}
	_ = a.Body.Close()
	return a.StatusCode
}

const adminToken = "an-admin-token-of-the-test"

// TestRevokedOnTheVeryNextRequest revokes a token that the cache knows, by its jti and by each kind of mark.
func TestRevokedOnTheVeryNextRequest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ kind, value string }{
		{"token", "$JTI"}, {"subject", "alice"}, {"client", "web"}, {"tenant", "acme"}, {"key", "$KID"}, {"issuer", ""},
	} {
		t.Run(c.kind, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "revoked")
			g := startGate(t, "drain:", "revocations: {file: "+file+"}\ndrain:")
			m, err := issuer.NewMinter(g.Config(), time.Now)
			if err != nil {
				t.Fatal(err)
			}
			token, claims, err := m.ForRole("web", "reader", "acme", "alice", time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			open := func(tenant, bearer string) int {
				status, _, _ := g.get("/t/"+tenant+"/", "Authorization", "Bearer "+bearer)
				return status
			}
			for range 2 { // the second time from the cache
				if got := open("acme", token); got != 200 {
					t.Fatalf("before: %d", got)
				}
			}
			value := strings.NewReplacer("$JTI", claims.ID, "$KID", g.Config().Issuer.Keys[0].ID()).Replace(c.value)
			// The mark lies in the next second, since iat is in whole ones.
			at := time.Now().Add(time.Second).UnixMilli()
			body := fmt.Sprintf(`{"kind":%q,"issuer":"https://gate.test","value":%q,"at":%d}`, c.kind, value, at)
			for _, refused := range []struct {
				token, body string
				want        int
			}{
				{"", body, 401},
				{"not-the-admin-token-0123", body, 401},
				{adminToken, strings.Replace(body, "{", `{"extra":1,`, 1), 400},
				{adminToken, strings.Replace(body, c.kind, "everything", 1), 400},
				// seconds
				{adminToken, fmt.Sprintf(`{"kind":"token","issuer":"https://gate.test","value":%q,"at":%d}`, claims.ID,
					claims.Expiry/1000), 400},
			} {
				if got := g.revoke(refused.token, refused.body); got != refused.want {
					t.Errorf("%s: %d, want %d", refused.body, got, refused.want)
				}
				if got := open("acme", token); got != 200 {
					t.Fatalf("after a refused revocation: %d", got)
				}
			}
			if got := g.revoke(adminToken, body); got != 204 {
				t.Fatalf("revocation: %d", got)
			}
			if got := open("acme", token); got != 401 {
				t.Errorf("after: %d, want 401", got)
			}
			g.eventually(`"reason":"token_revoked"`)
			g.eventually(`"event":"withdraw"`)
			g.eventually(`"msg":"admin refused"`)
			if err := g.Reload(); err != nil {
				t.Fatal(err)
			}
			if got := open("acme", token); got != 401 {
				t.Errorf("after a reload: %d, want 401", got)
			}
			if journal, err := os.ReadFile(file); err != nil || strings.Contains(string(journal), "eyJ") {
				t.Errorf("journal %s, %v", journal, err)
			}
		})
	}
}

func TestWithoutAFileNothingClaimsToRevoke(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	if got := g.revoke(adminToken, `{"kind":"subject","issuer":"https://gate.test","value":"alice","at":1}`); got != 501 {
		t.Errorf("revocation without a file: %d, want 501", got)
	}
}
