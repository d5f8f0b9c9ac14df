package e2e_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/redistest"
)

// Pebble is an authority for tests of ACME clients, by Let's Encrypt; it is no part of go.mod.
const pebbleModule, pebbleVersion = "github.com/letsencrypt/pebble/v2/cmd/", "@v2.10.3"

// A pebble is a running authority: it looks for HTTP-01 and TLS-ALPN-01 at two ports of this machine, whatever the
// domain.
type pebble struct {
	directory     string // URL
	authority     string // PEM file, of the directory's own certificate
	httpAt, tlsAt string
	admin         string // of the gate
}

func startPebble(t *testing.T) *pebble {
	t.Helper()
	folder := t.TempDir()
	install := exec.Command("go", "install", pebbleModule+"pebble"+pebbleVersion, pebbleModule+"pebble-challtestsrv"+
		pebbleVersion)
	install.Env = append(os.Environ(), "GOBIN="+folder, "GOFLAGS=")
	install.Dir = folder
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("go install pebble: %v\n%s", err, out)
	}
	certificate(t, folder, "directory", 1, "localhost")
	listen, names, management := freeAddress(t), freeAddress(t), freeAddress(t)
	p := &pebble{
		directory: "https://" + listen + "/dir", authority: filepath.Join(folder, "directory.pem"),
		httpAt: freeAddress(t), tlsAt: freeAddress(t), admin: freeAddress(t),
	}
	port := func(address string) json.Number { return json.Number(address[strings.LastIndexByte(address, ':')+1:]) }
	settings, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": freeAddress(t),
		"certificate": p.authority, "privateKey": filepath.Join(folder, "directory.key"),
		"httpPort": port(p.httpAt), "tlsPort": port(p.tlsAt),
	}})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(folder, "pebble.json"), settings)
	for _, c := range []*exec.Cmd{
		exec.Command(folder+"/pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dnsserver", names,
			"-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-management", management),
		exec.Command(folder+"/pebble", "-config", "pebble.json", "-dnsserver", names, "-strict"),
	} {
		c.Dir, c.Env = folder, append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = c.Process.Kill()
			_ = c.Wait()
		})
	}
	for _, address := range []string{management, listen} {
		for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			c, err := net.Dial("tcp", address)
			if err == nil {
				_ = c.Close()
				break
			}
			if time.Now().After(end) {
				t.Fatal(err)
			}
		}
	}
	return p
}

// issued waits for a certificate of the authority, and returns it.
func issued(t *testing.T, address, domain string) *x509.Certificate {
	t.Helper()
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		// Its root is made anew at each start of the authority.
		c, err := tls.Dial("tcp", address, &tls.Config{ServerName: domain, InsecureSkipVerify: true})
		if last = err; err != nil {
			continue
		}
		leaf := c.ConnectionState().PeerCertificates[0]
		_ = c.Close()
		if strings.Contains(leaf.Issuer.CommonName, "Pebble") && leaf.VerifyHostname(domain) == nil {
			return leaf
		}
		last = fmt.Errorf("certificate of %s for %v", leaf.Issuer, leaf.DNSNames)
	}
	t.Fatalf("no certificate for %s: %v", domain, last)
	return nil
}

// Replicas that keep their certificates in Redis have the same ones, and each answers the challenge of a certificate
// that another has asked for.
func TestReplicasShareCertificatesByACME(t *testing.T) {
	t.Parallel()
	p, store := startPebble(t), redistest.Start(t)
	elsewhere := freeAddress(t)
	p.replica(t, store, p.tlsAt) // where the authority looks
	shop, www := issued(t, p.tlsAt, "shop.test"), issued(t, p.tlsAt, "www.shop.test")
	key := p.kept("www.shop.test")
	if kept, _ := store.Do("GET", key).(string); !strings.Contains(kept, "PRIVATE KEY") {
		t.Fatalf("the store has %.40q under %s", kept, key)
	}
	if store.Do("DEL", key) != int64(1) {
		t.Fatal("nothing was deleted")
	}
	b := p.replica(t, store, elsewhere)
	if leaf := issued(t, elsewhere, "shop.test"); leaf.SerialNumber.Cmp(shop.SerialNumber) != 0 {
		t.Error("the second replica has another certificate")
	}
	leaf := issued(t, elsewhere, "www.shop.test")
	if leaf.SerialNumber.Cmp(www.SerialNumber) == 0 {
		t.Error("the second replica has a certificate that the store had lost")
	}
	store.Stop() // what is in use stays in use
	defer store.Continue()
	if again := issued(t, elsewhere, "www.shop.test"); again.SerialNumber.Cmp(leaf.SerialNumber) != 0 {
		t.Error("another certificate while the store hangs")
	}
	if files, err := os.ReadDir(b.folder); err != nil || slices.ContainsFunc(files, func(f os.DirEntry) bool {
		return f.Name() == "acme" || f.Name() == "redis"
	}) {
		t.Errorf("%v %v: certificates are in files, too", files, err)
	}
}

// Replicas that begin together with an empty store take turns: an authority that is asked by several at once would get
// the answer of one to the question of another.
func TestReplicasTakeTurnsAtACME(t *testing.T) {
	t.Parallel()
	p, store := startPebble(t), redistest.Start(t)
	at := []string{p.tlsAt, freeAddress(t), freeAddress(t)} // the first is where the authority looks
	var replicas []*gate
	for _, address := range at {
		replicas = append(replicas, p.replica(t, store, address))
	}
	for _, domain := range []string{"shop.test", "www.shop.test"} {
		first := issued(t, at[0], domain)
		for _, address := range at[1:] {
			if leaf := issued(t, address, domain); leaf.SerialNumber.Cmp(first.SerialNumber) != 0 {
				t.Errorf("%s: %s has another certificate", domain, address)
			}
		}
		if ttl := store.Do("TTL", p.kept(domain)); ttl != int64(-1) {
			t.Errorf("%s: the certificate is forgotten in %v s", domain, ttl)
		}
	}
	for _, g := range replicas {
		if log := g.stderr.String(); strings.Contains(log, `"no certificate by ACME yet`) {
			t.Errorf("the authority refused a replica:\n%s", log)
		}
	}
	if left := store.Do("EXISTS", p.kept("shop.test+turn"), p.kept("www.shop.test+turn")); left != int64(0) {
		t.Errorf("%v turns that have not ended", left)
	}
}

// replica serves with certificates in Redis.
func (p *pebble) replica(t *testing.T, store *redistest.Server, tlsAt string) *gate {
	t.Helper()
	g := &gate{folder: t.TempDir(), env: []string{"SSL_CERT_FILE=" + p.authority}}
	config := strings.Replace(p.config(tlsAt, freeAddress(t)), "storage: acme", "storage: redis", 1)
	g.configure(t, strings.Replace(config, p.admin, freeAddress(t), 1)+fmt.Sprintf("redis: {url: %q}\n", store.URL()))
	g.serve(t)
	return g
}

// kept is where the store has what an ACME client keeps for this authority.
func (p *pebble) kept(name string) string {
	sum := sha256.Sum256([]byte(p.directory))
	return "{jotgate}:acme:" + hex.EncodeToString(sum[:8]) + ":" + name
}

func (p *pebble) config(tlsAt, httpAt string) string {
	return fmt.Sprintf(`version: 1
listeners:
  - {name: main, address: %q, tls: {acme: {domains: [shop.test, www.shop.test], email: ops@shop.test, directory: %q, storage: acme}}}
  - {name: plain, address: %q, redirect: https}
admin: {listen: %q}
drain: {delay: 0s}
routes: [{path: /, public: true, upstream: "http://127.0.0.1:9"}]
`, tlsAt, p.directory, httpAt, p.admin)
}

// The certificates are there before the first client asks, are kept over a restart, and an unknown name gets none of
// its own.
func TestCertificatesByACME(t *testing.T) {
	t.Parallel()
	p := startPebble(t)
	g := &gate{folder: t.TempDir(), env: []string{"SSL_CERT_FILE=" + p.authority}}
	g.configure(t, p.config(p.tlsAt, freeAddress(t)))
	g.serve(t)
	first := issued(t, p.tlsAt, "shop.test")
	www := issued(t, p.tlsAt, "www.shop.test")
	if www.SerialNumber.Cmp(first.SerialNumber) == 0 {
		t.Error("both domains have one certificate")
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		ServerName:         "shop.test",
		InsecureSkipVerify: true,
	}}}
	defer client.CloseIdleConnections()
	if answer, err := client.Get("https://" + p.tlsAt + "/"); err != nil || answer.StatusCode != 502 {
		t.Errorf("%v %v, want the gate's 502", answer, err)
	}
	c, err := tls.Dial("tcp", p.tlsAt, &tls.Config{ServerName: "stranger.test", InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	if leaf := c.ConnectionState().PeerCertificates[0]; leaf.SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Errorf("an unknown name is shown %v, want the first domain's certificate", leaf.DNSNames)
	}
	_ = c.Close()
	_, _, metrics := ask(t, "GET", "http://"+p.admin+"/metrics", "", "")
	for _, domain := range []string{"shop.test", "www.shop.test"} {
		if want := `jotgate_certificate_remaining_seconds{file="acme:` + domain +
			`",listener="main"} `; !strings.Contains(metrics, want) {
			t.Errorf("no metric %s", want)
		}
	}
	g.signal(t, syscall.SIGTERM)
	if code := g.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	g.serve(t)
	if again := issued(t, p.tlsAt, "shop.test"); again.SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Error("another certificate after a restart: the first was not kept")
	}
	files, err := os.ReadDir(filepath.Join(g.folder, "acme"))
	if err != nil || len(files) < 3 {
		t.Errorf("storage has %v (%v), want the account's key and two certificates", files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v (%v), want 0600", f.Name(), info.Mode(), err)
		}
	}
}

// The example's configuration gets its certificates from an authority, redirects, and asks for a token.
func TestTheEdgeACMEExample(t *testing.T) {
	t.Parallel()
	const example = "examples/edge-acme/config.yaml"
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	p := startPebble(t)
	plain := freeAddress(t)
	g := &gate{folder: t.TempDir(), env: []string{
		"SSL_CERT_FILE=" + p.authority, "WEB_SECRET=0123456789012345678901",
	}}
	g.configure(t, replaceAll(t, example, string(text),
		change{`":443"`, fmt.Sprintf("%q", p.tlsAt)}, change{`":80"`, fmt.Sprintf("%q", plain)},
		change{"shop.example.com", "shop.test"}, change{"ops@example.com", "ops@shop.test"},
		change{"storage: acme}", fmt.Sprintf("storage: acme, directory: %q}", p.directory)})+
		"admin: {listen: \"\"}\n")
	g.serve(t)
	for _, domain := range []string{"shop.test", "www.shop.test"} {
		if leaf := issued(t, p.tlsAt, domain); leaf.VerifyHostname(domain) != nil {
			t.Errorf("%s: a certificate for %v", domain, leaf.DNSNames)
		}
	}
	client := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{ServerName: "shop.test", InsecureSkipVerify: true}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	for url, want := range map[string]int{
		"http://" + plain + "/t/acme/": 308, "https://" + p.tlsAt + "/t/acme/": 401, "https://" + p.tlsAt + "/x": 404,
	} {
		answer, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		if _ = answer.Body.Close(); answer.StatusCode != want {
			t.Errorf("%s: %d, want %d", url, answer.StatusCode, want)
		}
	}
}

// Where the authority does not reach the TLS port, the listener that redirects answers HTTP-01, and nothing else.
func TestCertificatesByACMEOverHTTP(t *testing.T) {
	t.Parallel()
	p := startPebble(t)
	g := &gate{folder: t.TempDir(), env: []string{"SSL_CERT_FILE=" + p.authority}}
	secured := freeAddress(t) // not where the authority looks
	g.configure(t, p.config(secured, p.httpAt))
	g.serve(t)
	issued(t, secured, "shop.test")
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for path, want := range map[string]int{"/.well-known/acme-challenge/guess": 404, "/": 308} {
		r, err := http.NewRequest(http.MethodGet, "http://"+p.httpAt+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "shop.test"
		answer, err := client.Do(r)
		if err != nil || answer.StatusCode != want {
			t.Errorf("%s: %v %v, want %d", path, answer, err, want)
		}
	}
}
