package app_test

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/app"
	"github.com/jotgate/jotgate/internal/jose"
)

// TestDiffOfSecrets: another secret, or another key under the same kid, widens, since who holds it can make what the
// gate takes. Values that may be credentials are not told.
func TestDiffOfSecrets(t *testing.T) {
	t.Parallel()
	const one, two = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
	parse := func(keys string, edits ...string) *config.Config {
		t.Helper()
		text := strings.NewReplacer(edits...).Replace(comparedConfig)
		c, err := config.Parse("x.yaml", []byte(text), config.Options{ReadFile: func(path string) ([]byte, error) {
			if strings.HasSuffix(path, "keys.json") {
				return []byte(keys), nil
			}
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	set := func() string {
		key, err := jose.Generate("ES256")
		if err != nil {
			t.Fatal(err)
		}
		keys, err := jose.NewKeySet(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		return regexp.MustCompile(`"kid": ?"[^"]*"`).ReplaceAllString(string(keys.JWKS()), `"kid":"same"`)
	}
	keys, others := set(), set()
	secrets := func(list string) []string {
		return []string{"url: http://shop\n", "url: http://shop\n  code_secrets: " + list + "\n"}
	}
	header := func(value string) []string {
		return []string{"{path: /me,", "{path: /me, headers: {request: {set: {X-Key: " + value + "}}},"}
	}
	for name, c := range map[string]struct {
		old, fresh *config.Config
		opens      string // a setting that begins so; "": nothing
	}{
		"the same":       {parse(keys, secrets(`[`+one+`]`)...), parse(keys, secrets(`[`+one+`]`)...), ""},
		"another secret": {parse(keys, secrets(`[`+one+`]`)...), parse(keys, secrets(`[`+two+`]`)...), "issuer.code_secrets"},
		"one more secret": {
			parse(keys, secrets(`[`+one+`]`)...), parse(keys, secrets(`[`+one+`, `+two+`]`)...), "issuer.code_secrets",
		},
		"one secret less":     {parse(keys, secrets(`[`+one+`, `+two+`]`)...), parse(keys, secrets(`[`+one+`]`)...), ""},
		"a key of that kid":   {parse(keys), parse(others), "trusted_issuers[https://kc.example].keys"},
		"a field that is set": {parse(keys, header(one)...), parse(keys, header(two)...), "routes[/me].headers.request.set"},
	} {
		d, err := app.NewDiff(c.old, c.fresh, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		opens := false
		for _, line := range changed(d.Changes()) {
			if strings.Contains(line, one) || strings.Contains(line, two) {
				t.Errorf("%s: tells a secret: %s", name, line)
			}
			opens = opens || c.opens != "" && strings.HasPrefix(line, "opens "+c.opens)
			if c.opens == "" && strings.HasPrefix(line, "opens") {
				t.Errorf("%s: %s", name, line)
			}
		}
		if c.opens != "" && !opens {
			t.Errorf("%s: %q, want %s to open", name, changed(d.Changes()), c.opens)
		}
	}
}
