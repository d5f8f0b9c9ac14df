package e2e_test

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/jotgate/jotgate"

// floors lists every package of the module with its floor. Imports point down, or stay on floor 0:
//
//	main -> cli -> app -> {listen, issuer, proxy, decision, admin} -> {config, the other internal packages}
//
// A new package fails the test until it is listed here.
var floors = map[string]int{
	"main":         4,
	"internal/cli": 3,
	"internal/app": 2,

	"internal/admin":             1,
	"internal/admin/console":     1,
	"internal/decision":          1,
	"internal/listen":            1,
	"internal/listen/listentest": 1,
	"internal/logout":            1,
	"issuer":                     1,
	"issuer/code":                1,
	"proxy":                      1,

	"config":                    0,
	"internal/buffers":          0,
	"internal/clientcert":       0,
	"internal/cors":             0,
	"internal/deadline":         0,
	"internal/dpop":             0,
	"internal/dpop/dpoptest":    0,
	"internal/endpoint":         0,
	"internal/grammar":          0,
	"internal/httpserver":       0,
	"internal/httpserver/h1":    0,
	"internal/httpserver/h2":    0,
	"internal/httpserver/h2std": 0,
	"internal/jose":             0,
	"internal/keyfile":          0,
	"internal/keysets":          0,
	"internal/otel":             0,
	"internal/redisstore":       0,
	"internal/dnstest":          0,
	"internal/redistest":        0,
	"internal/refusal":          0,
	"internal/replay":           0,
	"internal/request":          0,
	"internal/revoke":           0,
	"internal/route":            0,
	"internal/sdnotify":         0,
	"internal/strictjson":       0,
	"internal/strictyaml":       0,
	"internal/ticket":           0,
	"internal/telemetry":        0,
	"internal/template":         0,
	"internal/token":            0,
	"internal/trust":            0,
	"internal/upstream":         0,
	"internal/upstream/h1":      0,

	// Programs and tests beside the product: nothing imports them.
	"bench":                outside,
	"examples/browser/app": outside,
	"examples/clients/go":  outside,
	"examples/edge/app":    outside,
	"examples/sidecar/app": outside,
	"test/browser":         outside,
	"test/clients":         outside,
	"test/e2e":             outside,
	"test/issuers":         outside,
}

const outside = 5

// configImports are the only packages of ours that config imports.
var configImports = []string{
	"internal/endpoint", "internal/grammar", "internal/jose", "internal/route", "internal/strictjson",
	"internal/strictyaml", "internal/token",
}

// testHelpers may be imported by tests alone.
var testHelpers = []string{
	"internal/dnstest", "internal/dpop/dpoptest", "internal/listen/listentest", "internal/redistest",
}

// inside returns a package's place in the module, "main" for its top.
func inside(pkg string) string {
	if pkg == module {
		return "main"
	}
	return strings.TrimPrefix(pkg, module+"/")
}

// top returns the house that a package belongs to: issuer for issuer/code.
func top(name string) string {
	parts := strings.SplitN(name, "/", 3)
	if parts[0] == "internal" && len(parts) > 1 {
		return parts[0] + "/" + parts[1]
	}
	return parts[0]
}

// mayImport reports why the import of one package by another is against the rules, or "".
func mayImport(from, to string) (why string) {
	from, to = inside(from), inside(to)
	if strings.HasPrefix(to, "github.com/lestrrat-go/jwx") {
		if from != "internal/jose" {
			return "only internal/jose imports jwx"
		}
		return ""
	}
	if to == "text/template" || to == "html/template" {
		return "a program with text/template keeps every exported method (docs/decisions/0013-what-a-build-holds.md)"
	}
	high, listed := floors[from]
	if !listed {
		return from + " is not listed in floors"
	}
	low, ours := floors[to]
	switch {
	case !ours:
		return "" // a library; a package of ours that is not listed is reported by itself
	case low > high || low == outside:
		return "imports point down"
	case low == high && high == 1 && top(from) != top(to):
		return "listen, issuer, proxy, decision and admin never import each other"
	case from == "config" && !slices.Contains(configImports, to):
		return "config imports only " + strings.Join(configImports, ", ")
	case slices.Contains(testHelpers, to):
		return "only tests import " + to
	}
	return ""
}

func TestMayImportKnowsTheRules(t *testing.T) {
	t.Parallel()
	for _, arrow := range []struct {
		from, to string
		allowed  bool
	}{
		{"", "internal/cli", true},
		{"internal/cli", "", false},
		{"internal/cli", "internal/app", true},
		{"internal/app", "internal/cli", false},
		{"internal/app", "proxy", true},
		{"internal/app", "internal/listen", true},
		{"internal/listen", "proxy", false},
		{"internal/upstream", "internal/listen", false},
		{"proxy", "internal/app", false},
		{"proxy", "issuer", false},
		{"issuer/code", "proxy", false},
		{"issuer", "issuer/code", true},
		{"proxy", "config", true},
		{"proxy", "internal/redistest", false},
		{"config", "proxy", false},
		{"config", "internal/request", false},
		{"internal/token", "config", true},
		{"internal/replay", "issuer/code", false},
		{"internal/unheard", "config", false},
		{"proxy", "bench", false},
		{"proxy", "github.com/google/uuid", true},
		{"internal/cli", "text/template", false},
		{"internal/admin/console", "html/template", false},
		{"internal/template", "text/template/parse", true},
		{"proxy", "github.com/lestrrat-go/jwx/v2/jwk", false},
		{"internal/jose", "github.com/lestrrat-go/jwx/v2/jwk", true},
	} {
		from, to := full(arrow.from), full(arrow.to)
		if why := mayImport(from, to); (why == "") != arrow.allowed {
			t.Errorf("%s -> %s: allowed is %t (%s), want %t", from, to, why == "", why, arrow.allowed)
		}
	}
}

func full(name string) string {
	switch {
	case name == "":
		return module
	case strings.HasPrefix(name, "github.com/") || strings.HasPrefix(name, "text/") || strings.HasPrefix(name, "html/"):
		return name
	}
	return module + "/" + name
}

func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	there := map[string]bool{}
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p struct {
			ImportPath string
			Imports    []string // of the package itself: its tests may compare it with other packages
		}
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		name := inside(p.ImportPath)
		there[name] = true
		if _, listed := floors[name]; !listed {
			t.Errorf("%s: list the package with its floor in test/e2e/arrows_test.go", name)
			continue
		}
		for _, to := range p.Imports {
			if why := mayImport(p.ImportPath, to); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, to, why)
			}
		}
	}
	for name := range floors {
		if !there[name] {
			t.Errorf("%s is listed in floors, and go list does not know it", name)
		}
	}
}
