package cli

import (
	"bytes"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jotgate/jotgate/internal/admin"
)

func TestReloadAsksTheRunningGate(t *testing.T) {
	t.Parallel()
	const token = "0123456789012345678901"
	var asked int
	var answer error
	gate := httptest.NewServer(admin.New(admin.Options{
		Token: func() string { return token }, Ready: func() error { return nil },
		Reload: func() error { asked++; return answer },
	}))
	defer gate.Close()
	file := filepath.Join(t.TempDir(), "gate.yaml")
	for _, c := range []struct {
		name, admin, more string
		answer            error
		code, asked       int
		says              string
	}{
		{"done", `token: "` + token + `"`, "", nil, exitFine, 1, ""},
		{
			"refused", `token: "` + token + `"`, "", errors.New("listeners: cannot change"), exitFailed, 1,
			"the running gate answered 409: listeners: cannot change",
		},
		{"another token", `token: "9876543210987654321098"`, "", nil, exitFailed, 0, "the running gate answered 401"},
		{"no token", "", "", nil, exitFailed, 0, "set admin.listen and admin.token"},
		{"faults", `token: "` + token + `"`, "rutes: []", nil, exitConfig, 0, "did you mean routes?"},
		{
			"a failing test", `token: "` + token + `"`, `tests: [{request: "GET http://x/a", expect: refuse}]`, nil, exitConfig,
			0, "tests[0]",
		},
	} {
		asked, answer = 0, c.answer
		text := fmt.Sprintf("version: 1\nadmin: {listen: %q, %s}\nroutes: [{path: /a, public: true, upstream: "+
			"\"http://127.0.0.1:9\"}]\n%s\n",
			strings.TrimPrefix(gate.URL, "http://"), c.admin, c.more)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		code := Run(&Process{
			Args: []string{"reload", "--config", file}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
			LookupEnv: func(string) (string, bool) { return "", false },
		})
		if code != c.code || asked != c.asked || !strings.Contains(errs.String(), c.says) || c.says == "" && errs.Len() > 0 ||
			out.Len() > 0 {
			t.Errorf("%s: exit code %d, asked %d times, says %q %q; want %d, %d, %q", c.name, code, asked, out.String(),
				errs.String(), c.code, c.asked, c.says)
		}
		if strings.Contains(errs.String(), token) {
			t.Errorf("%s: the message shows the token", c.name)
		}
	}
}
