package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestValues reads one key after another with values at and beyond what it takes.
func TestValues(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ key, value, want string }{
		{"limits.body_bytes", "65536", "65536"},
		{"limits.body_bytes", "64KiB", "65536"},
		{"limits.body_bytes", "3MiB", "3145728"},
		{"limits.body_bytes", "2GiB", "2147483648"},
		{"limits.body_bytes", "0", "0"},
		{"limits.body_bytes", `"${env:SIZE}"`, "1024"},
		{"limits.body_bytes", "1.5MiB", "is not a size"},
		{"limits.body_bytes", "64 KiB", "is not a size"},
		{"limits.body_bytes", "0x10", "is not a size"},
		{"limits.body_bytes", "010", "is not a size"},
		{"limits.body_bytes", "9223372036854775807GiB", "is not a size"},
		{"limits.body_bytes", "99999999999999999999", "is not a size"},
		{"limits.header_bytes", "4KiB", "4096"},
		{"limits.header_bytes", "4095", "is less than 4KiB; write 4KiB to 1MiB"},
		{"limits.header_bytes", "1048577", "is more than 1MiB; write 4KiB to 1MiB"},
		{"clock_leeway", "60s", "1m0s"},
		{"clock_leeway", "1m", "1m0s"},
		{"clock_leeway", "0s", "0s"},
		{"clock_leeway", "1500ms", "1.5s"},
		{"clock_leeway", "61s", "is more than 1m; write 0s to 1m"},
		{"clock_leeway", "-1ns", "is less than 0s; write 0s to 1m"},
		{"clock_leeway", "60", "has no unit; write 60s for seconds, or use ms, m, h"},
		{"clock_leeway", "0", "has no unit; write 0s for seconds, or use ms, m, h"},
		{"clock_leeway", "1d", "is not a duration"},
		{"clock_leeway", "60 s", "is not a duration"},
		{"limits.connections", "1", "1"},
		{"limits.connections", "0", "is less than 1"},
		{"limits.connections", "1_000", "is not a whole number"},
		{"limits.connections", `"10"`, "is a quoted string, not a whole number; remove the quotes"},
		{"limits.connections", "10s", "is not a whole number"},
		{"log.access", "true", "true"},
		{"log.access", "True", "is neither true nor false"},
		{"log.access", "yes", "is not true or false"},
		{"log.access", "1", "is not true or false"},
		{"log.level", "debug", "debug"},
		{"log.level", "Debug", `is not a valid value; did you mean debug?`},
	} {
		text := "version: 1\nroutes: [{path: /, public: true, upstream: \"http://127.0.0.1:3000\"}]\n"
		if section, key, nested := strings.Cut(c.key, "."); nested {
			text += section + ": {" + key + ": " + c.value + "}\n"
		} else {
			text += c.key + ": " + c.value + "\n"
		}
		opts := hermetic
		opts.Env = func(string) (string, bool) { return "1KiB", true }
		got, err := Parse("gate.yaml", []byte(text), opts)
		if err != nil {
			if !strings.Contains(err.Error(), ": "+c.key+": ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %s: got %v, want %s", c.key, c.value, err, c.want)
			}
			continue
		}
		read := map[string]any{
			"limits.body_bytes": got.Limits.BodyBytes, "limits.header_bytes": got.Limits.HeaderBytes,
			"limits.connections": got.Limits.Connections, "clock_leeway": got.ClockLeeway,
			"log.access": got.Log.Access, "log.level": got.Log.Level,
		}[c.key]
		if fmt.Sprint(read) != c.want {
			t.Errorf("%s: %s: got %v, want %s", c.key, c.value, read, c.want)
		}
	}
}

func TestDefaultsOfOptionalSections(t *testing.T) {
	t.Parallel()
	const text = `version: 1
issuer:
  url: http://gate
  keys: [{file: k.pem, create: true}]
  clients: [{id: web, code_ttl: 10m, public: true, secret_sha256: null}]
  users: {lookup: {url: "http://users/{user_id}"}}
upstreams:
  app: {servers: [http://127.0.0.1:3000], max_connections: 10, assertion: {audience: app}}
routes: []
`
	c, err := Parse("gate.yaml", []byte(strings.Replace(text, ", secret_sha256: null", "", 1)), hermetic)
	if err != nil {
		t.Fatal(err)
	}
	wantLookup := &UserLookup{
		URL: "http://users/{user_id}", Timeout: 2 * time.Second, Cache: 30 * time.Second,
		Entries: 10000, Bytes: 64 << 10,
	}
	if diff := cmp.Diff(&Users{Lookup: wantLookup}, c.Issuer.Users, same); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
	want := upstreamWithDefaults("app", server(t, "http://127.0.0.1:3000"))
	want.MaxConnections, want.MaxIdle = 10, 10
	want.Assertion = &Assertion{Header: "X-Jotgate-Assertion", Audience: "app", TTL: time.Minute}
	if diff := cmp.Diff(want, c.Upstreams["app"], same); diff != "" {
		t.Errorf("upstream (-want +got):\n%s", diff)
	}
	if client := c.Issuer.Clients[0]; client.CodeTTL != 10*time.Minute || !client.Public {
		t.Errorf("client %+v", client)
	}
	if _, err := Parse("gate.yaml", []byte(text), hermetic); err == nil ||
		!strings.Contains(err.Error(), "secret_sha256: [redacted] is nothing in YAML, not a string") {
		t.Errorf("a null secret: %v", err)
	}
}

// The file of a large installation is within what one file may hold.
func TestManyRoutes(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("version: 1\nupstreams: {app: {servers: [http://127.0.0.1:3000]}}\nroutes:\n")
	for i := range 2_000 {
		fmt.Fprintf(&b, "  - {name: r%d, path: \"/r%d/{tenant}/\", public: true, upstream: app}\n", i, i)
	}
	c, err := Parse("gate.yaml", []byte(b.String()), hermetic)
	if err != nil || len(c.Routes) != 2_000 {
		t.Fatal(err)
	}
}
