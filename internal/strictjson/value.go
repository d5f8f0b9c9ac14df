package strictjson

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Kind is what a value is.
type Kind byte

// The kinds of values. KindNone means that the document ends, or that no value starts here.
const (
	KindNone Kind = iota
	KindObject
	KindArray
	KindString
	KindNumber
	KindBool
	KindNull
)

var kindNames = [...]string{"nothing", "an object", "an array", "a string", "a number", "true or false", "null"}

func (k Kind) String() string { return kindNames[k] }

// Kind tells what the next value is, and leaves it where it is.
func (r *Reader) Kind() Kind {
	r.space()
	if r.err != nil || r.pos >= len(r.doc) {
		return KindNone
	}
	switch c := r.doc[r.pos]; c {
	case '{':
		return KindObject
	case '[':
		return KindArray
	case '"':
		return KindString
	case 't', 'f':
		return KindBool
	case 'n':
		return KindNull
	default:
		if c == '-' || isDigit(c) {
			return KindNumber
		}
		return KindNone
	}
}

func (r *Reader) want(want Kind) error {
	have := r.Kind()
	switch {
	case r.err != nil:
		return r.err
	case have == want:
		return nil
	case have == KindNone:
		return r.unexpected(want.String())
	}
	return r.wrap(r.pos, errors.New("want "+want.String()+", have "+have.String()))
}

// String reads a string.
func (r *Reader) String() (string, error) {
	if err := r.want(KindString); err != nil {
		return "", err
	}
	s, ok := r.text()
	if !ok {
		return "", r.err
	}
	return s, nil
}

// Strings reads an array of strings; it is not nil, even if it is empty.
func (r *Reader) Strings() ([]string, error) {
	list := []string{}
	err := r.Array(func() error {
		s, err := r.String()
		list = append(list, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Bool reads true or false.
func (r *Reader) Bool() (bool, error) {
	if err := r.want(KindBool); err != nil {
		return false, err
	}
	value := r.doc[r.pos] == 't'
	return value, r.word(strconv.FormatBool(value))
}

// Null reads null.
func (r *Reader) Null() error {
	if err := r.want(KindNull); err != nil {
		return err
	}
	return r.word("null")
}

func (r *Reader) word(w string) error {
	if !strings.HasPrefix(r.doc[r.pos:], w) {
		return r.fail(r.pos, "want "+w)
	}
	r.pos += len(w)
	return nil
}

// Number reads a number as it is spelled.
func (r *Reader) Number() (string, error) {
	if err := r.want(KindNumber); err != nil {
		return "", err
	}
	start := r.pos
	end, ok := number(r.doc, start)
	if !ok {
		return "", r.fail(start, "not a number of JSON's spelling")
	}
	r.pos = end
	return r.doc[start:end], nil
}

// Int64 reads a number without fraction and exponent that fits into 64 bits.
func (r *Reader) Int64() (int64, error) {
	spelled, err := r.Number()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(spelled, 10, 64)
	if err != nil {
		return 0, r.wrap(r.pos-len(spelled), errors.New("want a whole number"))
	}
	return n, nil
}

// Float64 reads a number that a float64 can hold, nearly if not exactly.
func (r *Reader) Float64() (float64, error) {
	spelled, err := r.Number()
	if err != nil {
		return 0, err
	}
	f, err := strconv.ParseFloat(spelled, 64)
	if err != nil || math.IsInf(f, 0) {
		return 0, r.wrap(r.pos-len(spelled), errors.New("the number is too large"))
	}
	return f, nil
}

// Skip reads any value, as strictly as all others, and forgets it.
func (r *Reader) Skip() error {
	var err error
	switch r.Kind() {
	case KindObject:
		return r.Object(func(string) error { return r.Skip() })
	case KindArray:
		return r.Array(r.Skip)
	case KindString:
		_, err = r.String()
	case KindNumber:
		_, err = r.Number()
	case KindBool:
		_, err = r.Bool()
	case KindNull:
		err = r.Null()
	default:
		if r.err != nil {
			return r.err
		}
		return r.unexpected("a value")
	}
	return err
}

// Raw reads any value and gives its text, checked as by Skip.
func (r *Reader) Raw() (string, error) {
	r.space()
	start := r.pos
	if err := r.Skip(); err != nil {
		return "", err
	}
	return r.doc[start:r.pos], nil
}

func (r *Reader) space() {
	for r.pos < len(r.doc) {
		switch r.doc[r.pos] {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return
		}
	}
}

// number finds the end of the number that starts at i (RFC 8259 §6).
func number(s string, i int) (end int, ok bool) {
	if s[i] == '-' {
		i++
	}
	switch {
	case i < len(s) && s[i] == '0':
		i++
	default:
		if i, ok = digits(s, i); !ok {
			return i, false
		}
	}
	if i < len(s) && s[i] == '.' {
		if i, ok = digits(s, i+1); !ok {
			return i, false
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if i, ok = digits(s, i); !ok {
			return i, false
		}
	}
	return i, true
}

// digits finds the end of one or more digits.
func digits(s string, i int) (end int, ok bool) {
	start := i
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	return i, i > start
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// text reads a string from its opening quote. One without escapes is a part of the document, without a copy.
func (r *Reader) text() (string, bool) {
	start := r.pos + 1
	for i := start; i < len(r.doc); i++ {
		switch c := r.doc[i]; {
		case c == '"':
			r.pos = i + 1
			return r.doc[start:i], true
		case c == '\\':
			return r.escaped(start, i)
		case c < ' ':
			r.fail(i, "a control character in a string")
			return "", false
		}
	}
	r.fail(len(r.doc), "the string does not end")
	return "", false
}

// escaped reads on at the first escape, i, of the string whose text starts at start.
func (r *Reader) escaped(start, i int) (string, bool) {
	text := append(make([]byte, 0, i-start+32), r.doc[start:i]...)
	for i < len(r.doc) {
		switch c := r.doc[i]; {
		case c == '"':
			r.pos = i + 1
			return string(text), true
		case c == '\\':
			char, size, fault := unescape(r.doc[i:])
			if fault != "" {
				r.fail(i, fault)
				return "", false
			}
			text = utf8.AppendRune(text, char)
			i += size
		case c < ' ':
			r.fail(i, "a control character in a string")
			return "", false
		default:
			text = append(text, c)
			i++
		}
	}
	r.fail(len(r.doc), "the string does not end")
	return "", false
}

const (
	escapes = `"\/bfnrt`
	meant   = "\"\\/\b\f\n\r\t"
)

// unescape reads the escape that s starts with: the character, how many bytes it took, and what is wrong with it.
func unescape(s string) (char rune, size int, fault string) {
	if len(s) < 2 {
		return 0, 0, "the string does not end"
	}
	if at := strings.IndexByte(escapes, s[1]); at >= 0 {
		return rune(meant[at]), 2, ""
	}
	char, ok := hex4(s)
	switch {
	case !ok:
		return 0, 0, "not an escape of JSON's"
	case !utf16.IsSurrogate(char):
		return char, 6, ""
	}
	low, ok := hex4(s[6:])
	if pair := utf16.DecodeRune(char, low); ok && pair != '\uFFFD' {
		return pair, 12, ""
	}
	return 0, 0, "a lone surrogate"
}

// hex4 reads the four hex digits of a \u escape.
func hex4(s string) (rune, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	var char rune
	for i := 2; i < 6; i++ {
		switch c := s[i]; {
		case isDigit(c):
			char = char<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			char = char<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return char, true
}
