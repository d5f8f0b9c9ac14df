package config

import (
	"fmt"
	"net/url"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/jotgate/jotgate/internal/route"
)

// What reaches finds by beginnings and by classes is what a comparison of every route with every other finds.
func TestReachesEverything(t *testing.T) {
	servers := []*Upstream{
		{Name: "a", Servers: urls(t, "http://1")},
		{Name: "b", Servers: urls(t, "http://1", "http://2")},
		{Name: "c", Servers: urls(t, "http://3")},
	}
	paths := []string{"/", "/a/", "/a", "/a/b/", "/{x}/", "/a/{x}/", "/{x}/b", "/a/b/c", "/{x}/{y}/", "/b/"}
	rapid.Check(t, func(t *rapid.T) {
		var routes []*Route
		for i := range rapid.IntRange(0, 12).Draw(t, "routes") {
			path, err := route.ParsePath(rapid.SampledFrom(paths).Draw(t, "path"))
			if err != nil {
				t.Fatal(err)
			}
			r := &Route{Index: i, Path: path, Upstream: rapid.SampledFrom(servers).Draw(t, "upstream")}
			r.Public = rapid.Bool().Draw(t, "public")
			if !r.Public && rapid.Bool().Draw(t, "action") {
				r.Require.Action, r.Require.Global = rapid.SampledFrom([]string{"READ", "WRITE"}).Draw(t, "which"), true
			}
			if rapid.Bool().Draw(t, "post") {
				r.Methods = []string{"POST"}
			}
			if rapid.IntRange(0, 5).Draw(t, "allow") == 0 {
				r.Allow = route.Rewritten
			}
			r.Hop.AddPrefix = rapid.SampledFrom([]string{"", "", "/a", "/b"}).Draw(t, "add")
			if rapid.Bool().Draw(t, "strip") && len(path.String()) > 2 && path.String()[1] == 'a' {
				r.Hop.StripPrefix = "/a"
			}
			routes = append(routes, r)
		}
		want, got := map[int]bool{}, map[int]bool{}
		for _, loose := range routes {
			for _, strict := range routes {
				if reachesNaively(loose, strict) {
					want[loose.Index] = true
				}
			}
		}
		for _, r := range reaches(routes) {
			if !reachesNaively(r.loose, r.strict) {
				t.Errorf("%v does not reach %v", r.loose, r.strict)
			}
			got[r.loose.Index] = true
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("routes that reach others: %v, want %v", got, want)
		}
	})
}

func reachesNaively(loose, strict *Route) bool {
	if !loose.rewrites() && !strict.rewrites() || !sameServers(loose, strict) || !sameHosts(loose, strict) ||
		(loose.Allow|strict.Allow)&route.Rewritten != 0 || !sharesMethod(loose, strict) {
		return false
	}
	at, err1 := loose.upstreamPath()
	there, err2 := strict.upstreamPath()
	mine := loose.asksThere()
	return err1 == nil && err2 == nil && at.Overlaps(there) && !at.Before(there) &&
		slices.ContainsFunc(strict.asksThere(), func(d route.Demand) bool { return !slices.Contains(mine, d) })
}

func urls(t *testing.T, texts ...string) (all []*url.URL) {
	for _, text := range texts {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	return all
}
