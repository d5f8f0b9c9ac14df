package strictyaml

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// JSONSchema returns the JSON Schema (draft 2020-12) of a file of this shape. It comes from the same declarations as
// the reader. A schema sees one value at a time, so it accepts files that the reader refuses (names that do not
// resolve, keys that conflict); it refuses none that the reader accepts.
func (s *Shape) JSONSchema(title string) ([]byte, error) {
	root := s.schema()
	root.Dialect = "https://json-schema.org/draft/2020-12/schema"
	root.Title = title
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(root); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// A schema is what this file's JSON Schema needs of the vocabulary.
type schema struct {
	Dialect     string `json:"$schema,omitempty"`
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	Default     any    `json:"default,omitempty"`

	Type    string          `json:"type,omitempty"`
	Enum    []any           `json:"enum,omitempty"`
	Pattern string          `json:"pattern,omitempty"`
	Minimum json.RawMessage `json:"minimum,omitempty"`
	Maximum json.RawMessage `json:"maximum,omitempty"`

	Items       *schema `json:"items,omitempty"`
	MinItems    int     `json:"minItems,omitempty"`
	UniqueItems bool    `json:"uniqueItems,omitempty"`

	Properties    map[string]*schema `json:"properties,omitempty"`
	Required      []string           `json:"required,omitempty"`
	PropertyNames *schema            `json:"propertyNames,omitempty"`
	Additional    any                `json:"additionalProperties,omitempty"` // false, or a *schema

	AnyOf []*schema `json:"anyOf,omitempty"`
	OneOf []*schema `json:"oneOf,omitempty"`
	Not   *schema   `json:"not,omitempty"`
}

func (s *Shape) schema() *schema {
	if len(s.Either) > 0 {
		var either []*schema
		for _, e := range s.Either {
			either = append(either, e.schema())
		}
		return &schema{AnyOf: either}
	}
	switch s.Type {
	case "mapping":
		return s.mapping()
	case "object":
		return &schema{Type: "object"}
	case "names":
		return &schema{Type: "object", PropertyNames: &schema{Pattern: s.Names.Pattern}, Additional: s.Items.schema()}
	case "list":
		least, _ := strconv.Atoi(s.Least) // "" is none
		return &schema{Type: "array", Items: s.Items.schema(), MinItems: least, UniqueItems: s.Unique}
	}
	return s.scalar()
}

func (s *Shape) mapping() *schema {
	m := &schema{Type: "object", Properties: map[string]*schema{}, Additional: false}
	for _, k := range s.Keys {
		m.Properties[k.Name] = k.schema()
		if k.Required {
			m.Required = append(m.Required, k.Name)
		}
	}
	for _, name := range s.OneOf {
		m.OneOf = append(m.OneOf, &schema{Required: []string{name}})
	}
	if len(s.OneAtMost) == 2 {
		m.Not = &schema{Required: s.OneAtMost}
	}
	return m
}

func (k *Key) schema() *schema {
	p := k.Shape.schema()
	p.Description = k.Doc
	if k.Default != "" {
		p.Default = k.Shape.typed(k.Default)
	}
	return p
}

// typed is a text of the file as the JSON value that YAML makes of it.
func (s *Shape) typed(text string) any {
	switch s.Type {
	case "boolean":
		return text == "true"
	case "integer", "size":
		if _, number := Digits(text); number {
			return json.RawMessage(text)
		}
	case "ratio":
		return json.RawMessage(text)
	}
	return text
}

// scalar allows, beside the value itself, a text that is still to be expanded.
func (s *Shape) scalar() *schema {
	expanded := &schema{Type: "string", Pattern: `\$\{(env|file):[^}]+\}`}
	switch s.Type {
	case "scalar":
		return &schema{AnyOf: []*schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}}}
	case "boolean":
		if len(s.Words) == 0 {
			return &schema{AnyOf: []*schema{{Type: "boolean"}, expanded}}
		}
		return &schema{AnyOf: []*schema{{Enum: []any{true}}, expanded}}
	case "integer":
		return &schema{AnyOf: []*schema{s.number(), expanded}}
	case "size":
		return &schema{
			AnyOf: []*schema{s.number(), {Type: "string", Pattern: `^(0|[1-9][0-9]*)(KiB|MiB|GiB)?$`}, expanded},
		}
	case "ratio":
		number := &schema{Type: "number", Minimum: bound(s.Least), Maximum: bound(s.Most)}
		return &schema{AnyOf: []*schema{number, {Type: "string", Pattern: s.Pattern}, expanded}}
	case "duration":
		return &schema{AnyOf: []*schema{{Type: "string", Pattern: span}, expanded}}
	case "word":
		var words []any
		for _, w := range s.Words {
			words = append(words, w)
		}
		return &schema{AnyOf: []*schema{{Enum: words}, expanded}}
	}
	if s.Pattern == "" {
		return &schema{Type: "string"}
	}
	return &schema{AnyOf: []*schema{{Type: "string", Pattern: s.Pattern}, expanded}}
}

func (s *Shape) number() *schema {
	return &schema{Type: "integer", Minimum: bound(s.Least), Maximum: bound(s.Most)}
}

func bound(text string) json.RawMessage {
	n, ok := parseSize(text)
	if !ok {
		return nil
	}
	return json.RawMessage(strconv.FormatInt(n, 10))
}

// span is the spelling of durations, that of time.ParseDuration. A bare 0 is refused, and so is what is less than it;
// but for -0s, which is not worth a rule.
const span = `^[+-]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`
