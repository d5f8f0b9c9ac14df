//go:build linux

// Command bench measures the gate beside nginx, HAProxy and an older self, and writes down what it found.
//
//	make bench
//	go run ./bench -cases cached,missed -base HEAD~1
//	go run ./bench -quick
//
// The figure that counts is CPU time per request, as the kernel keeps it, in proportion to a neighbour's in the same
// round: a machine that is slower today is slower for both. A contestant has a core to itself; the load and the app
// behind the gate share another. The rounds are short and many, the order is turned round each time, and a round in
// which anything else kept those cores busy, or in which one answer was not the expected one, does not count.
//
// Where to read on: cases.go has what is measured, contestants.go who takes part and with which configuration,
// rounds.go how a round goes, cpu.go what the kernel is asked, report.go and picture.go what is written to
// bench/results. README.md tells how to read the figures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// settings are the command line's.
type settings struct {
	cases       []string
	base        string
	draw        string
	results     string
	quick       bool
	rounds      int           // that must count
	tries       int           // rounds at most, with those that do not count
	turn        time.Duration // of load for one contestant in one round
	connections int
	tokens      int
	foreign     float64
	codes       int
	rate        int
	pace        time.Duration
	starts      int
	soak        time.Duration
	breath      time.Duration // before memory is read
	idle        []int
	routes      []int
	streams     int
	gateCPU     int
	loadCPU     int
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == roleSigner {
		os.Exit(told(os.Stderr, signerMain(os.Args[2:])))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(told(os.Stderr, run(ctx, os.Args[1:], os.Stdout)))
}

// told is the exit code, and says why.
func told(w io.Writer, err error) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	fmt.Fprintln(w, "bench:", err)
	if errors.Is(err, errUsage) {
		return 2
	}
	return 1
}

var errUsage = errors.New("usage")

func parse(args []string, out io.Writer) (*settings, error) {
	s := &settings{}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(out)
	only := f.String("cases", "", "measure these `CASES` alone, separated by commas: "+strings.Join(caseNames(), ", "))
	f.StringVar(&s.base, "base", "", "measure the gate of this `REVISION` too, in the cases where it matters")
	f.StringVar(&s.results, "results", "", "write the results into this `FOLDER`; default bench/results")
	f.StringVar(&s.draw, "draw", "",
		"measure nothing; write the table and the picture of this results `FILE` anew, beside it")
	f.BoolVar(&s.quick, "quick", false, "a smoke test: two very short rounds of everything; its figures mean nothing")
	f.IntVar(&s.rounds, "rounds", 13, "rounds that must count")
	f.IntVar(&s.tries, "tries", 0, "rounds at most; default half as many again as -rounds")
	f.DurationVar(&s.turn, "turn", time.Second, "the load on one contestant in one round")
	f.IntVar(&s.connections, "connections", 64, "connections of the load")
	f.IntVar(&s.tokens, "tokens", 1000, "different tokens of each kind")
	f.Float64Var(&s.foreign, "foreign", 0.1,
		"the `SHARE` of the two cores' time that others may take in a turn that counts")
	f.IntVar(&s.codes, "codes", 3000, "tokens minted and codes redeemed in one turn; with RS256 a tenth of it")
	f.IntVar(&s.rate, "rate", 2000, "requests per second where latency is measured")
	f.DurationVar(&s.pace, "pace", 2*time.Second, "one turn where latency is measured")
	f.DurationVar(&s.soak, "soak", time.Minute, "how long the soak lasts; ten minutes before a release")
	f.IntVar(&s.starts, "starts", 13, "starts of each contestant, where starting is measured")
	f.DurationVar(&s.breath, "breath", 5*time.Second, "how long a process may put its memory in order before it is read")
	idle := f.String("idle", "1000,10000", "idle `CONNECTIONS`")
	f.IntVar(&s.streams, "streams", 4000, "open `STREAMS`")
	routes := f.String("routes", "10,1000,10000", "`SIZES` of the tables of routes")
	f.IntVar(&s.gateCPU, "gate-cpu", -1, "the contestants' `CORE`; default the second of those that may be used")
	f.IntVar(&s.loadCPU, "load-cpu", -1, "the `CORE` of the load and of the app; default the first")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("%w: %q is no flag; the cases are named with -cases", errUsage, f.Arg(0))
	}
	if s.quick {
		given := map[string]bool{}
		f.Visit(func(g *flag.Flag) { given[g.Name] = true })
		s.hurry(given)
		if !given["idle"] {
			*idle = "100,500"
		}
		if !given["routes"] {
			*routes = "10,1000"
		}
	}
	var err error
	if s.idle, err = numbers(*idle); err != nil {
		return nil, fmt.Errorf("%w: -idle: %w", errUsage, err)
	}
	if s.routes, err = numbers(*routes); err != nil {
		return nil, fmt.Errorf("%w: -routes: %w", errUsage, err)
	}
	return s, s.check(*only)
}

// hurry is -quick: what was not asked for otherwise becomes as short as it can be.
func (s *settings) hurry(given map[string]bool) {
	set := func(name string, change func()) {
		if !given[name] {
			change()
		}
	}
	set("rounds", func() { s.rounds = 2 })
	set("tries", func() { s.tries = 6 })
	set("connections", func() { s.connections = 16 })
	set("turn", func() { s.turn = 300 * time.Millisecond })
	set("tokens", func() { s.tokens = 100 })
	set("foreign", func() { s.foreign = 2 }) // nothing is foreign enough
	set("codes", func() { s.codes = 200 })
	set("rate", func() { s.rate = 200 })
	set("pace", func() { s.pace = 300 * time.Millisecond })
	set("breath", func() { s.breath = 50 * time.Millisecond })
	set("starts", func() { s.starts = 2 })
	set("streams", func() { s.streams = 100 })
	set("soak", func() { s.soak = 500 * time.Millisecond })
}

func (s *settings) check(only string) error {
	if s.tries == 0 {
		s.tries = s.rounds + s.rounds/2
	}
	s.cases = caseNames()
	if only != "" {
		s.cases = strings.Split(only, ",")
	}
	for _, name := range s.cases {
		if !slices.Contains(caseNames(), name) {
			return fmt.Errorf("%w: there is no case %q, only %s", errUsage, name, strings.Join(caseNames(), ", "))
		}
	}
	for _, n := range []struct {
		name string
		ok   bool
	}{
		{"-rounds", s.rounds > 0},
		{"-tries", s.tries >= s.rounds},
		{"-turn", s.turn >= 50*time.Millisecond},
		{"-connections", s.connections > 0},
		{"-tokens", s.tokens > 1},
		{"-codes", s.codes >= 100},
		{"-rate", s.rate > 0},
		{"-pace", s.pace >= 50*time.Millisecond},
		{"-starts", s.starts > 0},
		{"-streams", s.streams > 0},
		{"-soak", s.soak >= 100*time.Millisecond},
	} {
		if !n.ok {
			return fmt.Errorf("%w: %s is too small to measure anything with", errUsage, n.name)
		}
	}
	return nil
}

func numbers(list string) ([]int, error) {
	var all []int
	for text := range strings.SplitSeq(list, ",") {
		var n int
		if _, err := fmt.Sscanf(text, "%d", &n); err != nil || n < 1 || fmt.Sprint(n) != text {
			return nil, fmt.Errorf("%q is no number of one or more", text)
		}
		all = append(all, n)
	}
	return all, nil
}

// A bench is everything that the cases share.
type bench struct {
	*settings
	root    string // of the repository
	folder  string // for all that is written on the way; removed at the end
	out     io.Writer
	tools   tools
	running *processes
	meter   *meter
	tokens  *tokens
	gate    string // the binary of the working tree
	older   string // that of -base, or ""
	app     *app   // the upstream
	files   uint64 // that a process may have open
	results *Results
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	s, err := parse(args, out)
	if err != nil {
		return err
	}
	if s.draw != "" {
		return redraw(s.draw, out)
	}
	b := &bench{settings: s, out: out}
	if b.root, err = repository(ctx); err != nil {
		return err
	}
	if s.results == "" {
		s.results = filepath.Join(b.root, "bench", "results")
	}
	if b.folder, err = os.MkdirTemp("", "jotgate-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.folder)) }()
	b.running = newProcesses()
	defer b.running.endAll()
	if err := b.prepare(ctx, args); err != nil {
		return err
	}
	for _, name := range s.cases {
		if err := b.measure(ctx, caseNamed(name)); err != nil {
			return fmt.Errorf("case %s: %w", name, err)
		}
	}
	b.results.Seconds = time.Since(b.results.Date).Seconds()
	return b.results.write(s.results, out)
}

// prepare sees to everything that is needed before the first case.
func (b *bench) prepare(ctx context.Context, args []string) (err error) {
	if b.tools, err = install(ctx, b.out); err != nil {
		return err
	}
	if err := b.pin(); err != nil {
		return err
	}
	if b.files, err = openFiles(); err != nil {
		return err
	}
	b.meter = newMeter(b.gateCPU, b.loadCPU, b.running)
	fmt.Fprintln(b.out, "building the gate")
	b.gate = filepath.Join(b.folder, "gate")
	if err := build(ctx, b.root, b.gate); err != nil {
		return err
	}
	if b.base != "" {
		b.older = filepath.Join(b.folder, "gate-base")
		if err := buildBase(ctx, b.root, b.base, b.folder, b.older); err != nil {
			return err
		}
	}
	fmt.Fprintf(b.out, "signing %d tokens of each kind\n", b.settings.tokens)
	if b.tokens, err = newTokens(filepath.Join(b.folder, "tokens"), b.settings.tokens, time.Now()); err != nil {
		return err
	}
	if b.app, err = b.startApp(ctx); err != nil {
		return err
	}
	b.results, err = b.newResults(ctx, args)
	return err
}

// measure runs one case; what it started is ended with it.
func (b *bench) measure(ctx context.Context, c *caseOf) error {
	began := time.Now()
	fmt.Fprintf(b.out, "\n%s: %s\n", c.name, c.title)
	mark := b.running.mark()
	defer b.running.endSince(mark)
	r := &Case{Name: c.name, Title: c.title, Unit: c.unit}
	if err := c.run(ctx, b, r); err != nil {
		return err
	}
	r.Seconds = time.Since(began).Seconds()
	b.results.Cases = append(b.results.Cases, r)
	r.print(b.out)
	return nil
}
