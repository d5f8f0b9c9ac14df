package app_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// operate asks the admin listener with the operator's token, or with another.
func (g *gate) operate(method, path, token, body string) (int, string) {
	g.t.Helper()
	r, err := http.NewRequest(method, "http://"+g.AdminAddr().String()+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

const operatorToken = "an-admin-token-of-the-test"

func TestReloadThroughAdmin(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	g.write("{path: /open/", "{path: /opened/")
	if status, _ := g.operate("POST", "/reload", "somebody", ""); status != 401 {
		t.Errorf("a stranger's reload is answered %d", status)
	}
	if status, _, _ := g.get("/opened/"); status != 404 {
		t.Errorf("a stranger has reloaded: /opened/ answers %d", status)
	}
	if status, body := g.operate("POST", "/reload", operatorToken, ""); status != 204 {
		t.Errorf("reload: %d %s", status, body)
	}
	if status, _, _ := g.get("/opened/"); status != 200 {
		t.Errorf("after the reload /opened/ answers %d", status)
	}
	g.write("routes:", "rutes:")
	status, body := g.operate("POST", "/reload", operatorToken, "")
	if status != 409 || !strings.Contains(body, ":10:1: rutes: is not a known key; did you mean routes?") {
		t.Errorf("a bad config: %d %s", status, body)
	}
	if status, _, _ := g.get("/opened/"); status != 200 {
		t.Errorf("after the bad reload /opened/ answers %d", status)
	}
}

func TestLogLevelWhileItRuns(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	for _, c := range []struct {
		token, body string
		want        int
	}{
		{"somebody", `{"level":"debug"}`, 401},
		{operatorToken, `{"level":"loud"}`, 400},
		{operatorToken, `{"level":"fatal"}`, 400},
		{operatorToken, `{"level":"error","level":"info"}`, 400},
		{operatorToken, `{"lvl":"error"}`, 400},
		{operatorToken, `{}`, 400},
		{operatorToken, `{"level":"error"}`, 204},
	} {
		if status, body := g.operate("PUT", "/log-level", c.token, c.body); status != c.want {
			t.Errorf("%s: %d %s, want %d", c.body, status, body, c.want)
		}
	}
	g.eventually(`"level":"error"`)
	if err := g.Reload(); err != nil { // the file's level comes back before this is said
		t.Fatal(err)
	}
	g.eventually(`"msg":"reloaded"`)
}

func TestProfilesAreOptIn(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	if status, _ := g.operate("GET", "/debug/pprof/goroutine", operatorToken, ""); status != 404 {
		t.Errorf("without admin.pprof: %d", status)
	}
	g.write("admin: {", "admin: {pprof: true, ")
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	if status, _ := g.operate("GET", "/debug/pprof/goroutine", operatorToken, ""); status != 200 {
		t.Errorf("with admin.pprof: %d", status)
	}
	if status, _ := g.operate("GET", "/debug/pprof/goroutine", "somebody", ""); status != 401 {
		t.Errorf("a stranger: %d", status)
	}
}
