package request

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/internal/refusal"
)

const chromium = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"

func visit(fields ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/<script>alert(1)</script>?q=<b>", nil)
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return r
}

func TestNavigates(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		fields []string
		want   bool
	}{
		{"a browser", []string{"Accept", chromium, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, true},
		{"in a frame", []string{"Accept", chromium, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, true},
		{"without Fetch Metadata", []string{"Accept", chromium}, true},
		{"in capitals", []string{"Accept", "Text/HTML ; Q=0.5"}, true},
		{"curl", []string{"Accept", "*/*"}, false},
		{"nothing", nil, false},
		{"a wildcard alone", []string{"Accept", "text/*"}, false},
		{"a script", []string{"Accept", chromium, "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}, false},
		{"an image", []string{"Accept", chromium, "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, false},
		{"a download of a worker", []string{"Accept", chromium, "Sec-Fetch-Dest", "worker"}, false},
		{"two modes", []string{"Accept", chromium, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Mode", "navigate"}, false},
		{"JSON first", []string{"Accept", "application/json, text/html;q=0.9"}, false},
		{"JSON in another field", []string{"Accept", "text/html;q=0.9", "Accept", "application/problem+json"}, false},
		{"as good as JSON", []string{"Accept", "text/html, application/json"}, true},
		{"not wanted", []string{"Accept", "text/html;q=0"}, false},
		{"a weight that is none", []string{"Accept", "text/html;q=NaN"}, false},
		{"a name that begins alike", []string{"Accept", "text/html5"}, false},
	} {
		if got := Navigates(visit(c.fields...)); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

// TestARefusalForAPerson has nothing of the request in it, nothing that runs, and no reason.
func TestARefusalForAPerson(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	x := new(Exchange)
	x.Begin(w, time.Now())
	x.ID, x.Visit = `0190-"><b>`, visit("Accept", chromium)
	x.Refuse(refusal.Because(refusal.ActionDenied, "bob may not <script>"))
	body := `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>403 Forbidden</title>
<h1>403 Forbidden</h1>
<p>You may not open this page.</p>
<p>Request id: <code>0190-&#34;&gt;&lt;b&gt;</code></p>
</html>
`
	if diff := cmp.Diff(body, w.Body.String()); diff != "" || w.Code != 403 {
		t.Errorf("%d (-want +got):\n%s", w.Code, diff)
	}
	want := http.Header{
		"Content-Type": {"text/html; charset=utf-8"}, "Content-Length": {strconv.Itoa(len(body))},
		"Content-Security-Policy": {"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
		"Cache-Control":           {"no-store"}, "X-Content-Type-Options": {"nosniff"}, "Referrer-Policy": {"no-referrer"},
		"Vary": {"Accept"}, "X-Request-Id": {x.ID},
		"Www-Authenticate": {`Bearer realm="jotgate", error="insufficient_scope"`},
	}
	if diff := cmp.Diff(want, w.Header()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
