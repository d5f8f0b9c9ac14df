package route

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A queryReader is a framework: whether a member, decoded once, is to it the one that it is asked for, or a part of it.
type queryReader struct {
	name      string
	separator string // beside "&"
	is        func(key, name string) bool
}

var (
	oldRack    = regexp.MustCompile(`\A[\[\]]*([^\[\]]+)\]*`)
	qsSegment  = regexp.MustCompile(`\A\[([^\[\]]*)\]`)
	underscore = strings.NewReplacer(".", "_", " ", "_")
)

var queryReaders = []queryReader{
	{name: "Express (qs)", is: func(key, name string) bool {
		if m := qsSegment.FindStringSubmatch(key); m != nil {
			return m[1] == name
		}
		root, _, _ := strings.Cut(key, "[")
		return root == name
	}},
	{name: "Rails (Rack 2.2)", separator: ";", is: func(key, name string) bool {
		m := oldRack.FindStringSubmatch(strings.TrimLeft(key, " "))
		return m != nil && m[1] == name
	}},
	{name: "Rails (Rack 3)", is: func(key, name string) bool {
		key = strings.TrimLeft(key, " ")
		if start := strings.Index(key, "["); start > 0 {
			key = key[:start]
		}
		return key == name
	}},
	{name: "Spring 5", is: func(key, name string) bool { // its _name and !name count only where name is missing
		root, _, _ := strings.Cut(key, "[")
		root, _, _ = strings.Cut(root, ".")
		return root == name
	}},
	{name: "ASP.NET", is: strings.EqualFold},
	{name: "PHP", is: func(key, name string) bool {
		key, _, _ = strings.Cut(strings.TrimLeft(key, " "), "\x00")
		root, inner, list := strings.Cut(key, "[")
		if list && !strings.Contains(inner, "]") {
			return underscore.Replace(root)+"_"+underscore.Replace(inner) == name
		}
		return underscore.Replace(root) == name
	}},
	{name: "Node's new URL", is: func(key, name string) bool { return key == name }},
}

// values are those that the reader finds. It drops a member that it cannot decode, or reads it as it stands.
func (r queryReader) values(query, name string) (all []string) {
	if r.separator != "" {
		query = strings.ReplaceAll(query, r.separator, "&")
	}
	for member := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(member, "=")
		if text, err := url.QueryUnescape(key); err == nil {
			key = text
		}
		if r.is(key, name) {
			if text, err := url.QueryUnescape(value); err == nil {
				value = text
			}
			all = append(all, value)
		}
	}
	return all
}

// Where a tenant that the query names goes through, every framework finds this one value and no other under its name.
func TestNoReadingOfAQueryThatPassesHasAnotherTenant(t *testing.T) {
	t.Parallel()
	names := []string{"tenant", "tenant_id", "t"}
	passed, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(names).Draw(t, "name")
		spellings := []string{
			name, name, strings.ToUpper(name), strings.ReplaceAll(name, "_", "."), strings.ReplaceAll(name, "_", "%20"),
			strings.ReplaceAll(name, "_", "["), strings.Replace(name, "t", "%74", 1), strings.Replace(name, "t", "%2574", 1),
		}
		odd := rapid.SampledFrom([]string{
			"", "", "", "[", "]", "[]", "[0]", "%5B%5D", "+", "%20", ".", ".x", "%00", ";", "x", "_",
		})
		part := rapid.Custom(func(t *rapid.T) string {
			key := rapid.SampledFrom(append(spellings, "x", "y", "")).Draw(t, "key")
			return odd.Draw(t, "before") + odd.Draw(t, "also") + key + odd.Draw(t, "behind") +
				rapid.SampledFrom([]string{"=acme", "=acme", "=globex", "", "="}).Draw(t, "value")
		})
		parts := rapid.SliceOfN(part, 0, 3).Draw(t, "members")
		at := rapid.IntRange(0, len(parts)).Draw(t, "at")
		parts = append(parts[:at], append([]string{name + "=acme"}, parts[at:]...)...)
		query := strings.Join(parts, rapid.SampledFrom([]string{"&", "&", "&", ";", "&+"}).Draw(t, "separator"))
		values, ok := QueryValues(query, name)
		if !ok || len(values) != 1 {
			refused++
			return
		}
		passed++
		for _, r := range queryReaders {
			if have := r.values(query, name); len(have) != 1 || have[0] != values[0] {
				t.Fatalf("%s: judged as %q, and %s reads %q", query, values[0], r.name, have)
			}
		}
	})
	if passed < 10 || refused < 10 {
		t.Errorf("%d queries passed, %d did not", passed, refused)
	}
}
