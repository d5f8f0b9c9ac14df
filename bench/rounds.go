//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A contestant takes a turn in every round.
type contestant struct {
	name    string
	process *process                                 // whose CPU time is read
	prepare func(ctx context.Context) error          // before each turn, not measured; nil for nothing
	turn    func(ctx context.Context) (tally, error) // the load
}

// A tally is what a load saw.
type tally struct {
	requests int       // that were answered
	wrong    int       // answers of another status than the case expects, and connections that failed
	latency  []float64 // quantiles in µs, where latency is what is measured
}

// A turn is one contestant's part in one round.
type turn struct {
	Requests int
	CPU      float64 // per request, µs
	Rate     float64 // requests per second
	Foreign  float64 // share of the two cores' time that others had
	latency  []float64
}

// A round has a turn for each contestant, in the contestants' order, whatever order they were taken in.
type round []turn

// Thrown counts the rounds that did not count, by reason.
type Thrown struct {
	Foreign int `json:"foreign_load"`
	Wrong   int `json:"wrong_answers"`
}

// settle is how long a contestant may tidy up, after its connections were closed, before its clock is read.
const settle = 20 * time.Millisecond

// play plays rounds until enough of them count. One turn of load for everyone goes first and is not counted: caches
// and connections to the app fill.
func (b *bench) play(ctx context.Context, all []*contestant) ([]round, Thrown, error) {
	for _, c := range all {
		if b.quick {
			break
		}
		if _, err := b.take(ctx, c); err != nil && !errors.Is(err, errWrong) {
			return nil, Thrown{}, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	var kept []round
	var thrown Thrown
	var why error
	for try := range b.tries {
		r, err := b.round(ctx, all, try%2 == 1)
		switch {
		case errors.Is(err, errWrong):
			thrown.Wrong++
			why = err
			fmt.Fprintf(b.out, "  round %d does not count: %v\n", try+1, why)
			if b.quick && errors.Is(err, errNone) {
				b.turn *= 2 // the machine is too busy for so short a turn
			}
			continue
		case err != nil:
			return nil, thrown, err
		}
		if busiest := slices.MaxFunc(r, byForeign); busiest.Foreign > b.foreign {
			thrown.Foreign++
			why = fmt.Errorf("others had %.0f %% of the two cores", 100*busiest.Foreign)
			fmt.Fprintf(b.out, "  round %d does not count: %v\n", try+1, why)
			continue
		}
		if kept = append(kept, r); len(kept) == b.rounds {
			break
		}
	}
	if len(kept) == 0 {
		return nil, thrown, fmt.Errorf("none of %d rounds counts; the last one because %w", b.tries, why)
	}
	return kept, thrown, nil
}

func byForeign(a, b turn) int {
	switch {
	case a.Foreign < b.Foreign:
		return -1
	case a.Foreign > b.Foreign:
		return 1
	}
	return 0
}

// round gives everyone a turn, in the contestants' order or backwards.
func (b *bench) round(ctx context.Context, all []*contestant, backwards bool) (round, error) {
	r := make(round, len(all))
	for i := range all {
		if backwards {
			i = len(all) - 1 - i
		}
		t, err := b.take(ctx, all[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", all[i].name, err)
		}
		r[i] = t
	}
	return r, nil
}

var (
	errWrong = errors.New("answers were not the expected ones")
	errNone  = fmt.Errorf("%w", errWrong)
)

// take measures one turn.
func (b *bench) take(ctx context.Context, c *contestant) (turn, error) {
	if c.prepare != nil {
		if err := c.prepare(ctx); err != nil {
			return turn{}, err
		}
	}
	time.Sleep(settle)
	before, err := cpuOf(c.process)
	if err != nil {
		return turn{}, err
	}
	from, err := b.meter.read()
	if err != nil {
		return turn{}, err
	}
	seen, err := c.turn(ctx)
	if err != nil {
		return turn{}, errors.Join(err, c.process.alive())
	}
	wall := time.Since(from.at)
	time.Sleep(settle)
	after, err := cpuOf(c.process)
	if err != nil {
		return turn{}, err
	}
	to, err := b.meter.read()
	if err != nil {
		return turn{}, err
	}
	switch {
	case seen.wrong > 0:
		return turn{}, fmt.Errorf("%w: %d of %d", errWrong, seen.wrong, seen.requests)
	case seen.requests == 0:
		return turn{}, fmt.Errorf("%w: there was none in %v", errNone, wall.Round(time.Millisecond))
	}
	return turn{
		Requests: seen.requests,
		CPU:      float64(after-before) / float64(time.Microsecond) / float64(seen.requests),
		Rate:     float64(seen.requests) / wall.Seconds(),
		Foreign:  b.meter.foreign(from, to),
		latency:  seen.latency,
	}, nil
}
