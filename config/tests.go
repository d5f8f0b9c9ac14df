package config

import "strings"

func (b *builder) buildTests() {
	for _, t := range b.file.tests {
		w := &t.Value
		method, url, _ := strings.Cut(w.request.Value, " ")
		test := &Test{Method: method, URL: url, Headers: map[string]string{}, Allow: w.expect.allow, Reason: w.expect.refuse}
		for _, h := range w.headers {
			test.Headers[canonicalHeader(h.name)] = h.Value
		}
		if w.permissions.given {
			test.Permissions = b.permissions(w.permissions.Value, noTemplates)
		}
		b.Tests = append(b.Tests, test)
	}
}
