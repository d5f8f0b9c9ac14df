//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// What connections cost that are held open: over TLS at rest, and with a stream on them.

const (
	secureAim  = 20  // KB
	http2Aim   = 24  // KB
	streamAim  = 20  // KB
	trafficAim = 250 // MB, with 4,000 streams
)

// dial opens a connection, over TLS if the server has it.
func (s *server) dial(ctx context.Context, protocols ...string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	if s.cert == nil {
		return conn, nil
	}
	host, _, err := net.SplitHostPort(s.address)
	session := tls.Client(conn, &tls.Config{RootCAs: s.cert.trust, ServerName: host, NextProtos: protocols})
	if err == nil {
		err = session.HandshakeContext(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return session, nil
}

// secure measures idle connections over TLS, on a process of its own for each figure.
func secure(ctx context.Context, b *bench, r *Case) error {
	cert, err := newCertificate(b.folder, time.Now())
	if err != nil {
		return err
	}
	list := append([]starter{
		{nginxName, func(ctx context.Context) (*server, error) { return b.nginx(ctx, cert) }},
	}, b.gateStarters(gateOf{cert: cert})...)
	for _, x := range list {
		for _, kind := range []struct {
			name string
			open opener
			aim  float64
		}{{"HTTP/1.1", b.tokenOnce, secureAim}, {"HTTP/2", b.streamOnce, http2Aim}} {
			for _, n := range b.idle {
				if uint64(n)+1000 > b.files {
					fmt.Fprintf(b.out, "%d connections are left out: a process may have %d files open here\n", n, b.files)
					continue
				}
				if err := b.held(ctx, r, x, kind.name, n, kind.open, kind.aim); err != nil {
					return err
				}
			}
		}
	}
	r.Rounds = 1
	r.conclude(nil)
	return nil
}

// held puts the growth for each of n connections into the result.
func (b *bench) held(
	ctx context.Context, r *Case, x starter, what string, n int, open opener, aim float64,
) error {
	before, after, err := b.resident(ctx, x, n, open)
	if err != nil {
		return err
	}
	r.Figures = append(r.Figures, Figure{
		Name:    fmt.Sprintf("%s, %s, each of %d", x.name, what, n),
		Samples: []float64{float64(after-before) / 1024 / float64(n)},
		Aim:     aimOf(x.name, aim),
	})
	return nil
}

// streamOnce asks once over HTTP/2.
func (b *bench) streamOnce(ctx context.Context, s *server) (net.Conn, error) {
	conn, err := s.dial(ctx, http2.NextProtoTLS)
	if err != nil {
		return nil, err
	}
	if err := oneStream(conn, s.address, b.tokens.good["ES256"][0]); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// oneStream asks, and reads to the end of the answer.
func oneStream(conn net.Conn, host, bearer string) error {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range []hpack.HeaderField{
		{Name: ":method", Value: http.MethodGet},
		{Name: ":scheme", Value: "https"},
		{Name: ":authority", Value: host},
		{Name: ":path", Value: goodPath},
		{Name: "authorization", Value: "Bearer " + bearer},
	} {
		if err := encoder.WriteField(f); err != nil {
			return err
		}
	}
	framer := http2.NewFramer(conn, conn)
	_, err := io.WriteString(conn, http2.ClientPreface)
	if err == nil {
		err = framer.WriteSettings()
	}
	if err == nil {
		err = framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true,
		})
	}
	for read := 0; err == nil; {
		var f http2.Frame
		if f, err = framer.ReadFrame(); err != nil {
			break
		}
		data, is := f.(*http2.DataFrame)
		if !is {
			continue
		}
		if read += len(data.Data()); data.StreamEnded() && read == smallAnswer {
			return nil
		} else if data.StreamEnded() {
			return fmt.Errorf("an answer of %d bytes, want %d", read, smallAnswer)
		}
	}
	return err
}

// The paths of streams, which an app of our own answers.
const (
	eventsPath = "/streams/" + tenant + "/events"
	socketPath = "/streams/" + tenant + "/socket"
)

// streams measures open streams of each kind, on a process of its own; and what the process takes at most when there
// is traffic too.
func streams(ctx context.Context, b *bench, r *Case) error {
	if n := uint64(b.settings.streams); 2*n+1000 > b.files {
		return fmt.Errorf("%d streams need %d files: raise the limit with ulimit -n, or take fewer with -streams", n,
			2*n+1000)
	}
	app, err := startStreams()
	if err != nil {
		return err
	}
	defer app.Close()
	address := app.Addr().String()
	list := append([]starter{
		{nginxName, func(ctx context.Context) (*server, error) { return b.nginxWith(ctx, nil, streamLocation(address)) }},
	}, b.gateStarters(gateOf{streams: address})...)
	for _, x := range list {
		for _, kind := range []struct {
			name string
			open opener
		}{{"event streams", b.oneEvent}, {"WebSockets", b.oneSocket}} {
			if err := b.held(ctx, r, x, kind.name, b.settings.streams, kind.open, streamAim); err != nil {
				return err
			}
		}
		if err := b.underTraffic(ctx, r, x); err != nil {
			return err
		}
	}
	r.Rounds = 1
	r.conclude(nil)
	return nil
}

// underTraffic measures what a process with open streams takes at most while others ask as fast as they can.
func (b *bench) underTraffic(ctx context.Context, r *Case, x starter) error {
	s, err := x.start(ctx)
	if err != nil {
		return err
	}
	defer b.running.stop(s.process)
	release, err := hold(ctx, s, b.settings.streams, b.oneEvent)
	if err != nil {
		return fmt.Errorf("%s: %w", x.name, err)
	}
	defer release()
	file, err := b.requests("beside", "GET", []string{goodPath}, b.tokens.good["ES256"])
	if err != nil {
		return err
	}
	most := int64(0)
	for range b.rounds {
		done, err := b.wrk(ctx, s.address, load{file: file, many: b.connections})
		if err == nil && done.wrong > 0 {
			err = fmt.Errorf("%d of %d answers were not 200", done.wrong, done.requests)
		}
		if err != nil {
			return errors.Join(err, s.alive())
		}
		now, err := residentOf(s.process)
		if err != nil {
			return err
		}
		most = max(most, now)
	}
	r.Figures = append(r.Figures, Figure{
		Name:    fmt.Sprintf("%s, with %d event streams and traffic", x.name, b.settings.streams),
		Samples: []float64{float64(most) / 1024},
		Aim:     aimOf(x.name, trafficAim<<10),
	})
	return nil
}

// streamLocation is nginx' way to pass streams on.
func streamLocation(app string) string {
	return fmt.Sprintf(`    location /streams/ {
      proxy_pass http://%s;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $http_connection;
      proxy_set_header Host $host;
      proxy_buffering off;
      proxy_read_timeout 1h;
    }
`, app)
}

func (b *bench) oneEvent(ctx context.Context, s *server) (net.Conn, error) {
	return b.stream(ctx, s, eventsPath, "", firstEvent)
}

func (b *bench) oneSocket(ctx context.Context, s *server) (net.Conn, error) {
	return b.stream(ctx, s, socketPath, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", firstFrame)
}

// stream opens a stream and reads until its first words.
func (b *bench) stream(ctx context.Context, s *server, path, fields, first string) (net.Conn, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n%s\r\n", path, s.address,
		b.tokens.good["ES256"][0], fields)
	var got []byte
	for piece := make([]byte, 2048); err == nil && !bytes.Contains(got, []byte(first)); {
		var n int
		n, err = conn.Read(piece)
		got = append(got, piece[:n]...)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("after %.300q: %w", got, err), conn.Close())
	}
	return conn, nil
}

const (
	firstEvent = "data: first\n\n"
	firstFrame = "\x81\x05first"
)

// startStreams is an app whose answers are streams: their first words are said, no more comes.
func startStreams() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		var open sync.WaitGroup
		defer open.Wait()
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { playStream(conn) })
		}
	}()
	return l, nil
}

func playStream(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 2048)
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"+
		"%x\r\n%s\r\n", len(firstEvent), firstEvent)
	if r.Header.Get("Upgrade") != "" {
		answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + firstFrame
	}
	if _, err = io.WriteString(conn, answer); err == nil {
		_, _ = io.Copy(io.Discard, in) // until the other side goes
	}
}

// growthSizes are numbers of clients, and of routes as many.
func (b *bench) growthSizes() []int {
	if b.quick {
		return []int{10, 200}
	}
	return []int{10, 1000, 10_000}
}

const growthAim = 1000 // ms to start with 10,000 clients and routes; half as much again to reload

// growth measures the processor's time that a start takes to its first answer, and that a reload takes.
func growth(ctx context.Context, b *bench, r *Case) error {
	for _, n := range b.growthSizes() {
		starts, reloads, resident := Figure{Name: fmt.Sprintf("start, CPU ms, %d clients and routes", n)},
			Figure{Name: fmt.Sprintf("reload, CPU ms, %d clients and routes", n)},
			Figure{Name: fmt.Sprintf("resident after it, MB, %d clients and routes", n)}
		for range max(2, b.starts/4) {
			started, reloaded, kb, err := b.startAndReload(ctx, n)
			if err != nil {
				return fmt.Errorf("%d clients and routes: %w", n, err)
			}
			starts.Samples = append(starts.Samples, started)
			reloads.Samples = append(reloads.Samples, reloaded)
			resident.Samples = append(resident.Samples, kb/1024)
		}
		if n == 10_000 {
			starts.Aim, reloads.Aim = growthAim, 1.5*growthAim
		}
		r.Figures = append(r.Figures, starts, reloads, resident)
	}
	r.Rounds = len(r.Figures[0].Samples)
	r.conclude(nil)
	return nil
}

// startAndReload returns milliseconds of the processor, and the resident memory in KB.
func (b *bench) startAndReload(ctx context.Context, n int) (started, reloaded, kb float64, err error) {
	s, err := b.jotgate(ctx, gateOf{name: gateName, binary: b.gate, routes: n, clients: n})
	if err != nil {
		return 0, 0, 0, err
	}
	defer b.running.stop(s.process)
	used, err := cpuOf(s.process)
	if err != nil {
		return 0, 0, 0, err
	}
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		return 0, 0, 0, err
	}
	err = s.await(ctx, 5*time.Millisecond, func(context.Context) error {
		text, err := os.ReadFile(s.logPath)
		if err == nil && !bytes.Contains(text, []byte(`"msg":"reloaded"`)) {
			err = errors.New("it has not reloaded")
		}
		return err
	})
	if err != nil {
		return 0, 0, 0, err
	}
	if err := pause(ctx, b.breath); err != nil { // the collector's work is part of it
		return 0, 0, 0, err
	}
	both, err := cpuOf(s.process)
	if err != nil {
		return 0, 0, 0, err
	}
	resident, err := residentOf(s.process)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return ms(used), ms(both - used), float64(resident) / 1024, err
}
