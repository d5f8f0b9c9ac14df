package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Lines for people where the config asks for them, JSON where it does not: the log goes to a pipe here.
func TestTheLogIsJSONOrText(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{
		"":               `(?m)^\{"level":"info",.*"msg":"listening","listener":"main","address":"(127\.0\.0\.1:\d+)"`,
		"format: json, ": `(?m)^\{"level":"info",.*"msg":"listening","listener":"main","address":"(127\.0\.0\.1:\d+)"`,
		"format: text, ": `(?m)^\d\d:\d\d:\d\d\.\d{3} INFO  listening listener=main address=(127\.0\.0\.1:\d+) tls=false$`,
	} {
		folder := t.TempDir()
		config := "version: 1\nlisten: 127.0.0.1:0\nadmin: {listen: \"\"}\nlog: {" + format + "access: true}\n" +
			"routes: [{path: /, public: true, upstream: \"http://127.0.0.1:9\"}]\n"
		if err := os.WriteFile(filepath.Join(folder, "config.yaml"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		p := start(t, folder, nil, "serve", "--config", "config.yaml")
		found := regexp.MustCompile(want).FindStringSubmatch(p.until(t, p.stderr, "listener"))
		if found == nil {
			t.Fatalf("%q: no line like %s", format, want)
		}
		answer, err := http.Get("http://" + found[1] + "/x?secret")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		log := p.until(t, p.stderr, "upstream_unreachable")
		if text := strings.Contains(log,
			" INFO  access 502 GET 127.0.0.1/x upstream_unreachable "); text != strings.Contains(format, "text") {
			t.Errorf("%q: %s", format, log)
		}
		if strings.Contains(log, "secret") {
			t.Errorf("%q: the query is in the log", format)
		}
	}
}
