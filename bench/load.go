//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

//go:embed wrk.lua
var wrkScript []byte

// A load is what one turn sends.
type load struct {
	file    string // of requests, one on each line: method, path, token
	body    int    // bytes of each request's body
	many    int    // connections
	fields  int    // header fields more than wrk's own
	refused bool   // every answer is to be an error; else none
	tls     bool
}

// requests writes a load's file. Without tokens the requests bring none.
func (b *bench) requests(name, method string, paths, tokens []string) (string, error) {
	var text strings.Builder
	for i := range max(len(paths), len(tokens)) {
		token := "-"
		if len(tokens) > 0 {
			token = tokens[i%len(tokens)]
		}
		fmt.Fprintf(&text, "%s %s %s\n", method, paths[i%len(paths)], token)
	}
	file := filepath.Join(b.folder, name+".requests")
	return file, os.WriteFile(file, []byte(text.String()), 0o600)
}

var wrkTally = regexp.MustCompile(`(?m)^tally (\d+) (\d+) (\d+)$`)

// wrk drives an address for a turn. wrk counts in whole seconds, but takes an interrupt for the end.
func (b *bench) wrk(ctx context.Context, address string, l load) (tally, error) {
	script := filepath.Join(b.folder, "wrk.lua")
	if err := os.WriteFile(script, wrkScript, 0o600); err != nil {
		return tally{}, err
	}
	scheme := "http://"
	if l.tls {
		scheme = "https://"
	}
	// With more connections than usual the turn is longer, so that connecting is as small a part of it.
	turn := b.turn * time.Duration(max(1, l.many/b.connections))
	out, err := b.running.tool(ctx, b.loadCPU, turn, b.tools.wrk, "-t1", "-c"+strconv.Itoa(l.many), "-d1h", "--timeout",
		"10s",
		"-s", script, scheme+address, "--", l.file, strconv.Itoa(l.body), strconv.Itoa(l.fields))
	if err != nil {
		return tally{}, err
	}
	return readWrk(out, l.refused)
}

func readWrk(out string, refused bool) (tally, error) {
	n, err := counted(wrkTally, out)
	if err != nil {
		return tally{}, fmt.Errorf("wrk: %w", err)
	}
	requests, errors, broken := n[0], n[1], n[2]
	if refused {
		return tally{requests: requests, wrong: requests - errors + broken}, nil
	}
	return tally{requests: requests, wrong: errors + broken}, nil
}

func counted(pattern *regexp.Regexp, out string) ([]int, error) {
	m := pattern.FindStringSubmatch(out)
	if m == nil {
		return nil, fmt.Errorf("its output does not match %s: %.1000s", pattern, out)
	}
	var n []int
	for _, text := range m[1:] {
		i, err := strconv.Atoi(text)
		if err != nil {
			return nil, err
		}
		n = append(n, i)
	}
	return n, nil
}

var (
	h2Requests = regexp.MustCompile(`(?m)^requests: \d+ total, \d+ started, (\d+) done, \d+ succeeded, (\d+) failed`)
	h2Statuses = regexp.MustCompile(`(?m)^status codes: (\d+) 2xx`)
	h2Protocol = regexp.MustCompile(`(?m)^Application protocol: (\S+)$`)
)

// h2load drives a URL over HTTP/2, without TLS by prior knowledge: few connections, many streams on each.
func (b *bench) h2load(ctx context.Context, base, path, token string) (tally, error) {
	connections := max(1, b.connections/8)
	out, err := b.running.tool(ctx, b.loadCPU, 0, b.tools.h2load, "-t1", "-c"+strconv.Itoa(connections), "-m8",
		"-D", strconv.FormatInt(b.turn.Milliseconds(), 10)+"ms", "-H", "authorization: Bearer "+token, base+path)
	if err != nil {
		return tally{}, err
	}
	return readH2load(out)
}

func readH2load(out string) (tally, error) {
	protocol := h2Protocol.FindStringSubmatch(out)
	if protocol == nil || protocol[1] != "h2" && protocol[1] != "h2c" {
		return tally{}, fmt.Errorf("h2load did not speak HTTP/2: %.1000s", out)
	}
	n, err := counted(h2Requests, out)
	if err != nil {
		return tally{}, fmt.Errorf("h2load: %w", err)
	}
	good, err := counted(h2Statuses, out)
	if err != nil {
		return tally{}, fmt.Errorf("h2load: %w", err)
	}
	// What was still under way at the end is "failed" too, and of no interest; an answer that was none of 2xx is.
	return tally{requests: n[0], wrong: max(0, n[0]-n[1]-good[0])}, nil
}

// post sends every body once, over so many connections at a time, and hands out the answers. wrk cannot do that: a code
// is good for one request.
func post(ctx context.Context, address, path, bearer string, connections int, bodies [][]byte, want int,
	each func(i int, answer []byte),
) (tally, error) {
	var next, wrong atomic.Int64
	var group sync.WaitGroup
	failed := make([]error, connections)
	for c := range connections {
		group.Go(func() {
			failed[c] = poster(ctx, address, func(w io.Writer, r *bufio.Reader) (more bool, err error) {
				i := int(next.Add(1)) - 1
				if i >= len(bodies) {
					return false, nil
				}
				status, answer, err := exchange(w, r, postHead(address, path, bearer, len(bodies[i])), bodies[i])
				if err != nil {
					return false, err
				}
				if status != want {
					wrong.Add(1)
				} else if each != nil {
					each(i, answer)
				}
				return true, nil
			})
		})
	}
	group.Wait()
	for _, err := range failed {
		if err != nil {
			return tally{}, fmt.Errorf("POST %s: %w", path, err)
		}
	}
	return tally{requests: len(bodies), wrong: int(wrong.Load())}, nil
}

// poster calls turn on a connection of its own as long as there is more.
func poster(ctx context.Context, address string, turn func(io.Writer, *bufio.Reader) (bool, error)) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	r := bufio.NewReader(conn)
	for {
		if more, err := turn(conn, r); err != nil || !more {
			return err
		}
	}
}

func postHead(host, path, bearer string, length int) []byte {
	head := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n",
		path, host, length)
	if bearer != "" {
		head = fmt.Appendf(head, "Authorization: Bearer %s\r\n", bearer)
	}
	return append(head, "\r\n"...)
}

func getHead(host, bearer string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", goodPath, host, bearer)
}

// exchange sends one request and reads its answer.
func exchange(w io.Writer, r *bufio.Reader, head, body []byte) (status int, answer []byte, err error) {
	if _, err := w.Write(append(head, body...)); err != nil {
		return 0, nil, err
	}
	return readAnswer(r)
}

func readAnswer(r *bufio.Reader) (status int, answer []byte, err error) {
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(response.Body); err != nil {
		return 0, nil, err
	}
	return response.StatusCode, text.Bytes(), nil
}

// patience is how long a server may take to start and to answer what is asked of it beside the load.
const patience = 20 * time.Second
