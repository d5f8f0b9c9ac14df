package route

import (
	"net/url"
	"slices"
	"strings"
)

// A Pattern is what the host and the path of a route match together.
type Pattern struct {
	Host Host
	Path Path
}

// A Point stands for the requests that are matched by the same patterns: a path of a fixed number of segments, and a
// host, in which the free places hold whatever no pattern has as a literal.
type Point struct {
	labels   []string // of the host, "": free; one alone may be an address
	segments []string // "": free
	slash    bool     // a last slash
}

// mostPoints bounds the points of a set of patterns. It takes hundreds of patterns that overlap each other to reach it.
const mostPoints = 1 << 14

// Points returns points that tell patterns apart: every request has, among them, one that is matched by the same
// patterns. whole is false if there are too many for that.
//
// A request is matched by a pattern if its segments are: a literal by itself, anything by a placeholder. So all
// patterns that match a request also match the most general request of their intersection, whose free places hold
// words that no pattern has, and no other pattern does. What is left is to fix the number of segments, which trees
// leave open, and to intersect what there is until nothing new comes of it.
func Points(patterns []Pattern) (points []Point, whole bool) {
	deepest, labels := 0, 0
	for _, p := range patterns {
		deepest, labels = max(deepest, len(p.Path.segments)), max(labels, strings.Count(p.Host.text, "."))
	}
	seen := map[string]bool{}
	add := func(p Point) {
		if key := p.key(); !seen[key] && len(points) < mostPoints {
			seen[key] = true
			points = append(points, p)
		}
	}
	anywhere := make([]string, labels+2) // more labels than any pattern has
	hosts := [][]string{anywhere}
	for _, p := range patterns {
		if p.Host.text != "" {
			hosts = append(hosts, p.Host.parts())
		}
	}
	for _, p := range patterns {
		// A host that more of them match, such as any, is told apart from each that fewer match.
		for _, h := range hosts {
			if p.Host.text != "" {
				h = p.Host.parts()
			}
			for n := len(p.Path.segments); n <= deepest+1; n++ {
				for _, slash := range []bool{false, true} {
					if at, ok := p.Path.of(n, slash); ok {
						at.labels = h
						add(at)
						at.slash = !slash && n > 0 // which other readers of the path may add or drop
						add(at)
					}
				}
			}
			if p.Host.text != "" {
				break
			}
		}
	}
	for i := 0; i < len(points); i++ {
		for j := range i {
			if both, ok := points[i].and(points[j]); ok {
				add(both)
			}
		}
	}
	return points, len(points) < mostPoints
}

// parts are the labels of a host pattern, free ones empty; of an address the whole.
func (h Host) parts() []string {
	if h.labels == nil {
		if strings.HasPrefix(h.text, "[") || isNumber(h.text[strings.LastIndexByte(h.text, '.')+1:]) {
			return []string{h.text}
		}
		return strings.Split(h.text, ".")
	}
	labels := make([]string, len(h.labels))
	for i, l := range h.labels {
		labels[i] = l.literal
	}
	return labels
}

// of is the part of a pattern that has so many segments that are not empty, and a last slash or none.
func (p Path) of(n int, slash bool) (Point, bool) {
	if p.text == "" || n < len(p.segments) || !p.tree && (n != len(p.segments) || slash) ||
		p.tree && n == len(p.segments) && !slash {
		return Point{}, false
	}
	at := Point{segments: make([]string, n), slash: slash}
	for i, s := range p.segments {
		at.segments[i] = s.literal
	}
	return at, true
}

// and is the most general point that both cover.
func (p Point) and(q Point) (Point, bool) {
	if p.slash != q.slash {
		return Point{}, false
	}
	segments, ok := both(p.segments, q.segments)
	if !ok {
		return Point{}, false
	}
	labels, ok := both(p.labels, q.labels)
	return Point{labels: labels, segments: segments, slash: p.slash}, ok
}

func both(a, b []string) (all []string, ok bool) {
	if len(a) != len(b) {
		return nil, false
	}
	all = make([]string, len(a))
	for i := range a {
		switch {
		case a[i] == "" || a[i] == b[i]:
			all[i] = b[i]
		case b[i] == "":
			all[i] = a[i]
		default:
			return nil, false
		}
	}
	return all, true
}

func (p Point) key() string {
	key := strings.Join(p.labels, "\x00") + "\x01" + strings.Join(p.segments, "\x00")
	if p.slash {
		key += "/"
	}
	return key
}

// Host and Path are what a request of the point has: fill says what stands in each free place.
func (p Point) Host(fill func(place int) string) string {
	return strings.Join(filled(p.labels, fill), ".")
}

// Path is escaped as in a request.
func (p Point) Path(fill func(place int) string) string {
	all := filled(p.segments, fill)
	for i := range all {
		all[i] = url.PathEscape(all[i])
	}
	path := "/" + strings.Join(all, "/")
	if p.slash && len(all) > 0 {
		path += "/"
	}
	return path
}

func filled(parts []string, fill func(int) string) []string {
	all := slices.Clone(parts)
	for i := range all {
		if all[i] == "" {
			all[i] = fill(i)
		}
	}
	return all
}

// FreeSegment and FreeLabel report whether a place of the path, or of the host, is free.
func (p Point) FreeSegment(i int) bool { return i >= 0 && i < len(p.segments) && p.segments[i] == "" }

// FreeLabel is FreeSegment of the host.
func (p Point) FreeLabel(i int) bool { return i >= 0 && i < len(p.labels) && p.labels[i] == "" }

// Literals lists the literal parts of patterns: what a free place must not hold.
func Literals(patterns []Pattern) map[string]bool {
	all := map[string]bool{}
	for _, p := range patterns {
		for _, s := range p.Path.segments {
			all[lower(s.literal)] = true
		}
		for _, l := range p.Host.parts() {
			all[l] = true
		}
	}
	return all
}

// Segment and Label are the literals in places that are not free.
func (p Point) Segment(i int) string { return literalAt(p.segments, i) }

// Label is Segment of the host.
func (p Point) Label(i int) string { return literalAt(p.labels, i) }

func literalAt(parts []string, i int) string {
	if i < 0 || i >= len(parts) {
		return ""
	}
	return parts[i]
}
