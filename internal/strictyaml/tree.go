package strictyaml

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// A Tree is what a file says, for comparison with what another says: expanded, with the defaults of absent keys, and
// numbers, sizes and durations in one spelling each. A secret is a digest.
type Tree struct {
	Shape *Shape
	Text  string           // of a scalar
	Raw   string           // … as people write it
	List  []*Tree          // of a list
	Keys  map[string]*Tree // of a mapping; nil for anything else
}

// Tree returns what a file says that was read without a fault.
func (r *Reader) Tree(v Value) *Tree { return r.tree(v, r.source.Root) }

func (r *Reader) tree(v Value, shape *Shape) *Tree {
	shape = shape.of(v.node)
	t := &Tree{Shape: shape}
	switch v.node.Kind {
	case yaml.SequenceNode:
		for i, item := range v.node.Content {
			t.List = append(t.List, r.tree(v.item(i, item), shape.Items))
		}
	case yaml.MappingNode:
		t.Keys = map[string]*Tree{}
		for i := 0; i+1 < len(v.node.Content); i += 2 {
			name := v.node.Content[i].Value
			t.Keys[name] = r.tree(v.member(name, v.node.Content[i+1]), shape.under(name))
		}
		for _, k := range shape.Keys {
			if d := shape.Default(k.Name); d != nil && t.Keys[k.Name] == nil {
				t.Keys[k.Name] = d
			}
		}
	default:
		t.Text = v.node.Value
		if text, ok := r.expand(v, v.node.Value); ok {
			t.Text = text
		}
		t.Raw = t.Text
		t.normalize()
	}
	return t
}

// Default is what an absent key means; nil: nothing, or its Doc tells it.
func (s *Shape) Default(key string) *Tree {
	for _, k := range s.Keys {
		if k.Name == key && k.Default != "" {
			t := &Tree{Shape: k.Shape.of(&yaml.Node{Kind: yaml.ScalarNode}), Text: k.Default, Raw: k.Default}
			t.normalize()
			return t
		}
	}
	return nil
}

var anything = &Shape{Type: "object"}

// of is the shape of a node among those that a value may have.
func (s *Shape) of(n *yaml.Node) *Shape {
	if s == nil {
		return anything
	}
	for _, e := range s.Either {
		e = e.of(n)
		switch {
		case n.Kind == yaml.SequenceNode && e.Type == "list",
			n.Kind == yaml.MappingNode && (e.Type == "mapping" || e.Type == "names" || e.Type == "object"),
			n.Kind == yaml.ScalarNode && e.Type != "list" && e.Type != "mapping" && e.Type != "names":
			return e
		}
	}
	return s
}

// under is the shape of a member.
func (s *Shape) under(name string) *Shape {
	if s.Type == "names" {
		return s.Items
	}
	for _, k := range s.Keys {
		if k.Name == name {
			return k.Shape
		}
	}
	return anything
}

// normalize gives what means the same the same text.
func (t *Tree) normalize() {
	switch t.Shape.Type {
	case "secret":
		sum := sha256.Sum256([]byte(t.Text))
		t.Text = hex.EncodeToString(sum[:8])
	case "duration":
		if d, err := time.ParseDuration(t.Text); err == nil {
			t.Text = strconv.FormatInt(int64(d), 10)
		}
	case "integer", "size":
		if n, ok := parseSize(t.Text); ok {
			t.Text = strconv.FormatInt(n, 10)
		}
	case "ratio":
		if x, err := strconv.ParseFloat(t.Text, 64); err == nil {
			t.Text = strconv.FormatFloat(x, 'f', -1, 64)
		}
	}
}

// Number is a number, a size or a duration.
func (t *Tree) Number() (n float64, ok bool) {
	if t == nil || t.Keys != nil || t.List != nil {
		return 0, false
	}
	n, err := strconv.ParseFloat(t.Text, 64)
	return n, err == nil
}

// String writes a tree on one line, without secrets.
func (t *Tree) String() string {
	var b strings.Builder
	t.write(&b, false)
	return b.String()
}

// Same reports whether two trees say the same, in whatever order of a mapping's keys.
func (t *Tree) Same(other *Tree) bool {
	var a, b strings.Builder
	t.write(&a, true)
	other.write(&b, true)
	return a.String() == b.String()
}

func (t *Tree) write(b *strings.Builder, whole bool) {
	switch {
	case t == nil:
	case t.Keys != nil:
		b.WriteByte('{')
		for i, name := range slices.Sorted(maps.Keys(t.Keys)) {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(name + ": ")
			t.Keys[name].write(b, whole)
		}
		b.WriteByte('}')
	case t.Shape.Type == "list" || t.List != nil:
		b.WriteByte('[')
		for i, item := range t.List {
			if i > 0 {
				b.WriteString(", ")
			}
			item.write(b, whole)
		}
		b.WriteByte(']')
	case t.Shape.Type == "secret" && !whole:
		b.WriteString(redacted)
	case whole: // so that no text looks like another tree
		b.WriteString(strconv.Quote(t.Text))
	default:
		b.WriteString(t.Raw)
	}
}

// Paths lists the path of every key of a file of this shape, with [] for the items of a list and * for a name.
func (s *Shape) Paths() []string { return s.paths("") }

func (s *Shape) paths(at string) (all []string) {
	if s == nil {
		return nil
	}
	for _, e := range s.Either {
		all = append(all, e.paths(at)...)
	}
	switch s.Type {
	case "mapping":
		for _, k := range s.Keys {
			path := join(at, k.Name)
			all = append(append(all, path), k.Shape.paths(path)...)
		}
	case "list":
		all = append(all, s.Items.paths(at+"[]")...)
	case "names":
		all = append(all, s.Items.paths(at+".*")...)
	}
	return all
}
