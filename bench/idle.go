//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	memoryAim     = 20 << 10 // KB
	connectionAim = 8        // KB
	startAim      = 50       // ms
)

// starters start each contestant of the cases that are about processes rather than requests.
func (b *bench) starters() []starter {
	return append([]starter{
		{nginxName, func(ctx context.Context) (*server, error) { return b.nginx(ctx, nil) }},
		{haproxyName, func(ctx context.Context) (*server, error) { return b.haproxy(ctx, "") }},
	}, b.gateStarters(gateOf{})...)
}

// gateStarters start the gate of the working tree, and that of the older revision if there is one.
func (b *bench) gateStarters(o gateOf) (list []starter) {
	for _, x := range []struct{ name, binary string }{{gateName, b.gate}, {baseName, b.older}} {
		if x.binary == "" {
			continue
		}
		o := o
		o.name, o.binary = x.name, x.binary
		list = append(list, starter{x.name, func(ctx context.Context) (*server, error) { return b.jotgate(ctx, o) }})
	}
	return list
}

type starter struct {
	name  string
	start func(ctx context.Context) (*server, error)
}

// idle measures each number of connections on a process of its own, since memory that was in use once tends to stay.
func idle(ctx context.Context, b *bench, r *Case) error {
	for _, x := range b.starters() {
		none := Figure{Name: x.name + ", no connection"}
		var with []Figure
		for _, n := range b.idle {
			if uint64(n)+1000 > b.files {
				fmt.Fprintf(b.out, "%d idle connections are left out: a process may have %d files open here\n", n, b.files)
				continue
			}
			before, after, err := b.resident(ctx, x, n, b.tokenOnce)
			if err != nil {
				return err
			}
			none.Samples = append(none.Samples, float64(before)/1024)
			with = append(with, Figure{
				Name:    fmt.Sprintf("%s, each of %d", x.name, n),
				Samples: []float64{float64(after-before) / 1024 / float64(n)},
				Aim:     aimOf(x.name, connectionAim),
			})
		}
		none.Aim = aimOf(x.name, memoryAim)
		r.Figures = append(append(r.Figures, none), with...)
	}
	r.Rounds = 1
	r.conclude(nil)
	return nil
}

// aimOf is an aim for the gate of the working tree alone.
func aimOf(name string, aim float64) float64 {
	if name != gateName {
		return 0
	}
	return aim
}

// An opener asks once, and returns the connection that it asked on.
type opener func(ctx context.Context, s *server) (net.Conn, error)

// resident is the memory of a process without connections, and with n that were opened and stay.
func (b *bench) resident(ctx context.Context, x starter, n int, open opener) (before, after int64, err error) {
	s, err := x.start(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer b.running.stop(s.process)
	if err := pause(ctx, b.breath); err != nil {
		return 0, 0, err
	}
	if before, err = residentOf(s.process); err != nil {
		return 0, 0, err
	}
	release, err := hold(ctx, s, n, open)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %d connections: %w", x.name, n, err)
	}
	defer release()
	if err := pause(ctx, b.breath); err != nil {
		return 0, 0, err
	}
	after, err = residentOf(s.process)
	return before, after, err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// hold opens connections, and keeps them.
func hold(ctx context.Context, s *server, n int, open opener) (release func(), err error) {
	conns := make([]net.Conn, n)
	release = func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}
	var next atomic.Int64
	var group sync.WaitGroup
	const atOnce = 16
	failed := make([]error, atOnce)
	for w := range atOnce {
		group.Go(func() {
			for failed[w] == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				conns[i], failed[w] = open(ctx, s)
			}
		})
	}
	group.Wait()
	for _, err := range failed {
		if err != nil {
			release()
			return nil, err
		}
	}
	return release, nil
}

// tokenOnce asks with a good token.
func (b *bench) tokenOnce(ctx context.Context, s *server) (net.Conn, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	head := getHead(s.address, b.tokens.good["ES256"][0])
	status, _, err := exchange(conn, bufio.NewReader(conn), head, nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d", status)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// start starts everyone in turn, again and again, with a configuration and keys that are there already.
func start(ctx context.Context, b *bench, r *Case) error {
	list := b.starters()
	samples := make([][]float64, len(list))
	for try := range b.starts {
		for i := range list {
			if try%2 == 1 {
				i = len(list) - 1 - i
			}
			s, err := list[i].start(ctx)
			if err != nil {
				return err
			}
			b.running.stop(s.process)
			samples[i] = append(samples[i], float64(s.awoke)/float64(time.Millisecond))
		}
	}
	for i, x := range list {
		r.Figures = append(r.Figures, Figure{Name: x.name, Samples: samples[i], Aim: aimOf(x.name, startAim)})
	}
	r.Rounds = b.starts
	r.conclude([]pair{{gateName, nginxName, 0}, {gateName, haproxyName, 0}, {gateName, baseName, 0}})
	return nil
}
