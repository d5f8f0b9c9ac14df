package token

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// The index decides as reading the list does, whatever its order, its duplicates and its entries for any tenant.
func TestIndexDecidesAsTheList(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var p Permissions
		for range rapid.IntRange(0, 40).Draw(t, "entries") {
			n := rapid.IntRange(-1, 12).Draw(t, "tenant")
			tenant := fmt.Sprint("tenant-", n)
			if n < 0 {
				tenant = Any
			}
			p = append(p, on(tenant, rapid.SampledFrom([]string{"READ", "WRITE", Any}).Draw(t, "action")))
		}
		x := p.Index()
		for n := range 14 {
			asked := fmt.Sprint("tenant-", n)
			if n == 13 {
				asked = Global
			}
			got, want := x.Deciding(asked), p.Deciding(asked)
			if got != want {
				t.Fatalf("%s of %v: entry %d, want %d", asked, p, got, want)
			}
			if want >= 0 && p[want].Holds("READ") != p.Allows(asked, "READ") {
				t.Fatalf("%s of %v: READ", asked, p)
			}
		}
	})
}

// A long list costs what a short one does: the index is asked once, however many entries there are.
func BenchmarkDeciding(b *testing.B) {
	for _, entries := range []int{10, 300} {
		b.Run(fmt.Sprint(entries), func(b *testing.B) {
			var p Permissions
			for i := range entries {
				p = append(p, on(fmt.Sprint("tenant-", i), "READ"))
			}
			x, last := p.Index(), p[entries-1].Tenant
			for b.Loop() {
				if x.Deciding(last) != entries-1 {
					b.Fatal("another entry")
				}
			}
		})
	}
}
