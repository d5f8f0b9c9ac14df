package h1

import (
	"testing"
)

func TestAKeptConnectionServesAgain(t *testing.T) {
	t.Parallel()
	s := serve(t, answering(okay))
	c := client(t, settings(s))
	for range 5 {
		if status, body, err := get(c, s); status != 200 || body != "ok" || err != nil {
			t.Fatal(status, body, err)
		}
	}
	if n := s.connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	want := "GET / HTTP/1.1\r\nHost: " + s.address() + "\r\n\r\n"
	for _, head := range s.seen() {
		if head != want {
			t.Errorf("got %q, want %q", head, want)
		}
	}
}
