//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// soak asks for a long time at half of what the gate can do, and looks for what grows: memory, goroutines, descriptors.
// One answer that is not 200 ends it.
func soak(ctx context.Context, b *bench, r *Case) error {
	admin, err := freeAddress()
	if err != nil {
		return err
	}
	s, err := b.jotgate(ctx, gateOf{name: gateName, binary: b.gate, admin: admin})
	if err != nil {
		return err
	}
	rate, err := b.half(ctx, s)
	if err != nil {
		return err
	}
	if err := pause(ctx, b.breath); err != nil {
		return err
	}
	before, err := stateOf(ctx, s, admin)
	if err != nil {
		return err
	}
	resident, err := b.endure(ctx, s, rate)
	if err != nil {
		return err
	}
	after, err := settled(ctx, s, admin, before)
	if err != nil {
		return err
	}
	half := max(1, len(resident)/2)
	r.Rounds = len(resident)
	for _, f := range []Figure{
		{Name: "requests a second", Samples: []float64{float64(rate)}},
		{Name: "resident, KB, first half", Samples: resident[:half]},
		{Name: "resident, KB, second half", Samples: resident[half:]},
		{Name: "goroutines before", Samples: []float64{before.goroutines}},
		{Name: "goroutines after", Samples: []float64{after.goroutines}, Aim: before.goroutines},
		{Name: "descriptors before", Samples: []float64{before.descriptors}},
		{Name: "descriptors after", Samples: []float64{after.descriptors}, Aim: before.descriptors},
	} {
		if len(f.Samples) > 0 {
			r.Figures = append(r.Figures, f)
		}
	}
	r.conclude(nil)
	return nil
}

// half is half of the requests per second that the gate can do.
func (b *bench) half(ctx context.Context, s *server) (int, error) {
	file, err := b.requests("soak-ES256", "GET", []string{goodPath}, b.tokens.good["ES256"])
	if err != nil {
		return 0, err
	}
	l := load{file: file, many: b.connections}
	if _, err := b.wrk(ctx, s.address, l); err != nil { // the first turn fills the cache
		return 0, err
	}
	began := time.Now()
	done, err := b.wrk(ctx, s.address, l)
	if err != nil {
		return 0, err
	}
	return max(1, int(float64(done.requests)/time.Since(began).Seconds()/2)), nil
}

// soakPiece is how much is asked before it is looked whether anything grew.
const soakPiece = 10 * time.Second

// endure asks, and returns the resident memory after each piece.
func (b *bench) endure(ctx context.Context, s *server, rate int) (resident []float64, err error) {
	var heads [][]byte
	for _, bearer := range b.tokens.good["ES256"] {
		heads = append(heads, getHead(s.address, bearer))
	}
	for left := b.soak; left > 0; left -= soakPiece {
		n := int(min(left, soakPiece).Seconds() * float64(rate))
		_, wrong, err := openLoop(ctx, s.address, heads, max(1, n), time.Second/time.Duration(rate), b.connections)
		if err == nil && wrong > 0 {
			err = fmt.Errorf("%d of %d answers were not 200", wrong, n)
		}
		if err != nil {
			return nil, errors.Join(err, s.alive())
		}
		kb, err := residentOf(s.process)
		if err != nil {
			return nil, err
		}
		resident = append(resident, float64(kb)/1024)
		if err := s.forgetLog(ctx); err != nil {
			return nil, err
		}
	}
	return resident, nil
}

// A state is what may not grow.
type state struct{ goroutines, descriptors float64 }

func stateOf(ctx context.Context, s *server, admin string) (state, error) {
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.pid()))
	if err != nil {
		return state{}, err
	}
	n, err := goroutines(ctx, admin)
	return state{n, float64(len(open))}, err
}

func goroutines(ctx context.Context, admin string) (float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if value, is := strings.CutPrefix(lines.Text(), "go_goroutines "); is {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, errors.New("the gate's metrics do not have go_goroutines")
}

// settled waits until the gate is as it was, for as long as it keeps connections to an app; then it is what it is.
func settled(ctx context.Context, s *server, admin string, before state) (state, error) {
	for end := time.Now().Add(2 * time.Minute); ; {
		now, err := stateOf(ctx, s, admin)
		if err != nil || time.Now().After(end) || now.goroutines <= before.goroutines &&
			now.descriptors <= before.descriptors {
			return now, err
		}
		if err := pause(ctx, time.Second); err != nil {
			return now, err
		}
	}
}
