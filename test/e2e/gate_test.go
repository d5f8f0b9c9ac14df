package e2e_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The tests in gate_*_test.go drive the whole gate, as the operating system sees it, with raw sockets and with the
// tools that its operators and its attackers have. This file holds what they stand on.

// A gate is the binary at work in a folder of its own.
type gate struct {
	*process
	folder string
	env    []string
}

// openGate writes the config and serves it; addresses are the gate's to choose (127.0.0.1:0).
func openGate(t *testing.T, config string) *gate {
	t.Helper()
	g := &gate{folder: t.TempDir()}
	g.configure(t, config)
	g.serve(t)
	return g
}

func (g *gate) configure(t *testing.T, config string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(g.folder, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// serve starts the binary and returns when every listener is bound.
func (g *gate) serve(t *testing.T) {
	t.Helper()
	g.process = start(t, g.folder, g.env, "serve", "--config", "config.yaml")
	listeners := strings.Count(g.read(t, "config.yaml"), "{name: ")
	for range max(1, listeners) {
		g.until(t, g.stderr, `"msg":"listening"`)
	}
}

func (g *gate) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// at is the address that a listener was bound to, as the log has it.
func (g *gate) at(t *testing.T, listener string) string {
	t.Helper()
	log := g.until(t, g.stderr, fmt.Sprintf(`"listener":%q`, listener))
	for line := range strings.Lines(log) {
		var l struct{ Msg, Listener, Address string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "listening" && l.Listener == listener {
			return l.Address
		}
	}
	t.Fatalf("no listener %s in\n%s", listener, log)
	return ""
}

// token is alice's, for tenant acme.
func (g *gate) token(t *testing.T, flags ...string) string {
	t.Helper()
	return strings.TrimSpace(run(t, g.folder, g.env, append([]string{
		"mint", "--config", "config.yaml", "--client", "web",
		"--role", "reader", "--tenant", "acme", "--sub", "alice",
	}, flags...)...))
}

// issuing is the part of a config that lets `token` mint.
const issuing = `
issuer:
  url: http://gate.test
  keys: [{file: keys/main.pem, create: true}]
  clients: [{id: web, delegate: [{tenant: "*", actions: ["*"]}]}]
roles: {reader: [{tenant: "{tenant}", actions: [READ]}]}
`

// certificate writes a certificate for some names, and its key, into a folder; it gives the authority that signed it,
// which is itself.
func certificate(t *testing.T, folder, file string, serial int64, names ...string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	writeFile(t, filepath.Join(folder, file+".pem"), chain)
	writeFile(t, filepath.Join(folder, file+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(chain)
	return pool
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A ledger is an app that keeps account of every request, by the last segment of its path. It reads HTTP/1.1 to the
// letter and notes whatever another reader might read otherwise: what the gate sends must leave no choice.
type ledger struct {
	address string

	mu     sync.Mutex
	whole  map[string]int // requests that came to their end
	begun  map[string]int // requests whose head came
	bodies map[string]string
	faults []string
}

func openLedger(t *testing.T) *ledger {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &ledger{
		address: listener.Addr().String(), whole: map[string]int{}, begun: map[string]int{},
		bodies: map[string]string{},
	}
	var serving sync.WaitGroup
	open := &connections{}
	serving.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			open.add(c)
			serving.Go(func() {
				defer c.Close()
				l.serve(c)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		open.close()
		serving.Wait()
	})
	return l
}

// connections are those that are to be closed in the end.
type connections struct {
	mu   sync.Mutex
	open []net.Conn
}

func (c *connections) add(n net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = append(c.open, n)
}

func (c *connections) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.open {
		n.Close()
	}
}

func (l *ledger) url() string { return "http://" + l.address }

// account is a copy of what came whole, by id.
func (l *ledger) account() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.whole)
}

func (l *ledger) started(id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.begun[id]
}

func (l *ledger) body(id string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bodies[id]
}

func (l *ledger) ambiguities() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.faults
}

func (l *ledger) note(fault string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, fmt.Sprintf(fault, args...))
}

// A received request is what the ledger read.
type received struct {
	method, target, id string
	close, expects     bool
	length             int64 // -1: chunked
}

func (l *ledger) serve(c net.Conn) {
	in := bufio.NewReader(c)
	for {
		r, err := readStrictly(in)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !isReset(err) {
				l.note("%v", err)
			}
			return
		}
		l.mu.Lock()
		l.begun[r.id]++
		l.mu.Unlock()
		if r.expects {
			if _, err := io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
				return
			}
		}
		body, err := readBody(in, r.length)
		if err != nil {
			var f fault
			if errors.As(err, &f) {
				l.note("%s: %v", r.id, err)
			}
			return // a body that broke off is no request
		}
		l.mu.Lock()
		l.whole[r.id]++
		l.bodies[r.id] = body
		l.mu.Unlock()
		answer := fmt.Sprintf("%s %s %d", r.method, r.target, len(body))
		head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", len(answer))
		if r.method == "HEAD" {
			answer = ""
		}
		if _, err := io.WriteString(c, head+answer); err != nil || r.close {
			return
		}
	}
}

// A fault is something that two readers could read differently.
type fault string

func (f fault) Error() string { return string(f) }

func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && strings.Contains(op.Err.Error(), "reset")
}

var (
	requestLine = regexp.MustCompile(`^([A-Z]+) (/[!-~]*) HTTP/1\.1$`)
	fieldName   = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
)

// readStrictly takes one spelling of everything: any other is a fault.
func readStrictly(in *bufio.Reader) (r received, err error) {
	line, err := readLine(in)
	if err != nil {
		return r, err
	}
	m := requestLine.FindStringSubmatch(line)
	if m == nil {
		return r, fault(fmt.Sprintf("request line %q", line))
	}
	r.method, r.target = m[1], m[2]
	path, _, _ := strings.Cut(r.target, "?")
	r.id = path[strings.LastIndexByte(path, '/')+1:]
	seen := map[string]int{}
	for {
		if line, err = readLine(in); err != nil {
			return r, err
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ": ")
		if !ok || !fieldName.MatchString(name) || !isPlain(value) {
			return r, fault(fmt.Sprintf("%s: field %q", r.id, line))
		}
		name = strings.ToLower(name)
		seen[name]++
		switch name {
		case "content-length":
			if r.length, err = strconv.ParseInt(value, 10, 63); err != nil || value != strconv.FormatInt(r.length, 10) {
				return r, fault(fmt.Sprintf("%s: Content-Length %q", r.id, value))
			}
		case "transfer-encoding":
			if r.length = -1; value != "chunked" {
				return r, fault(fmt.Sprintf("%s: Transfer-Encoding %q", r.id, value))
			}
		case "connection":
			r.close = value == "close"
		case "expect":
			r.expects = true
		}
	}
	if seen["host"] != 1 || seen["content-length"]+seen["transfer-encoding"] > 1 {
		return r, fault(fmt.Sprintf("%s: %d Host, %d Content-Length, %d Transfer-Encoding", r.id, seen["host"],
			seen["content-length"], seen["transfer-encoding"]))
	}
	return r, nil
}

// isPlain reports whether a field's value has no control bytes and no space at its ends.
func isPlain(value string) bool {
	return value == strings.Trim(value, " \t") &&
		!strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}

// readLine is a line without its CRLF.
func readLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	text, ok := strings.CutSuffix(line, "\r\n")
	if !ok || strings.ContainsAny(text, "\r\n\x00") {
		return "", fault(fmt.Sprintf("line %q", line))
	}
	return text, nil
}

var chunkLine = regexp.MustCompile(`^[0-9a-f]{1,15}$`)

func readBody(in *bufio.Reader, length int64) (string, error) {
	var body bytes.Buffer
	if length >= 0 {
		_, err := io.CopyN(&body, in, length)
		return body.String(), err
	}
	for {
		line, err := readLine(in)
		if err != nil {
			return "", err
		}
		if !chunkLine.MatchString(line) {
			return "", fault(fmt.Sprintf("chunk size %q", line))
		}
		size, err := strconv.ParseInt(line, 16, 63)
		if err != nil {
			return "", err
		}
		if _, err := io.CopyN(&body, in, size); err != nil {
			return "", err
		}
		if end, err := readLine(in); err != nil {
			return "", err
		} else if end != "" {
			return "", fault(fmt.Sprintf("%q behind a chunk: trailers are not passed on", end))
		}
		if size == 0 {
			return body.String(), nil
		}
	}
}

// dial opens a connection, with TLS if there is an authority to check its certificate by.
func dial(t *testing.T, address string, authority *x509.CertPool) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if authority == nil {
		return c
	}
	return tls.Client(c, &tls.Config{RootCAs: authority, ServerName: "gate.test", NextProtos: []string{"http/1.1"}})
}
