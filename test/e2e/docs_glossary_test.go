package e2e_test

import (
	"cmp"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// found returns the folders whose Go files, without tests, have a term: first those that are named by it, then those
// with most lines of it, as a search of the repository shows them.
func found(t *testing.T, term string) []string {
	t.Helper()
	// git grep ends with 1 where nothing is found; the callers complain about that.
	out, _ := exec.Command("git", "grep", "-i", "-c", "-E", term, "--", "*.go", ":!*_test.go", ":!bench").Output()
	lines := map[string]int{}
	for line := range strings.Lines(string(out)) {
		file, count, _ := strings.Cut(strings.TrimSpace(line), ":")
		n, err := strconv.Atoi(count)
		if err != nil {
			t.Fatal(err)
		}
		lines[filepath.Dir(file)] += n
	}
	named := regexp.MustCompile("(?i)" + term)
	for folder := range lines {
		if named.MatchString(filepath.Base(folder)) {
			lines[folder] += 1000
		}
	}
	return slices.SortedFunc(maps.Keys(lines), func(a, b string) int {
		return cmp.Or(cmp.Compare(lines[b], lines[a]), strings.Compare(a, b))
	})
}

// A behaviour is found by the field's word for it.
func TestBehavioursAreFoundByTheFieldsWord(t *testing.T) {
	t.Parallel()
	const first = 4 // how many folders one looks at
	for _, c := range []struct{ word, place string }{
		{"retries|retried", "internal/upstream"},
		{"hop-by-hop", "proxy"},
		{"jitter", "internal/keysets"},
		{"unknown kid", "internal/keysets"},
		{"graceful shutdown", "internal/cli"},
		{"revoke", "internal/revoke"},
		{"ceiling", "internal/token"},
		{"identity header", "proxy"},
		{"eviction", "internal/replay"},
		{"reload", "internal/app"},
	} {
		folders := found(t, c.word)
		if at := slices.Index(folders, c.place); at < 0 || at >= first {
			t.Errorf("%q leads to %v; %s is number %d", c.word, folders[:min(len(folders), first)], c.place, at+1)
		}
	}
}

// Each term of the glossary is a word of the code, as an identifier, in a comment or in a text.
func TestTheGlossarysTermsAreFoundInTheCode(t *testing.T) {
	t.Parallel()
	_, glossary, found_ := strings.Cut(readFile(t, "CONTRIBUTING.md"), "\n## Glossary\n")
	if !found_ {
		t.Fatal("CONTRIBUTING.md has no glossary")
	}
	terms := regexp.MustCompile(`(?m)^\| \*\*([^*]+)\*\* \| \S`).FindAllStringSubmatch(glossary, -1)
	if len(terms) < 25 {
		t.Errorf("the glossary has %d terms", len(terms))
	}
	for _, m := range terms {
		if files := found(t, `\b`+strings.ReplaceAll(m[1], " ", `[ -]?`)); len(files) == 0 {
			t.Errorf("no code has the term %q", m[1])
		}
	}
}

// The workflows are correct as far as actionlint can tell; they run elsewhere.
func TestTheWorkflowsAreCorrect(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(".github/workflows/*.yml")
	if err != nil || len(files) < 4 {
		t.Fatalf("there are %d workflows (%v)", len(files), err)
	}
	files = append(files, "examples/github-actions/config-diff.yml")
	args := append([]string{"run", "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12", "-no-color", "-shellcheck="},
		files...)
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Errorf("actionlint: %v\n%s", err, out)
	}
	for _, file := range files {
		for line := range strings.Lines(readFile(t, file)) {
			if strings.Contains(line, "uses:") && !regexp.MustCompile(`@[0-9a-f]{40} # v\d`).MatchString(line) {
				t.Errorf("%s: an action that is not pinned by its commit: %s", file, strings.TrimSpace(line))
			}
		}
	}
}
