package h2

import "testing"

// A stream that waits is in the list of those to wake once, however often it is woken by its own window and waits
// again.
func TestParkedStreamIsListedOnce(t *testing.T) {
	t.Parallel()
	c := new(Conn)
	first, second := &stream{conn: c}, &stream{conn: c}
	for range 3 {
		for range 1000 {
			c.park(first)
			c.park(second)
		}
		if len(c.blocked) != 2 {
			t.Fatalf("%d entries for two streams", len(c.blocked))
		}
		c.unblock()
		if len(c.blocked) != 0 || first.blocked || second.blocked {
			t.Fatal("still listed")
		}
	}
}
