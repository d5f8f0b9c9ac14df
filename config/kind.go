package config

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// A Shape says what a value of the file looks like. The reader and the reference come from the same declarations, so
// they cannot disagree.
type Shape struct {
	Type        string // text, secret, integer, size, duration, boolean, word, list, mapping (named keys), names (any keys), object (any)
	Words       []string
	Least, Most string
	Pattern     string   // of a text or a secret: what every good one matches, though not all that matches is good; RE2 and ECMA-262
	Whole       bool     // of a duration: whole seconds
	Unique      bool     // of a list: no item twice
	Items       *Shape   // of a list, or of the values of a mapping of any names
	Names       *Shape   // of a mapping of any names: what the names look like
	Keys        []Key    // of a mapping
	OneOf       []string // of a mapping: exactly one of these keys is there
	OneAtMost   []string // of a mapping: at most one of these keys is there
	Either      []*Shape

	check check // of a text: beyond Pattern
}

// A Key is one key of a mapping.
type Key struct {
	Name     string
	Doc      string // one line
	Default  string // as the file would write it; "" if there is none, or if Doc tells it
	Required bool
	Shape    *Shape
}

// A kind reads values of one type and says what they look like. read reports what is wrong and answers false then.
type kind[V any] struct {
	shape *Shape
	read  func(r *reader, v value) (V, bool)
}

// A value is a node of the file with its path.
type value struct {
	node    *yaml.Node
	path    string
	implied bool // its key is absent: this is the default
	secret  bool
}

func (v value) at() place { return place{line: v.node.Line, column: v.node.Column, path: v.path} }

func (v value) item(i int, n *yaml.Node) value {
	return value{node: n, path: fmt.Sprintf("%s[%d]", v.path, i), secret: v.secret}
}

func (v value) member(name string, n *yaml.Node) value {
	return value{node: n, path: join(v.path, name), secret: v.secret}
}

func (v value) isList() bool { return v.node.Kind == yaml.SequenceNode }
func (v value) isText() bool { return v.node.Kind == yaml.ScalarNode }

// shown is the value as the file spells it, before expansion, so that nothing from outside is printed.
func (v value) shown() string {
	if v.secret {
		return redacted
	}
	return quote(v.node.Value)
}

// A setting is a value with its place, for checks that need more than the value alone.
type setting[V any] struct {
	Value V
	at    place
	shown string
	given bool // the file has it
	bad   bool // … but it is wrong, which has been told
}

// usable tells whether there is a good value, from the file or by default.
func (s setting[V]) usable() bool { return s.at.line > 0 && !s.bad }

// A field is one key of a mapping that is read into a T.
type field[T any] struct {
	Key
	remedy string // for a required key that is missing
	always bool   // an absent mapping is read as an empty one, so that its defaults apply
	read   func(r *reader, v value, into *T)
}

// plain declares a key whose value is put where into says.
func plain[T, V any](name string, k kind[V], into func(*T) *V, doc string) field[T] {
	return field[T]{Key: Key{Name: name, Doc: doc, Shape: k.shape}, read: func(r *reader, v value, t *T) {
		*into(t), _ = k.read(r, v) // what a faulty list or mapping has of good members is checked all the same
	}}
}

// placed declares a key whose place is remembered with its value.
func placed[T, V any](name string, k kind[V], into func(*T) *setting[V], doc string) field[T] {
	return field[T]{Key: Key{Name: name, Doc: doc, Shape: k.shape}, read: func(r *reader, v value, t *T) {
		*into(t) = settle(r, v, k)
	}}
}

func settle[V any](r *reader, v value, k kind[V]) setting[V] {
	x, ok := k.read(r, v)
	s := setting[V]{Value: x, at: v.at(), given: !v.implied, bad: !ok}
	if v.node.Kind == yaml.ScalarNode {
		s.shown = v.shown()
	}
	return s
}

func (f field[T]) or(text string) field[T]     { f.Default = text; return f }
func (f field[T]) must(remedy string) field[T] { f.Required, f.remedy = true, remedy; return f }
func (f field[T]) filled() field[T]            { f.always = true; return f }

// object reads a mapping with named keys.
func object[T any](fields ...field[T]) kind[T] {
	shape := &Shape{Type: "mapping"}
	byName := make(map[string]*field[T], len(fields))
	for i := range fields {
		shape.Keys = append(shape.Keys, fields[i].Key)
		byName[fields[i].Name] = &fields[i]
	}
	read := func(r *reader, v value) (T, bool) {
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
	return kind[T]{shape, read}
}

func (f *field[T]) absent(r *reader, v value, t *T) {
	node := &yaml.Node{Kind: yaml.ScalarNode, Value: f.Default, Line: v.node.Line, Column: v.node.Column}
	switch {
	case f.Required:
		r.fault(v.at().key(f.Name), "is missing", f.remedy)
		return
	case f.always:
		node.Kind = yaml.MappingNode
	case f.Default == "":
		return
	}
	f.read(r, value{node: node, path: join(v.path, f.Name), implied: true}, t)
}

// defaults is what an empty mapping of this kind holds, required keys left out.
func (k kind[V]) defaults() V {
	v, _ := k.read(&reader{}, value{node: &yaml.Node{Kind: yaml.MappingNode, Line: 1}, implied: true})
	return v
}

// named is one member of a mapping whose keys are the operator's own names.
type named[V any] struct {
	name string
	setting[V]
}

// names reads a mapping from the operator's own names, in the file's order.
func names[V any](name kind[string], k kind[V]) kind[[]named[V]] {
	naming := name.shape.check
	return kind[[]named[V]]{&Shape{Type: "names", Items: k.shape, Names: name.shape}, func(r *reader, v value) ([]named[V], bool) {
		if !r.isMapping(v, &Shape{}) {
			return nil, false
		}
		before := len(r.faults)
		var all []named[V]
		for name, member := range r.members(v) {
			if problem, remedy := naming(name.Value); problem != "" {
				r.fault(place{name.Line, name.Column, member.path}, "the name "+quote(name.Value)+" "+problem, remedy)
			}
			all = append(all, named[V]{name.Value, settle(r, member, k)})
		}
		return all, len(r.faults) == before
	}}
}

// list reads a list of at least least items.
func list[V any](least int, k kind[V]) kind[[]setting[V]] {
	shape := &Shape{Type: "list", Items: k.shape}
	if least > 0 {
		shape.Least = strconv.Itoa(least)
	}
	return kind[[]setting[V]]{shape, func(r *reader, v value) ([]setting[V], bool) {
		if v.node.Kind != yaml.SequenceNode {
			r.mismatch(v, "a list", "write [one, two], or one item per line after -")
			return nil, false
		}
		before := len(r.faults)
		all := make([]setting[V], 0, len(v.node.Content))
		for i, item := range v.node.Content {
			all = append(all, settle(r, v.item(i, item), k))
		}
		if len(all) < least {
			r.fault(v.at(), "is an empty list", "name at least one, or leave the key out")
		}
		return all, len(r.faults) == before
	}}
}

// distinct reads a list of texts, each at most once.
func distinct[V ~string](least int, k kind[V]) kind[[]setting[V]] {
	all := list(least, k)
	all.shape.Unique = true
	return kind[[]setting[V]]{all.shape, func(r *reader, v value) ([]setting[V], bool) {
		items, ok := all.read(r, v)
		seen := make(map[V]bool, len(items))
		for _, item := range items {
			if !item.bad && seen[item.Value] {
				shown := item.shown
				if v.secret || all.shape.Items.Type == "secret" {
					shown = redacted
				}
				r.fault(item.at, shown+" is there twice", "keep one")
				ok = false
			}
			seen[item.Value] = true
		}
		return items, ok
	}}
}

// like says what every good text of this kind matches.
func (k kind[V]) like(pattern string) kind[V] { k.shape.Pattern = pattern; return k }

// oneOf and oneAtMost say of a mapping which of its keys exclude each other. Whoever builds settings of them tells it.
func (k kind[V]) oneOf(keys ...string) kind[V]     { k.shape.OneOf = keys; return k }
func (k kind[V]) oneAtMost(keys ...string) kind[V] { k.shape.OneAtMost = keys; return k }

// values strips the places of a list's good items.
func values[V any](items []setting[V]) []V {
	var all []V
	for _, item := range items {
		if !item.bad {
			all = append(all, item.Value)
		}
	}
	return all
}

// A check tells what is wrong with a text and what to do, or "" twice. The problem follows the text itself.
type check func(text string) (problem, remedy string)

// text reads a string.
func text(c check) kind[string] {
	return kind[string]{&Shape{Type: "text", check: c}, func(r *reader, v value) (string, bool) {
		s, ok := r.text(v)
		return s, ok && r.holds(v, s, c)
	}}
}

// secret reads a string that is never printed.
func secret(c check) kind[Secret] {
	return kind[Secret]{&Shape{Type: "secret", check: c}, func(r *reader, v value) (Secret, bool) {
		v.secret = true
		s, ok := r.text(v)
		return Secret(s), ok && r.holds(v, s, c)
	}}
}

// word reads one of a few words.
func word(words ...string) kind[string] {
	return kind[string]{&Shape{Type: "word", Words: words}, func(r *reader, v value) (string, bool) {
		s, ok := r.text(v)
		return s, ok && r.holds(v, s, func(s string) (string, string) {
			if slices.Contains(words, s) {
				return "", ""
			}
			if near := Nearest(s, words); near != "" {
				return "is not a word that this key knows", "did you mean " + near + "?"
			}
			return "is not a word that this key knows", "write one of " + strings.Join(words, ", ")
		})
	}}
}

// boolean reads true or false.
func boolean() kind[bool] {
	return kind[bool]{&Shape{Type: "boolean"}, func(r *reader, v value) (bool, bool) {
		s, ok := r.bare(v, "!!bool", "true or false")
		if ok && s != "true" && s != "false" {
			r.fault(v.at(), v.shown()+" is neither true nor false", "write true or false")
			return false, false
		}
		return s == "true", ok
	}}
}

// only reads true; false is what an absent key means already.
func only() kind[bool] {
	b := boolean()
	b.shape.Words = []string{"true"}
	return kind[bool]{b.shape, func(r *reader, v value) (bool, bool) {
		x, ok := b.read(r, v)
		if ok && !x {
			r.fault(v.at(), "is false", "leave the key out")
		}
		return x, ok && x
	}}
}

// integer reads a whole number.
func integer[N int | int64](least, most N) kind[N] {
	shape := &Shape{Type: "integer", Least: fmt.Sprint(least), Most: fmt.Sprint(most)}
	return kind[N]{shape, func(r *reader, v value) (N, bool) {
		s, ok := r.bare(v, "!!int", "a whole number")
		if !ok {
			return 0, false
		}
		n, good := digits(s)
		if !good {
			r.fault(v.at(), v.shown()+" is not a whole number", "write it with the digits 0 to 9 alone")
			return 0, false
		}
		return N(n), r.within(v, n, int64(least), int64(most), shape)
	}}
}

// ratio reads a part of a whole.
func ratio() kind[float64] {
	return kind[float64]{&Shape{Type: "ratio", Least: "0", Most: "1", Pattern: ratioLike}, func(r *reader, v value) (float64, bool) {
		s, ok := r.bare(v, "", "a number from 0 to 1")
		if !ok {
			return 0, false
		}
		n, err := strconv.ParseFloat(s, 64)
		if err != nil || !ratioSpelling.MatchString(s) {
			r.fault(v.at(), v.shown()+" is not a number from 0 to 1", "write it like 0.1")
			return 0, false
		}
		return n, true
	}}
}

const ratioLike = `^(0|1|0\.[0-9]{1,9})$`

var ratioSpelling = regexp.MustCompile(ratioLike)

func digits(s string) (int64, bool) {
	if s == "" || len(s) > 1 && s[0] == '0' || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// The units of sizes.
const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// size reads a number of bytes.
func size[N int | int64](least, most N) kind[N] {
	shape := &Shape{Type: "size", Least: spellSize(int64(least)), Most: spellSize(int64(most))}
	return kind[N]{shape, func(r *reader, v value) (N, bool) {
		s, ok := r.bare(v, "", "a size")
		if !ok {
			return 0, false
		}
		n, good := parseSize(s)
		if !good {
			r.fault(v.at(), v.shown()+" is not a size", "write bytes as 65536, or as 64KiB, 1MiB, 1GiB")
			return 0, false
		}
		return N(n), r.within(v, n, int64(least), int64(most), shape)
	}}
}

func parseSize(s string) (int64, bool) {
	unit := int64(1)
	for suffix, u := range map[string]int64{"KiB": kib, "MiB": mib, "GiB": gib} {
		if number, found := strings.CutSuffix(s, suffix); found {
			s, unit = number, u
			break
		}
	}
	n, ok := digits(s)
	return n * unit, ok && n <= math.MaxInt64/unit
}

func spellSize(n int64) string {
	for _, u := range []struct {
		unit int64
		name string
	}{{gib, "GiB"}, {mib, "MiB"}, {kib, "KiB"}} {
		if n >= u.unit && n%u.unit == 0 {
			return strconv.FormatInt(n/u.unit, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// duration reads a time span in Go's spelling.
func duration(least, most time.Duration) kind[time.Duration] {
	shape := &Shape{Type: "duration", Least: spell(least), Most: spell(most)}
	return kind[time.Duration]{shape, func(r *reader, v value) (time.Duration, bool) {
		s, ok := r.bare(v, "", "a duration")
		if !ok {
			return 0, false
		}
		d, err := time.ParseDuration(s)
		if _, number := digits(s); number {
			r.fault(v.at(), v.shown()+" has no unit", "write "+s+"s for seconds, or use ms, m, h")
			return 0, false
		}
		if err != nil {
			r.fault(v.at(), v.shown()+" is not a duration", "write it like 500ms, 60s, 10m or 24h")
			return 0, false
		}
		return d, r.within(v, int64(d), int64(least), int64(most), shape)
	}}
}

// seconds is a duration of whole seconds: what goes into a token or a code has no finer grain.
func seconds(least, most time.Duration) kind[time.Duration] {
	k := duration(least, most)
	k.shape.Whole = true
	return kind[time.Duration]{k.shape, func(r *reader, v value) (time.Duration, bool) {
		d, ok := k.read(r, v)
		if ok && d%time.Second != 0 {
			r.fault(v.at(), v.shown()+" is not a number of whole seconds", "write it like 60s")
			return 0, false
		}
		return d, ok
	}}
}

// spell is d as people write it: 10m, not 10m0s.
func spell(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// claims reads a mapping of any members, as the JSON object that a token would have in its place.
func claims() kind[string] {
	return kind[string]{&Shape{Type: "object"}, func(r *reader, v value) (string, bool) {
		if !r.isMapping(v, &Shape{}) {
			return "", false
		}
		var members map[string]any
		if err := v.node.Decode(&members); err != nil { // its text can have several lines
			r.fault(v.at(), "cannot be read as claims", "write each claim once, with a text for its name")
			return "", false
		}
		text, err := json.Marshal(members)
		if err != nil {
			r.fault(v.at(), "has a value that JSON cannot say", "write texts, whole numbers, true, false, lists and mappings of them")
			return "", false
		}
		return string(text), true
	}}
}
