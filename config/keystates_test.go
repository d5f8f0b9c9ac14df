package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/internal/jose"
)

// Whatever their order in the file, the key that signs comes first, and all are published.
func TestTheKeyThatSignsComesFirst(t *testing.T) {
	t.Parallel()
	files, names := map[string][]byte{}, map[string]string{}
	for _, name := range []string{"a", "b", "c"} {
		key, err := jose.Generate("ES256")
		if err != nil {
			t.Fatal(err)
		}
		if files[name+".pem"], err = key.MarshalPEM(); err != nil {
			t.Fatal(err)
		}
		names[key.ID()] = name
	}
	read := func(path string) ([]byte, error) {
		if data, ok := files[filepath.Base(path)]; ok {
			return data, nil
		}
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	for states, want := range map[string]string{
		"a b c":                 "a b c",
		"a next:b":              "a b",
		"next:a b c":            "b a c",
		"retired:a next:b c":    "c a b",
		"a current:b":           "b a",
		"retired:a current:b":   "b a",
		"current:a next:b":      "a b",
		"next:a retired:b c":    "c a b",
		"retired:c b current:a": "a c b",
	} {
		var keys []string
		for key := range strings.FieldsSeq(states) {
			state, name, given := strings.Cut(key, ":")
			if !given {
				keys = append(keys, "{file: "+state+".pem}")
			} else {
				keys = append(keys, "{file: "+name+".pem, state: "+state+"}")
			}
		}
		text := "version: 1\nissuer: {url: http://shop, keys: [" + strings.Join(keys, ", ") + "]}\n"
		c, err := Parse("x.yaml", []byte(text), Options{Env: noEnvironment, ReadFile: read})
		if err != nil {
			t.Fatal(states, err)
		}
		var got []string
		for _, k := range c.Issuer.Keys {
			got = append(got, names[k.ID()])
		}
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", states, diff)
		}
		if set, err := c.KeySet(); err != nil || set.Len() != len(got) {
			t.Errorf("%s: not every key is published: %v", states, err)
		}
	}
}

// TestKeysOfAFolder say their state in their names, and go the way of a rotation by moves alone.
func TestKeysOfAFolder(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	keys := filepath.Join(folder, "keys")
	if err := os.Mkdir(keys, 0o700); err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	write := func(name string) {
		t.Helper()
		key, err := jose.Generate("ES256")
		if err != nil {
			t.Fatal(err)
		}
		text, err := key.MarshalPEM()
		if err != nil {
			t.Fatal(err)
		}
		names[key.ID()] = name[:1]
		if err := os.WriteFile(filepath.Join(keys, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(folder, "x.yaml")
	text := "version: 1\nissuer: {url: http://shop, keys: [{dir: keys/}]}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var sources Sources
	load := func(what, want string) {
		t.Helper()
		if changed := sources.Changed(); sources != nil && len(changed) == 0 {
			t.Errorf("%s: nothing is seen to have changed", what)
		}
		c, err := LoadWith(path, Options{Env: noEnvironment})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		var got []string
		for _, k := range c.Issuer.Keys {
			got = append(got, names[k.ID()])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", what, got, want)
		}
		sources = c.Sources
	}
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(filepath.Join(keys, from), filepath.Join(keys, to)); err != nil {
			t.Fatal(err)
		}
	}
	write("a.pem")
	write(".hidden.pem")
	load("one key", "a")
	write("b.next.pem")
	load("the next one is published", "a b")
	move("b.next.pem", "b.pem")
	load("two may sign", "a b")
	move("a.pem", "a.retired.pem")
	load("the old one is retired", "b a")
	if err := os.Remove(filepath.Join(keys, "a.retired.pem")); err != nil {
		t.Fatal(err)
	}
	load("the old one is gone", "b")
	write("c.current.pem")
	load("one that is current before all", "c b")
	if err := os.WriteFile(filepath.Join(keys, "README"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := LoadWith(path, Options{Env: noEnvironment})
	if err != nil || len(c.Warnings) == 0 ||
		!strings.Contains(c.Warnings[0].String(), `"keys/README" is ignored: it is not named like a key file`) {
		t.Errorf("a file that is no key: %v", err)
	}
	for _, c := range []struct{ from, to, want string }{
		{"c.current.pem", "c.retird.pem", `"keys/c.retird.pem" has no valid key state in its name; rename it to "c.pem"`},
		{"c.retird.pem", "c.retired.pem", ""},
		{"b.pem", "b.retired.pem", "cannot sign, nor can any other key; set state: current on one of the keys"},
		{"b.retired.pem", "b.current.pem", ""},
		{"c.retired.pem", "c.current.pem", "is the second current key; only one key signs: set the other to retired or next"},
	} {
		move(c.from, c.to)
		_, err := LoadWith(path, Options{Env: noEnvironment})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s to %s: %v", c.from, c.to, err)
		}
	}
}
