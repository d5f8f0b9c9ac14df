package e2e_test

import (
	"net"
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

// freePort is a port that nothing listens on at this moment.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// A refusal that happened is explained by the id that its answer has, by the command line too.
func TestExplainByRequestID(t *testing.T) {
	t.Parallel()
	g := openGate(t, `version: 1
listeners: [{name: main, address: "127.0.0.1:0"}]
admin: {listen: "127.0.0.1:`+freePort(t)+`", token: an-admin-token-of-the-test}
routes: [{path: "/t/{tenant}/", require: {tenant_from: path.tenant, action: WRITE}, upstream: "http://127.0.0.1:9"}]
`+issuing)
	token := g.token(t)
	r, err := http.NewRequest("GET", "http://"+g.at(t, "main")+"/t/acme/7?q=secret-query", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	id := answer.Header.Get("X-Request-Id")
	if answer.StatusCode != 403 || id == "" {
		t.Fatalf("%d, id %q", answer.StatusCode, id)
	}
	p := start(t, g.folder, g.env, "explain", "--config", "config.yaml", "--request-id", id)
	if code := p.exit(t); code != 4 {
		t.Errorf("exit code %d", code)
	}
	out, _ := p.stdout.read()
	for _, want := range []string{
		"request " + id, "subject alice", "REFUSED  403 action_denied", "/t/acme/7", "refused", "permission",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, token) || strings.Contains(out, "secret-query") {
		t.Errorf("a credential, or the query:\n%s", out)
	}
	p = start(t, g.folder, g.env, "explain", "--config", "config.yaml", "--request-id", "unknown-to-it")
	if code := p.exit(t); code != 1 {
		t.Errorf("an unknown id: exit code %d", code)
	}
}
