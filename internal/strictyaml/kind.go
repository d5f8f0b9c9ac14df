package strictyaml

import (
	"fmt"
	"strconv"

	"gopkg.in/yaml.v3"
)

// A Shape describes what a value of the file looks like. The reader and the reference come from the same declarations,
// so they cannot disagree.
type Shape struct {
	// text, secret, integer, size, duration, boolean, word, list, mapping (named keys), names (any keys), object (any)
	Type        string
	Words       []string
	Least, Most string
	// of a text or a secret: what every good one matches, though not all that matches is good; RE2 and ECMA-262
	Pattern   string
	Whole     bool     // of a duration: whole seconds
	Unique    bool     // of a list: no item twice
	Items     *Shape   // of a list, or of the values of a mapping of any names
	Names     *Shape   // of a mapping of any names: what the names look like
	Keys      []Key    // of a mapping
	OneOf     []string // of a mapping: exactly one of these keys is there
	OneAtMost []string // of a mapping: at most one of these keys is there
	Either    []*Shape

	Check Check // of a text: beyond Pattern
}

// A Key is one key of a mapping.
type Key struct {
	Name     string
	Doc      string // one line
	Default  string // as the file would write it; "" if there is none, or if Doc tells it
	Required bool
	Shape    *Shape
}

// A Kind reads values of one type and says what they look like. Read reports what is wrong and returns false then.
type Kind[V any] struct {
	Shape *Shape
	Read  func(r *Reader, v Value) (V, bool)
}

// A Value is a node of the file with its path.
type Value struct {
	node    *yaml.Node
	path    string
	implied bool // its key is absent: this is the default
	secret  bool
}

// At returns the place of the value.
func (v Value) At() Place { return Place{Line: v.node.Line, Column: v.node.Column, Path: v.path} }

func (v Value) item(i int, n *yaml.Node) Value {
	return Value{node: n, path: fmt.Sprintf("%s[%d]", v.path, i), secret: v.secret}
}

func (v Value) member(name string, n *yaml.Node) Value {
	return Value{node: n, path: join(v.path, name), secret: v.secret}
}

// IsList reports whether the value is a list, IsText whether it is a scalar.
func (v Value) IsList() bool { return v.node.Kind == yaml.SequenceNode }
func (v Value) IsText() bool { return v.node.Kind == yaml.ScalarNode }

// Shown is the value as the file spells it, before expansion, so that nothing from outside is printed.
func (v Value) Shown() string {
	if v.secret {
		return redacted
	}
	return Quote(v.node.Value)
}

// A Setting is a value with its place, for checks that need more than the value alone.
type Setting[V any] struct {
	Value V
	At    Place
	Shown string
	Given bool // the file has it
	Bad   bool // … but it is wrong, which has been reported
}

// Usable reports whether there is a good value, from the file or by default.
func (s Setting[V]) Usable() bool { return s.At.Line > 0 && !s.Bad }

// A Field is one key of a mapping that is read into a T.
type Field[T any] struct {
	Key
	remedy string // for a required key that is missing
	always bool   // an absent mapping is read as an empty one, so that its defaults apply
	read   func(r *Reader, v Value, into *T)
}

// Plain declares a key whose value is put where into says.
func Plain[T, V any](name string, k Kind[V], into func(*T) *V, doc string) Field[T] {
	return Field[T]{Key: Key{Name: name, Doc: doc, Shape: k.Shape}, read: func(r *Reader, v Value, t *T) {
		*into(t), _ = k.Read(r, v) // what a faulty list or mapping has of good members is checked all the same
	}}
}

// Placed declares a key whose place is remembered with its value.
func Placed[T, V any](name string, k Kind[V], into func(*T) *Setting[V], doc string) Field[T] {
	return Field[T]{Key: Key{Name: name, Doc: doc, Shape: k.Shape}, read: func(r *Reader, v Value, t *T) {
		*into(t) = settle(r, v, k)
	}}
}

func settle[V any](r *Reader, v Value, k Kind[V]) Setting[V] {
	x, ok := k.Read(r, v)
	s := Setting[V]{Value: x, At: v.At(), Given: !v.implied, Bad: !ok}
	if v.node.Kind == yaml.ScalarNode {
		s.Shown = v.Shown()
	}
	return s
}

// Or sets the default of an absent key; Must makes the key required; Filled reads an absent mapping as an empty one.
func (f Field[T]) Or(text string) Field[T]     { f.Default = text; return f }
func (f Field[T]) Must(remedy string) Field[T] { f.Required, f.remedy = true, remedy; return f }
func (f Field[T]) Filled() Field[T]            { f.always = true; return f }

// Mapping reads a mapping with named keys.
func Mapping[T any](fields ...Field[T]) Kind[T] {
	shape := &Shape{Type: "mapping"}
	byName := make(map[string]*Field[T], len(fields))
	for i := range fields {
		shape.Keys = append(shape.Keys, fields[i].Key)
		byName[fields[i].Name] = &fields[i]
	}
	read := func(r *Reader, v Value) (T, bool) {
		var t T
		if !r.isMapping(v, shape) {
			return t, false
		}
		before := len(r.faults)
		seen := map[string]bool{}
		for name, member := range r.members(v) {
			f, known := byName[name.Value]
			if !known {
				r.unknown(name, member.path, shape)
				continue
			}
			seen[name.Value] = true
			f.read(r, member, &t)
		}
		for i := range fields {
			if !seen[fields[i].Name] {
				fields[i].absent(r, v, &t)
			}
		}
		return t, len(r.faults) == before
	}
	return Kind[T]{shape, read}
}

func (f *Field[T]) absent(r *Reader, v Value, t *T) {
	node := &yaml.Node{Kind: yaml.ScalarNode, Value: f.Default, Line: v.node.Line, Column: v.node.Column}
	switch {
	case f.Required:
		r.Fault(v.At().Key(f.Name), "is missing", f.remedy)
		return
	case f.always:
		node.Kind = yaml.MappingNode
	case f.Default == "":
		return
	}
	f.read(r, Value{node: node, path: join(v.path, f.Name), implied: true}, t)
}

// Defaults returns what an empty mapping of this kind holds, required keys left out.
func (k Kind[V]) Defaults() V {
	v, _ := k.Read(&Reader{}, Value{node: &yaml.Node{Kind: yaml.MappingNode, Line: 1}, implied: true})
	return v
}

// Named is one member of a mapping whose keys are the operator's own names.
type Named[V any] struct {
	Name string
	Setting[V]
}

// Names reads a mapping from the operator's own names, in the file's order.
func Names[V any](name Kind[string], k Kind[V]) Kind[[]Named[V]] {
	naming := name.Shape.Check
	return Kind[[]Named[V]]{
		Shape: &Shape{Type: "names", Items: k.Shape, Names: name.Shape},
		Read: func(r *Reader, v Value) ([]Named[V], bool) {
			if !r.isMapping(v, &Shape{}) {
				return nil, false
			}
			before := len(r.faults)
			var all []Named[V]
			for name, member := range r.members(v) {
				if problem, remedy := naming(name.Value); problem != "" {
					r.Fault(
						Place{name.Line, name.Column, member.path},
						"the name "+Quote(name.Value)+" "+problem,
						remedy,
					)
				}
				all = append(all, Named[V]{name.Value, settle(r, member, k)})
			}
			return all, len(r.faults) == before
		},
	}
}

// List reads a list of at least least items.
func List[V any](least int, k Kind[V]) Kind[[]Setting[V]] {
	shape := &Shape{Type: "list", Items: k.Shape}
	if least > 0 {
		shape.Least = strconv.Itoa(least)
	}
	return Kind[[]Setting[V]]{Shape: shape, Read: func(r *Reader, v Value) ([]Setting[V], bool) {
		if v.node.Kind != yaml.SequenceNode {
			r.mismatch(v, "a list", "write [one, two], or one item per line after -")
			return nil, false
		}
		before := len(r.faults)
		all := make([]Setting[V], 0, len(v.node.Content))
		for i, item := range v.node.Content {
			all = append(all, settle(r, v.item(i, item), k))
		}
		if len(all) < least {
			r.Fault(v.At(), "is empty", "list at least one, or remove the key")
		}
		return all, len(r.faults) == before
	}}
}

// Distinct reads a list of texts, each at most once.
func Distinct[V ~string](least int, k Kind[V]) Kind[[]Setting[V]] {
	all := List(least, k)
	all.Shape.Unique = true
	return Kind[[]Setting[V]]{Shape: all.Shape, Read: func(r *Reader, v Value) ([]Setting[V], bool) {
		items, ok := all.Read(r, v)
		seen := make(map[V]bool, len(items))
		for _, item := range items {
			if !item.Bad && seen[item.Value] {
				shown := item.Shown
				if v.secret || all.Shape.Items.Type == "secret" {
					shown = redacted
				}
				r.Fault(item.At, shown+" is listed twice", "remove one")
				ok = false
			}
			seen[item.Value] = true
		}
		return items, ok
	}}
}

// Like sets the pattern that every good text of this kind matches.
func (k Kind[V]) Like(pattern string) Kind[V] { k.Shape.Pattern = pattern; return k }

// OneOf and OneAtMost say of a mapping which of its keys exclude each other. The code that builds settings reports it.
func (k Kind[V]) OneOf(keys ...string) Kind[V]     { k.Shape.OneOf = keys; return k }
func (k Kind[V]) OneAtMost(keys ...string) Kind[V] { k.Shape.OneAtMost = keys; return k }

// Values strips the places of a list's good items.
func Values[V any](items []Setting[V]) []V {
	var all []V
	for _, item := range items {
		if !item.Bad {
			all = append(all, item.Value)
		}
	}
	return all
}
