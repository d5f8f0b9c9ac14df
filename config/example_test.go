package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

func example(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func noEnvironment(string) (string, bool) { return "", false }

func TestExampleLoadsWithoutAnyEnvironmentAndOpensNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.yaml")
	c, err := Parse(path, []byte(example(t)), Options{Env: noEnvironment})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %v", c.Warnings)
	}
	if want := filepath.Join(filepath.Dir(path), "keys", "main.pem"); len(c.MissingKeys) != 1 ||
		c.MissingKeys[0].Path != want {
		t.Errorf("missing keys %v, want %s", c.MissingKeys, want)
	}
	for _, l := range c.Listeners {
		if !strings.HasPrefix(l.Address, "127.0.0.1:") {
			t.Errorf("listens on %s", l.Address)
		}
	}
	for _, client := range c.Issuer.Clients {
		if client.Secret != "" || client.SecretSHA256 != nil || client.AccessTokenID != "" {
			t.Errorf("client %s has a secret that everybody can read", client.ID)
		}
	}
}

// switchedOn is the example with every key that it switches off.
func switchedOn(t *testing.T) string {
	t.Helper()
	return regexp.MustCompile(`(?m)^( *)#([a-z])`).ReplaceAllString(example(t), "$1$2")
}

// An editor that knows YAML finds the schema by the first line.
func TestExampleNamesItsSchema(t *testing.T) {
	t.Parallel()
	first, _, _ := strings.Cut(example(t), "\n")
	path, ok := strings.CutPrefix(first, "# yaml-language-server: $schema=./")
	if !ok {
		t.Fatalf("the first line is %q", first)
	}
	if _, err := os.Stat("../" + path); err != nil {
		t.Error(err)
	}
}

// The keys that the example switches off load, too.
func TestExampleLoadsWithEveryKeySwitchedOn(t *testing.T) {
	t.Parallel()
	if _, err := Parse("config.yaml", []byte(switchedOn(t)), Options{Env: noEnvironment, ReadFile: laidOut}); err != nil {
		t.Fatal(err)
	}
}

// The example has every key that the reader knows, with the default that the reader uses.
func TestExampleHasEveryKey(t *testing.T) {
	t.Parallel()
	text := example(t)
	var visit func(path string, s *yaml.Shape)
	visit = func(path string, s *yaml.Shape) {
		for _, k := range s.Keys {
			at := path + "." + k.Name
			has := regexp.MustCompile(`\b` + k.Name + `: *"?` + regexp.QuoteMeta(k.Default))
			if !has.MatchString(text) {
				t.Errorf("%s: %s is not there", at, has)
			}
			if k.Doc == "" || strings.Contains(k.Doc, "\n") {
				t.Errorf("%s: its doc is %q, want one line", at, k.Doc)
			}
			visit(at, k.Shape)
		}
		if s.Items != nil {
			visit(path+"[]", s.Items)
		}
		for _, e := range s.Either {
			visit(path, e)
		}
	}
	visit("", Reference())
}
