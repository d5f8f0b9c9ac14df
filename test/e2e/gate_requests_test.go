package e2e_test

import (
	"bufio"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A requestCase is one of testdata/requests: the bytes of a request that no client, or every client, should send, and
// what must become of it. testdata/requests/README.md describes the format.
type requestCase struct {
	name    string
	outcome string // refused, broken, passed, answered, dropped
	status  int    // of the gate's own answer
	count   int    // of requests that pass
	kept    bool   // the connection serves another request after it
	alone   bool   // nothing is sent behind it: the client ends its side there
	body    string // that the upstream must see; "" is not compared
	bytes   string // with $ID for what the ledger knows it by
}

var expectation = regexp.MustCompile(`^(refused|broken|passed|answered|dropped)((?: ` +
	`(?:[0-9]{3}|x[0-9]+|kept|closed|alone|body=\S+))*)$`)

// readCases reads a file of cases.
func readCases(t *testing.T, file string) (cases []*requestCase) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var c *requestCase
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "" || line[0] == '#':
		case strings.HasPrefix(line, "== "):
			c = &requestCase{name: line[3:]}
			cases = append(cases, c)
		case line[0] == '|':
			raw, err := unescape(strings.TrimPrefix(line[1:], " "))
			if err != nil || c == nil || c.outcome == "" {
				t.Fatalf("%s: %q: %v", file, line, err)
			}
			c.bytes += raw
		default:
			m := expectation.FindStringSubmatch(line)
			if m == nil || c == nil || c.outcome != "" {
				t.Fatalf("%s: %q is no expectation", file, line)
			}
			c.expect(m[1], strings.Fields(m[2]))
		}
	}
	return cases
}

func (c *requestCase) expect(outcome string, words []string) {
	c.outcome = outcome
	if outcome == "passed" {
		c.count = 1
	}
	for _, w := range words {
		switch {
		case w == "kept":
			c.kept = true
		case w == "closed":
		case w == "alone":
			c.alone = true
		case strings.HasPrefix(w, "body="):
			c.body = w[len("body="):]
		case w[0] == 'x':
			c.count, _ = strconv.Atoi(w[1:])
		default:
			c.status, _ = strconv.Atoi(w)
		}
	}
}

var repeated = regexp.MustCompile(`\\\*([0-9]+)\{([^}]*)\}`)

// unescape turns a line into bytes: it ends in CRLF unless a backslash is its last character.
func unescape(line string) (string, error) {
	line = repeated.ReplaceAllStringFunc(line, func(s string) string {
		m := repeated.FindStringSubmatch(s)
		n, _ := strconv.Atoi(m[1])
		return strings.Repeat(m[2], n)
	})
	text, open := strings.CutSuffix(line, `\`)
	if !open {
		text += `\r\n`
	}
	var out strings.Builder
	for text != "" {
		if text[0] != '\\' {
			out.WriteByte(text[0])
			text = text[1:]
			continue
		}
		r, multibyte, rest, err := strconv.UnquoteChar(text, 0)
		if err != nil {
			return "", fmt.Errorf("%.10q: %w", text, err)
		}
		if multibyte {
			out.WriteRune(r)
		} else {
			out.WriteByte(byte(r))
		}
		text = rest
	}
	return out.String(), nil
}

// What the RFC does not allow, and what it allows but two readers take differently, sent to the gate over sockets:
// alone, behind a good request, with another request right behind it, in one piece and in many, plain and in TLS. The
// app's account says what came of it.
func TestMalformedRequestsNeverReachTheApp(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("test/e2e/testdata/requests/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []*requestCase
	for _, file := range files {
		all = append(all, readCases(t, file)...)
	}
	if len(all) < 150 {
		t.Fatalf("%d cases, want 150 at least", len(all))
	}
	book := openLedger(t)
	g := &gate{folder: t.TempDir()}
	authority := certificate(t, g.folder, "a", 1, "gate.test")
	g.configure(t, fmt.Sprintf(`version: 1
listeners:
  - {name: plain, address: "127.0.0.1:0"}
  - {name: tls, address: "127.0.0.1:0", tls: {certificates: [{cert: a.pem, key: a.key}]}}
admin: {listen: ""}
routes: [{path: /open/, public: true, upstream: %q}]
`, book.url()))
	g.serve(t)
	r := &requestRun{
		book: book, plain: g.at(t, "plain"), tls: g.at(t, "tls"), authority: authority,
		expected: map[string]int{},
	}

	t.Run("cases", func(t *testing.T) {
		names := map[string]bool{}
		for _, c := range all {
			if names[c.name] {
				t.Errorf("two cases are called %q", c.name)
			}
			names[c.name] = true
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				r.playAll(t, c)
			})
		}
	})

	g.signal(t, syscall.SIGTERM)
	if code := g.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	for _, f := range book.ambiguities() {
		t.Errorf("the app read %s", f)
	}
	// After its end the gate can send nothing late.
	for id, n := range book.account() {
		if r.expected[id] != n {
			t.Errorf("the app got %q %d times, want %d", id, n, r.expected[id])
		}
	}
	t.Logf("%d cases, %d connections, %d requests passed", len(all), r.plays, len(r.expected))
}

type requestRun struct {
	book       *ledger
	plain, tls string
	authority  *x509.CertPool

	mu       sync.Mutex
	plays    int
	expected map[string]int // by id
}

// playAll sends a case in every way.
func (r *requestRun) playAll(t *testing.T, c *requestCase) {
	for _, w := range []struct {
		name         string
		tls          bool
		before, next bool
		parts        int // 0: in one piece; -1: byte by byte; n: at each nth
	}{
		{name: "alone"},
		{name: "with another behind it", next: true},
		{name: "behind a good one", before: true},
		{name: "behind a good one, with another behind it", before: true, next: true},
		{name: "in two", next: true, parts: 2},
		{name: "in three", before: true, parts: 3},
		{name: "in seven", next: true, before: true, parts: 7},
		{name: "byte by byte", before: true, next: true, parts: -1},
		{name: "in TLS", tls: true, before: true, next: true},
	} {
		// A client that ends its side at once takes back what it asked before: there is nothing to compare then.
		if w.next && c.alone || w.before && c.bytes == "" || w.parts < 0 && len(c.bytes) > 1000 {
			continue
		}
		address, authority := r.plain, (*x509.CertPool)(nil)
		if w.tls {
			address, authority = r.tls, r.authority
		}
		r.play(t, c, w.name, dial(t, address, authority), w.before, w.next, w.parts)
	}
}

// play sends a case once and compares everything that comes back.
func (r *requestRun) play(t *testing.T, c *requestCase, way string, conn net.Conn, before, next bool, parts int) {
	t.Helper()
	id, want := r.begin(c, before, next)
	var sent string
	if before {
		sent = "GET /open/" + id + "-before HTTP/1.1\r\nHost: gate.test\r\n\r\n"
	}
	sent += strings.ReplaceAll(c.bytes, "$ID", id)
	if next {
		sent += "GET /open/" + id + "-next HTTP/1.1\r\nHost: gate.test\r\nConnection: close\r\n\r\n"
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		for _, part := range split(sent, parts) {
			if _, err := io.WriteString(conn, part); err != nil {
				return // the gate may close before the end
			}
			runtime.Gosched()
		}
		if half, ok := conn.(interface{ CloseWrite() error }); ok && c.alone {
			_ = half.CloseWrite()
		}
	})
	most := math.MaxInt
	if c.kept && !next {
		most = len(want) // then it waits for another request
	}
	got, err := readAnswers(conn, most)
	conn.Close()
	sending.Wait()
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%s: answers %v and %v, want %v and the end of the connection", way, got, err, want)
	}
	if n := r.book.started(id); c.outcome == "refused" && n != 0 {
		t.Errorf("%s: the app saw the head of it", way)
	}
	if body := r.book.body(id); c.body != "" && body != c.body {
		t.Errorf("%s: the app got the body %q, want %q", way, body, c.body)
	}
	for _, id := range []string{id, id + "-before", id + "-next", id + "-smuggled"} {
		if n := r.book.account()[id]; n != r.wanted(id) {
			t.Errorf("%s: the app got %s %d times, want %d", way, id, n, r.wanted(id))
		}
	}
}

// begin gives the play an id, and notes what the app must see of it; statuses are those that must be answered.
func (r *requestRun) begin(c *requestCase, before, next bool) (id string, statuses []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.plays++
	id = fmt.Sprintf("r%05d", r.plays) // always as long, for the sizes in the cases
	if before {
		r.expected[id+"-before"] = 1
		statuses = append(statuses, 200)
	}
	if c.count > 0 {
		r.expected[id] = c.count
	}
	for range c.count {
		statuses = append(statuses, 200)
	}
	if c.status != 0 {
		statuses = append(statuses, c.status)
	}
	if next && c.kept {
		r.expected[id+"-next"] = 1
		statuses = append(statuses, 200)
	}
	return id, statuses
}

func (r *requestRun) wanted(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.expected[id]
}

// split cuts s into n pieces, or into bytes. The kernel may join some of them again; that every cut gives the same is
// the business of internal/httpserver/h1's own tests.
func split(s string, n int) (parts []string) {
	switch {
	case n == 0:
		return []string{s}
	case n < 0:
		n = len(s)
	}
	for i := range n {
		parts = append(parts, s[i*len(s)/n:(i+1)*len(s)/n])
	}
	return parts
}

// readAnswers reads whole answers, interim ones not counted, until there are enough or the gate closes.
func readAnswers(c net.Conn, most int) (statuses []int, err error) {
	in := bufio.NewReader(c)
	for len(statuses) < most {
		if _, err := in.Peek(1); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return statuses, err
		}
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			return statuses, err
		}
		if answer.StatusCode >= 200 {
			statuses = append(statuses, answer.StatusCode)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return statuses, err
		}
	}
	return statuses, nil
}
