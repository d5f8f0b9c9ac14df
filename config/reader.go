package config

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"
)

// A reader reads one file and collects what is wrong with it.
type reader struct {
	file     string
	env      func(string) (string, bool)
	readFile func(string) ([]byte, error)
	readDir  func(string) ([]fs.DirEntry, error)
	real     bool // readFile is the file system's, so modes can be asked for
	sources  Sources
	faults   []Fault
	warnings []Fault
}

func (r *reader) fault(at place, problem, remedy string) {
	r.faults = append(r.faults, r.note(at, problem, remedy))
}

func (r *reader) warn(at place, problem, remedy string) {
	r.warnings = append(r.warnings, r.note(at, problem, remedy))
}

func (r *reader) note(at place, problem, remedy string) Fault {
	return Fault{File: r.file, Line: at.line, Column: at.column, Path: at.path, Problem: problem, Remedy: remedy}
}

// resolve makes a path of the file relative to the file's folder.
func (r *reader) resolve(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(r.file), path)
}

// cause is why a file could not be read, without its path, which the fault names as the file spells it.
func cause(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return err.Error()
}

// isMapping reports what is no mapping.
func (r *reader) isMapping(v value, shape *Shape) bool {
	if v.node.Kind == yaml.MappingNode {
		return true
	}
	remedy := "write {name: value}, or one name: value per line"
	if len(shape.Keys) > 0 {
		remedy = "its keys are " + known(shape)
	}
	r.mismatch(v, "a mapping", remedy)
	return false
}

// members yields a mapping's members, reporting those that are there twice.
func (r *reader) members(v value) iter.Seq2[*yaml.Node, value] {
	return func(yield func(*yaml.Node, value) bool) {
		lines := map[string]int{}
		for i := 0; i+1 < len(v.node.Content); i += 2 {
			key := v.node.Content[i]
			member := v.member(key.Value, v.node.Content[i+1])
			if first, twice := lines[key.Value]; twice {
				r.fault(place{key.Line, key.Column, member.path}, fmt.Sprintf("is there twice, first on line %d", first), "keep one")
				continue
			}
			lines[key.Value] = key.Line
			if !yield(key, member) {
				return
			}
		}
	}
}

func (r *reader) unknown(name *yaml.Node, path string, shape *Shape) {
	var keys []string
	for _, k := range shape.Keys {
		keys = append(keys, k.Name)
	}
	remedy := "known here: " + known(shape)
	if near := Nearest(name.Value, keys); near != "" {
		remedy = "did you mean " + near + "?"
	}
	r.fault(place{name.Line, name.Column, path}, "is not a key that this file knows", remedy)
}

func known(shape *Shape) string {
	var keys []string
	for _, k := range shape.Keys {
		keys = append(keys, k.Name)
	}
	return strings.Join(keys, ", ")
}

// mismatch reports a node that is of another kind than the one wanted.
func (r *reader) mismatch(v value, want, remedy string) {
	switch n := v.node; {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null" && n.Value == "":
		r.fault(v.at(), "has no value", "write "+want+", or leave the key out")
	case n.Kind == yaml.ScalarNode && v.secret:
		r.fault(v.at(), "is not "+want, remedy)
	case n.Kind == yaml.ScalarNode:
		r.fault(v.at(), v.shown()+" is not "+want, remedy)
	case n.Kind == yaml.SequenceNode:
		r.fault(v.at(), "is a list, not "+want, remedy)
	case braces(n):
		r.fault(v.at(), "is a mapping, not "+want, `put a value in braces in quotes: "{`+n.Content[0].Value+`}"`)
	default:
		r.fault(v.at(), "is a mapping, not "+want, remedy)
	}
}

// braces tells whether a mapping is what YAML makes of an unquoted {name}.
func braces(n *yaml.Node) bool {
	return n.Style&yaml.FlowStyle != 0 && len(n.Content) == 2 && plainName(n.Content[0].Value) &&
		n.Content[1].Tag == "!!null" && n.Content[1].Value == ""
}

// text reads a string, expanded. What YAML takes for a number, a boolean or a date is refused unless it is quoted:
// the writer meant a name, and 007 or 1e3 would not come out as they went in.
func (r *reader) text(v value) (string, bool) {
	n := v.node
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" && n.Value == "" {
		r.mismatch(v, "a text", "write one text")
		return "", false
	}
	if what, other := yamlTypes[n.Tag]; other {
		r.fault(v.at(), v.shown()+" is "+what+" in YAML, not a text", "put it in quotes")
		return "", false
	}
	return r.expand(v, n.Value)
}

var yamlTypes = map[string]string{
	"!!int": "a number", "!!float": "a number", "!!bool": "a boolean", "!!null": "nothing", "!!timestamp": "a date",
	"!!binary": "binary data",
}

// bare reads a scalar that is no string, expanded: a quoted one is refused unless it was expanded.
func (r *reader) bare(v value, tag, want string) (string, bool) {
	n := v.node
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" && n.Value == "" {
		r.mismatch(v, want, "write "+want)
		return "", false
	}
	if strings.Contains(n.Value, "${") {
		return r.expand(v, n.Value)
	}
	quoted := n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	switch {
	case quoted && tag != "":
		r.fault(v.at(), "is a text, not "+want, "write it without quotes")
		return "", false
	case tag != "" && n.Tag != "" && n.Tag != tag:
		r.mismatch(v, want, "write "+want)
		return "", false
	}
	return n.Value, true
}

// holds checks a text and reports what is wrong with it.
func (r *reader) holds(v value, text string, c check) bool {
	if c == nil {
		return true
	}
	problem, remedy := c(text)
	if problem != "" {
		r.fault(v.at(), v.shown()+" "+problem, remedy)
	}
	return problem == ""
}

// within checks a number against its bounds.
func (r *reader) within(v value, n, least, most int64, shape *Shape) bool {
	switch {
	case n < least:
		r.fault(v.at(), v.shown()+" is less than "+shape.Least, "write "+shape.Least+" to "+shape.Most)
	case n > most:
		r.fault(v.at(), v.shown()+" is more than "+shape.Most, "write "+shape.Least+" to "+shape.Most)
	default:
		return true
	}
	return false
}
