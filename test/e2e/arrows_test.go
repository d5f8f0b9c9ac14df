package e2e_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/jotgate/jotgate"

// floor is how high in the house a package lives; imports go down, or stay on a floor where the house rules allow it.
//
//	main -> cli -> app -> {issuer, proxy, admin} -> {config, the other internal packages}
func floor(pkg string) int {
	switch name := inside(pkg); {
	case name == "main", within(name, "examples"), within(name, "bench"):
		return 4
	case name == "internal/cli":
		return 3
	case name == "internal/app":
		return 2
	case within(name, "issuer"), within(name, "proxy"), within(name, "internal/admin"):
		return 1
	}
	return 0
}

// inside is a package's place in the module, "main" at its top.
func inside(pkg string) string {
	if pkg == module {
		return "main"
	}
	return strings.TrimPrefix(pkg, module+"/")
}

func within(name, folder string) bool { return name == folder || strings.HasPrefix(name, folder+"/") }

// mayImport says whether the arrow from one of our packages to another, or to a library, is one of the house's; why
// names the rule that it breaks.
func mayImport(from, to string) (why string) {
	from, to = inside(from), inside(to)
	if strings.HasPrefix(to, "github.com/lestrrat-go/jwx") {
		if from != "internal/jose" {
			return "only internal/jose imports jwx"
		}
		return ""
	}
	if floor(from) < floor(to) {
		return "imports point downwards"
	}
	for _, house := range []string{"issuer", "proxy", "internal/admin"} {
		if within(from, house) && floor(to) == 1 && !within(to, house) {
			return "issuer, proxy and admin never import each other"
		}
	}
	if from == "config" && ours(to) {
		switch to {
		case "internal/route", "internal/token", "internal/jose":
		default:
			return "config imports only route, token and jose"
		}
	}
	return ""
}

func ours(pkg string) bool {
	return pkg == "config" || within(pkg, "issuer") || within(pkg, "proxy") || within(pkg, "internal") || pkg == "main"
}

func TestMayImportKnowsTheHouseRules(t *testing.T) {
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
		{"proxy", "internal/app", false},
		{"proxy", "issuer", false},
		{"issuer/code", "proxy", false},
		{"issuer", "issuer/code", true},
		{"proxy", "config", true},
		{"config", "proxy", false},
		{"config", "internal/jose", true},
		{"config", "internal/request", false},
		{"internal/token", "config", true},
		{"internal/replay", "issuer/code", false},
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
	case strings.HasPrefix(name, "github.com/"):
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
	packages := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p struct {
			ImportPath string
			Imports    []string // of the package itself: its tests may hold it against other packages
		}
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		packages++
		for _, to := range p.Imports {
			if why := mayImport(p.ImportPath, to); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, to, why)
			}
		}
	}
	if packages < 10 {
		t.Errorf("go list named %d packages; the house has more", packages)
	}
}
