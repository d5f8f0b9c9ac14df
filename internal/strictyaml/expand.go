package strictyaml

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// mostExpanded bounds a file that a ${file:…} names; no value of this file is longer.
const mostExpanded = 64 << 10

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand replaces ${env:NAME}, ${env:NAME:-default} and ${file:PATH} in a value that is parsed already, so that what
// comes in can neither add keys nor end a string. What came in is not expanded again.
func (r *Reader) expand(v Value, text string) (expanded string, ok bool) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		b.WriteString(before)
		if !found {
			return b.String(), true
		}
		inner, after, closed := strings.Cut(rest, "}")
		if !closed {
			r.Fault(v.At(), "has a ${ without its }", "write ${env:NAME}, ${env:NAME:-default} or ${file:PATH}")
			return "", false
		}
		value, ok := r.lookup(v, inner)
		if !ok {
			return "", false
		}
		b.WriteString(value)
		text = after
	}
}

func (r *Reader) lookup(v Value, inner string) (string, bool) {
	source, name, _ := strings.Cut(inner, ":")
	switch source {
	case "env":
		return r.lookupEnv(v, name)
	case "file":
		return r.lookupFile(v, name)
	}
	r.Fault(v.At(), fmt.Sprintf("has %s, which names no source", Quote("${"+inner+"}")),
		"write ${env:NAME}, ${env:NAME:-default} or ${file:PATH}")
	return "", false
}

// lookupEnv follows the shell: the default stands for a variable that is unset or empty.
func (r *Reader) lookupEnv(v Value, text string) (string, bool) {
	name, standIn, hasDefault := strings.Cut(text, ":-")
	if !variable.MatchString(name) {
		r.Fault(v.At(), fmt.Sprintf("names the variable %s", Quote(name)), "a variable's name has letters, digits and _")
		return "", false
	}
	set, isSet := r.source.Env(name)
	switch {
	case hasDefault && set == "":
		return standIn, true
	case !isSet:
		r.Fault(v.At(), fmt.Sprintf("needs the environment variable %s, which is not set", name),
			fmt.Sprintf("set it, or write ${env:%s:-default}", name))
		return "", false
	}
	return r.incoming(v, set, "the environment variable "+name)
}

func (r *Reader) lookupFile(v Value, path string) (string, bool) {
	if path == "" {
		r.Fault(v.At(), "has a ${file:} without a path", "write ${file:PATH}")
		return "", false
	}
	data, err := r.ReadFile(r.Resolve(path))
	if err != nil {
		r.Fault(v.At(), fmt.Sprintf("needs the file %s, which cannot be read (%s)", Quote(path), Cause(err)),
			"create it; a relative path starts at this file's folder")
		return "", false
	}
	if len(data) > mostExpanded {
		r.Fault(v.At(), fmt.Sprintf("needs the file %s, which has %d bytes", Quote(path), len(data)),
			fmt.Sprintf("a value has at most %d", mostExpanded))
		return "", false
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	return r.incoming(v, text, "the file "+Quote(path))
}

// incoming checks text from outside as the file itself was checked.
func (r *Reader) incoming(v Value, text, source string) (string, bool) {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, IsControl) {
		r.Fault(v.At(), "comes from "+source+", which is not one line of UTF-8 text", "remove line ends and control characters from it")
		return "", false
	}
	return text, true
}

// IsControl reports whether c is an ASCII control character.
func IsControl(c rune) bool { return c < ' ' || c == 0x7f }
