package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/jotgate/jotgate/issuer"
)

// askAdmin asks the admin listener with the token.
func (g *gate) askAdmin(method, path, token string) (status int, body []byte) {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), method, "http://"+g.AdminAddr().String()+path, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	a, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer a.Body.Close()
	if body, err = io.ReadAll(a.Body); err != nil {
		g.t.Fatal(err)
	}
	return a.StatusCode, body
}

// TestUndoOnTheVeryNextRequest lists what is revoked, and takes a mark back.
func TestUndoOnTheVeryNextRequest(t *testing.T) {
	t.Parallel()
	g := startGate(t, "drain:", "revocations: {file: "+filepath.Join(t.TempDir(), "revoked")+"}\ndrain:")
	m, err := issuer.NewMinter(g.Config(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	token, claims, err := m.ForRole("web", "reader", "acme", "alice", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	open := func() int {
		status, _, _ := g.get("/t/acme/", "Authorization", "Bearer "+token)
		return status
	}
	list := func() (entries []map[string]string) {
		status, body := g.askAdmin("GET", "/revocations?limit=1", adminToken)
		for {
			var page struct {
				Revocations []map[string]string
				Next        string
			}
			if err := json.Unmarshal(body, &page); status != 200 || err != nil {
				t.Fatalf("%d %s: %v", status, body, err)
			}
			if entries = append(entries, page.Revocations...); page.Next == "" {
				return entries
			}
			status, body = g.askAdmin("GET", "/revocations?limit=1&after="+page.Next, adminToken)
		}
	}
	if got := list(); len(got) != 0 {
		t.Fatalf("at first: %v", got)
	}
	at := time.Now().Add(time.Second).UTC().Truncate(time.Millisecond)
	for _, kind := range []string{"subject", "token"} {
		value, end := "alice", at
		if kind == "token" {
			value, end = "of-another", at.Add(time.Hour)
		}
		body := fmt.Sprintf(`{"kind":%q,"issuer":"https://gate.test","value":%q,"at":%d}`, kind, value, end.UnixMilli())
		if got := g.revoke(adminToken, body); got != 204 {
			t.Fatalf("revoke: %d", got)
		}
	}
	if got := open(); got != 401 {
		t.Fatalf("marked: %d, want 401", got)
	}
	ids := map[string]string{}
	for _, e := range list() {
		ids[e["kind"]] = e["id"]
		switch e["kind"] {
		case "mark":
			if e["subject"] != claims.Subject || e["before"] != at.Format(time.RFC3339Nano) ||
				e["issuer"] != "https://gate.test" {
				t.Errorf("mark: %v", e)
			}
		case "token":
			if e["jti"] != "of-another" || e["expires"] != at.Add(time.Hour).Format(time.RFC3339Nano) {
				t.Errorf("token: %v", e)
			}
		}
	}
	for _, c := range []struct {
		method, path, token string
		want                int
	}{
		{"GET", "/revocations", "", 401},
		{"DELETE", "/revocations/" + ids["mark"], "", 401},
		{"DELETE", "/revocations/" + ids["mark"], "not-the-admin-token-0123", 401},
		{"GET", "/revocations?limit=0", adminToken, 400},
		{"GET", "/revocations?limit=1001", adminToken, 400},
		{"GET", "/revocations?page=2", adminToken, 400},
		{"GET", "/revocations?limit=1&limit=2", adminToken, 400},
		{"DELETE", "/revocations", adminToken, 405},
		{"GET", "/revocations/" + ids["mark"], adminToken, 405},
		{"DELETE", "/revocations/", adminToken, 404},
		{"DELETE", "/revocations/00000000000000000000000000000000", adminToken, 404},
		{"DELETE", "/revocations/" + ids["token"], adminToken, 409},
	} {
		if got, body := g.askAdmin(c.method, c.path, c.token); got != c.want {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, got, body, c.want)
		}
	}
	if got := open(); got != 401 {
		t.Fatalf("after what was refused: %d, want 401", got)
	}
	if got, body := g.askAdmin("DELETE", "/revocations/"+ids["mark"], adminToken); got != 204 {
		t.Fatalf("undo: %d %s", got, body)
	}
	g.eventually(`"event":"undo","outcome":"done","kind":"subject"`)
	g.eventually(`"event":"undo","outcome":"refused","kind":"token"`)
	if got := open(); got != 200 {
		t.Errorf("undone: %d, want 200", got)
	}
	if got := list(); len(got) != 1 || got[0]["kind"] != "token" {
		t.Errorf("left: %v", got)
	}
}
