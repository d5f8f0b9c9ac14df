package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// The app answers what README.md asks of it.
func TestTheAppAnswersTheREADMEsPaths(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]int{"/about": 200, "/t/acme/orders": 200, "/t/acme/others": 404} {
		w := httptest.NewRecorder()
		handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}
