//go:build linux

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// A caseOf is one thing that is measured.
type caseOf struct {
	name, title string
	unit        string
	run         func(ctx context.Context, b *bench, r *Case) error
}

const perRequest = "CPU µs/request"

// allCases is the list, in the order that they are measured in.
func allCases() []*caseOf {
	return []*caseOf{
		{"cached", "a token that is known, ES256, 1,000 of them, GET 1 KB, access log on", perRequest, cached},
		{"fields", "the same with 32 header fields", perRequest, manyFields},
		{"clients", "the same from 256 clients", perRequest, manyClients},
		{"calm", "the same at 256 requests a second", perRequest, calm},
		{"tracing", "the same, every request traced and told to a collector", perRequest, tracing},
		{"console", "the same while a browser has the console open, which is told each change", perRequest, consoleOpen},
		{"assertion", "the same, with a signed assertion for the app", perRequest, assertion},
		{"proof", "a known token that is bound to a key, each request with a DPoP proof of its own", perRequest, proofs},
		{"missed", "a token that is not known: more tokens than the cache has room for", perRequest, missed},
		{"refused", "a token that is refused: by its signature, and before it", perRequest, refused},
		{
			"mint", "a token signed, and a code redeemed for one, beside the bare signature behind an empty handler", perRequest,
			mint,
		},
		{"store", "what is remembered in Redis, beside the same in memory", perRequest, store},
		{
			"decisions", "a question of another proxy, beside a request that is forwarded; and nginx asking", perRequest,
			decisions,
		},
		{"routes", "the same request with more routes", perRequest, routes},
		{"bodies", "1 MB up, 1 MB down, streamed", perRequest, bodies},
		{"tls", "TLS 1.3 in front: HTTP/1.1, and HTTP/2 with 64 streams", perRequest, overTLS},
		{"h2c", "HTTP/2 with 64 streams and without TLS in front", perRequest, overH2C},
		{"grpc", "unary gRPC calls of 64 bytes, h2c on both sides", "CPU µs/call", grpcUnaryCalls},
		{
			"handshakes", "a connection with TLS 1.3, one request and its end; a full handshake, and a resumed one",
			"CPU µs/connection", handshakes,
		},
		{"latency", "from the moment a request was due to the end of its answer, at a fixed rate", "µs", latency},
		{"idle", "resident memory, without connections and with idle ones that had one request each", "KB", idle},
		{
			"secure", "resident memory of idle connections over TLS 1.3, HTTP/1.1 and HTTP/2, that had one request each", "KB",
			secure,
		},
		{"streams", "resident memory of open streams: events and WebSockets, at rest and under traffic", "KB", streams},
		{"growth", "a start and a reload with more clients and routes", "", growth},
		{"soak", "a long time at half of what it can do: what grows, and what is left", "", soak},
		{"start", "from the start of the process to the end of its first answer from the app", "ms", start},
	}
}

func caseNames() []string {
	var names []string
	for _, c := range allCases() {
		names = append(names, c.name)
	}
	return names
}

func caseNamed(name string) *caseOf {
	all := allCases()
	return all[slices.IndexFunc(all, func(c *caseOf) bool { return c.name == name })]
}

// A pair says whose figure is divided by whose, and what the quotient is to be at most; 0 for no aim.
type pair struct {
	of, by string
	aim    float64
}

const (
	gateName    = "jotgate"
	baseName    = "jotgate base"
	nginxName   = "nginx"
	haproxyName = "haproxy"
	smallCache  = "64KiB" // room for some twenty tokens, of which a thousand take turns
)

// compete plays the rounds of a case and puts the figures into its result.
func (b *bench) compete(ctx context.Context, r *Case, all []*contestant, pairs []pair) error {
	rounds, thrown, err := b.play(ctx, all)
	if err != nil {
		return err
	}
	r.add(all, rounds, thrown, pairs)
	return nil
}

// onWrk is a contestant that wrk drives.
func (b *bench) onWrk(name string, s *server, l load) *contestant {
	return &contestant{
		name: name, process: s.process, prepare: s.forgetLog,
		turn: func(ctx context.Context) (tally, error) { return b.wrk(ctx, s.address, l) },
	}
}

// gates starts the working tree's gate and, if one is given, the older one.
func (b *bench) gates(ctx context.Context, o gateOf, each func(name string, s *server)) error {
	for _, x := range b.gateStarters(o) {
		s, err := x.start(ctx)
		if err != nil {
			return err
		}
		each(x.name, s)
	}
	return nil
}

func cached(ctx context.Context, b *bench, r *Case) error {
	file, err := b.requests("good-ES256", "GET", []string{goodPath}, b.tokens.good["ES256"])
	if err != nil {
		return err
	}
	l := load{file: file, many: b.connections}
	plain, err := b.nginx(ctx, nil)
	if err != nil {
		return err
	}
	pass, err := b.haproxy(ctx, "")
	if err != nil {
		return err
	}
	judge, err := b.haproxy(ctx, "ES256")
	if err != nil {
		return err
	}
	all := []*contestant{b.onWrk(nginxName, plain, l), b.onWrk(haproxyName, pass, l), b.onWrk("haproxy ES256", judge, l)}
	err = b.gates(ctx, gateOf{}, func(name string, s *server) { all = append(all, b.onWrk(name, s, l)) })
	if err != nil {
		return err
	}
	return b.compete(ctx, r, all, []pair{
		{gateName, nginxName, 2.0},
		{gateName, "haproxy ES256", 0.35},
		{gateName, haproxyName, 0},
		{"haproxy ES256", nginxName, 0},
		{haproxyName, nginxName, 0},
		{gateName, baseName, 0},
	})
}

func missed(ctx context.Context, b *bench, r *Case) error {
	plain, err := b.nginx(ctx, nil)
	if err != nil {
		return err
	}
	type gate struct {
		name string
		*server
	}
	var gates []gate
	err = b.gates(ctx, gateOf{cache: smallCache}, func(name string, s *server) { gates = append(gates, gate{name, s}) })
	if err != nil {
		return err
	}
	var all []*contestant
	var pairs []pair
	aims := map[string]float64{"ES256": 1.1, "RS256": 1.3, "HS256": 1.3}
	for _, alg := range algorithms() {
		file, err := b.requests("good-"+alg, "GET", []string{goodPath}, b.tokens.good[alg])
		if err != nil {
			return err
		}
		l := load{file: file, many: b.connections}
		judge, err := b.haproxy(ctx, alg)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			all = append(all, b.onWrk(nginxName, plain, l))
		}
		all = append(all, b.onWrk("haproxy "+alg, judge, l))
		for _, g := range gates {
			all = append(all, b.onWrk(g.name+" "+alg, g.server, l))
		}
		pairs = append(
			pairs, pair{gateName + " " + alg, "haproxy " + alg, aims[alg]}, pair{gateName + " " + alg, nginxName, 0},
			pair{"haproxy " + alg, nginxName, 0}, pair{gateName + " " + alg, baseName + " " + alg, 0},
		)
	}
	return b.compete(ctx, r, all, pairs)
}

func refused(ctx context.Context, b *bench, r *Case) error {
	var all []*contestant
	for _, x := range []struct {
		name, cache string
		tokens      []string
		refused     bool
	}{
		{"hit", "", b.tokens.good["ES256"], false},
		{"miss", smallCache, b.tokens.good["ES256"], false},
		{"bad signature", "", b.tokens.forged, true},
		{"expired", "", b.tokens.expired, true},
		{"wrong audience", "", b.tokens.strayed, true},
	} {
		s, err := b.jotgate(ctx, gateOf{name: gateName, binary: b.gate, cache: x.cache})
		if err != nil {
			return err
		}
		want := 200
		if x.refused {
			want = 401
		}
		if err := s.expect(ctx, x.tokens[0], want); err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
		file, err := b.requests("refused-"+fmt.Sprint(len(all)), "GET", []string{goodPath}, x.tokens)
		if err != nil {
			return err
		}
		all = append(all, b.onWrk(x.name, s, load{file: file, many: b.connections, refused: x.refused}))
	}
	return b.compete(ctx, r, all, []pair{
		{"bad signature", "miss", 1}, {"expired", "hit", 1}, {"wrong audience", "hit", 1}, {"miss", "hit", 0},
	})
}

func routes(ctx context.Context, b *bench, r *Case) error {
	var all []*contestant
	var pairs []pair
	few := ""
	for _, n := range b.routes {
		s, err := b.jotgate(ctx, gateOf{name: gateName, binary: b.gate, routes: n})
		if err != nil {
			return err
		}
		paths := make([]string, b.settings.tokens)
		for i := range paths {
			paths[i] = fmt.Sprintf("/app-%d/t/%s/orders", i*n/len(paths), tenant)
		}
		file, err := b.requests(fmt.Sprintf("routes-%d", n), "GET", paths, b.tokens.good["ES256"])
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%d routes", n)
		all = append(all, b.onWrk(name, s, load{file: file, many: b.connections}))
		if few == "" {
			few = name
		} else {
			pairs = append(pairs, pair{name, few, 1.05})
		}
	}
	return b.compete(ctx, r, all, pairs)
}

func bodies(ctx context.Context, b *bench, r *Case) error {
	up, err := b.requests("up", "POST", []string{uploadPath}, b.tokens.good["ES256"][:2])
	if err != nil {
		return err
	}
	down, err := b.requests("down", "GET", []string{largePath}, b.tokens.good["ES256"])
	if err != nil {
		return err
	}
	plain, err := b.nginx(ctx, nil)
	if err != nil {
		return err
	}
	pass, err := b.haproxy(ctx, "")
	if err != nil {
		return err
	}
	var all []*contestant
	add := func(name string, s *server) {
		all = append(
			all, b.onWrk(name+" up", s, load{file: up, body: largeAnswer, many: max(1, b.connections/4)}),
			b.onWrk(name+" down", s, load{file: down, many: max(1, b.connections/4)}),
		)
	}
	add(nginxName, plain)
	add(haproxyName, pass)
	if err := b.gates(ctx, gateOf{}, add); err != nil {
		return err
	}
	return b.compete(ctx, r, all, []pair{
		{gateName + " up", nginxName + " up", 2},
		{gateName + " down", nginxName + " down", 2},
		{haproxyName + " up", nginxName + " up", 0},
		{haproxyName + " down", nginxName + " down", 0},
		{gateName + " up", baseName + " up", 0},
		{gateName + " down", baseName + " down", 0},
	})
}

func overTLS(ctx context.Context, b *bench, r *Case) error {
	cert, err := newCertificate(b.folder, time.Now())
	if err != nil {
		return err
	}
	file, err := b.requests("good-ES256", "GET", []string{goodPath}, b.tokens.good["ES256"])
	if err != nil {
		return err
	}
	plain, err := b.nginx(ctx, cert)
	if err != nil {
		return err
	}
	var all []*contestant
	add := func(name string, s *server) {
		h2 := &contestant{name: name + " h2", process: s.process, prepare: s.forgetLog}
		h2.turn = func(ctx context.Context) (tally, error) {
			return b.h2load(ctx, "https://"+s.address, goodPath, b.tokens.good["ES256"][0])
		}
		all = append(all, b.onWrk(name+" h1", s, load{file: file, many: b.connections, tls: true}), h2)
	}
	add(nginxName, plain)
	if err := b.gates(ctx, gateOf{cert: cert}, add); err != nil {
		return err
	}
	return b.compete(ctx, r, all, []pair{
		{gateName + " h1", nginxName + " h1", 2},
		{gateName + " h2", nginxName + " h2", 2},
		{gateName + " h1", baseName + " h1", 0},
		{gateName + " h2", baseName + " h2", 0},
	})
}

// path is a file in the run's folder.
func (b *bench) path(name string) string { return filepath.Join(b.folder, name) }
