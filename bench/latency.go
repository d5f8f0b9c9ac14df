//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// latency asks at a fixed rate, whether answers come or not: a load that waits for the answer before it asks again
// would ask a slow server less, and hide what its users wait for.
func latency(ctx context.Context, b *bench, r *Case) error {
	direct := &server{address: b.app.address}
	direct.process = b.running.running()[0] // the app was started first of all
	plain, err := b.nginx(ctx, nil)
	if err != nil {
		return err
	}
	pass, err := b.haproxy(ctx, "ES256")
	if err != nil {
		return err
	}
	var all []*contestant
	add := func(name string, s *server) {
		c := &contestant{name: name, process: s.process}
		c.turn = func(ctx context.Context) (tally, error) { return b.paced(ctx, s.address) }
		all = append(all, c)
	}
	add("direct", direct)
	add(nginxName, plain)
	add("haproxy ES256", pass)
	if err := b.gates(ctx, gateOf{}, add); err != nil {
		return err
	}
	rounds, thrown, err := b.play(ctx, all)
	if err != nil {
		return err
	}
	r.Rounds, r.Thrown = len(rounds), thrown
	for i, c := range all {
		for q, name := range quantileNames() {
			f := Figure{Name: c.name + " " + name}
			for _, round := range rounds {
				f.Samples = append(f.Samples, round[i].latency[q])
			}
			r.Figures = append(r.Figures, f)
		}
	}
	var pairs []pair
	for _, q := range quantileNames() {
		pairs = append(pairs, pair{gateName + " " + q, nginxName + " " + q, 0}, pair{gateName + " " + q, "direct " + q, 0},
			pair{nginxName + " " + q, "direct " + q, 0})
	}
	r.conclude(pairs)
	return nil
}

func quantileNames() []string { return []string{"p50", "p90", "p99"} }

func quantiles(sorted []time.Duration) []float64 {
	var q []float64
	for _, share := range []float64{0.5, 0.9, 0.99} {
		i := max(0, int(math.Ceil(share*float64(len(sorted))))-1)
		q = append(q, float64(sorted[i])/float64(time.Microsecond))
	}
	return q
}

// paced is one turn of the open loop.
func (b *bench) paced(ctx context.Context, address string) (tally, error) {
	var heads [][]byte
	for _, bearer := range b.tokens.good["ES256"] {
		heads = append(heads, getHead(address, bearer))
	}
	n := max(1, int(b.pace.Seconds()*float64(b.rate)))
	took, wrong, err := openLoop(ctx, address, heads, n, time.Second/time.Duration(b.rate), b.connections)
	if err != nil {
		return tally{}, err
	}
	slices.Sort(took)
	return tally{requests: n, wrong: wrong, latency: quantiles(took)}, nil
}

// openLoop sends n requests, each at its moment or as soon after as a connection is free, and measures from that
// moment.
func openLoop(ctx context.Context, address string, heads [][]byte, n int, every time.Duration,
	connections int,
) (took []time.Duration, wrong int, err error) {
	type asked struct {
		i   int
		due time.Time
	}
	queue := make(chan asked, n) // it has room for all, so that the clock never waits
	took = make([]time.Duration, n)
	var bad atomic.Int64
	var group sync.WaitGroup
	failed := make([]error, connections)
	for c := range connections {
		group.Go(func() {
			failed[c] = poster(ctx, address, func(w io.Writer, r *bufio.Reader) (bool, error) {
				a, more := <-queue
				if !more {
					return false, nil
				}
				status, _, err := exchange(w, r, heads[a.i%len(heads)], nil)
				took[a.i] = time.Since(a.due)
				if status != http.StatusOK {
					bad.Add(1)
				}
				return true, err
			})
		})
	}
	begin := time.Now().Add(50 * time.Millisecond) // by then all connections are open
	for i := range n {
		due := begin.Add(time.Duration(i) * every)
		time.Sleep(time.Until(due))
		queue <- asked{i, due}
	}
	close(queue)
	group.Wait()
	for _, err := range failed {
		if err != nil {
			return nil, 0, fmt.Errorf("at a fixed rate: %w", err)
		}
	}
	return took, int(bad.Load()), ctx.Err()
}
