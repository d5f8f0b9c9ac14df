package jose

import (
	"strconv"
	"strings"

	"github.com/jotgate/jotgate/internal/strictjson"
	"github.com/jotgate/jotgate/internal/token"
)

// A Value is a claim's JSON, which was read strictly; "" stands for a claim that is missing, or null.
type Value string

// shown is the value for a log line.
func (v Value) shown() string {
	const most = 64
	switch {
	case v == "":
		return "missing"
	case len(v) > most:
		return strings.ToValidUTF8(string(v[:most]), "") + "…"
	}
	return string(v)
}

// Text is a string claim's text; ok is false for any other.
func (v Value) Text() (text string, ok bool) {
	if v == "" || v[0] != '"' {
		return "", false
	}
	text, err := strictjson.NewString(string(v)).String()
	return text, err == nil
}

// Empty reports whether the value says nothing: missing, null, "", [] or {}.
func (v Value) Empty() bool {
	if v == "" || v == "null" || v == `""` {
		return true
	}
	if v[0] == '[' || v[0] == '{' {
		return strings.TrimSpace(string(v[1:len(v)-1])) == ""
	}
	return false
}

// elements calls each with every element of a list, or with every member of an object, of which it gets the name.
func (v Value) elements(each func(name string, element Value)) {
	if v == "" {
		return
	}
	r := strictjson.NewString(string(v))
	one := func(name string) error {
		text, err := r.Raw()
		if err == nil {
			each(name, Value(text))
		}
		return err
	}
	switch v[0] {
	case '[':
		_ = r.Array(func() error { return one("") }) // it was read before
	case '{':
		_ = r.Object(one)
	}
}

// Elements lists the elements of a list; nil for any other value.
func (v Value) Elements() (list []Value) {
	if v != "" && v[0] == '[' {
		v.elements(func(_ string, e Value) { list = append(list, e) })
	}
	return list
}

// Strings lists the text of a string, or of each string in a list; other values, and empty texts, are left out.
func (v Value) Strings() []string {
	var list []string
	if text, ok := v.Text(); ok {
		if text != "" {
			list = append(list, text)
		}
		return list
	}
	if v != "" && v[0] == '[' {
		v.elements(func(_ string, e Value) {
			if text, ok := e.Text(); ok && text != "" {
				list = append(list, text)
			}
		})
	}
	return list
}

// A WordRule says which words a claim holds. Whatever is no word never refuses a token.
type WordRule struct {
	From  Path
	Split string // a string is split at it; "": it is one word
	Keys  bool   // an object's keys are words
	// PerTenant says that an object's keys are words for the tenants alone that the keys of the object below name
	// (Zitadel's roles); a word without such an object counts for none. It needs Keys.
	PerTenant bool
	// Fixed is the only word, whatever the claim holds; a claim that is there and differs refuses the token. "": none.
	Fixed string
}

// perTenant lists the keys of objects, each once, with the tenants that the objects below it name.
func perTenant(objects ...Value) (list []token.Word) {
	at := make(map[string]int)
	for _, v := range objects {
		if v[0] != '{' {
			continue
		}
		v.elements(func(name string, below Value) {
			if below[0] != '{' {
				return
			}
			below.elements(func(tenant string, _ Value) {
				if _, known := at[name]; !known {
					at[name] = len(list)
					list = append(list, token.Word{Text: name})
				}
				word := &list[at[name]]
				word.Tenants = append(word.Tenants, tenant)
			})
		})
	}
	return list
}

// words reads the words of a value.
func (w *WordRule) words(v Value) []token.Word {
	if w.Fixed != "" {
		return []token.Word{{Text: w.Fixed}}
	}
	var list []token.Word
	add := func(text string) {
		if text != "" {
			list = append(list, token.Word{Text: text})
		}
	}
	switch {
	case v == "":
	case v[0] == '{' && w.PerTenant:
		list = perTenant(v)
	case v[0] == '[' && w.PerTenant: // a list of such objects, as Zitadel's documents show it
		list = perTenant(v.Elements()...)
	case v[0] == '{' && w.Keys:
		v.elements(func(name string, _ Value) { add(name) })
	case w.PerTenant:
	case v[0] == '"' && w.Split != "":
		text, _ := v.Text()
		for word := range strings.SplitSeq(text, w.Split) {
			add(word)
		}
	default:
		for _, text := range v.Strings() {
			add(text)
		}
	}
	return list
}

// A Scalar is a JSON string, number or boolean. It equals values of its own type alone.
type Scalar struct {
	Kind strictjson.Kind // KindString, KindNumber or KindBool
	Text string          // as in the configuration
}

func (s Scalar) equals(v Value) bool {
	if v == "" {
		return false
	}
	switch s.Kind {
	case strictjson.KindString:
		text, ok := v.Text()
		return ok && text == s.Text
	case strictjson.KindBool:
		return string(v) == s.Text
	case strictjson.KindNumber:
		return (v[0] == '-' || '0' <= v[0] && v[0] <= '9') && sameNumber(string(v), s.Text)
	}
	return false
}

// sameNumber compares integers digit by digit, since large ones lose digits as floating-point numbers.
func sameNumber(a, b string) bool {
	whole := func(s string) bool { return !strings.ContainsAny(s, ".eE") }
	if whole(a) && whole(b) {
		return a == b || strings.Trim(a, "-") == "0" && strings.Trim(b, "-") == "0"
	}
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && x == y
}

// A Condition is what a claim must hold: any of its alternatives.
type Condition []Alternative

// An Alternative is one of: a scalar that the claim equals, a scalar that the claim's list contains, or that it is
// there.
type Alternative struct {
	Scalar   Scalar
	Contains bool
	Present  bool
}

// Holds reports whether the value meets the condition.
func (c Condition) Holds(v Value) bool {
	for _, a := range c {
		switch {
		case a.Present && !v.Empty(), !a.Present && !a.Contains && a.Scalar.equals(v):
			return true
		case a.Contains && v != "" && v[0] == '[':
			found := false
			v.elements(func(_ string, e Value) { found = found || a.Scalar.equals(e) })
			if found {
				return true
			}
		}
	}
	return false
}

// String says what the condition asks for.
func (c Condition) String() string {
	var all []string
	for _, a := range c {
		text := a.Scalar.Text
		if a.Scalar.Kind == strictjson.KindString {
			text = strconv.Quote(text)
		}
		switch {
		case a.Present:
			text = "anything but null or empty"
		case a.Contains:
			text = "a list that contains " + text
		}
		all = append(all, text)
	}
	return strings.Join(all, " or ")
}

// A Requirement is a claim that must meet a condition.
type Requirement struct {
	Claim     Path
	Condition Condition
}
