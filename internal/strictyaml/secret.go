package strictyaml

import (
	"fmt"
	"strings"
)

const redacted = "[redacted]"

// A Secret is text that must not be printed: whatever prints it prints [redacted]. Two things are beyond its reach: fmt
// asks no value in an unexported field, and encoding/json writes the keys of a map as they are; keep it out of both.
type Secret string

// Reveal is the secret itself.
func (s Secret) Reveal() string { return string(s) }

// Format answers every verb of fmt, %x and %q among them, which would otherwise look below String.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

func (Secret) String() string   { return redacted }
func (Secret) GoString() string { return redacted }

// MarshalText speaks for encoding/json and for whatever else writes text.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalYAML keeps yaml.v3 from writing the string below.
func (Secret) MarshalYAML() (any, error) { return redacted, nil }

// A SecretSource is a secret, or the file that holds it at any time.
type SecretSource struct {
	Value Secret
	File  string // resolved; "": Value is the secret
}

// SecretFrom reads a secret like [SecretText]. A value that is ${file:PATH} and nothing else keeps the path, so that
// the program can read a secret that others replace.
func SecretFrom(c Check) Kind[SecretSource] {
	k := SecretText(c)
	return Kind[SecretSource]{Shape: k.Shape, Read: func(r *Reader, v Value) (SecretSource, bool) {
		s, ok := k.Read(r, v)
		from := SecretSource{Value: s}
		if path, isFile := strings.CutPrefix(v.node.Value, "${file:"); ok && isFile && strings.HasSuffix(path, "}") &&
			strings.Count(path, "}") == 1 {
			from.File = r.Resolve(strings.TrimSuffix(path, "}"))
		}
		return from, ok
	}}
}
