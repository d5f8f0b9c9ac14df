package strictjson_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jotgate/jotgate/internal/strictjson"
)

// value reads any value into what encoding/json with UseNumber gives.
func value(r *strictjson.Reader) (any, error) {
	switch r.Kind() {
	case strictjson.KindObject:
		m := map[string]any{}
		err := r.Object(func(name string) (err error) {
			m[name], err = value(r)
			return err
		})
		return m, err
	case strictjson.KindArray:
		l := []any{}
		err := r.Array(func() error {
			v, err := value(r)
			l = append(l, v)
			return err
		})
		return l, err
	case strictjson.KindString:
		return r.String()
	case strictjson.KindNumber:
		n, err := r.Number()
		return json.Number(n), err
	case strictjson.KindBool:
		return r.Bool()
	case strictjson.KindNull:
		return nil, r.Null()
	default:
		return nil, r.Skip()
	}
}

func read(doc []byte) (any, error) {
	r := strictjson.New(doc)
	v, err := value(r)
	if err != nil {
		return nil, err
	}
	return v, r.End()
}

func TestDocumentsThatTwoReadersCouldReadDifferentlyAreRefused(t *testing.T) {
	t.Parallel()
	many := &strings.Builder{}
	for i := range 100 {
		fmt.Fprintf(many, `"m%d":0,`, i)
	}
	for _, c := range []struct{ name, doc, want string }{
		{"empty", "", "byte 0: want a value, but the document ends here"},
		{"white space alone", " \n", "byte 2: want a value, but the document ends here"},
		{"byte order mark", "\ufeff{}", "byte 0: want a value"},
		{"duplicate member", `{"a":1,"a":2}`, "byte 7: a: the member is there twice"},
		{"duplicate after unescaping", `{"a":1,"\u0061":2}`, "byte 7: a: the member is there twice"},
		{"duplicate deep inside", `{"x":[{"a":1,"b":2,"a":3}]}`, "byte 19: x[0].a: the member is there twice"},
		{"duplicate among many", "{" + many.String() + `"m7":1}`, "byte 791: m7: the member is there twice"},
		{"duplicate late among many", "{" + many.String() + `"m98":1}`, "byte 791: m98: the member is there twice"},
		{"duplicate of the empty name", `{"":1,"":2}`, "byte 6: the member is there twice"},
		{"bad UTF-8", "{\"a\":\"\xff\"}", "byte 6: not UTF-8"},
		{"over-long UTF-8", "\"\xc0\xaf\"", "byte 1: not UTF-8"},
		{"surrogate in UTF-8", "\"\xed\xa0\x80\"", "byte 1: not UTF-8"},
		{"lone high surrogate", `"\ud83d"`, "byte 1: a lone surrogate"},
		{"lone low surrogate", `"\ude00"`, "byte 1: a lone surrogate"},
		{"two high surrogates", `"\ud83d\ud83d"`, "byte 1: a lone surrogate"},
		{"trailing value", `{} {}`, "byte 3: data after the end of the value"},
		{"trailing NUL", "{}\x00", "byte 2: data after the end of the value"},
		{"trailing comma in object", `{"a":1,}`, "byte 7: want a member's name in quotes"},
		{"trailing comma in array", `[1,]`, "byte 3: [1]: want a value"},
		{"no comma", `[1 2]`, "byte 3: [0]: want a comma or ']'"},
		{"no colon", `{"a" 1}`, "byte 5: want a colon"},
		{"name without quotes", `{a:1}`, "byte 1: want a member's name in quotes"},
		{"single quotes", `{'a':1}`, "byte 1: want a member's name in quotes"},
		{"comment", `{"a":1/**/}`, "byte 6: a: want a comma or '}'"},
		{"newline in a string", "\"a\nb\"", "byte 2: a control character in a string"},
		{"newline after an escape", "\"\\t\n\"", "byte 3: a control character in a string"},
		{"unknown escape", `"\x41"`, "byte 1: not an escape of JSON's"},
		{"short escape", `"\u12"`, "byte 1: not an escape of JSON's"},
		{"open string", `"abc`, "byte 4: the string does not end"},
		{"open escape", `"abc\`, "byte 4: the string does not end"},
		{"open object", `{"a":1`, "byte 6: a: want a comma or '}', but the document ends here"},
		{"NaN", `NaN`, "byte 0: want a value"},
		{"Infinity", `-Infinity`, "byte 0: not a number of JSON's spelling"},
		{"plus", `+1`, "byte 0: want a value"},
		{"leading zero", `01`, "byte 1: data after the end of the value"},
		{"leading point", `.5`, "byte 0: want a value"},
		{"ending point", `5.`, "byte 0: not a number of JSON's spelling"},
		{"no exponent", `5e+`, "byte 0: not a number of JSON's spelling"},
		{"hexadecimal", `0x10`, "byte 1: data after the end of the value"},
		{"capital true", `True`, "byte 0: want a value"},
		{"tru", `tru`, "byte 0: want true"},
		{"nul", `[nul]`, "byte 1: [0]: want null"},
		{"deep arrays", strings.Repeat("[", 33), "byte 32: " + strings.Repeat("[0]", 32) + ": nested deeper than 32"},
		{"a name that is no text", `{"a\nb":x}`, `byte 8: "a\nb": want a value`},
		{"a long name", `{"` + strings.Repeat("é", 40) + `":x}`, "byte 84: " + strings.Repeat("é", 32) + "…: want a value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v, err := read([]byte(c.doc))
			if err == nil {
				t.Fatalf("accepted as %v", v)
			}
			if err.Error() != c.want {
				t.Errorf("have %q\nwant %q", err, c.want)
			}
		})
	}
}

func TestGoodDocumentsReadAsTheyAre(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{
		`{}`, `[]`, `null`, `true`, `false`, `0`, `-0`, `1e300`, `0.5E-7`, `""`, ` [ 1 , { "a" : [ ] } ] `,
		`{"a":1,"A":2}`, `"\u0000\ud83d\ude00\"\\\/\b\f\n\r\t é` + "\u007f" + `"`, `{"":{"":[{"":null}]}}`,
		strings.Repeat("[", 32) + strings.Repeat("]", 32), `123456789012345678901234567890`,
	} {
		have, err := read([]byte(doc))
		if err != nil {
			t.Errorf("%s: %v", doc, err)
			continue
		}
		if want := reference(t, []byte(doc)); !reflect.DeepEqual(want, have) {
			t.Errorf("%s: have %v, encoding/json has %v", doc, have, want)
		}
	}
}

func reference(t *testing.T, doc []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("encoding/json refuses %q: %v", doc, err)
	}
	return v
}

func TestTypesAreStrict(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, doc, want string
		read            func(*strictjson.Reader) error
	}{
		{
			"string for a number", `"1"`, "byte 0: want a number, have a string",
			func(r *strictjson.Reader) error { _, err := r.Int64(); return err },
		},
		{
			"number for a string", `1`, "byte 0: want a string, have a number",
			func(r *strictjson.Reader) error { _, err := r.String(); return err },
		},
		{
			"null for a string", `null`, "byte 0: want a string, have null",
			func(r *strictjson.Reader) error { _, err := r.String(); return err },
		},
		{
			"array for an object", `[]`, "byte 0: want an object, have an array",
			func(r *strictjson.Reader) error { return r.Object(nil) },
		},
		{
			"object for an array", `{}`, "byte 0: want an array, have an object",
			func(r *strictjson.Reader) error { return r.Array(nil) },
		},
		{
			"number for a bool", `1`, "byte 0: want true or false, have a number",
			func(r *strictjson.Reader) error { _, err := r.Bool(); return err },
		},
		{
			"false for null", `false`, "byte 0: want null, have true or false",
			func(r *strictjson.Reader) error { return r.Null() },
		},
		{
			"fraction", `1.0`, "byte 0: want a whole number",
			func(r *strictjson.Reader) error { _, err := r.Int64(); return err },
		},
		{
			"over 64 bits", `9223372036854775808`, "byte 0: want a whole number",
			func(r *strictjson.Reader) error { _, err := r.Int64(); return err },
		},
		{
			"over a float64", `1e400`, "byte 0: the number is too large",
			func(r *strictjson.Reader) error { _, err := r.Float64(); return err },
		},
		{
			"mixed list", `["a",1]`, "byte 5: [1]: want a string, have a number",
			func(r *strictjson.Reader) error { _, err := r.Strings(); return err },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if err := c.read(strictjson.NewString(c.doc)); err == nil || err.Error() != c.want {
				t.Errorf("have %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestFaultsOfTheCallerStay(t *testing.T) {
	t.Parallel()
	t.Run("an overlooked fault fails at the end", func(t *testing.T) {
		t.Parallel()
		r := strictjson.NewString(`{"a":"x"}`)
		_ = r.Object(func(string) error {
			_, _ = r.Int64()
			return nil
		})
		if err := r.End(); err == nil || err.Error() != "byte 5: a: want a number, have a string" {
			t.Errorf("have %v", err)
		}
	})
	t.Run("a value that was not read", func(t *testing.T) {
		t.Parallel()
		err := strictjson.Document([]byte(`{"a": 1}`), func(*strictjson.Reader, string) error { return nil })
		if err == nil || err.Error() != "byte 6: a: the value was not read" {
			t.Errorf("have %v", err)
		}
	})
	t.Run("an unknown member", func(t *testing.T) {
		t.Parallel()
		err := strictjson.Document([]byte(`{"admin":true}`),
			func(r *strictjson.Reader, name string) error { return r.Unknown(name) })
		if err == nil || err.Error() != "byte 9: admin: there is no member admin here" {
			t.Errorf("have %v", err)
		}
	})
	t.Run("the caller's own error is wrapped", func(t *testing.T) {
		t.Parallel()
		err := strictjson.Document([]byte(`{"a":[{}]}`), func(r *strictjson.Reader, _ string) error {
			return r.Array(func() error { return io.ErrNoProgress })
		})
		var at *strictjson.Error
		if !errors.Is(err, io.ErrNoProgress) || !errors.As(err, &at) || at.Offset != 6 || at.Path != "a[0]" {
			t.Errorf("have %v", err)
		}
	})
	t.Run("data after the object", func(t *testing.T) {
		t.Parallel()
		err := strictjson.Document([]byte(`{}{}`), func(r *strictjson.Reader, _ string) error { return r.Skip() })
		if err == nil || err.Error() != "byte 2: data after the end of the value" {
			t.Errorf("have %v", err)
		}
	})
}

// FuzzRead: what is accepted, encoding/json accepts and reads alike; what only we refuse is a duplicate, a lone
// surrogate, bad UTF-8 or too deep, and it is really there.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,-2.5e3,"\u00e9\n",true,null,{"b":{}}]}`, `{"a":1,"a":2}`, `"\ud83d\ude00"`, `"\ud83d"`, "\"\xff\"",
		strings.Repeat("[", 40) + strings.Repeat("]", 40), `[1,]`, `{"a":1}x`, `01`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		have, err := read(doc)
		skip := strictjson.New(doc)
		skipped := skip.Skip()
		if skipped == nil {
			skipped = skip.End()
		}
		if (err == nil) != (skipped == nil) {
			t.Fatalf("read: %v, skipped: %v", err, skipped)
		}
		if err == nil {
			if want := reference(t, doc); !reflect.DeepEqual(want, have) {
				t.Fatalf("have %v, encoding/json has %v", have, want)
			}
			return
		}
		if json.Valid(doc) && utf8.Valid(doc) && !excused(doc) {
			t.Fatalf("refused without cause: %v", err)
		}
	})
}

// excused tells, by encoding/json's tokens, whether doc holds what only a strict reader refuses.
func excused(doc []byte) bool {
	if bytes.Contains(bytes.ToLower(doc), []byte(`\ud`)) {
		return true // surrogates: which of them are lone is for the table test
	}
	type object struct {
		names map[string]bool // nil for an array
		value bool            // a value comes next
	}
	var open []object
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	for {
		tok, err := d.Token()
		if err != nil {
			return false
		}
		top := len(open) - 1
		if name, ok := tok.(string); ok && top >= 0 && open[top].names != nil && !open[top].value {
			if open[top].names[name] {
				return true
			}
			open[top].names[name], open[top].value = true, true
			continue
		}
		if tok == json.Delim('}') || tok == json.Delim(']') {
			open = open[:top]
			continue
		}
		if top >= 0 {
			open[top].value = false
		}
		switch tok {
		case json.Delim('{'):
			open = append(open, object{names: map[string]bool{}})
		case json.Delim('['):
			open = append(open, object{})
		}
		if len(open) > strictjson.MaxDepth {
			return true
		}
	}
}

func TestAThousandMembersCostNoSquare(t *testing.T) {
	var b strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&b, `,"%d":0`, i)
	}
	doc := []byte("{" + b.String()[1:] + "}")
	allocated := testing.AllocsPerRun(3, func() {
		if _, err := read(doc); err != nil {
			t.Fatal(err)
		}
	})
	if allocated > 60_000 {
		t.Errorf("%v allocations for 10,000 members", allocated)
	}
}

func BenchmarkSkip(b *testing.B) {
	doc := []byte(`{"iss":"https://gate.example.com","sub":"0b8e…","aud":["https://api.example.com"],"exp":1700003600,` +
		`"tenantPermissions":[{"tenant":"acme","allowedActions":["READ_TENANT","MANAGE_TICKETS"]}]}`)
	b.ReportAllocs()
	for b.Loop() {
		if err := strictjson.New(doc).Skip(); err != nil {
			b.Fatal(err)
		}
	}
}
