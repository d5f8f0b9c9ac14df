package config

import "strings"

func (b *builder) buildTracing() {
	if !b.file.tracing.Usable() || !b.file.tracing.Given {
		return
	}
	w := &b.file.tracing.Value
	b.Tracing = &Tracing{
		Endpoint: w.endpoint.Value,
		Ratio:    w.ratio,
		Parent:   w.parent,
		Service:  w.service,
		Headers:  map[string]Secret{},
	}
	for _, h := range w.headers {
		b.Tracing.Headers[canonicalHeader(h.Name)] = h.Value
	}
	if u, err := webURL(w.endpoint.Value); err == nil && strings.Trim(u.Path, "/") == "" { // the protocol's own path
		u.Path = "/v1/traces"
		b.Tracing.Endpoint = u.String()
	}
}

// isCollector: a query could hold a credential, which belongs into a header.
func isCollector(s string) (problem, remedy string) {
	u, err := webURL(s)
	if err != nil || u.RawQuery != "" || u.ForceQuery {
		return "is not a collector URL", "write http(s)://host:port, without query, user and fragment"
	}
	return "", ""
}

const fieldValueLike = `^[!-~]([ -~]*[!-~])?$`

func isFieldValue(s string) (problem, remedy string) {
	if s == "" || len(s) > 1024 || strings.Trim(s, " ") != s ||
		strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) {
		return "is not a valid header value", "use 1 to 1024 printable ASCII characters, without spaces around them"
	}
	return "", ""
}
