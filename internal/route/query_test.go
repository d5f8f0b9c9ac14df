package route

import (
	"slices"
	"testing"
)

func TestQueryValues(t *testing.T) {
	t.Parallel()
	for query, want := range map[string][]string{
		"":                       nil,
		"a=1&b":                  nil,
		"tenant=acme":            {"acme"},
		"&a=1&&tenant=acme&":     {"acme"},
		"tenant":                 {""},
		"tenant=":                {""},
		"tenant==a=b":            {"=a=b"},
		"tenants=no&%74enant=a":  {"a"},
		"tenant=a&tenant=b":      {"a", "b"},
		"tenant=a&tenan%74=a":    {"a", "a"},
		"tenant=a%20b+c%2Bd%26e": {"a b c+d&e"},
		"tenant=a%3btenant=b":    {"a;tenant=b"},
		"tenant=%2561":           {"%61"},
		"xtenant=x&tenan=y&ten.ant=1&tenant_=3&tenant-id=4&x[tenant]=5&tenant=a": {"a"},
		"x;y=1&z&tenant=a":   {"a"},
		"x=%zz&tenant=a":     {"a"},
		"x=%ff%00&tenant=a":  {"a"},
		"x=tenant&?tenant=b": nil,
	} {
		if got, ok := QueryValues(query, "tenant"); !ok || !slices.Equal(got, want) {
			t.Errorf("QueryValues(%q) = %q, %v; want %q", query, got, ok, want)
		}
	}
	for name, queries := range map[string][]string{
		"a semicolon that ends the value": {"tenant=a;b", "tenant=a;", "a=1&tenant=a;tenant=b"},
		"a semicolon that separates": {
			"x=1;tenant=b", "x;tenant", ";tenant=b", "tenant=a&x=1;%74enant=b",
			"a=1&amp;tenant=b",
		},
		"broken escapes in the value": {"tenant=%", "tenant=a%2", "tenant=%zz"},
		"broken escapes in a name":    {"tenant%=a", "tenant=a&%zz=b", "%7=b", "x;%z"},
		"a name encoded twice":        {"%2574enant=b", "tenant=a&tenan%252574=b", "x=1;%2574enant=b"},
		"a list, as PHP, Rails, Express and Spring write it": {
			"tenant[]=a", "tenant=a&tenant[]=b", "tenant=a&tenant[0]=a", "tenant=a&tenant%5B%5D=b", "tenant=a&tenant[x][y]=b",
			"tenant[=b",
			"tenant=a&tenant%5b0]=b", "tenant=a&tenant%255B%255D=b", "x=1;tenant[]=b",
		},
		"brackets and spaces in front": {
			"tenant=a&[tenant]=b", "tenant=a&+tenant=b", "tenant=a&%20%20tenant=b",
			"[[tenant]]=b", "tenant+=b", "tenant=a&]tenant=b", "tenant=a&[]tenant=b", "tenant=a&tenant]=b",
		},
		"another letter case": {
			"tenant=a&Tenant=b", "TENANT=b", "tenant=a&tenan%54=b",
			"tenant=a&TENANT[]=b",
		},
		"a member with parts":                   {"tenant=a&tenant.id=b", "tenant.0=b"},
		"a name that C cuts short":              {"tenant%00x=b", "tenant=a&tenant%00=b"},
		"controls and broken text in the value": {"tenant=a%00", "tenant=%0d%0a", "tenant=%ff", "tenant=%c0%af"},
	} {
		for _, query := range queries {
			if got, ok := QueryValues(query, "tenant"); ok || got != nil {
				t.Errorf("%s: QueryValues(%q) = %q, %v", name, query, got, ok)
			}
		}
	}
}

// PHP makes an underscore of what a variable's name cannot have.
func TestQueryValuesOfANameWithAnUnderscore(t *testing.T) {
	t.Parallel()
	for _, query := range []string{
		"tenant.id=b", "tenant+id=b", "tenant%20id=b", "tenant[id=b", "Tenant.ID=b", "tenant_id=a&tenant.id=a",
		"+tenant.id[]=b",
	} {
		if got, ok := QueryValues(query, "tenant_id"); ok {
			t.Errorf("%s: %q", query, got)
		}
	}
	for query, name := range map[string]string{"de\u017fk=b": "desk", "des\u212a=b": "desk", "DE%C5%BFK=b": "desk"} {
		if got, ok := QueryValues(query, name); ok {
			t.Errorf("%s: %q", query, got)
		}
	}
	if got, ok := QueryValues("tenant_id=a&tenantid=b&tenant-id=c", "tenant_id"); !ok ||
		!slices.Equal(got, []string{"a"}) {
		t.Errorf("%q, %v", got, ok)
	}
}
