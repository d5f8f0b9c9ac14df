package config_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/internal/app"
)

// TestExplainOfPresets: asked about a token of each vendor's without its signature, explain says which claim gave which
// tenant, role and action, what of it counts, and what is missing; and of those that are refused why, and what would be
// taken. go test ./config -run TestExplainOfPresets -update writes what it says.
func TestExplainOfPresets(t *testing.T) {
	t.Parallel()
	head, all := recipes(t)
	for name, recipe := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			judge, err := app.NewJudge(load(t, head+recipe), func() time.Time { return now })
			if err != nil {
				t.Fatal(err)
			}
			defer judge.Close()
			v := vendors[name]
			var said strings.Builder
			for _, x := range append([]variant{{name: "a good token"}}, v.bad...) {
				header := x.header
				if header == "" {
					header = v.header
				}
				bearer := theKey.sign(t, header, claimsOf(t, v.claims, x.claims))
				trace, err := judge.Trace(app.Question{
					Request: "GET http://shop/t/acme/1", Token: bearer[:strings.LastIndexByte(bearer, '.')] + ".AAAA", Unverified: true,
				})
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&said, "# %s\n", x.name)
				switch {
				case trace.Allowed:
					fmt.Fprintln(&said, "allowed")
				default:
					fmt.Fprintf(&said, "%d %s: %s\n", trace.Status, trace.Reason, trace.Detail)
				}
				if trace.Needed != "" {
					fmt.Fprintf(&said, "needed: %s\n", trace.Needed)
				}
				if trace.Token != nil {
					for _, line := range trace.Token.Mapped {
						fmt.Fprintln(&said, line)
					}
				}
				fmt.Fprintf(&said, "opens: %s\n\n", cmp.Or(spell(trace.Permissions), "nothing"))
			}
			path := filepath.Join("testdata", "explain", name+".txt")
			if flag.Lookup("update").Value.String() == "true" {
				if err := os.WriteFile(path, []byte(said.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(string(want), said.String()); diff != "" {
				t.Errorf("explain says otherwise (-file +now):\n%s", diff)
			}
		})
	}
}
