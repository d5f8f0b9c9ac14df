package config

import (
	"io/fs"
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
