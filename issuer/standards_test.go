package issuer

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestStandardsNameTestsThatExist: each statement of docs/standards.md names a test, and each test that it names is
// there, with the cases that it names: texts of the tests, or files of their testdata.
func TestStandardsNameTestsThatExist(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/standards.md")
	if err != nil {
		t.Fatal(err)
	}
	statements, _, found := strings.Cut(string(text), "\n## Deviations")
	if !found {
		t.Fatal("there are no deviations")
	}
	named := regexp.MustCompile("`([a-z][a-z/0-9]*)\\.(Test[A-Za-z0-9]+)`(?: \\(([^)]+)\\))?")
	inFolder := map[string]string{}
	rows := 0
	for line := range strings.Lines(statements) {
		if !strings.HasPrefix(line, "| ") || strings.Contains(line, "| shown by |") {
			continue
		}
		rows++
		cells := strings.Split(strings.TrimSpace(line), "|")
		tests := named.FindAllStringSubmatch(cells[len(cells)-2], -1)
		if len(cells) != 5 || len(tests) == 0 {
			t.Errorf("no test shows this: %s", line)
		}
		for _, test := range tests {
			folder, name := test[1], test[2]
			if _, read := inFolder[folder]; !read {
				inFolder[folder] = testsOf(t, filepath.Join("..", filepath.FromSlash(folder)))
			}
			if !strings.Contains(inFolder[folder], "\nfunc "+name+"(t *testing.T)") {
				t.Errorf("%s has no %s", folder, name)
			}
			for _, found := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(test[3], -1) {
				files, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(folder), "testdata", "*", found[1]+".*"))
				if err != nil || len(files) == 0 && !strings.Contains(inFolder[folder], strconv.Quote(found[1])) {
					t.Errorf("%s.%s has no case %q", folder, name, found[1])
				}
			}
		}
	}
	if rows < 40 {
		t.Errorf("%d statements", rows)
	}
}

func testsOf(t *testing.T, folder string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Errorf("%s has no tests: %v", folder, err)
	}
	var all strings.Builder
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.WriteByte('\n')
		all.Write(data)
	}
	return all.String()
}
