package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jotgate/jotgate/internal/keyfile"
)

// many writes a config of n clients and n routes.
func many(t testing.TB, n int) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("version: 1\nissuer:\n  url: https://gate.test\n  keys: [{file: main.pem, create: true}]\n  clients:\n")
	for i := range n {
		fmt.Fprintf(&b, "    - {id: c%d, secret: 0123456789abcdefghijkl%d, may: [issue_codes], delegate: [{tenant: \"*\", "+
			"actions: [READ]}]}\n", i, i)
	}
	b.WriteString("roles: {reader: [{tenant: \"{tenant}\", actions: [READ]}]}\nroutes:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {path: \"/r%d/{tenant}/\", require: {tenant_from: path.tenant, action: READ}, upstream: "+
			"\"http://127.0.0.1:3000\"}\n", i)
	}
	file := filepath.Join(t.TempDir(), "gate.yaml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Reading a config costs each client and each route the same, however many there are. What is counted is allocations,
// which no other load on the machine changes: work that grows with the square would show.
func TestReadingAConfigIsLinear(t *testing.T) {
	cost := func(n int) float64 {
		file := many(t, n)
		return testing.AllocsPerRun(1, func() {
			if _, err := keyfile.Load(file); err != nil {
				t.Fatal(err)
			}
		}) / float64(n)
	}
	few, most := cost(200), cost(2000)
	if most > 1.2*few {
		t.Errorf("a client and a route cost %.0f allocations among 200, %.0f among 2,000", few, most)
	}
}

func BenchmarkTenThousandClientsAndRoutes(b *testing.B) {
	file := many(b, 10_000)
	for b.Loop() {
		if _, err := keyfile.Load(file); err != nil {
			b.Fatal(err)
		}
	}
}
