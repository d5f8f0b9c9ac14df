package strictyaml

import (
	"io/fs"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A shop is a small file of its own: what the package does is not the gate's alone.
type shop struct {
	name   Setting[string]
	till   Secret
	opens  time.Duration
	goods  []Named[int]
	tables []Setting[string]
	awning bool
}

func aShop() Kind[shop] {
	short := func(s string) (problem, remedy string) {
		if len(s) > 8 {
			return "is too long", "use at most 8 letters"
		}
		return "", ""
	}
	return Mapping(
		Placed("name", Text(short), func(s *shop) *Setting[string] { return &s.name }, "name").Must("name the shop"),
		Plain("till", SecretText(short), func(s *shop) *Secret { return &s.till }, "secret"),
		Plain("opens", Duration(time.Hour, 24*time.Hour), func(s *shop) *time.Duration { return &s.opens }, "hour").Or("8h"),
		Plain("goods", Names(Text(short), Integer(1, 10)), func(s *shop) *[]Named[int] { return &s.goods }, "prices"),
		Plain("tables", Distinct(0, Text(short)), func(s *shop) *[]Setting[string] { return &s.tables }, "tables"),
		Plain("awning", Boolean(), func(s *shop) *bool { return &s.awning }, "awning").Or("false"),
	)
}

func read(text string) (shop, string) {
	kind := aShop()
	r := NewReader(Source{
		Name: "shop.yaml", Begin: "name: NAME", Root: kind.Shape, Synonyms: map[string]string{"title": "name"},
		Env: func(string) (string, bool) { return "", false },
		ReadFile: func(path string) ([]byte, error) {
			if path == "till.txt" {
				return []byte("1234\n"), nil
			}
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		},
	})
	root, ok := r.Document([]byte(text))
	if !ok {
		return shop{}, r.Faults().Error()
	}
	s, _ := kind.Read(r, root)
	return s, r.Faults().Error()
}

func TestAFileIsReadWithItsDefaults(t *testing.T) {
	t.Parallel()
	s, faults := read("name: \"${env:NOT:-corner}\"\ntill: \"${file:till.txt}\"\n" +
		"goods: {tea: 3, bun: 2}\ntables: [a, b]\n")
	if faults != "" {
		t.Fatal(faults)
	}
	if s.name.Value != "corner" || s.name.At.Line != 1 || !s.name.Given || s.till.Reveal() != "1234" ||
		s.opens != 8*time.Hour {
		t.Errorf("read %+v", s)
	}
	if len(s.goods) != 2 || s.goods[0].Name != "tea" || s.goods[0].Value != 3 || len(s.tables) != 2 || s.awning {
		t.Errorf("read %+v", s)
	}
}

// Each fault has its place and its remedy, all of a file are reported at once, and none shows a secret.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "shop.yaml:1:1: the file is empty; begin with name: NAME"},
		{"missing", "awning: true\n", "shop.yaml:1:1: name: is missing; name the shop"},
		{
			"all at once", "name: a very long name\ntill: 123456789\nopens: 30m\ntables: [a, a]\nawning: maybe\n",
			`shop.yaml:1:7: name: "a very long name" is too long; use at most 8 letters
shop.yaml:2:7: till: [redacted] is a number in YAML, not a string; quote it
shop.yaml:3:8: opens: "30m" is less than 1h; write 1h to 24h
shop.yaml:4:13: tables[1]: "a" is listed twice; remove one
shop.yaml:5:9: awning: "maybe" is not true or false; write true or false`,
		},
		{
			"a near key", "nam: x\n",
			"shop.yaml:1:1: nam: is not a known key; did you mean name?\nshop.yaml:1:1: name: is missing; name the shop",
		},
		{"a synonym", "name: x\ntitle: y\n", "shop.yaml:2:1: title: is not a known key; use name"},
		{
			"a shell's variable", "name: $NEIGHBOURHOOD\n",
			"shop.yaml:1:7: name: $NEIGHBOURHOOD is not expanded; write ${env:NEIGHBOURHOOD}",
		},
		{
			"a short secret of a shell", "name: x\ntill: $TILLSECRET\n",
			"shop.yaml:2:7: till: $TILLSECRET is not expanded; write ${env:TILLSECRET}",
		},
		{"no colon", "name: x\nawning true\n", "shop.yaml:2:1: the key awning has no colon; write awning: and its value"},
		{
			"no colon, and more", "name x\nawning: true\n",
			"shop.yaml:1:1: the key name has no colon; write name: and its value",
		},
	} {
		_, got := read(c.text)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}
