package e2e_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var namedTest = regexp.MustCompile("`([a-z][a-z0-9/]*)\\.((?:Test|Fuzz)[A-Za-z0-9]+)`")

// Each threat of the model has a defence, and names a test that is there.
func TestTheThreatModelNamesTestsThatExist(t *testing.T) {
	t.Parallel()
	rows := rowsThatNameTests(t, "docs/threat-model.md")
	if len(rows) < 40 {
		t.Errorf("there are %d threats", len(rows))
	}
	sources := map[string]string{}
	for _, row := range rows {
		if len(row.cells) != 3 || row.cells[0] == "" || row.cells[1] == "" || len(row.tests) == 0 {
			t.Errorf("want a threat, a defence and tests: %q", row.cells)
		}
		for _, test := range row.tests {
			if !testExists(t, sources, test[0], test[1]) {
				t.Errorf("%s has no %s", test[0], test[1])
			}
		}
	}
}

// So do the pages that name tests in passing.
func TestTheGuidesNameTestsThatExist(t *testing.T) {
	t.Parallel()
	sources, named := map[string]string{}, 0
	for _, file := range []string{"docs/rotation.md", "docs/architecture.md", "docs/recipes.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range namedTest.FindAllStringSubmatch(string(text), -1) {
			named++
			if !testExists(t, sources, m[1], m[2]) {
				t.Errorf("%s: %s has no %s", file, m[1], m[2])
			}
		}
	}
	if named == 0 {
		t.Error("they name none")
	}
}

// A row is one line of a table whose last column is headed "shown by".
type row struct {
	cells []string
	tests [][2]string // folder, name
}

func rowsThatNameTests(t *testing.T, file string) (rows []row) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	within := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case !strings.HasPrefix(line, "|"):
			within = false
		case strings.HasSuffix(line, "| shown by |"):
			within = true
		case within && !strings.HasPrefix(line, "|---"):
			cells := strings.Split(strings.Trim(line, "|"), "|")
			r := row{}
			for _, c := range cells {
				r.cells = append(r.cells, strings.TrimSpace(c))
			}
			for _, m := range namedTest.FindAllStringSubmatch(cells[len(cells)-1], -1) {
				r.tests = append(r.tests, [2]string{m[1], m[2]})
			}
			rows = append(rows, r)
		}
	}
	return rows
}

// testExists looks for a test in a folder's sources, which it reads once.
func testExists(t *testing.T, sources map[string]string, folder, name string) bool {
	t.Helper()
	text, read := sources[folder]
	if !read {
		pattern := filepath.Join(filepath.FromSlash(strings.TrimPrefix(folder, "main")), "*_test.go")
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Errorf("%s has no tests (%v)", folder, err)
		}
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			text += "\n" + string(data)
		}
		sources[folder] = text
	}
	return strings.Contains(text, "\nfunc "+name+"(t *testing.T)") ||
		strings.Contains(text, "\nfunc "+name+"(f *testing.F)")
}

// Each record of a decision says what it was about, what was chosen and what it costs.
func TestDecisionsSayContextChoiceAndPrice(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("docs/decisions/0*.md")
	if err != nil || len(files) < 8 {
		t.Fatalf("there are %d decisions (%v)", len(files), err)
	}
	index, err := os.ReadFile("docs/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		at := -1
		for _, part := range []string{"# ", "\n## Context\n", "\n## Choice\n", "\n## Price\n"} {
			next := strings.Index(string(text), part)
			if next <= at {
				t.Errorf("%s: no %q after what comes before it", file, strings.TrimSpace(part))
			}
			at = next
		}
		if !strings.Contains(string(index), strings.TrimPrefix(file, "docs/")) {
			t.Errorf("docs/README.md does not list %s", file)
		}
	}
}

// The index has every page.
func TestTheIndexOfTheDocumentsIsWhole(t *testing.T) {
	t.Parallel()
	index, err := os.ReadFile("docs/README.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if name := filepath.Base(file); name != "README.md" && !strings.Contains(string(index), name) {
			t.Errorf("docs/README.md does not list %s", name)
		}
	}
}

// The examples of reasons that are one curl command are refused for just that reason.
func TestTheExamplesOfReasonsAreTrue(t *testing.T) {
	t.Parallel()
	examples := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| `(curl (?:[^`|]|\\\\\\|)+)` \\|$").FindAllStringSubmatch(
		readFile(t, "docs/troubleshooting.md"), -1)
	if len(examples) < 10 {
		t.Fatalf("%d examples are one command", len(examples))
	}
	s := newSidecar(t)
	for _, m := range examples {
		reason, command := m[1], strings.ReplaceAll(m[2], `\|`, "|")
		before := s.stderr.String()
		tool(t, "bash", "-c", "GATE="+s.url+"; set -o pipefail; "+strings.Replace(command, "curl ", "curl -sS --noproxy '*' ",
			1))
		line := s.untilAfter(t, len(before), `"msg":"request"`)
		if !strings.Contains(line, `"reason":"`+reason+`"`) {
			t.Errorf("%s: %s\nis refused otherwise: %s", reason, command, line)
		}
	}
}

// untilAfter waits for text in what the process writes to standard error after so many bytes, and returns that line.
func (s *sidecar) untilAfter(t *testing.T, start int, text string) string {
	t.Helper()
	deadline := time.After(patience)
	for {
		written, more := s.stderr.read()
		for line := range strings.Lines(written[start:]) {
			if strings.Contains(line, text) && strings.HasSuffix(line, "\n") {
				return line
			}
		}
		select {
		case <-more:
		case <-deadline:
			t.Fatalf("no %q", text)
		}
	}
}
