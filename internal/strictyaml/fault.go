package strictyaml

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// MostFaults bounds how many faults of a file are reported; a file with more is better mended from the top.
const MostFaults = 50

// A Fault is one thing that is wrong with a file, where it is, and what to do about it.
type Fault struct {
	File         string
	Line, Column int    // from 1; 0 if the fault has no place in the file
	Path         string // of the value in the YAML tree, like routes[0].require.action; "" for the file as a whole
	Problem      string
	Remedy       string // "" if the problem says it all
}

func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
	}
	b.WriteString(": ")
	if f.Path != "" {
		b.WriteString(f.Path + ": ")
	}
	b.WriteString(f.Problem)
	if f.Remedy != "" {
		b.WriteString("; " + f.Remedy)
	}
	return b.String()
}

// Faults are the faults of a file, in the file's order.
type Faults []Fault

// Error has one line for each fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].String()
	}
	return strings.Join(lines, "\n")
}

// inOrder sorts faults by their place, each once, and cuts them to what is worth telling at once.
func inOrder(faults []Fault) Faults {
	slices.SortStableFunc(faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	faults = slices.Compact(faults)
	if len(faults) <= MostFaults {
		return faults
	}
	more := len(faults) - MostFaults
	return append(faults[:MostFaults:MostFaults], Fault{
		File:    faults[0].File,
		Problem: fmt.Sprintf("has %d more errors", more),
		Remedy:  "correct these first",
	})
}

// A Place is where a value stands.
type Place struct {
	Line, Column int
	Path         string
}

// Key is the place of a member that is missing from the mapping at p.
func (p Place) Key(name string) Place {
	p.Path = join(p.Path, name)
	return p
}

// join writes the path of a member; a name with unusual characters is quoted, since file and names are not ours.
func join(path, name string) string {
	if !PlainName(name) {
		return fmt.Sprintf("%s[%s]", path, Quote(name))
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// PlainName reports whether name needs no quotes in a path: letters, digits, _ and - alone.
func PlainName(name string) bool {
	if name == "" || len(name) > 64 {
		return false
	}
	for _, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

var userInfo = regexp.MustCompile(`//[^/\s]*@`)

// Quote shows a value of the file: printable on any terminal, not longer than a line can bear, and without the password
// of a URL.
func Quote(text string) string {
	const most = 80
	text = userInfo.ReplaceAllString(text, "//"+redacted+"@")
	if len(text) > most {
		return fmt.Sprintf("%.*q…", most, text)
	}
	return fmt.Sprintf("%q", text)
}
