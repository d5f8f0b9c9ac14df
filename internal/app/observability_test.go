package app_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// documented is the table of docs/observability.md: type and labels by name.
func documented(t *testing.T) map[string][2]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][2]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(jotgate_[a-z0-9_]+)` \\| ([a-z]+) \\| ([a-z, ]*) ?\\| "+
		"[^|]{4,} \\|$").FindAllStringSubmatch(string(page), -1) {
		if _, twice := all[m[1]]; twice {
			t.Errorf("%s is there twice", m[1])
		}
		all[m[1]] = [2]string{m[2], strings.TrimSpace(m[3])}
	}
	return all
}

// The page has every metric that the sources make, and no other.
func TestEveryMetricIsDocumented(t *testing.T) {
	t.Parallel()
	var made []string
	for _, pattern := range []string{"*.go", "../telemetry/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`describe\("([a-z0-9_]+)"|"jotgate_([a-z0-9_]+)"`).FindAllStringSubmatch(
				string(source), -1) {
				made = append(made, "jotgate_"+m[1]+m[2])
			}
		}
	}
	slices.Sort(made)
	if d := cmp.Diff(slices.Compact(made), slices.Sorted(maps.Keys(documented(t)))); d != "" {
		t.Errorf("docs/observability.md (-made +documented):\n%s", d)
	}
}

// What a gate tells is of the type, and has the labels, that the page says.
func TestMetricsAreAsDocumented(t *testing.T) {
	t.Parallel()
	g := startGate(t, append(tracing(newCollector(t), ""), `action: READ}, upstream`,
		`action: READ}, shadow: true, upstream`)...)
	g.get("/t/acme/")
	g.get("/open/")
	got := map[string][2]string{}
	types := map[string]string{}
	label := regexp.MustCompile(`([a-z_]+)="`)
	for line := range strings.Lines(g.scrape()) {
		if fields := strings.Fields(line); len(fields) == 4 && fields[1] == "TYPE" {
			types[fields[2]] = fields[3]
			continue
		}
		name := regexp.MustCompile(`^jotgate_[a-z0-9_]+`).FindString(line)
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, of := strings.CutSuffix(name, suffix); of && types[base] == "histogram" {
				name = base
			}
		}
		var labels []string
		for _, m := range label.FindAllStringSubmatch(line, -1) {
			if m[1] != "le" {
				labels = append(labels, m[1])
			}
		}
		if name != "" {
			got[name] = [2]string{types[name], strings.Join(labels, ", ")}
		}
	}
	if len(got) < 20 {
		t.Errorf("only %d metrics are told", len(got))
	}
	page := documented(t)
	for name, is := range got {
		if page[name] != is {
			t.Errorf("%s is %q, and documented as %q", name, is, page[name])
		}
	}
}
