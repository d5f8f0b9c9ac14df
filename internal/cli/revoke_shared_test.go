package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jotgate/jotgate/internal/redistest"
)

// TestRevokeShared revokes, lists and undoes at the store itself, without a gate.
func TestRevokeShared(t *testing.T) {
	t.Parallel()
	store := redistest.Start(t)
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(`version: 1
redis: {url: "`+store.URL()+`"}
replay: {store: redis}
issuer:
  url: https://gate.test
  keys: [{file: main.pem, create: true}]
  code_secrets: [a123456789012345678901234567890123456789]
routes: [{path: /, require: authenticated, upstream: "http://127.0.0.1:1"}]
`), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(want int, args ...string) string {
		t.Helper()
		var out, log bytes.Buffer
		got := Run(&Process{
			Args:  append([]string{"revoke", "--config", file}, args...),
			Stdin: strings.NewReader(""), Stdout: &out, Stderr: &log,
			LookupEnv: func(string) (string, bool) { return "", false },
		})
		if got != want {
			t.Fatalf("%v: exit code %d, want %d: %s", args, got, want, log.String())
		}
		return out.String() + log.String()
	}
	run(0, "--subject", "alice", "--before", "2026-01-02T03:04:05Z")
	if got := run(0, "--subject", "alice", "--before", "2026-01-01T00:00:00Z", "--json"); !strings.Contains(got,
		`"live_tokens": null`) || !strings.Contains(got, `"by": "store"`) {
		t.Errorf("revoked: %s", got)
	}
	if got := run(0, "--jti", "one", "--json"); !strings.Contains(got, `"live_tokens": 1`) {
		t.Errorf("a token: %s", got)
	}
	list := func() (ids map[string]string) {
		var page struct {
			Revocations []struct{ ID, Kind, Before string }
		}
		ids = map[string]string{}
		text, _, _ := strings.Cut(run(0, "--list"), "\n}\n")
		if err := json.Unmarshal([]byte(text+"}"), &page); err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Revocations {
			ids[e.Kind+e.Before] = e.ID
		}
		return ids
	}
	ids := list()
	if len(ids) != 3 {
		t.Fatalf("listed: %v", ids)
	}
	mark := ids["mark2026-01-02T03:04:05Z"]
	if got := run(0, "--undo", mark); !strings.Contains(got, "the mark "+mark+" is undone in the shared store") ||
		!strings.Contains(got, `"event":"undo","outcome":"done","kind":"subject"`) {
		t.Errorf("undone: %s", got)
	}
	if left := list(); len(left) != 2 || left["mark2026-01-01T00:00:00Z"] == "" {
		t.Errorf("left: %v", left)
	}
	for id, reason := range map[string]string{mark: "revocation_unknown", ids["token"]: "revocation_kept"} {
		if got := run(4, "--undo", id); !strings.Contains(got, "refused: "+reason) {
			t.Errorf("undo %s: %s, want %s", id, got, reason)
		}
	}
}
