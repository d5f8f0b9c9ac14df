package jose

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var updateArithmetic = flag.Bool("update-arithmetic", false, "write testdata/arithmetic.diff anew")

// Prepared keys compute with filippo.io/nistec and filippo.io/bigmod, which are copies of packages inside the Go
// toolchain. A mend in the one must not be missed in the other: this test fails when the two differ in more, or in
// less, than is written down in testdata/arithmetic.diff. If it fails after an upgrade of Go or of a module: read the
// difference; if it is a mend of the toolchain's, wait for the module to have it (or set limits.prepared_keys: 0); if
// it is none, write the file anew with -update-arithmetic.
func TestArithmeticIsTheToolchains(t *testing.T) {
	t.Parallel()
	golang := strings.TrimSpace(output(t, "go", "env", "GOROOT"))
	inside := filepath.Join(golang, "src/crypto/internal/fips140")
	var b strings.Builder
	for _, module := range []struct{ name, files, theirs, ours string }{
		{"filippo.io/nistec", "p256*", "nistec", ""},
		{"filippo.io/nistec", "p256*", "nistec/fiat", "internal/fiat"},
		{"filippo.io/bigmod", "nat*", "bigmod", ""},
	} {
		dir := strings.TrimSpace(output(t, "go", "list", "-m", "-f", "{{.Dir}}", module.name))
		theirs, ours := filepath.Join(inside, module.theirs), filepath.Join(dir, module.ours)
		for _, file := range sources(t, module.files, theirs, ours) {
			added, removed := difference(t, filepath.Join(theirs, file), filepath.Join(ours, file))
			fmt.Fprintf(&b, "== %s\n", filepath.Join(module.name, module.ours, file))
			for _, line := range added {
				fmt.Fprintf(&b, "+ %s\n", line)
			}
			for _, line := range removed {
				fmt.Fprintf(&b, "- %s\n", line)
			}
		}
	}
	const known = "testdata/arithmetic.diff"
	if *updateArithmetic {
		if err := os.WriteFile(known, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(known)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		now, before := lines(b.String()), lines(string(want))
		t.Errorf("the arithmetic modules and the toolchain differ otherwise than %s says\nnew: %q\ngone: %q", known,
			without(now, before), without(before, now))
	}
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	said, err := exec.CommandContext(t.Context(), name, args...).Output()
	if err != nil {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return string(said)
}

// sources lists the files of either folder, without tests.
func sources(t *testing.T, pattern string, folders ...string) []string {
	t.Helper()
	var names []string
	for _, folder := range folders {
		found, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: nothing like %s, %v", folder, pattern, err)
		}
		for _, path := range found {
			if name := filepath.Base(path); !strings.HasSuffix(name, "_test.go") && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// difference lists the lines that only the module has, and those that only the toolchain has. A file that is not there
// has none.
func difference(t *testing.T, theirs, ours string) (added, removed []string) {
	t.Helper()
	read := func(path string) []string {
		text, err := os.ReadFile(path)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return lines(string(text))
	}
	a, b := read(theirs), read(ours)
	return without(b, a), without(a, b)
}

// lines are those of a text that are not empty and no comment, without their indentation.
func lines(text string) []string {
	var list []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "//") {
			list = append(list, line)
		}
	}
	return list
}

// without lists what a has more of than b, in a's order.
func without(a, b []string) []string {
	have := map[string]int{}
	for _, line := range b {
		have[line]++
	}
	var more []string
	for _, line := range a {
		if have[line]--; have[line] < 0 {
			more = append(more, line)
		}
	}
	return more
}
