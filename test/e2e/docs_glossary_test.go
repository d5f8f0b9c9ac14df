package e2e_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// found returns the Go files, without tests, that have a term, the ones with most lines of it first: what a search of
// the repository shows.
func found(t *testing.T, term string) []string {
	t.Helper()
	// git grep ends with 1 where nothing is found; the callers complain about that.
	out, _ := exec.Command("git", "grep", "-i", "-c", "-E", term, "--", "*.go", ":!*_test.go").Output()
	counts := map[string]int{}
	var files []string
	for line := range strings.Lines(string(out)) {
		file, count, _ := strings.Cut(strings.TrimSpace(line), ":")
		n := 0
		for _, c := range count {
			n = n*10 + int(c-'0')
		}
		counts[file] = n
		files = append(files, file)
	}
	for i := range files {
		for j := i; j > 0 && counts[files[j]] > counts[files[j-1]]; j-- {
			files[j], files[j-1] = files[j-1], files[j]
		}
	}
	return files
}

// Whoever wants to change a behaviour finds its place by the field's word for it.
func TestBehavioursAreFoundByTheFieldsWord(t *testing.T) {
	t.Parallel()
	const first = 5 // how many files one looks at
	for _, c := range []struct{ word, place string }{
		{"retry|retries", "internal/upstream"},
		{"hop-by-hop", "proxy/headers.go"},
		{"jitter", "internal/keysets"},
		{"unknown kid", "internal/keysets"},
		{"graceful shutdown", "internal/cli/serve.go"},
		{"revoke", "internal/revoke"},
		{"ceiling", "internal/token"},
		{"identity header", "proxy/identity.go"},
		{"eviction|evicts|evicted", "issuer/code"},
		{"bad reload|refused reload|reload.*faults", "internal/app"},
	} {
		files := found(t, c.word)
		at := -1
		for i, f := range files {
			if f == c.place || strings.HasPrefix(f, c.place+"/") {
				at = i
				break
			}
		}
		if at < 0 || at >= first {
			t.Errorf("%q leads to %v; %s is number %d", c.word, files[:min(len(files), first)], c.place, at+1)
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
