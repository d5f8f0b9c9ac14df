package config

import (
	"bytes"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"

	strict "github.com/jotgate/jotgate/internal/strictyaml"
)

// Redacted returns the file as it was read, for people to look at: without secrets and comments. What comes from the
// environment or from other files is not in it, only its name.
func (c *Config) Redacted() (string, error) {
	if c.Text == "" {
		return "", nil
	}
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(c.Text.Reveal()), &document); err != nil {
		return "", err
	}
	for _, root := range document.Content {
		redact(root, Reference(), false)
	}
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(&document); err != nil {
		return "", err
	}
	return out.String(), e.Close()
}

// redact takes out what a shape calls secret, and what its name or its form lets one suspect.
func redact(n *yaml.Node, shape *strict.Shape, secret bool) {
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	secret = secret || isSecretShape(shape)
	switch n.Kind {
	case yaml.ScalarNode:
		if secret {
			n.Value = withoutSecret(n.Value)
		} else {
			n.Value = userInfo.ReplaceAllString(n.Value, "//[redacted]@")
			n.Value = query.ReplaceAllString(n.Value, "$1[redacted]")
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			name, value := n.Content[i], n.Content[i+1]
			redact(name, nil, false)
			member := memberShape(shape, name.Value)
			redact(value, member, secret || name.Value == "set" && value.Kind == yaml.MappingNode ||
				suspect.MatchString(name.Value) ||
				value.Kind == yaml.ScalarNode && credentials[strings.ToLower(name.Value)])
		}
	default:
		for _, item := range n.Content {
			redact(item, itemShape(shape), secret)
		}
	}
}

var (
	// references are values that say where a secret is; a default after :- would be one.
	references = regexp.MustCompile(`^\$\{(env:[A-Za-z_][A-Za-z0-9_]*(:-)?|file:[^{}]*)\}$`)
	userInfo   = regexp.MustCompile(`//[^/@\s]*@`)
	query      = regexp.MustCompile(`(?i)(https?://[^\s?]*\?)[^\s{]+\S*`) // of a URL, unless it is login_url's {url} alone
	suspect    = regexp.MustCompile(`(?i)secret|password|passwd|api[-_]?key|bearer$|^x-.*(key|token)$`)
)

// credentials are header fields whose values are secret, in the edits of a route or the requests of a test.
var credentials = map[string]bool{
	"authorization": true, "proxy-authorization": true, "cookie": true, "set-cookie": true, "dpop": true,
}

func withoutSecret(value string) string {
	if references.MatchString(value) {
		return value
	}
	return "[redacted]"
}

func isSecretShape(s *strict.Shape) bool {
	if s == nil {
		return false
	}
	if s.Type == "secret" {
		return true
	}
	for _, either := range s.Either {
		if isSecretShape(either) {
			return true
		}
	}
	return false
}

// memberShape is the shape of a key's value; nil: it is not known.
func memberShape(s *strict.Shape, name string) *strict.Shape {
	if s == nil {
		return nil
	}
	for _, k := range s.Keys {
		if k.Name == name {
			return k.Shape
		}
	}
	if s.Type == "names" {
		return s.Items
	}
	for _, either := range s.Either {
		if found := memberShape(either, name); found != nil {
			return found
		}
	}
	return nil
}

func itemShape(s *strict.Shape) *strict.Shape {
	if s == nil {
		return nil
	}
	if s.Type == "list" {
		return s.Items
	}
	for _, either := range s.Either {
		if found := itemShape(either); found != nil {
			return found
		}
	}
	return nil
}
