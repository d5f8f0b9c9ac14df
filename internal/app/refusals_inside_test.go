package app

import (
	"fmt"
	"strings"
	"testing"
)

// The ring holds no more entries and bytes than it may, whatever comes, and finds what it holds.
func TestRefusalsAreBoundedInBytes(t *testing.T) {
	t.Parallel()
	const most = 100
	r := newRefusals(most)
	for i := range 5000 {
		id := fmt.Sprintf("id-%d", i%(most*2+i%7))
		r.add(keptRefusal{id: id, data: []byte(strings.Repeat("x", 1+i*37%refusalMost))})
		if r.find(id) == nil {
			t.Fatalf("%d: what was just added is gone", i)
		}
		bytes, held := 0, 0
		for place, k := range r.ring {
			if k.data == nil {
				continue
			}
			held++
			bytes += len(k.id) + len(k.data)
			if r.at[k.id] != place {
				t.Fatalf("%d: %s is not where the index says", i, k.id)
			}
		}
		if bytes != r.bytes || held != len(r.at) || bytes > refusalAverage*most {
			t.Fatalf("%d: %d bytes, counted %d; %d entries, indexed %d", i, bytes, r.bytes, held, len(r.at))
		}
	}
	if newRefusals(0).find("x") != nil {
		t.Error("found in none")
	}
	one := newRefusals(1)
	one.add(keptRefusal{id: "a", data: make([]byte, refusalMost)})
	one.add(keptRefusal{id: "a", data: make([]byte, refusalMost)})
	one.add(keptRefusal{id: "b", data: []byte("x")})
	if one.find("a") != nil || one.find("b") == nil {
		t.Error("a ring of one")
	}
}
