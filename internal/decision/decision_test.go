package decision

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// A 2xx status opens a request, so nothing but Allow may send one, whatever writes the answer.
func TestOnlyAllowSendsAStatusThatOpens(t *testing.T) {
	t.Parallel()
	for name, decide := range map[string]func(w http.ResponseWriter){
		"a gRPC refusal":  func(w http.ResponseWriter) { w.WriteHeader(200) },
		"a preflight":     func(w http.ResponseWriter) { w.WriteHeader(204) },
		"a body alone":    func(w http.ResponseWriter) { _, _ = w.Write([]byte("x")) },
		"a partial":       func(w http.ResponseWriter) { w.WriteHeader(206) },
		"a second status": func(w http.ResponseWriter) { w.WriteHeader(403); w.WriteHeader(200) },
		"nothing":         func(http.ResponseWriter) {},
	} {
		h := New(Options{
			From:   func(string) bool { return true },
			Decide: func(w http.ResponseWriter, _ *Question, _ error) { decide(w) },
		})
		for _, path := range []string{"/nginx", "/traefik", "/caddy", "/haproxy", "/envoy/a"} {
			if name == "nothing" {
				continue // net/http's recorder says 200 of an answer that was not written; a real one is what the gate writes
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
			if w.Code != 403 {
				t.Errorf("%s, %s: %d", name, path, w.Code)
			}
		}
		v := &verdict{header: http.Header{}}
		decide(v)
		if answer := v.encode(); status(t, answer) == 0 {
			t.Errorf("%s, gRPC: opened", name)
		}
	}
}

// status returns the code of a CheckResponse's status.
func status(t *testing.T, response []byte) (code uint64) {
	t.Helper()
	within(response, checkResponseStatus, func(b []byte) bool {
		for len(b) > 0 {
			_, _, n := protowire.ConsumeTag(b)
			code, _ = protowire.ConsumeVarint(b[n:])
			return true
		}
		return true
	})
	return code
}

// FuzzCheck: whatever bytes a CheckRequest has, a request that is asked about is one that is said once.
func FuzzCheck(f *testing.F) {
	http1 := appendText(appendText(appendText(nil, httpMethod, "GET"), httpPath, "/t/acme/?x=1"), httpHost, "app.test")
	header := appendText(appendText(nil, mapKey, "authorization"), mapValue, "Bearer x")
	http1 = appendMessage(http1, httpHeaders, header)
	f.Add(appendMessage(nil, checkRequestAttributes,
		appendMessage(nil, attributesRequest, appendMessage(nil, requestHTTP, http1))))
	f.Add([]byte{0x0a, 0xff})
	f.Fuzz(func(t *testing.T, message []byte) {
		q := &Question{Front: "envoy", Request: httptest.NewRequest("POST", checkMethod, nil)}
		if q.readCheck(message) != nil {
			return
		}
		r := q.Request
		if r.Method == "" || !strings.HasPrefix(r.RequestURI, "/") || q.Scheme != "http" && q.Scheme != "https" {
			t.Errorf("%q %q %q", r.Method, r.RequestURI, q.Scheme)
		}
		for name := range r.Header {
			if strings.HasPrefix(name, ":") || name == "" {
				t.Errorf("a field %q", name)
			}
		}
		if !bytes.Contains(message, []byte(r.RequestURI)) {
			t.Errorf("the target %q is not in the message", r.RequestURI)
		}
	})
}

func TestMessagesAreBounded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body string
		code int
	}{
		"nothing":        {"", grpcInvalidArgument},
		"half a prefix":  {"\x00\x00", grpcInvalidArgument},
		"cut":            {"\x00\x00\x00\x00\x05abc", grpcInvalidArgument},
		"compressed":     {"\x01\x00\x00\x00\x01a", grpcUnimplemented},
		"too long":       {"\x00\x00\x10\x00\x01", grpcResourceExhausted},
		"4 GiB":          {"\x00\xff\xff\xff\xff", grpcResourceExhausted},
		"two messages":   {"\x00\x00\x00\x00\x01a\x00\x00\x00\x00\x00", grpcInvalidArgument},
		"an empty one":   {"\x00\x00\x00\x00\x00", 0},
		"a whole one":    {"\x00\x00\x00\x00\x01a", 0},
		"bytes too many": {"\x00\x00\x00\x00\x01ab", grpcInvalidArgument},
	} {
		if _, code, why := readMessage(strings.NewReader(c.body)); code != c.code {
			t.Errorf("%s: %d %s, want %d", name, code, why, c.code)
		}
	}
}
