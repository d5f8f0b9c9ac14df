package route

import (
	"fmt"
	"testing"
)

// crowd is a table of n routes: n/2 tenants' own hosts, as many paths on any host, and one in five with a placeholder.
func crowd(b *testing.B, n int) *Table[int] {
	var rules []rule
	for i := range n / 2 {
		rules = append(rules, rule{host: fmt.Sprintf("t%d.example.com", i), path: "/"})
		path := fmt.Sprintf("/api/v1/r%d/", i)
		if i%5 == 0 {
			path = fmt.Sprintf("/api/v1/r%d/{p}/x", i)
		}
		rules = append(rules, rule{path: path})
	}
	table, conflicts := compile(b, rules)
	if len(conflicts) > 0 {
		b.Fatal(conflicts)
	}
	return table
}

// BenchmarkMatch compares 10 with 10,000 routes in one run, parsing included. The difference is that of a lookup in a
// small and in a large map, some tens of nanoseconds for each literal among many, however many more routes there are.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		table := crowd(b, n)
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			var target Target
			var m Match[int]
			for b.Loop() {
				if err := target.Parse("/api/v1/r3/tickets/7?page=2"); err != nil {
					b.Fatal(err)
				}
				if err := table.Match("shop.example.com", "GET", &target, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkWorstSearch is a request that takes every wrong turn of a table made for it: 1,024 routes, none the right
// one.
func BenchmarkWorstSearch(b *testing.B) {
	table := adversarial(b, 10)
	var target Target
	if err := target.Parse("/a/a/a/a/a/a/a/a/a/a/not"); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if table.find("", &target) != nil {
			b.Fatal("found")
		}
	}
}

func BenchmarkCanonicalHost(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := CanonicalHost("shop.example.com"); err != nil {
			b.Fatal(err)
		}
	}
}
