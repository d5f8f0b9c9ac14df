package strictyaml

import "fmt"

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
