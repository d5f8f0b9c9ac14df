package admin

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestAdmin(t *testing.T) {
	t.Parallel()
	var ready error
	full := New(Options{Token: func() string { return "a-token-of-the-operator" }, Ready: func() error { return ready }})
	noToken := New(Options{Token: func() string { return "" }, Ready: func() error { return nil }})
	health := NewHealth(Options{Ready: func() error { return errors.New("draining") }})
	for _, c := range []struct {
		name, host, path string
		authorization    []string
		handler          http.Handler
		want             int
	}{
		{"alive", "gate.example.com", "/healthz", nil, full, 200},
		{"ready", "gate.example.com", "/readyz", nil, full, 200},
		{"not ready", "gate.example.com", "/readyz", nil, health, 503},
		{"alive while not ready", "gate.example.com", "/healthz", nil, health, 200},
		{"nothing else on the health listener", "localhost", "/metrics", nil, health, 404},
		{"no token", "localhost:9090", "/console", nil, full, 401},
		{"wrong token", "localhost:9090", "/console", []string{"Bearer a-token-of-the-operato"}, full, 401},
		{"two tokens", "localhost:9090", "/console", []string{"Bearer x", "Bearer y"}, full, 400},
		{"basic", "localhost:9090", "/console", []string{"Basic eDp5"}, full, 401},
		{"right token", "127.0.0.1:9090", "/console", []string{"Bearer a-token-of-the-operator"}, full, 404},
		{"right token on IPv6", "[::1]:9090", "/console", []string{"Bearer a-token-of-the-operator"}, full, 404},
		{"rebound name", "evil.example.com", "/console", []string{"Bearer a-token-of-the-operator"}, full, 400},
		{"empty token configured", "localhost", "/console", []string{"Bearer "}, noToken, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, c.path, nil)
			r.Host = c.host
			r.Header["Authorization"] = c.authorization
			w := httptest.NewRecorder()
			c.handler.ServeHTTP(w, r)
			if w.Code != c.want {
				t.Errorf("%s: status %d, want %d: %s", c.path, w.Code, c.want, w.Body)
			}
		})
	}
}

// TestReadyWithWarnings: what is amiss with one issuer is told, and takes nothing out of service.
func TestReadyWithWarnings(t *testing.T) {
	t.Parallel()
	handler := NewHealth(Options{
		Ready:    func() error { return nil },
		Warnings: func() []string { return []string{"one", "two"} },
	})
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	if want := "ready\nwarning: one\nwarning: two\n"; w.Code != http.StatusOK || w.Body.String() != want {
		t.Errorf("have %d %q, want 200 %q", w.Code, w.Body, want)
	}
}
