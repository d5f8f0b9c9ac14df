package config

import (
	"fmt"
	"strings"
	"testing"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// TestReferencePageIsCurrent: go test ./config -run TestReferencePage -update writes docs/configuration.md anew.
func TestReferencePageIsCurrent(t *testing.T) {
	t.Parallel()
	var p page
	p.WriteString(`# Configuration reference

Every key of version 1, made from the declarations that the program reads files by.
[config.example.yaml](../config.example.yaml) has the same keys with remarks and runs as it is; ` +
		"`jotgate schema`" + ` prints
the JSON Schema for editors; ` + "`jotgate check`" + ` reports every error of a file with its line.

Durations are written 500ms, 60s, 10m or 24h; sizes in bytes, or as 64KiB, 1MiB, 1GiB. Texts, numbers, booleans, words,
sizes and durations may hold ` + "`${env:NAME}`, `${env:NAME:-default}` and `${file:PATH}`" + `. A bold key is required.
`)
	p.section("", Reference())
	current(t, "../docs/configuration.md", []byte(p.String()))
}

type page struct{ strings.Builder }

// section is the table of one mapping's keys, then a section for each that is a mapping itself.
func (p *page) section(path string, s *yaml.Shape) {
	title := "The top level"
	if path != "" {
		title = "`" + path + "`"
	}
	fmt.Fprintf(p, "\n## %s\n\n", title)
	switch {
	case len(s.OneOf) > 0:
		fmt.Fprintf(p, "Exactly one of %s.\n\n", code(s.OneOf))
	case len(s.OneAtMost) > 0:
		fmt.Fprintf(p, "At most one of %s.\n\n", code(s.OneAtMost))
	}
	p.WriteString("| key | meaning | value | default |\n|---|---|---|---|\n")
	for _, k := range s.Keys {
		name, value := "`"+k.Name+"`", cell(describe(k.Shape))
		if k.Required {
			name = "**" + name + "**"
		}
		fallback := ""
		if k.Default != "" {
			fallback = "`" + cell(k.Default) + "`"
		}
		fmt.Fprintf(p, "| %s | %s | %s | %s |\n", name, cell(k.Doc), value, fallback)
	}
	for _, k := range s.Keys {
		p.nested(strings.TrimPrefix(path+"."+k.Name, "."), k.Shape)
	}
}

func (p *page) nested(path string, s *yaml.Shape) {
	switch s.Type {
	case "mapping":
		p.section(path, s)
	case "list":
		if !isPermissions(s) || path == "roles.NAME" {
			p.nested(path+"[]", s.Items)
		}
	case "names":
		p.nested(path+".NAME", s.Items)
	}
	for _, e := range s.Either {
		p.nested(path, e)
	}
}

// isPermissions knows the lists that stand in many places and are told once, with roles.
func isPermissions(s *yaml.Shape) bool {
	return s.Items.Type == "mapping" && len(s.Items.Keys) == 2 && s.Items.Keys[0].Name == "tenant" &&
		s.Items.Keys[1].Name == "actions"
}

func describe(s *yaml.Shape) string {
	switch s.Type {
	case "word":
		return "one of " + code(s.Words)
	case "boolean":
		if len(s.Words) > 0 {
			return "`true`"
		}
		return "`true` or `false`"
	case "ratio":
		return "number, " + s.Least + " to " + s.Most
	case "integer", "size", "duration":
		what := s.Type
		if s.Whole {
			what += " of whole seconds"
		}
		return what + ", " + s.Least + " to " + s.Most
	case "list":
		if isPermissions(s) {
			return "permissions, see [roles](#rolesname)"
		}
		what := "list"
		if s.Least != "" {
			what = "list, not empty"
		}
		return what + " of: " + describe(s.Items)
	case "names":
		return "names, each with: " + describe(s.Items)
	case "":
		var all []string
		for _, e := range s.Either {
			all = append(all, describe(e))
		}
		return strings.Join(all, "; or ")
	}
	return s.Type
}

func code(words []string) string { return "`" + strings.Join(words, "`, `") + "`" }

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
