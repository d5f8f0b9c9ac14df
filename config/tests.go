package config

import (
	"fmt"
	"slices"
	"strings"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
	"github.com/jotgate/jotgate/internal/token"
)

func (b *builder) buildTests() {
	for _, t := range b.file.tests {
		w := &t.Value
		method, url, _ := strings.Cut(w.request.Value, " ")
		test := &Test{
			Method: method, URL: url, Headers: map[string]string{}, Claims: w.claims.Value,
			Listener: w.listener.Value,
			Allow:    w.expect.Value.allow, Reason: w.expect.Value.refuse,
			test: b.Note(t.At, "", ""), expect: b.Note(w.expect.At, "", ""),
		}
		for _, h := range w.headers {
			test.Headers[canonicalHeader(h.Name)] = h.Value
		}
		if w.permissions.Given {
			test.Permissions = b.permissions(w.permissions.Value, noTemplates)
			if test.Permissions == nil { // a token that opens nothing is a token
				test.Permissions = token.Permissions{}
			}
		}
		if w.permissions.Given && w.claims.Given {
			b.Fault(
				w.claims.At,
				"conflicts with permissions",
				"set only one of the two; the claim tenantPermissions says the same",
			)
		}
		if known := b.RouteListeners(); w.listener.Usable() && w.listener.Given && !slices.Contains(known, test.Listener) {
			b.Fault(w.listener.At, w.listener.Shown+" is not the name of a listener that has routes",
				"write one of "+strings.Join(known, ", "))
		}
		b.Tests = append(b.Tests, test)
	}
}

// CheckRequest tells what is wrong with a method and a whole URL, as tests and `jotgate explain` take them.
func CheckRequest(s string) error {
	if problem, remedy := isRequest(s); problem != "" {
		return fmt.Errorf("%s %s; %s", yaml.Quote(s), problem, remedy)
	}
	return nil
}
