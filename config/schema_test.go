package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"

	"github.com/jotgate/jotgate/internal/strictyaml"
)

const schemaFile = "../config.schema.json"

// TestSchemaFileIsCurrent: go test ./config -run TestSchemaFile -update writes it anew.
func TestSchemaFileIsCurrent(t *testing.T) {
	t.Parallel()
	got, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	current(t, schemaFile, got)
}

// current holds a file that is made from the keys to what they make now.
func current(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is not what the keys make; go test ./config -update writes it (-file +keys):\n%s", path, diff)
	}
}

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	data, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler() // validates the schema against the dialect that it names
	if err := compiler.AddResource("config.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if schema.DraftVersion != 2020 {
		t.Fatalf("the schema is of draft %d", schema.DraftVersion)
	}
	return schema
}

// conforms asks the schema about a file as an editor does: YAML read by YAML's own rules.
func conforms(schema *jsonschema.Schema, text []byte) error {
	var value any
	if err := yaml.Unmarshal(text, &value); err != nil {
		return err
	}
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return err
	}
	return schema.Validate(document)
}

func goodFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatalf("found %d good files (%v)", len(files), err)
	}
	examples, err := filepath.Glob("../examples/*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, file := range append(append(files, examples...), "../config.example.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(file, data, hermetic); err == nil { // a compose file or a manifest is none
			all[file] = data
		}
	}
	for name, data := range documentedConfigs(t) {
		if _, err := Parse(name, data, hermetic); err == nil { // the others need files of theirs; they are checked elsewhere
			all[name] = data
		}
	}
	all["every key of the example"] = []byte(switchedOn(t))
	return all
}

// documentedConfigs are the whole configs that the documents show.
func documentedConfigs(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, file := range append(files, "../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range regexp.MustCompile("(?ms)^```yaml\n((?:# [^\n]*\n)?version: 1\n.*?)^```$").FindAllSubmatch(text,
			-1) {
			all[fmt.Sprintf("%s, config %d", file, i)] = m[1]
		}
	}
	if len(all) < 5 {
		t.Errorf("the documents show %d configs", len(all))
	}
	return all
}

func TestSchemaTakesGoodFiles(t *testing.T) {
	t.Parallel()
	schema := compiledSchema(t)
	all := goodFiles(t)
	if len(all) < 4 {
		t.Errorf("there are %d good files", len(all))
	}
	for name, data := range all {
		if err := conforms(schema, data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// beyondSchema are the faults of testdata/bad that need more than one value, or the spelling of the YAML, to be seen.
var beyondSchema = []string{
	"acme-redis-missing", "audience-is-the-issuer",
	"certificate-without-its-key", "clients-of-one-digest", "h2c", "key-file-broken",
	"key-file-missing",
	"key-files-of-the-wrong-kind", "limits-shared-without-redis", "logout", "merge-key", "method-any", "missing-file",
	"no-key-signs", "nothing-to-do", "password-in-a-url",
	"placeholder-outside-roles", "redis-missing", "redis-skew-below-leeway", "redis-tls", "redis-without-code-secrets",
	"replay-too-small", "replicas-with-memory-store",
	"resources-overlap",
	"revocations-in-two-places", "revocations-stale-too-soon", "role-placeholder-inside", "role-shadowed",
	"roles-of-one-digest",
	"route-inside-ours", "route-rewritten", "route-tenant-from", "route-without-any-issuer", "routes-conflict",
	"routes-equal", "same-key-twice",
	"second-document", "secret-of-two-lines", "tag", "tenant-pattern-open-paren", "tenant-pattern-open-quote",
	"tenant-pattern-star", "tenant-pattern", "tickets-of-replicas", "trusted-proxies",
	"ttl-over-the-limit", "unset-variable",
	"users-without-role", "workloads-overlap",
}

func TestSchemaRefusesBadFiles(t *testing.T) {
	t.Parallel()
	schema := compiledSchema(t)
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 30 {
		t.Fatalf("found %d bad files (%v)", len(files), err)
	}
	var taken []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if conforms(schema, data) == nil {
			taken = append(taken, strings.TrimSuffix(filepath.Base(file), ".yaml"))
		}
	}
	if diff := cmp.Diff(beyondSchema, taken); diff != "" {
		t.Errorf("bad files that the schema takes (-known +found):\n%s", diff)
	}
}

// TestSchemaIsNeverStricterThanTheReader puts odd values in the place of every value of the good files.
func TestSchemaIsNeverStricterThanTheReader(t *testing.T) {
	t.Parallel()
	schema := compiledSchema(t)
	odd := []string{
		"0", "1", "65536", "-1", "01", "1.5", "true", "false", "null", `""`, "[]", "{}", "60s", "1m30s", "2KiB", `"12"`, "a",
		"x y",
		`"*"`, `"{tenant}"`, `"${env:WEB_SECRET}"`, `":0"`, "http://h", "https://h/p", "HTTP://H:1", "[a]", "authenticated",
		"/", "READ",
	}
	taken := 0
	for name, data := range goodFiles(t) {
		if strings.HasPrefix(name, "../") {
			continue // they have nothing that the others have not
		}
		for _, text := range variants(t, data, odd) {
			if _, err := Parse("gate.yaml", text, hermetic); err != nil {
				continue
			}
			taken++
			if err := conforms(schema, text); err != nil {
				t.Errorf("the reader takes what the schema refuses: %v\n%s", err, text)
			}
		}
	}
	if taken < 25 {
		t.Errorf("the reader took %d variants; too few to prove anything", taken)
	}
}

// variants are a document with one value at a time replaced.
func variants(t *testing.T, data []byte, odd []string) (all [][]byte) {
	t.Helper()
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		t.Fatal(err)
	}
	turn := 0
	var visit func(n *yaml.Node)
	visit = func(n *yaml.Node) {
		for i, child := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 0 {
				continue
			}
			var other yaml.Node // one oddity each: all of them would take minutes
			text := odd[turn%len(odd)]
			turn += 5 // no divisor of their number
			if err := yaml.Unmarshal([]byte(text), &other); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			n.Content[i] = other.Content[0]
			if out, err := yaml.Marshal(&root); err == nil {
				all = append(all, out)
			}
			n.Content[i] = child
			visit(child)
		}
	}
	visit(root.Content[0])
	return all
}

// TestPatternsTakeWhatChecksTake: a text that a check takes matches the pattern that the schema has for it.
func TestPatternsTakeWhatChecksTake(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	var visit func(s *strictyaml.Shape)
	visit = func(s *strictyaml.Shape) {
		if s.Pattern != "" && s.Check != nil && !seen[s.Pattern] {
			seen[s.Pattern] = true
			t.Run(s.Pattern, func(t *testing.T) { t.Parallel(); rapid.Check(t, func(t *rapid.T) { patternHolds(t, s) }) })
		}
		for _, k := range s.Keys {
			visit(k.Shape)
		}
		for _, part := range slices.Concat([]*strictyaml.Shape{s.Items, s.Names}, s.Either) {
			if part != nil {
				visit(part)
			}
		}
	}
	visit(Reference())
	if len(seen) < 20 {
		t.Errorf("saw %d patterns", len(seen))
	}
}

func patternHolds(t *rapid.T, s *strictyaml.Shape) {
	pattern := regexp.MustCompile(s.Pattern)
	candidates := []*rapid.Generator[string]{
		rapid.StringMatching(s.Pattern), rapid.String(), rapid.StringMatching(`[ -~]{0,80}`),
		rapid.StringMatching(`[A-Za-z0-9_./:@{}*\[\]%?#-]{0,70}`),
		rapid.StringMatching(`[Hh]ttps?://[a-zA-Z0-9:@/?#\[\].-]{1,30}`),
	}
	text := rapid.OneOf(candidates...).Draw(t, "text")
	if problem, _ := s.Check(text); problem == "" && !pattern.MatchString(text) {
		t.Fatalf("the check takes %q, the pattern %s does not", text, s.Pattern)
	}
}
