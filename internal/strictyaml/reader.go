// Package strictyaml reads one YAML file strictly and says where each error is.
//
// A [Kind] reads values of one type and describes them with a [Shape]; kinds are put together with [Mapping], [List]
// and [Names]. The program declares each key of its file once, and gets from the same declaration the reader, the
// reference and the JSON Schema.
//
// A file is one document of UTF-8 without anchors, aliases, merges and tags, bounded in size and depth. Unknown and
// duplicate keys, and values of another type, are faults. Values hold ${env:NAME}, ${env:NAME:-default} and
// ${file:PATH}, which are expanded after parsing. A [Reader] collects all faults, each a [Fault] with its line, column
// and path.
package strictyaml

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// A Source is one file, and where it finds what it refers to.
type Source struct {
	Name     string // of the file; relative paths in it start at its folder
	Env      func(name string) (value string, set bool)
	ReadFile func(path string) ([]byte, error)
	Begin    string // what every such file begins with, for the remedy of an empty one

	// Root is the shape of the whole file: a key that is unknown where it stands may be known elsewhere.
	Root *Shape
	// Synonyms names the place of what other programs call differently, by their key: "port" is "listen".
	Synonyms map[string]string
}

// A Reader reads one file and collects what is wrong with it.
type Reader struct {
	source   Source
	faults   []Fault
	warnings []Fault
}

// NewReader returns a reader of the file that source describes.
func NewReader(source Source) *Reader { return &Reader{source: source} }

// Fault reports an error at a place of the file.
func (r *Reader) Fault(at Place, problem, remedy string) {
	r.faults = append(r.faults, r.Note(at, problem, remedy))
}

// Warn reports what is not an error but worth a warning.
func (r *Reader) Warn(at Place, problem, remedy string) {
	r.warnings = append(r.warnings, r.Note(at, problem, remedy))
}

// Faulty reports whether there was a fault.
func (r *Reader) Faulty() bool { return len(r.faults) > 0 }

// Faults returns the faults in the order of the file; beyond [MostFaults] it only counts them.
func (r *Reader) Faults() Faults { return inOrder(r.faults) }

// Warnings returns the warnings in the order of the file, bounded likewise.
func (r *Reader) Warnings() Faults { return inOrder(r.warnings) }

// Note makes a fault without reporting it.
func (r *Reader) Note(at Place, problem, remedy string) Fault {
	return Fault{File: r.source.Name, Line: at.Line, Column: at.Column, Path: at.Path, Problem: problem, Remedy: remedy}
}

// Resolve makes a path of the file relative to the file's folder.
func (r *Reader) Resolve(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(r.source.Name), path)
}

// ReadFile reads a file that the file names, by its resolved path.
func (r *Reader) ReadFile(path string) ([]byte, error) { return r.source.ReadFile(path) }

// Cause is why a file could not be read, without its path, which the fault names as the file spells it.
func Cause(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return err.Error()
}

// isMapping reports what is no mapping.
func (r *Reader) isMapping(v Value, shape *Shape) bool {
	if v.node.Kind == yaml.MappingNode {
		return true
	}
	if v.IsText() && !v.secret {
		if key, _, spaced := strings.Cut(v.node.Value, " "); spaced && shape.has(key) {
			r.Fault(v.At(), "the key "+key+" has no colon", "write "+key+": and its value")
			return false
		}
	}
	remedy := "write {name: value}, or one name: value per line"
	if len(shape.Keys) > 0 {
		remedy = "its keys are " + known(shape)
	}
	r.mismatch(v, "a mapping", remedy)
	return false
}

// members yields a mapping's members, reporting those that are there twice.
func (r *Reader) members(v Value) iter.Seq2[*yaml.Node, Value] {
	return func(yield func(*yaml.Node, Value) bool) {
		lines := map[string]int{}
		for i := 0; i+1 < len(v.node.Content); i += 2 {
			key := v.node.Content[i]
			member := v.member(key.Value, v.node.Content[i+1])
			if first, twice := lines[key.Value]; twice {
				r.Fault(
					Place{key.Line, key.Column, member.path},
					fmt.Sprintf("is set twice, first on line %d", first),
					"remove one",
				)
				continue
			}
			lines[key.Value] = key.Line
			if !yield(key, member) {
				return
			}
		}
	}
}

// unknown reports a key that its mapping does not have: with a key of this mapping that is nearly spelt so, or the
// places where the file has such a key.
func (r *Reader) unknown(name *yaml.Node, path string, shape *Shape) {
	problem, remedy := "is not a known key", "known keys here: "+known(shape)
	places := r.source.Root.places(name.Value, "")
	synonym := r.source.Synonyms[name.Value]
	switch near := Nearest(name.Value, shape.names()); {
	case near != "" && (len(places) == 0 && synonym == "" || distance(name.Value, near) == 1):
		remedy = "did you mean " + near + "?"
	case len(places) > 0:
		problem, remedy = "is not a key of this mapping", "move it: the file has "+enumerate(places)
	case synonym != "":
		remedy = "use " + synonym
	}
	r.Fault(Place{name.Line, name.Column, path}, problem, remedy)
}

// places returns the paths of all keys of a name, below a path.
func (s *Shape) places(name, path string) (paths []string) {
	if s == nil {
		return nil
	}
	for _, k := range s.Keys {
		at := join(path, k.Name)
		if k.Name == name {
			paths = append(paths, at)
		}
		paths = append(paths, k.Shape.places(name, at)...)
	}
	if s.Type == "list" {
		paths = append(paths, s.Items.places(name, path+"[]")...)
	}
	if s.Type == "names" {
		paths = append(paths, s.Items.places(name, path+".NAME")...)
	}
	for _, e := range s.Either {
		paths = append(paths, e.places(name, path)...)
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// enumerate names a few places, and says that there are more.
func enumerate(places []string) string {
	const few = 3
	if len(places) > few {
		return strings.Join(places[:few], ", ") + " and others"
	}
	return strings.Join(places, ", ")
}

func (s *Shape) has(key string) bool { return slices.Contains(s.names(), key) }

func (s *Shape) names() (names []string) {
	for _, k := range s.Keys {
		names = append(names, k.Name)
	}
	return names
}

func known(shape *Shape) string { return strings.Join(shape.names(), ", ") }

// mismatch reports a node that is of another kind than the one wanted.
func (r *Reader) mismatch(v Value, want, remedy string) {
	switch n := v.node; {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null" && n.Value == "":
		r.Fault(v.At(), "has no value", "write "+want+", or remove the key")
	case n.Kind == yaml.ScalarNode && v.secret:
		r.Fault(v.At(), "is not "+want, remedy)
	case n.Kind == yaml.ScalarNode:
		r.Fault(v.At(), v.Shown()+" is not "+want, remedy)
	case n.Kind == yaml.SequenceNode:
		r.Fault(v.At(), "is a list, not "+want, remedy)
	case braces(n):
		r.Fault(v.At(), "is a mapping, not "+want, `quote a value in braces: "{`+n.Content[0].Value+`}"`)
	default:
		r.Fault(v.At(), "is a mapping, not "+want, remedy)
	}
}

// braces reports whether a mapping is what YAML makes of an unquoted {name}.
func braces(n *yaml.Node) bool {
	return n.Style&yaml.FlowStyle != 0 && len(n.Content) == 2 && PlainName(n.Content[0].Value) &&
		n.Content[1].Tag == "!!null" && n.Content[1].Value == ""
}

// text reads a string, expanded. What YAML takes for a number, a boolean or a date is refused unless it is quoted:
// the writer meant a name, and 007 or 1e3 would not come out as they went in.
func (r *Reader) text(v Value) (string, bool) {
	n := v.node
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" && n.Value == "" {
		r.mismatch(v, "a string", "write a string")
		return "", false
	}
	if what, other := yamlTypes[n.Tag]; other {
		r.Fault(v.At(), v.Shown()+" is "+what+" in YAML, not a string", "quote it")
		return "", false
	}
	return r.expand(v, n.Value)
}

var yamlTypes = map[string]string{
	"!!int": "a number", "!!float": "a number", "!!bool": "a boolean", "!!null": "nothing", "!!timestamp": "a date",
	"!!binary": "binary data",
}

// bare reads a scalar that is no string, expanded: a quoted one is refused unless it was expanded.
func (r *Reader) bare(v Value, tag, want string) (string, bool) {
	n := v.node
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" && n.Value == "" {
		r.mismatch(v, want, "write "+want)
		return "", false
	}
	if strings.Contains(n.Value, "${") {
		return r.expand(v, n.Value)
	}
	if name := variableOf(n.Value); name != "" {
		r.notExpanded(v, name)
		return "", false
	}
	quoted := n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	switch {
	case quoted && tag != "":
		r.Fault(v.At(), "is a quoted string, not "+want, "remove the quotes")
		return "", false
	case tag != "" && n.Tag != "" && n.Tag != tag:
		r.mismatch(v, want, "write "+want)
		return "", false
	}
	return n.Value, true
}

// holds checks a text and reports what is wrong with it.
func (r *Reader) holds(v Value, text string, c Check) bool {
	if c == nil {
		return true
	}
	problem, remedy := c(text)
	name := variableOf(v.node.Value)
	switch {
	case problem == "" && v.secret && name != "":
		r.Warn(v.At(), "is the text $"+name+", not the environment variable", "write ${env:"+name+"}")
	case problem != "" && name != "":
		r.notExpanded(v, name)
	case problem != "":
		r.Fault(v.At(), v.Shown()+" "+problem, remedy)
	}
	return problem == ""
}

// within checks a number against its bounds.
func (r *Reader) within(v Value, n, least, most int64, shape *Shape) bool {
	switch {
	case n < least:
		r.Fault(v.At(), v.Shown()+" is less than "+shape.Least, "write "+shape.Least+" to "+shape.Most)
	case n > most:
		r.Fault(v.At(), v.Shown()+" is more than "+shape.Most, "write "+shape.Least+" to "+shape.Most)
	default:
		return true
	}
	return false
}
