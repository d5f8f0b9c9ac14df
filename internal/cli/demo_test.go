package cli

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// A stub plays the gate of a demo: it answers each step with the status that the story tells, unless told otherwise.
type stub struct {
	steps   []step
	next    int
	another map[int]int // the status of a step, by its index, where it differs
	app     *demoApp
	leaks   int // the step whose request reaches the app although it should not; -1 for none
}

func (s *stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i := s.next
	s.next++
	status := s.steps[i].status
	if other, ok := s.another[i]; ok {
		status = other
	}
	if s.steps[i].upstream > 0 || i == s.leaks {
		s.app.requests.Add(1)
	}
	w.WriteHeader(status)
	fmt.Fprint(w, `{"authorization_code":"c","access_token":"t"}`)
}

func TestADemoWithAnotherAnswerThanToldFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		another map[int]int
		leaks   int
		want    string
	}{
		{"as told", nil, -1, ""},
		{"no code", map[int]int{0: 403}, -1, "step 1: answered 403, not 201"},
		{"open without a token", map[int]int{3: 200}, -1, "step 4: answered 200, not 401"},
		{"open for another tenant", map[int]int{4: 200}, -1, "step 5: answered 200, not 403"},
		{"a code twice", map[int]int{5: 201}, -1, "step 6: answered 201, not 400"},
		{"refused, and still forwarded", nil, 3, "step 4: the app saw 1 requests, not 0"},
	} {
		app := &demoApp{}
		gate := httptest.NewServer(&stub{steps: story(), another: c.another, leaks: c.leaks, app: app})
		var out bytes.Buffer
		d := &demo{out: &out, app: app, client: direct(), values: map[string]string{"GATE": gate.URL, "MANAGE": "m"}}
		got := ""
		if err := d.play(t.Context()); err != nil {
			got = err.Error()
		}
		gate.Close()
		if got != c.want {
			t.Errorf("%s: %q, want %q\n%s", c.name, got, c.want, &out)
		}
	}
}

// What the demo prints is what the README explains, command by command.
func TestTheREADMEHasEveryCommandOfTheDemo(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range story() {
		if want := fmt.Sprintf("\n%s # %d\n", s.curl(), s.status); !strings.Contains(string(readme), want) {
			t.Errorf("README.md has no line %s", strings.TrimSpace(want))
		}
	}
}

func TestShortenedCutsCredentialsAndNothingElse(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 128)
	for text, want := range map[string]string{
		`{"access_token":"` + long + `","expires_in":60}` +
			"\n": `{"access_token":"xxxxxxxxxxxxxxxx…","expires_in":60}`,
		`{"message":"a sentence that is longer than any word of it could be"}`: `{"message":"a sentence that is longer ` +
			`than any word of it could be"}`,
	} {
		if got := shortened([]byte(text)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
