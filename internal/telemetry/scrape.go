package telemetry

import (
	"bytes"
	"compress/gzip"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Scrape collects what one scrape is told, and writes it in Prometheus' text format, version 0.0.4, or in OpenMetrics
// 1.0. Labels are given as names and values in turn.
type Scrape struct {
	families map[string]*family
	open     bool // OpenMetrics
}

// A family are the series of one name.
type family struct {
	help, kind string
	series     []written
}

// written are the lines of one series, and what they are sorted by.
type written struct{ labels, lines string }

// Gauge adds what goes up and down.
func (s *Scrape) Gauge(name, help string, value float64, labels ...string) {
	s.add(name, help, "gauge", labels, func(labels string) string { return sampleLine(name, labels, value) })
}

// Counter adds what only grows.
func (s *Scrape) Counter(name, help string, value float64, labels ...string) {
	s.add(name, help, "counter", labels, func(labels string) string { return sampleLine(name, labels, value) })
}

// histogram adds counts by bucket; the last one has no bound.
func (s *Scrape) histogram(name, help string, h Spread, of *histogram, labels ...string) {
	s.add(name, help, "histogram", labels, func(labels string) string {
		var b strings.Builder
		total := uint64(0)
		for i, n := range h.Counts {
			bound := "+Inf"
			if i < len(h.Bounds) {
				bound = s.bound(h.Bounds[i].Seconds())
			}
			total += n
			line := sampleLine(name+"_bucket", joined(labels, `le="`+bound+`"`), float64(total))
			if e := of.exemplar(i); s.open && e != nil && n > 0 {
				line = strings.TrimSuffix(line, "\n") + e.text() + "\n"
			}
			b.WriteString(line)
		}
		b.WriteString(sampleLine(name+"_sum", labels, of.total().Seconds()))
		b.WriteString(sampleLine(name+"_count", labels, float64(total)))
		return b.String()
	})
}

// summary adds quantiles of durations, from the least to the greatest in equal steps.
func (s *Scrape) summary(name, help string, quantiles []time.Duration, sum time.Duration, count int64) {
	s.add(name, help, "summary", nil, func(string) string {
		var b strings.Builder
		for i, q := range quantiles {
			share := float64(i) / float64(len(quantiles)-1)
			b.WriteString(sampleLine(name, `quantile="`+s.bound(share)+`"`, q.Seconds()))
		}
		b.WriteString(sampleLine(name+"_sum", "", sum.Seconds()))
		b.WriteString(sampleLine(name+"_count", "", float64(count)))
		return b.String()
	})
}

func (s *Scrape) add(name, help, kind string, labels []string, lines func(labels string) string) {
	if s.families == nil {
		s.families = map[string]*family{}
	}
	f := s.families[name]
	if f == nil {
		f = &family{help: help, kind: kind}
		s.families[name] = f
	}
	pairs := make([]string, 0, len(labels)/2)
	for i := 0; i+1 < len(labels); i += 2 {
		pairs = append(pairs, labels[i]+`="`+inLabels.Replace(strings.ToValidUTF8(labels[i+1], "\uFFFD"))+`"`)
	}
	slices.Sort(pairs)
	all := strings.Join(pairs, ",")
	f.series = append(f.series, written{all, lines(all)})
}

var (
	inLabels = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	inHelp   = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
)

func joined(labels, last string) string {
	if labels == "" {
		return last
	}
	return labels + "," + last
}

func sampleLine(name, labels string, value float64) string {
	if labels != "" {
		labels = "{" + labels + "}"
	}
	return name + labels + " " + number(value) + "\n"
}

// bound writes a number that is part of a label.
func (s *Scrape) bound(value float64) string {
	if s.open {
		return openNumber(value)
	}
	return number(value)
}

func number(value float64) string { return strconv.FormatFloat(value, 'g', -1, 64) }

// text is everything in the order of names and labels.
func (s *Scrape) text() []byte {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(s.families)) {
		f := s.families[name]
		s.head(&b, name, f)
		slices.SortStableFunc(f.series, func(a, b written) int { return strings.Compare(a.labels, b.labels) })
		for _, one := range f.series {
			b.WriteString(one.lines)
		}
	}
	if s.open {
		b.WriteString("# EOF\n")
	}
	return b.Bytes()
}

// head writes what a family is. OpenMetrics names counters without _total; one whose name so is another family's is
// told as of an unknown kind.
func (s *Scrape) head(b *bytes.Buffer, name string, f *family) {
	help, kind := inHelp.Replace(f.help), f.kind
	if s.open {
		help = inLabels.Replace(f.help)
		if kind == "counter" {
			short, total := strings.CutSuffix(name, "_total")
			if total && s.families[short] == nil {
				name = short
			} else {
				kind = "unknown"
			}
		}
	}
	b.WriteString("# HELP " + name + " " + help + "\n# TYPE " + name + " " + kind + "\n")
}

// mostScrapes are those that are answered at a time.
const mostScrapes = 4

// scrapes answers scrapes with what collect adds, in OpenMetrics where the scraper prefers it and open allows it.
func scrapes(collect func(*Scrape), open bool) http.Handler {
	places := make(chan struct{}, mostScrapes)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		default:
			http.Error(w, "too many scrapes at a time; try again later", http.StatusServiceUnavailable)
			return
		}
		h := w.Header()
		h.Set("Content-Type", plainType)
		h.Set("Vary", "Accept-Encoding")
		var s Scrape
		if open {
			h.Set("Vary", "Accept, Accept-Encoding")
			if s.open = prefersOpen(r.Header.Values("Accept")); s.open {
				h.Set("Content-Type", openType)
			}
		}
		collect(&s)
		body := s.text()
		if acceptsGzip(r.Header.Values("Accept-Encoding")) {
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			_, _ = z.Write(body) // into memory
			_ = z.Close()
			body = packed.Bytes()
			h.Set("Content-Encoding", "gzip")
		}
		_, _ = w.Write(body) // a scraper that is gone cannot be told
	})
}

// acceptsGzip reads Accept-Encoding (RFC 9110 §12.5.3).
func acceptsGzip(fields []string) bool {
	for _, field := range fields {
		for coding := range strings.SplitSeq(field, ",") {
			name, weight, _ := strings.Cut(coding, ";")
			if strings.EqualFold(strings.TrimSpace(name), "gzip") {
				q, weighted := strings.CutPrefix(strings.ToLower(strings.TrimSpace(weight)), "q=")
				return !weighted || strings.Trim(q, "0.") != ""
			}
		}
	}
	return false
}

// counters are a counter for each combination of a few labels' values.
type counters struct {
	name, help string
	labels     []string // at most as many as values has

	mu sync.RWMutex
	by map[values]*atomic.Uint64
}

type values [4]string

func newCounters(name, help string, labels ...string) *counters {
	return &counters{name: name, help: help, labels: labels, by: map[values]*atomic.Uint64{}}
}

// with is the counter of some values, in the order of the labels.
func (c *counters) with(v ...string) *atomic.Uint64 {
	var key values
	copy(key[:], v)
	c.mu.RLock()
	n := c.by[key]
	c.mu.RUnlock()
	if n != nil {
		return n
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by[key] == nil {
		c.by[key] = new(atomic.Uint64)
	}
	return c.by[key]
}

// forget drops the counters with a value of the first label.
func (c *counters) forget(first string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.by, func(key values, _ *atomic.Uint64) bool { return key[0] == first })
}

// each calls f for each counter.
func (c *counters) each(f func(v values, n uint64)) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for key, n := range c.by {
		f(key, n.Load())
	}
}

func (c *counters) collect(s *Scrape) {
	c.each(func(v values, n uint64) {
		labels := make([]string, 0, 2*len(c.labels))
		for i, name := range c.labels {
			labels = append(labels, name, v[i])
		}
		s.Counter(c.name, c.help, float64(n), labels...)
	})
}
