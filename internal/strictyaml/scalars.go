package strictyaml

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Check returns what is wrong with a text and what to do, or "" twice. The problem follows the text itself.
type Check func(text string) (problem, remedy string)

// Text reads a string.
func Text(c Check) Kind[string] {
	return Kind[string]{Shape: &Shape{Type: "text", Check: c}, Read: func(r *Reader, v Value) (string, bool) {
		s, ok := r.text(v)
		return s, ok && r.holds(v, s, c)
	}}
}

// SecretText reads a string that is never printed.
func SecretText(c Check) Kind[Secret] {
	return Kind[Secret]{Shape: &Shape{Type: "secret", Check: c}, Read: func(r *Reader, v Value) (Secret, bool) {
		v.secret = true
		s, ok := r.text(v)
		return Secret(s), ok && r.holds(v, s, c)
	}}
}

// Word reads one of a few words.
func Word(words ...string) Kind[string] {
	return Kind[string]{Shape: &Shape{Type: "word", Words: words}, Read: func(r *Reader, v Value) (string, bool) {
		s, ok := r.text(v)
		return s, ok && r.holds(v, s, func(s string) (string, string) {
			if slices.Contains(words, s) {
				return "", ""
			}
			if near := Nearest(s, words); near != "" {
				return "is not a valid value", "did you mean " + near + "?"
			}
			return "is not a valid value", either(words)
		})
	}}
}

// either is the remedy for a word that is none of words.
func either(words []string) string {
	if len(words) == 1 {
		return "write " + words[0]
	}
	return "use one of " + strings.Join(words, ", ")
}

// Boolean reads true or false.
func Boolean() Kind[bool] {
	return Kind[bool]{Shape: &Shape{Type: "boolean"}, Read: func(r *Reader, v Value) (bool, bool) {
		s, ok := r.bare(v, "!!bool", "true or false")
		if ok && s != "true" && s != "false" {
			r.Fault(v.At(), v.Shown()+" is neither true nor false", "write true or false")
			return false, false
		}
		return s == "true", ok
	}}
}

// OnlyTrue reads true; false is what an absent key means already.
func OnlyTrue() Kind[bool] {
	b := Boolean()
	b.Shape.Words = []string{"true"}
	return Kind[bool]{Shape: b.Shape, Read: func(r *Reader, v Value) (bool, bool) {
		x, ok := b.Read(r, v)
		if ok && !x {
			r.Fault(v.At(), "is false", "write true, or remove the key")
		}
		return x, ok && x
	}}
}

// Integer reads a whole number.
func Integer[N int | int64](least, most N) Kind[N] {
	shape := &Shape{Type: "integer", Least: fmt.Sprint(least), Most: fmt.Sprint(most)}
	return Kind[N]{Shape: shape, Read: func(r *Reader, v Value) (N, bool) {
		s, ok := r.bare(v, "!!int", "a whole number")
		if !ok {
			return 0, false
		}
		n, good := Digits(s)
		if !good {
			r.Fault(v.At(), v.Shown()+" is not a whole number", "use only the digits 0 to 9")
			return 0, false
		}
		return N(n), r.within(v, n, int64(least), int64(most), shape)
	}}
}

// Ratio reads a part of a whole.
func Ratio() Kind[float64] {
	return Kind[float64]{
		Shape: &Shape{Type: "ratio", Least: "0", Most: "1", Pattern: ratioLike},
		Read: func(r *Reader, v Value) (float64, bool) {
			s, ok := r.bare(v, "", "a number from 0 to 1")
			if !ok {
				return 0, false
			}
			n, err := strconv.ParseFloat(s, 64)
			if err != nil || !ratioSpelling.MatchString(s) {
				r.Fault(v.At(), v.Shown()+" is not a number from 0 to 1", "write it like 0.1")
				return 0, false
			}
			return n, true
		},
	}
}

const ratioLike = `^(0|1|0\.[0-9]{1,9})$`

var ratioSpelling = regexp.MustCompile(ratioLike)

// Digits parses a whole number of decimal digits alone, without a leading zero.
func Digits(s string) (int64, bool) {
	if s == "" || len(s) > 1 && s[0] == '0' || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// The units of sizes.
const (
	KiB = 1 << 10
	MiB = 1 << 20
	GiB = 1 << 30
)

// Size reads a number of bytes.
func Size[N int | int64](least, most N) Kind[N] {
	shape := &Shape{Type: "size", Least: spellSize(int64(least)), Most: spellSize(int64(most))}
	return Kind[N]{Shape: shape, Read: func(r *Reader, v Value) (N, bool) {
		s, ok := r.bare(v, "", "a size")
		if !ok {
			return 0, false
		}
		n, good := parseSize(s)
		if !good {
			r.Fault(v.At(), v.Shown()+" is not a size", "write bytes as 65536, or as 64KiB, 1MiB, 1GiB")
			return 0, false
		}
		return N(n), r.within(v, n, int64(least), int64(most), shape)
	}}
}

func parseSize(s string) (int64, bool) {
	unit := int64(1)
	for suffix, u := range map[string]int64{"KiB": KiB, "MiB": MiB, "GiB": GiB} {
		if number, found := strings.CutSuffix(s, suffix); found {
			s, unit = number, u
			break
		}
	}
	n, ok := Digits(s)
	return n * unit, ok && n <= math.MaxInt64/unit
}

func spellSize(n int64) string {
	for _, u := range []struct {
		unit int64
		name string
	}{{GiB, "GiB"}, {MiB, "MiB"}, {KiB, "KiB"}} {
		if n >= u.unit && n%u.unit == 0 {
			return strconv.FormatInt(n/u.unit, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// Duration reads a time span in Go's spelling.
func Duration(least, most time.Duration) Kind[time.Duration] {
	shape := &Shape{Type: "duration", Least: SpellDuration(least), Most: SpellDuration(most)}
	return Kind[time.Duration]{Shape: shape, Read: func(r *Reader, v Value) (time.Duration, bool) {
		s, ok := r.bare(v, "", "a duration")
		if !ok {
			return 0, false
		}
		d, err := time.ParseDuration(s)
		if _, number := Digits(s); number {
			r.Fault(v.At(), v.Shown()+" has no unit", "write "+s+"s for seconds, or use ms, m, h")
			return 0, false
		}
		if err != nil {
			r.Fault(v.At(), v.Shown()+" is not a duration", "write it like 500ms, 60s, 10m or 24h")
			return 0, false
		}
		return d, r.within(v, int64(d), int64(least), int64(most), shape)
	}}
}

// Seconds is a duration of whole seconds: what goes into a token or a code has no finer grain.
func Seconds(least, most time.Duration) Kind[time.Duration] {
	k := Duration(least, most)
	k.Shape.Whole = true
	return Kind[time.Duration]{Shape: k.Shape, Read: func(r *Reader, v Value) (time.Duration, bool) {
		d, ok := k.Read(r, v)
		if ok && d%time.Second != 0 {
			r.Fault(v.At(), v.Shown()+" is not a number of whole seconds", "write it like 60s")
			return 0, false
		}
		return d, ok
	}}
}

// SpellDuration is d as people write it: 10m, not 10m0s.
func SpellDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// AnyObject reads a mapping of any members, as the JSON object of the same members.
func AnyObject() Kind[string] {
	return Kind[string]{Shape: &Shape{Type: "object"}, Read: func(r *Reader, v Value) (string, bool) {
		if !r.isMapping(v, &Shape{}) {
			return "", false
		}
		var members map[string]any
		if err := v.node.Decode(&members); err != nil { // its text can have several lines
			r.Fault(v.At(), "cannot be read as a JSON object", "write each member once, with a string as its name")
			return "", false
		}
		text, err := json.Marshal(members)
		if err != nil {
			r.Fault(
				v.At(),
				"has a value that JSON cannot represent",
				"use strings, whole numbers, true, false, lists and mappings of them",
			)
			return "", false
		}
		return string(text), true
	}}
}

// A ScalarValue is a text, a number or a boolean, as the file spells it.
type ScalarValue struct {
	Type string // text, number or boolean
	Text string
}

// jsonNumber is how JSON spells numbers; YAML has other ways.
var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// Scalar reads a text, a number or a boolean, and tells them apart: true is none of "true".
func Scalar(c Check) Kind[ScalarValue] {
	shape := &Shape{Type: "scalar", Check: c}
	return Kind[ScalarValue]{Shape: shape, Read: func(r *Reader, v Value) (ScalarValue, bool) {
		switch v.node.Tag {
		case "!!bool":
			if v.node.Value == "true" || v.node.Value == "false" {
				return ScalarValue{"boolean", v.node.Value}, true
			}
			r.Fault(v.At(), v.Shown()+" is a boolean in YAML", "write true or false, or put it in quotes")
			return ScalarValue{}, false
		case "!!int", "!!float":
			if jsonNumber.MatchString(v.node.Value) {
				return ScalarValue{"number", v.node.Value}, true
			}
			r.Fault(v.At(), v.Shown()+" is a number in YAML that JSON cannot spell", "put it in quotes")
			return ScalarValue{}, false
		}
		s, ok := r.text(v)
		return ScalarValue{"text", s}, ok && r.holds(v, s, c)
	}}
}

// OneOrMany reads a value, or a list of such values.
func OneOrMany[V any](k Kind[V]) Kind[[]Setting[V]] {
	many := List(1, k)
	return Kind[[]Setting[V]]{
		Shape: &Shape{Either: []*Shape{k.Shape, many.Shape}},
		Read: func(r *Reader, v Value) ([]Setting[V], bool) {
			if v.IsList() {
				return many.Read(r, v)
			}
			one := settle(r, v, k)
			return []Setting[V]{one}, !one.Bad
		},
	}
}

// Either reads a mapping with one kind, and everything else with another.
func Either[V any](mapping, other Kind[V]) Kind[V] {
	shape := &Shape{Either: []*Shape{other.Shape, mapping.Shape}}
	return Kind[V]{Shape: shape, Read: func(r *Reader, v Value) (V, bool) {
		if !v.IsList() && !v.IsText() {
			return mapping.Read(r, v)
		}
		return other.Read(r, v)
	}}
}

// Convert reads a value with one kind and makes another type of it.
func Convert[V, W any](k Kind[V], to func(V) W) Kind[W] {
	return Kind[W]{Shape: k.Shape, Read: func(r *Reader, v Value) (W, bool) {
		x, ok := k.Read(r, v)
		return to(x), ok
	}}
}
