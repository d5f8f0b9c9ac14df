package config

import (
	"fmt"
	"strings"

	"github.com/jotgate/jotgate/internal/token"
)

func (b *builder) buildTests() {
	for _, t := range b.file.tests {
		w := &t.Value
		method, url, _ := strings.Cut(w.request.Value, " ")
		test := &Test{
			Method: method, URL: url, Headers: map[string]string{}, Claims: w.claims.Value,
			Allow: w.expect.Value.allow, Reason: w.expect.Value.refuse,
			test: b.note(t.at, "", ""), expect: b.note(w.expect.at, "", ""),
		}
		for _, h := range w.headers {
			test.Headers[canonicalHeader(h.name)] = h.Value
		}
		if w.permissions.given {
			test.Permissions = b.permissions(w.permissions.Value, noTemplates)
			if test.Permissions == nil { // a token that opens nothing is a token
				test.Permissions = token.Permissions{}
			}
		}
		if w.permissions.given && w.claims.given {
			b.fault(w.claims.at, "is there beside permissions", "keep one of the two: tenantPermissions among the claims say the same")
		}
		b.Tests = append(b.Tests, test)
	}
}

// CheckRequest tells what is wrong with a method and a whole URL, as tests and `jotgate explain` take them.
func CheckRequest(s string) error {
	if problem, remedy := isRequest(s); problem != "" {
		return fmt.Errorf("%s %s; %s", quote(s), problem, remedy)
	}
	return nil
}
