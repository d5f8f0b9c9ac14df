//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A server is a contestant that has started and answers.
type server struct {
	*process
	address string
	cert    *certificate  // nil: plain
	h2c     bool          // HTTP/2 without TLS, and nothing else
	awoke   time.Duration // from its start to the end of its first answer from the app
}

// An app is the upstream: nginx, which answers from memory and is no bottleneck.
type app struct{ address string }

// startApp gives every contestant the same app: 1 KB for a GET, 1 MB at largePath, and nothing but "ok" for what is
// sent to uploadPath.
func (b *bench) startApp(ctx context.Context) (*app, error) {
	folder, err := b.newFolder("app")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(folder, "large"), []byte(strings.Repeat("x", largeAnswer)), 0o644); err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	// nginx alone answers before it has read a body, and a proxy then rightly gives up its connection. So the upload is
	// read whole, into memory, before a request without it goes on to another location.
	p, err := b.startNginx("app", b.loadCPU, folder, fmt.Sprintf(`
  upstream self { server %s; keepalive 64; keepalive_requests 1000000000; }
  server {
    listen %[1]s;
    location / { return 200 "%[2]s"; }
    location = /sink { return 200 "ok"; }
    location = %[3]s {
      client_max_body_size 0;
      client_body_buffer_size %[4]d;
      proxy_pass http://self/sink;
      proxy_http_version 1.1;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header Connection "";
    }
    location = %[5]s { default_type text/plain; alias %[6]s; }
  }
`, address, strings.Repeat("x", smallAnswer), uploadPath, 2*largeAnswer, largePath, filepath.Join(folder, "large")))
	if err != nil {
		return nil, err
	}
	return &app{address}, (&server{process: p, address: address}).ready(ctx, "")
}

func (b *bench) newFolder(name string) (string, error) {
	folder, err := os.MkdirTemp(b.folder, name+"-")
	if err != nil {
		return "", err
	}
	return folder, nil
}

// startNginx runs nginx with one worker and its files in a folder of ours.
func (b *bench) startNginx(name string, core int, folder, servers string) (*process, error) {
	user := "" // a worker of another user could not read the folder
	if os.Getuid() == 0 {
		user = "user root root;"
	}
	text := fmt.Sprintf(`%s
daemon off;
worker_processes 1;
pid %s/pid;
error_log stderr warn;
events { worker_connections 12000; multi_accept on; }
http {
  access_log off;
  server_tokens off;
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  client_body_temp_path %[2]s/body;
  proxy_temp_path %[2]s/proxy;
  fastcgi_temp_path %[2]s/fastcgi;
  uwsgi_temp_path %[2]s/uwsgi;
  scgi_temp_path %[2]s/scgi;
%[3]s
}
`, user, folder, servers)
	file := filepath.Join(folder, "nginx.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return b.running.start(name, core, filepath.Join(folder, "log"), b.tools.nginx, "-e", "stderr", "-p", folder, "-c",
		file)
}

// nginx is a plain reverse proxy: it checks nothing, logs nothing, keeps its connections and streams.
func (b *bench) nginx(ctx context.Context, cert *certificate) (*server, error) {
	return b.nginxWith(ctx, cert, "")
}

// nginxWith has further locations.
func (b *bench) nginxWith(ctx context.Context, cert *certificate, further string) (*server, error) {
	return b.nginxAt(ctx, func(address string) string {
		if cert == nil {
			return address
		}
		return address + fmt.Sprintf(" ssl http2; ssl_certificate %s; ssl_certificate_key %s; ssl_protocols TLSv1.3; "+
			"http2_max_requests 1000000000", cert.cert, cert.key)
	}, func(s *server) { s.cert = cert }, further)
}

// nginxAt is nginx with another front: what stands behind listen, and what its clients must know.
func (b *bench) nginxAt(ctx context.Context, listen func(address string) string, front func(*server), further string,
) (*server, error) {
	folder, err := b.newFolder("nginx")
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p, err := b.startNginx("nginx", b.gateCPU, folder, fmt.Sprintf(`
  upstream app { server %s; keepalive 128; keepalive_requests 1000000000; keepalive_timeout 1h; }
  server {
    listen %s;
    location / {
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
      client_max_body_size 0;
    }
%s  }
`, b.app.address, listen(address), further))
	if err != nil {
		return nil, err
	}
	s := &server{process: p, address: address}
	front(s)
	return s, b.ready(ctx, s)
}

// haproxy checks tokens of one algorithm as its documentation shows it: algorithm, issuer, audience, expiry, signature.
// It cannot tell tenants and their permissions. Without an algorithm it is a plain proxy.
func (b *bench) haproxy(ctx context.Context, alg string) (*server, error) {
	s, err := b.startHAProxy(alg, "", b.app.address)
	if err != nil {
		return nil, err
	}
	return s, b.ready(ctx, s, alg)
}

// startHAProxy is HAProxy with another front, behind bind's address, and another app, with what it speaks.
func (b *bench) startHAProxy(alg, front, app string) (*server, error) {
	folder, err := b.newFolder("haproxy")
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	name, rules := "haproxy", ""
	if alg != "" {
		name, rules = "haproxy "+alg, b.haproxyRules(alg)
	}
	// It counts two files for each connection, and would not start where there are fewer; its connections to the app are
	// few.
	file := filepath.Join(folder, "haproxy.cfg")
	text := fmt.Sprintf(`global
  nbthread 1
  maxconn 12000
  no strict-limits
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
frontend front
  bind %s%s
%s  default_backend app
backend app
  http-reuse always
  server app %s
`, address, front, rules, app)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	p, err := b.running.start(name, b.gateCPU, filepath.Join(folder, "log"), b.tools.haproxy, "-db", "-q", "-f", file)
	if err != nil {
		return nil, err
	}
	return &server{process: p, address: address}, nil
}

func (b *bench) haproxyRules(alg string) string {
	key := b.tokens.publicFile(alg)
	if alg == "HS256" {
		key = b.tokens.secret
	}
	return fmt.Sprintf(`  http-request set-var(txn.bearer) http_auth_bearer
  http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')
  http-request set-var(txn.iss) var(txn.bearer),jwt_payload_query('$.iss')
  http-request set-var(txn.aud) var(txn.bearer),jwt_payload_query('$.aud')
  http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 unless { var(txn.alg) -m str %s }
  http-request deny deny_status 401 unless { var(txn.iss) -m str %s }
  http-request deny deny_status 401 unless { var(txn.aud) -m str %s }
  http-request deny deny_status 401 if { var(txn.exp),sub(txn.now) -m int lt 0 }
  http-request deny deny_status 401 unless { var(txn.bearer),jwt_verify(txn.alg,"%s") 1 }
`, alg, issuer(alg), audience, key)
}

// A gateOf is what the cases vary in the gate's configuration.
type gateOf struct {
	name   string
	binary string
	cache  string // limits.token_cache_bytes; "" is the default
	signs  string // the algorithm of the first key; "" is ES256
	routes int    // more routes, which no other case's requests meet
	cert   *certificate
	quiet  bool   // no access log
	admin  string // the address of health and metrics; "" is none
	traced bool   // every request, by a collector that takes all
	signed bool   // an assertion for the app
	store  string // the address of the Redis that it shares its memory in; "" is its own memory

	streams string // the address of an app whose answers are streams; "" is none
	clients int    // more clients of the issuer

	h2c      bool   // HTTP/2 without TLS is spoken, too
	grpc     string // the address of an app that answers calls; "" is none
	decision string // the address that other proxies ask at; "" is none
	operator string // admin.token, which signs in to the console; "" is none
}

const (
	readRole = "reader"
	// accessTokenID is a fixed id with which the bench client calls the access-token API. It opens nothing but a process
	// that lives for this run.
	accessTokenID = "bench-0123456789abcdef0123456789abcdef"
)

// jotgate starts a gate whose access log goes to a file, as an operator's would.
func (b *bench) jotgate(ctx context.Context, o gateOf) (*server, error) {
	folder, err := b.newFolder("gate")
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(folder, "config.yaml")
	if err := os.WriteFile(file, []byte(b.gateConfig(o, address)), 0o600); err != nil {
		return nil, err
	}
	p, err := b.running.start(o.name, b.gateCPU, filepath.Join(folder, "log"), o.binary, "serve", "--config", file)
	if err != nil {
		return nil, err
	}
	s := &server{process: p, address: address, cert: o.cert}
	if err := b.ready(ctx, s, algorithms()...); err != nil || o.grpc == "" {
		return s, err
	}
	if err := b.answersCalls(ctx, s); err != nil {
		return s, err
	}
	return s, b.judgesCalls(ctx, s, "16")
}

func (b *bench) gateConfig(o gateOf, address string) string {
	listen := fmt.Sprintf("listen: %q", address)
	if o.cert != nil {
		listen = fmt.Sprintf("listeners: [{address: %q, tls: {certificates: [{cert: %q, key: %q}]}}]", address, o.cert.cert,
			o.cert.key)
	}
	if o.h2c {
		listen = fmt.Sprintf("listeners: [{address: %q, h2c: true}]", address)
	}
	cache := ""
	if o.cache != "" {
		cache = ", token_cache_bytes: " + o.cache
	}
	order := []string{"ES256", "RS256", "EdDSA"}
	if o.signs == "RS256" || o.signs == "EdDSA" {
		order = []string{o.signs, "ES256"}
		if o.signs == "EdDSA" {
			order = append(order, "RS256")
		}
	}
	var keys []string
	for _, alg := range order {
		keys = append(keys, fmt.Sprintf("{file: %q}", b.tokens.privateFile(alg)))
	}
	secrets, shared := o.sharing()
	if o.traced {
		shared += fmt.Sprintf("tracing: {endpoint: \"http://%s\", sample_ratio: 1}\n", b.app.address)
	}
	assertion := ""
	if o.signed {
		assertion = ", assertion: {header: X-Assertion, audience: app, ttl: 60s}"
	}
	if o.decision != "" {
		shared += fmt.Sprintf("decision: {listen: %q}\n", o.decision)
	}
	return fmt.Sprintf(`version: 1
%s
%sadmin: {listen: %q%s}
drain: {delay: 0s, timeout: 1s}
limits: {connections: 20000, idle_timeout: 1h, issue_rate: 1000000%s}
log: {level: info, access: %t}
issuer:
  url: %s
  keys: [%s]
%s  clients:
    - id: %s
      access_token_id: %s
      may: [issue_codes, create_access_tokens]
      delegate: [{tenant: "*", actions: ["*"]}]
%sroles: {%s: [{tenant: "{tenant}", actions: [READ]}]}
trusted_issuers:
  - issuer: %s
    keys: [{file: %q}]
    audiences: [%q]
    algorithms: [HS256]
    permissions: [{tenant: "*", actions: ["*"]}]
upstreams: {app: {servers: ["http://%s"]%s}%s}
routes:
  - {path: "/t/{tenant}/", methods: [GET, HEAD], require: {tenant_from: path.tenant, action: READ}, upstream: app}
  - {name: write, path: "/t/{tenant}/", methods: [POST], require: {tenant_from: path.tenant, action: WRITE}, upstream: app}
%s%s`, listen, shared, o.admin, o.signsIn(), cache, !o.quiet, issuerURL, strings.Join(keys, ", "), secrets, client,
		accessTokenID,
		manyIDs(o.clients), readRole, otherIssuer, b.tokens.secretFile(), audience, b.app.address, assertion+o.others(),
		o.grpcUpstream(), o.streamRoute()+manyRoutes(o.routes), o.grpcRoute())
}

// others are the upstreams besides the app.
func (o gateOf) others() string {
	if o.streams == "" {
		return ""
	}
	return fmt.Sprintf("}, streams: {servers: [\"http://%s\"], max_connections: 20000", o.streams)
}

func (o gateOf) streamRoute() string {
	if o.streams == "" {
		return ""
	}
	return "  - {path: \"/streams/{tenant}/\", upgrade: true, require: {tenant_from: path.tenant, action: READ}, " +
		"upstream: streams}\n"
}

func manyIDs(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "    - {id: client-%d, secret_sha256: %x, may: [issue_codes], "+
			"delegate: [{tenant: t-%d, actions: [READ]}]}\n", i, sha256.Sum256([]byte(strconv.Itoa(i))), i)
	}
	return text.String()
}

func manyRoutes(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "  - {path: \"/app-%d/t/{tenant}/\", require: {tenant_from: path.tenant, action: READ}, "+
			"upstream: app}\n", i)
	}
	return text.String()
}

// ready waits for a contestant to answer, and checks it before anything is measured: a good token of each kind must
// open it, and one with a letter changed must not.
func (b *bench) ready(ctx context.Context, s *server, algs ...string) error {
	if len(algs) == 0 || algs[0] == "" {
		return s.ready(ctx, "")
	}
	if err := s.ready(ctx, b.tokens.good[algs[0]][0]); err != nil {
		return err
	}
	for _, alg := range algs {
		good := b.tokens.good[alg][0]
		for _, x := range []struct {
			what, bearer string
			want         int
		}{
			{"a good token", good, http.StatusOK},
			{"a tampered token", tampered(good), http.StatusUnauthorized},
			{"no token", "", http.StatusUnauthorized},
		} {
			if err := s.expect(ctx, x.bearer, x.want); err != nil {
				return fmt.Errorf("%s: %s with %s: %w", s.name, alg, x.what, err)
			}
		}
	}
	return nil
}

// tampered changes a letter in the middle of the signature.
func tampered(compact string) string {
	i := (strings.LastIndexByte(compact, '.') + len(compact)) / 2
	letter := "A"
	if compact[i] == 'A' {
		letter = "B"
	}
	return compact[:i] + letter + compact[i+1:]
}

// ready asks until there is the app's answer.
func (s *server) ready(ctx context.Context, bearer string) error {
	err := s.await(ctx, 200*time.Microsecond,
		func(ctx context.Context) error { return s.expect(ctx, bearer, http.StatusOK) })
	if err == nil {
		s.awoke = time.Since(s.begun)
	}
	return err
}

// await asks every so often until there is an answer.
func (s *server) await(ctx context.Context, every time.Duration, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		if dead := s.alive(); dead != nil {
			return dead
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", s.name, err)
		case <-time.After(every):
		}
	}
}

// expect asks once, on a connection of its own.
func (s *server) expect(ctx context.Context, bearer string, want int) error {
	transport := &http.Transport{DisableKeepAlives: true, ForceAttemptHTTP2: true}
	scheme := "http://"
	if s.cert != nil {
		scheme, transport.TLSClientConfig = "https://", &tls.Config{RootCAs: s.cert.trust}
	}
	if s.h2c {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+s.address+goodPath, nil)
	if err != nil {
		return err
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := (&http.Client{Transport: transport, Timeout: patience}).Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return err
	case response.StatusCode != want:
		return fmt.Errorf("status %d, want %d: %.300s", response.StatusCode, want, text)
	case want == http.StatusOK && len(text) != smallAnswer:
		return fmt.Errorf("an answer of %d bytes, want %d", len(text), smallAnswer)
	}
	return nil
}

// freeAddress is one that no one listens on. nginx cannot choose by itself.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	address := l.Addr().String()
	return address, errors.Join(l.Close())
}

// forgetLog empties a contestant's log, so that a long run does not fill the disk. It writes in append mode.
func (s *server) forgetLog(context.Context) error { return os.Truncate(s.logPath, 0) }
