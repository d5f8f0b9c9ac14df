package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jotgate/jotgate/internal/listen/listentest"
)

// TestRoutesThatNameListeners holds files to the exact faults and warnings that a route's listeners bring.
func TestRoutesThatNameListeners(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	pair := listentest.WritePair(t, "gate.test")
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"one.pem", "two.pem"} {
		ca, err := os.ReadFile(listentest.WritePair(t, name).Cert)
		if err != nil {
			t.Fatal(err)
		}
		write(name, string(ca))
	}
	head := `version: 1
decision: {listen: "127.0.0.1:4180"}
listeners:
  - {name: main, address: ":1"}
  - {name: one, address: ":2", tls: {certificates: [{cert: $CERT, key: $KEY}], client_ca: one.pem}}
  - {name: two, address: ":3", tls: {certificates: [{cert: $CERT, key: $KEY}], client_ca: two.pem}}
  - {name: plain, address: ":4", redirect: https}
issuer: {url: http://gate, keys: [{file: k.pem, create: true}]}
upstreams: {app: {servers: ["http://127.0.0.1:3000"]}}
routes:
`
	head = strings.NewReplacer("$CERT", pair.Cert, "$KEY", pair.Key).Replace(head)
	const cert = "require: {client_cert: {san: [a.internal]}}, upstream: app"
	for _, c := range []struct{ name, routes, want string }{
		{"two authorities", "  - {path: /a, " + cert + "}", `gate.yaml:11:39: routes[0].require.client_cert: is met by a ` +
			`certificate of any of its listeners' client_ca, and these differ; name in the route's listeners those with one ` +
			`client_ca, or use one client_ca on all of them`},
		{"two authorities, one of them the route's", "  - {path: /a, listeners: [main, one], " + cert + "}", ""},
		{"two authorities, named", "  - {path: /a, listeners: [one, two], " + cert + "}", `gate.yaml:11:62: ` +
			`routes[0].require.client_cert: is met by a certificate of any of its listeners' client_ca, and these differ; ` +
			`name in the route's listeners those with one client_ca, or use one client_ca on all of them`},
		{"a route for each authority", "  - {path: /a, listeners: [one], " + cert + "}\n  - {path: /a, listeners: [two], " +
			cert + "}\n  - {path: /a, listeners: [main, decision], require: authenticated, upstream: app}", ""},
		{"no authority", "  - {path: /a, listeners: [main], " + cert + "}", `gate.yaml:11:58: ` +
			`routes[0].require.client_cert: cannot be met: none of the route's listeners asks for client certificates; set ` +
			`client_ca in the tls of one of them`},
		{
			"names of no listener", `  - {path: /a, listeners: [mian, ":2", plain], public: true, upstream: app}`,
			`gate.yaml:11:28: routes[0].listeners[0]: "mian" is not the name of a listener; write one of main, one, two, decision
gate.yaml:11:34: routes[0].listeners[1]: ":2" is not the name of a listener; write one of main, one, two, decision
gate.yaml:11:40: routes[0].listeners[2]: "plain" redirects every request and has no routes; name another listener`,
		},
		{
			"for questions alone, elsewhere", "  - {path: /a, listeners: [main], public: true, upstream: none}",
			`gate.yaml:11:59: routes[0].upstream: is for decision alone, which listeners does not name; add decision to the ` +
				`route's listeners, or name an upstream`,
		},
		{"one listener in common", "  - {path: /a, listeners: [main, one], public: true, upstream: app}\n" +
			"  - {path: /a, listeners: [one, two], public: true, upstream: app}", `gate.yaml:12:5: routes[1]: has the same ` +
			`hosts and path as routes[0]; remove one of the two, or give them different methods`},
		{"a place of a route elsewhere", "  - {path: /a/, strip_prefix: /a, require: authenticated, upstream: app}\n" +
			"  - {path: /b, listeners: [one], require: authenticated, upstream: app}", `gate.yaml:11:12: routes[0].path: ` +
			`reaches "/b" at the upstream, which is the place of routes[1] ("/b"), and asks for less; choose other prefixes, ` +
			`let both ask for the same, or write insecure_allow: [rewritten]`},
		{
			"one place, on each listener another demand",
			"  - {path: /a/, strip_prefix: /a, listeners: [main], require: authenticated, upstream: app}\n" +
				"  - {path: /a/, strip_prefix: /a, listeners: [one], " + cert + "}", "",
		},
		{"a test on no listener", "  - {path: /a, public: true, upstream: app}\ntests:\n" +
			`  - {request: "GET http://a/a", listener: plain, expect: allow}`, `gate.yaml:13:43: tests[0].listener: "plain" is ` +
			`not the name of a listener that has routes; write one of main, one, two, decision`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(folder, "gate.yaml")
			got, err := Parse(file, []byte(head+c.routes+"\n"), Options{Env: noEnvironment})
			text := ""
			if err != nil {
				text = err.Error()
			} else {
				text = Faults(got.Warnings).Error()
			}
			if text = strings.ReplaceAll(text, file, "gate.yaml"); text != c.want {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
		})
	}
}

// TestTheAuthoritiesOfClientCertificates: a client's name means what its one authority says.
func TestTheAuthoritiesOfClientCertificates(t *testing.T) {
	t.Parallel()
	pair := listentest.WritePair(t, "gate.test")
	one, two := pair.Cert, listentest.WritePair(t, "another.test").Cert
	for _, c := range []struct{ name, first, second, want string }{
		{"two that differ", one, two, `gate.yaml:5:124: issuer.clients[0].tls_client_auth: is met by a certificate of any ` +
			`listener's client_ca, and these differ; use one client_ca on all listeners that have one`},
		{"twice the same", one, one, ""},
	} {
		files := strings.NewReplacer("$CERT", pair.Cert, "$KEY", pair.Key, "$ONE", c.first, "$TWO", c.second)
		text := files.Replace(`version: 1
listeners:
  - {name: one, address: ":2", tls: {certificates: [{cert: $CERT, key: $KEY}], client_ca: $ONE}}
  - {name: two, address: ":3", tls: {certificates: [{cert: $CERT, key: $KEY}], client_ca: $TWO}}
issuer: {url: http://gate, keys: [{file: k.pem, create: true}], clients: [{id: orders, may: [introspect], tls_client_auth: {san_dns: a.internal}}]}
`)
		got, err := Parse("gate.yaml", []byte(text), Options{Env: noEnvironment})
		said := ""
		if err != nil {
			said = err.Error()
		} else {
			said = Faults(got.Warnings).Error()
		}
		if said != c.want {
			t.Errorf("%s: %s\nwant %s", c.name, said, c.want)
		}
	}
	got, err := Parse("gate.yaml", []byte(`version: 1
issuer:
  url: http://gate
  keys: [{file: k.pem, create: true}]
  serve: {dialects: [codes]}
  clients: [{id: orders, may: [create_access_tokens], tls_client_auth: {san_dns: a.internal}}]
`), hermetic)
	if err != nil {
		t.Fatal(err)
	}
	const want = `gate.yaml:6:72: issuer.clients[0].tls_client_auth: cannot be met: no listener asks for client ` +
		`certificates; ` +
		`set client_ca in a listener's tls
gate.yaml:6:72: issuer.clients[0].tls_client_auth: cannot be met: only the dialect oauth2 takes client certificates, and ` +
		`issuer.serve.dialects lacks it; add oauth2
gate.yaml:6:72: issuer.clients[0].tls_client_auth: conflicts with create_access_tokens in may: that API issues no bound ` +
		`tokens; remove the word from may, or use another client for it`
	if said := Faults(got.Warnings).Error(); said != want {
		t.Errorf("%s\nwant %s", said, want)
	}
}

func TestAListenerIsNotCalledLikeThatOfDecision(t *testing.T) {
	t.Parallel()
	_, err := Parse("gate.yaml", []byte(`version: 1
listeners: [{name: decision, address: ":1"}]
decision: {listen: "127.0.0.1:4180"}
routes: [{path: /, public: true, upstream: "http://127.0.0.1:3000"}]
`), hermetic)
	const want = "gate.yaml:2:13: listeners[0]: has the name of the listener of decision; give it another name"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
