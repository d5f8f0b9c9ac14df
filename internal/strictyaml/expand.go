package strictyaml

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/jotgate/jotgate/internal/grammar"
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
			r.Fault(v.At(), "has a ${ without a closing }", "write ${env:NAME}, ${env:NAME:-default} or ${file:PATH}")
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
	remedy := "write ${env:NAME}, ${env:NAME:-default} or ${file:PATH}"
	if name, _, _ := strings.Cut(
		inner,
		":",
	); variable.MatchString(name) &&
		(name == inner || strings.HasPrefix(inner, name+":-")) {
		remedy = "write ${env:" + name + "}"
	}
	r.Fault(v.At(), fmt.Sprintf("has %s, which is not a known source", Quote("${"+inner+"}")), remedy)
	return "", false
}

var shellVariable = regexp.MustCompile(`^\$[A-Z_][A-Z0-9_]*$`)

// variableOf returns the name of the environment variable that a shell would put in the place of the whole text, or "".
func variableOf(text string) string {
	if shellVariable.MatchString(text) {
		return text[1:]
	}
	return ""
}

func (r *Reader) notExpanded(v Value, name string) {
	r.Fault(v.At(), "$"+name+" is not expanded", "write ${env:"+name+"}")
}

// lookupEnv follows the shell: the default stands for a variable that is unset or empty.
func (r *Reader) lookupEnv(v Value, text string) (string, bool) {
	name, standIn, hasDefault := strings.Cut(text, ":-")
	if !variable.MatchString(name) {
		r.Fault(
			v.At(),
			fmt.Sprintf("refers to the invalid variable name %s", Quote(name)),
			"use letters, digits and _ in a variable name",
		)
		return "", false
	}
	set, isSet := r.source.Env(name)
	switch {
	case hasDefault && set == "":
		return standIn, true
	case !isSet:
		r.Fault(v.At(), fmt.Sprintf("refers to the environment variable %s, which is not set", name),
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
		r.Fault(v.At(), fmt.Sprintf("refers to the file %s, which cannot be read (%s)", Quote(path), Cause(err)),
			"create it; relative paths start at this file's directory")
		return "", false
	}
	if len(data) > mostExpanded {
		r.Fault(v.At(), fmt.Sprintf("refers to the file %s, which has %d bytes", Quote(path), len(data)),
			fmt.Sprintf("use at most %d bytes", mostExpanded))
		return "", false
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	return r.incoming(v, text, "the file "+Quote(path))
}

// incoming checks text from outside as the file itself was checked.
func (r *Reader) incoming(v Value, text, source string) (string, bool) {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, IsControl) {
		r.Fault(
			v.At(),
			"comes from "+source+", which is not one line of UTF-8 text",
			"remove line breaks and control characters from it",
		)
		return "", false
	}
	return text, true
}

// IsControl reports whether c is an ASCII control character.
func IsControl(c rune) bool { return c < utf8.RuneSelf && grammar.IsControl(byte(c)) }
