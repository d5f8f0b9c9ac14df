package app_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/dpop/dpoptest"
	"github.com/jotgate/jotgate/internal/redistest"
	"github.com/jotgate/jotgate/issuer"
)

const ticketRoutes = `routes:
  - {path: "/s/{tenant}/", require: {tenant_from: path.tenant, action: READ}, upstream: "$APP", token_from: [ticket]}
  - {path: /any/, require: authenticated, upstream: "$APP", upgrade: true,
     token_from: [authorization, ticket, {cookie: session}]}
  - {path: /head/, require: {tenant_from: header.X-Tenant, action: READ}, upstream: "$APP", token_from: [ticket]}
  - {path: /maybe/, require: optional, upstream: "$APP", token_from: [ticket]}
  - {path: /edits/, require: authenticated, upstream: "$APP", token_from: [ticket],
     headers: {response: {set: {Cache-Control: public}}}}`

// A drawn is the answer to a request for a ticket.
type drawn struct {
	Ticket    string `json:"ticket"`
	URL       string `json:"url"`
	ExpiresIn int64  `json:"expires_in"`
}

// wish asks for a ticket.
func (g *gate) wish(body string, header ...string) (int, drawn, *http.Response) {
	g.t.Helper()
	r, err := http.NewRequest(http.MethodPost, g.url("/api/v1/tickets"), strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	var d drawn
	if a.StatusCode == 201 {
		if err := json.Unmarshal(text, &d); err != nil || a.Header.Get("Cache-Control") != "no-store" {
			g.t.Fatalf("%s: %v, %v", text, err, a.Header)
		}
	} else if kind := a.Header.Get("Content-Type"); kind != "application/problem+json" && a.StatusCode != 200 {
		g.t.Errorf("%s: refused as %q", body, kind)
	}
	return a.StatusCode, d, a
}

// ticket draws one with a bearer.
func (g *gate) ticket(request, bearer string) drawn {
	g.t.Helper()
	status, d, _ := g.wish(`{"request": "`+request+`"}`, "Authorization", "Bearer "+bearer)
	if status != 201 {
		g.t.Fatalf("%s: %d\n%s", request, status, g.log)
	}
	return d
}

// show sends a request of one connection; the host is the gate's own address if it is "".
func (g *gate) show(method, target, host string, header ...string) (status int, reason string, _ http.Header) {
	g.t.Helper()
	c, err := net.Dial("tcp", g.Addr("main").String())
	if err != nil {
		g.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if host == "" {
		host = g.Addr("main").String()
	}
	text := method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n"
	for i := 0; i < len(header); i += 2 {
		text += header[i] + ": " + header[i+1] + "\r\n"
	}
	if _, err := io.WriteString(c, text+"\r\n"); err != nil {
		g.t.Fatal(err)
	}
	a, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		g.t.Fatal(err)
	}
	defer a.Body.Close()
	if a.StatusCode != 200 {
		reason = g.reason(a.Header.Get("X-Request-Id"))
	}
	return a.StatusCode, reason, a.Header
}

func ticketGate(t *testing.T, more ...string) *gate {
	t.Helper()
	edits := append([]string{"routes:", ticketRoutes}, more...)
	return startGate(t, edits...)
}

// TestATicketOpensItsOneRequestOnce, its member does not reach the app, and neither the ticket nor the URL is logged.
func TestATicketOpensItsOneRequestOnce(t *testing.T) {
	t.Parallel()
	g := ticketGate(t)
	var uri atomic.Value
	g.app.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uri.Store(r.RequestURI + " " + r.Header.Get("X-Jotgate-Subject") + " " + r.Header.Get("X-Jotgate-Actions"))
		w.Header().Set("Cache-Control", "public, max-age=60")
		w.Header().Set("Referrer-Policy", "unsafe-url")
		w.Header().Set("CDN-Cache-Control", "max-age=60")
	})
	d := g.ticket("GET /s/acme/stream?x=1", g.token("acme"))
	if d.URL != "/s/acme/stream?x=1&ticket="+d.Ticket || d.ExpiresIn != 30 || len(d.Ticket) > 1536 {
		t.Errorf("%+v", d)
	}
	status, header, _ := g.get(d.URL)
	if status != 200 || uri.Load() != "/s/acme/stream?x=1 alice READ" {
		t.Fatalf("%d, the app got %v\n%s", status, uri.Load(), g.log)
	}
	if header.Get("Cache-Control") != "no-store" || header.Get("Referrer-Policy") != "no-referrer" ||
		len(header.Values("Cache-Control")) != 1 || header.Get("CDN-Cache-Control") != "" {
		t.Errorf("%v", header)
	}
	if status, reason, _ := g.show("GET", d.URL, ""); status != 401 || reason != "ticket_used" {
		t.Errorf("again: %d %s", status, reason)
	}
	if strings.Contains(g.log.String(), d.Ticket[:40]) {
		t.Error("the log has the ticket")
	}
	g.tells(`jotgate_tickets_total{result="issued"} 1`, `jotgate_tickets_total{result="redeemed"} 1`,
		`jotgate_tickets_total{result="refused"} 1`)
	edited := g.ticket("GET /edits/", g.token("acme"))
	if _, header, _ = g.get(edited.URL); header.Get("Cache-Control") != "no-store" {
		t.Errorf("a route that sets the field itself: %v", header)
	}
}

// TestATicketIsForOneRequest: for another it is refused, and not used up.
func TestATicketIsForOneRequest(t *testing.T) {
	t.Parallel()
	g := ticketGate(t)
	d := g.ticket("GET /s/acme/a?x=1", g.token("acme"))
	for name, q := range map[string]struct{ method, target, host string }{
		"method": {"HEAD", "/s/acme/a?x=1&", ""}, "path": {"GET", "/s/acme/b?x=1&", ""},
		"spelling": {"GET", "/s/acme/%61?x=1&", ""}, "query": {"GET", "/s/acme/a?x=2&", ""},
		"empty query": {"GET", "/s/acme/a?", ""}, "longer query": {"GET", "/s/acme/a?x=1&y=2&", ""},
		"route": {"GET", "/any/?", ""}, "host": {"GET", "/s/acme/a?x=1&", "other.example"},
	} {
		if status, reason, _ := g.show(q.method, q.target+"ticket="+d.Ticket, q.host); status != 401 ||
			reason != "ticket_mismatch" {
			t.Errorf("another %s: %d %s", name, status, reason)
		}
	}
	for name, c := range map[string]struct {
		target, reason string
		status         int
	}{
		"two tickets":         {d.URL + "&ticket=" + d.Ticket, "credentials_multiple", 400},
		"another spelling":    {"/s/acme/a?x=1&%74icket=" + d.Ticket, "request_malformed", 400},
		"a list":              {d.URL + "&ticket[]=1", "request_malformed", 400},
		"behind a semicolon":  {"/s/acme/a?x=1;ticket=" + d.Ticket, "request_malformed", 400},
		"access_token beside": {d.URL + "&access_token=a", "credentials_multiple", 400},
		"cut":                 {"/s/acme/a?x=1&ticket=" + d.Ticket[:60], "token_malformed", 401},
		"changed": {
			"/s/acme/a?x=1&ticket=" + d.Ticket[:60] + "AAAA" + d.Ticket[64:],
			"token_signature_invalid", 401,
		},
		"empty":                {"/s/acme/a?x=1&ticket=", "token_malformed", 401},
		"without":              {"/s/acme/a?x=1", "token_missing", 401},
		"in the place of none": {"/maybe/?ticket=" + d.Ticket, "ticket_mismatch", 401},
	} {
		if status, reason, _ := g.show("GET", c.target, ""); status != c.status || reason != c.reason {
			t.Errorf("%s: %d %s, want %d %s", name, status, reason, c.status, c.reason)
		}
	}
	for _, scheme := range []string{"Bearer ", "DPoP "} {
		if status, _, _ := g.get(d.URL, "Authorization", scheme+g.token("acme")); status != 400 {
			t.Errorf("beside %s: %d", scheme, status)
		}
	}
	if status, reason, _ := g.show("GET", d.URL, ""); status != 200 {
		t.Errorf("its own request, after all: %d %s", status, reason)
	}
	if got := g.raw("GET /maybe/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); len(got) != 1 || got[0] != "200" {
		t.Errorf("optional, without one: %v", got)
	}
}

// TestOneOfManyUses: the same ticket on 64 connections at once.
func TestOneOfManyUses(t *testing.T) {
	t.Parallel()
	oneOfMany(t, ticketGate(t))
}

func oneOfMany(t *testing.T, gates ...*gate) {
	t.Helper()
	d := gates[0].ticket("GET /s/acme/a", gates[0].token("acme"))
	var all sync.WaitGroup
	start := make(chan struct{})
	var ok, used atomic.Int64
	for i := range 64 {
		c, err := net.Dial("tcp", gates[i%len(gates)].Addr("main").String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		all.Go(func() {
			<-start
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = io.WriteString(c, "GET "+d.URL+" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
			a, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Error(err)
				return
			}
			switch a.StatusCode {
			case 200:
				ok.Add(1)
			case 401:
				used.Add(1)
			}
		})
	}
	close(start)
	all.Wait()
	if ok.Load() != 1 || used.Load() != 63 {
		t.Errorf("%d were let through, %d were refused", ok.Load(), used.Load())
	}
}

// TestTicketsOfReplicas: one use on all of them, and 503 while the store does not answer.
func TestTicketsOfReplicas(t *testing.T) {
	t.Parallel()
	store := redistest.Start(t)
	edits := []string{
		"drain:", "redis: {url: " + store.URL() + "}\ntickets: {secrets: [0123456789abcdef0123456789abcdef]}\ndrain:",
	}
	a := ticketGate(t, edits...)
	b := &gate{t: t, file: a.file, log: new(lines), app: a.app}
	b.run()
	redistest.Eventually(t, "tickets", func() bool {
		status, _, _ := a.get(a.ticket("GET /any/", a.token("acme")).URL)
		return status == 200
	})
	oneOfMany(t, a, b)
	d := a.ticket("GET /any/", a.token("acme"))
	store.Stop()
	defer store.Continue()
	if status, reason, _ := a.show("GET", d.URL, ""); status != 503 || reason != "store_unavailable" {
		t.Errorf("without the store: %d %s", status, reason)
	}
}

// TestWhatIsDrawn: a refusal is the one that the request would get, and the body is strict.
func TestWhatIsDrawn(t *testing.T) {
	t.Parallel()
	g := ticketGate(t)
	bearer := "Bearer " + g.token("acme")
	for _, c := range []struct {
		name, body string
		header     []string
		status     int
		reason     string
	}{
		{"good", `{"request": "GET /s/acme/"}`, []string{"Authorization", bearer}, 201, ""},
		{"another tenant", `{"request": "GET /s/other/"}`, []string{"Authorization", bearer}, 403, "tenant_denied"},
		{"no route", `{"request": "GET /nowhere"}`, []string{"Authorization", bearer}, 404, "route_not_found"},
		{"a route without tickets", `{"request": "GET /t/acme/"}`, []string{"Authorization", bearer}, 400, "body_invalid"},
		{"a public route", `{"request": "GET /open/"}`, []string{"Authorization", bearer}, 400, "body_invalid"},
		{"a method that is not taken", `{"request": "PURGE /s/acme/"}`, []string{"Authorization", bearer}, 405, ""},
		{"a path with dots", `{"request": "GET /s/../s/acme/"}`, []string{"Authorization", bearer}, 400, "path_ambiguous"},
		{"a host that is none", `{"request": "GET http://a@b/s/acme/"}`, []string{"Authorization", bearer}, 400, ""},
		{"a tenant in a header", `{"request": "GET /head/"}`, []string{"Authorization", bearer}, 400, "tenant_missing"},
		{"no token", `{"request": "GET /s/acme/"}`, nil, 401, "token_missing"},
		{"no token, optional", `{"request": "GET /maybe/"}`, nil, 401, "token_missing"},
		{"a bad token", `{"request": "GET /s/acme/"}`, []string{"Authorization", "Bearer a.b.c"}, 401, "token_malformed"},
		{"a cookie alone", `{"request": "GET /any/"}`, []string{"Cookie", "session=" + bearer[7:]}, 401, "token_missing"},
		{"a ticket there", `{"request": "GET /s/acme/?ticket=1"}`, []string{"Authorization", bearer}, 400, "body_invalid"},
		{"spelled", `{"request": "GET /s/acme/?a;%54icket=1"}`, []string{"Authorization", bearer}, 400, "body_invalid"},
		{"too long a life", `{"request": "GET /s/acme/", "expires_in": 31}`, []string{"Authorization", bearer}, 400, ""},
		{"no life", `{"request": "GET /s/acme/", "expires_in": 0}`, []string{"Authorization", bearer}, 400, ""},
		{"unknown member", `{"request": "GET /s/acme/", "x": 0}`, []string{"Authorization", bearer}, 400, ""},
		{"twice", `{"request": "GET /s/acme/", "request": "GET /any/"}`, []string{"Authorization", bearer}, 400, ""},
		{"no request", `{}`, []string{"Authorization", bearer}, 400, "body_invalid"},
		{"no target", `{"request": "GET"}`, []string{"Authorization", bearer}, 400, "body_invalid"},
		{"no path", `{"request": "GET http://a"}`, []string{"Authorization", bearer}, 400, "body_invalid"},
		{
			"too long", `{"request": "GET /s/acme/` + strings.Repeat("a", 16000) + `"}`,
			[]string{"Authorization", bearer},
			400, "",
		},
		{
			"another type", `{"request": "GET /s/acme/"}`,
			[]string{"Authorization", bearer, "Content-Type", "text/plain"},
			415, "media_unsupported",
		},
	} {
		status, _, a := g.wish(c.body, c.header...)
		reason := g.reason(a.Header.Get("X-Request-Id"))
		if status != c.status || c.reason != "" && reason != c.reason {
			t.Errorf("%s: %d %s, want %d %s", c.name, status, reason, c.status, c.reason)
		}
	}
	if status, header, _ := g.get("/api/v1/tickets"); status != 405 || header.Get("Allow") != "POST" {
		t.Errorf("GET: %d %v", status, header)
	}
	if n := g.app.seen.Load(); n != 0 {
		t.Errorf("the app saw %d requests", n)
	}
	elsewhere := g.ticket("GET http://Other.Example:80/s/acme/", g.token("acme"))
	if want := "http://Other.Example:80/s/acme/?ticket=" + elsewhere.Ticket; elsewhere.URL != want {
		t.Errorf("absolute: %s", elsewhere.URL)
	}
	if status, reason, _ := g.show("GET", "/s/acme/?ticket="+elsewhere.Ticket, "other.example"); status != 200 {
		t.Errorf("absolute: %d %s", status, reason)
	}
}

// TestThePathIsTheAppsWhereNoRouteTakesTickets.
func TestThePathIsTheAppsWhereNoRouteTakesTickets(t *testing.T) {
	t.Parallel()
	g := startGate(t, "/open/, public", "/api/v1/tickets, public")
	if status, _, _ := g.wish("{}"); status != 200 || g.app.seen.Load() != 1 {
		t.Errorf("%d, the app saw %d", status, g.app.seen.Load())
	}
	if status, _, _ := g.get("/api/v1/tickets?ticket=1&TICKET=2"); status != 200 {
		t.Errorf("a member of the app's: %d", status)
	}
}

// TestATicketIsJudgedAnew: after a revocation, after a reload that closes the route, and after its life. A reload
// alone leaves it as it is.
func TestATicketIsJudgedAnew(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "revoked")
	edits := []string{"routes:", ticketRoutes, "drain:", "revocations: {file: " + file + "}\ndrain:"}
	g := startGate(t, edits...)
	m, err := issuer.NewMinter(g.Config(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	token, claims, err := m.ForRole("web", "reader", "acme", "alice", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	kept, revoked := g.ticket("GET /s/acme/", g.token("acme")), g.ticket("GET /s/acme/", token)
	used := g.ticket("GET /s/acme/", g.token("acme"))
	if status, _, _ := g.get(used.URL); status != 200 {
		t.Fatalf("%d", status)
	}
	if status := g.revoke(adminToken, fmt.Sprintf(`{"kind":"token","issuer":"https://gate.test","value":%q,"at":%d}`,
		claims.ID, claims.Expiry)); status >= 300 {
		t.Fatalf("%d", status)
	}
	if status, reason, _ := g.show("GET", revoked.URL, ""); status != 401 || reason != "token_revoked" {
		t.Errorf("revoked: %d %s", status, reason)
	}
	reload := func(more ...string) {
		t.Helper()
		g.write(append(append([]string{}, edits...), more...)...)
		if err := g.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	reload()
	if status, reason, _ := g.show("GET", kept.URL, ""); status != 200 {
		t.Errorf("after a reload: %d %s", status, reason)
	}
	if status, reason, _ := g.show("GET", used.URL, ""); status != 401 || reason != "ticket_used" {
		t.Errorf("used before a reload: %d %s", status, reason)
	}
	closed, uncovered := g.ticket("GET /s/acme/", g.token("acme")), g.ticket("GET /s/acme/", g.token("acme"))
	short := func() drawn {
		_, d, _ := g.wish(`{"request": "GET /s/acme/", "expires_in": 1}`, "Authorization", "Bearer "+g.token("acme"))
		return d
	}()
	if short.ExpiresIn != 1 {
		t.Errorf("%+v", short)
	}
	g.write("routes:", strings.Replace(ticketRoutes, "action: READ}, up", "action: WRITE}, up", 1), edits[2], edits[3])
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	if status, reason, _ := g.show("GET", closed.URL, ""); status != 403 || reason != "action_denied" {
		t.Errorf("another action: %d %s", status, reason)
	}
	reload(`delegate: [{tenant: "*"`, `delegate: [{tenant: other`)
	if status, reason, _ := g.show("GET", uncovered.URL, ""); status != 401 || reason != "grantor_not_covering" {
		t.Errorf("a grantor who may not: %d %s", status, reason)
	}
	reload()
	for end := time.Now().Add(1100 * time.Millisecond); time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	if status, reason, _ := g.show("GET", short.URL, ""); status != 401 || reason != "token_expired" {
		t.Errorf("after its life: %d %s", status, reason)
	}
	again := &gate{t: t, file: g.file, log: new(lines), app: g.app}
	lost := g.ticket("GET /s/acme/", g.token("acme"))
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	again.run()
	if status, _, _ := again.get(lost.URL); status != 401 {
		t.Errorf("after a restart: %d", status)
	}
}

// TestABoundTokenDrawsWithItsProof: the proof is for the POST, and the ticket is a bearer then.
func TestABoundTokenDrawsWithItsProof(t *testing.T) {
	t.Parallel()
	g := ticketGate(t, "may: [issue_codes]", "permissions: [{tenant: acme, actions: [READ]}]")
	key := dpoptest.New(t, "ES256", 0)
	r, err := http.NewRequest(http.MethodPost, g.url("/oauth2/token"),
		strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("web", "0123456789abcdefghijkl")
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) // the process remembers from then on
	r.Header.Set("DPoP", key.Proof("POST", "https://gate.test/oauth2/token", time.Now()))
	var issued struct {
		Token string `json:"access_token"`
	}
	decode(t, exchangeOf(t, r), &issued)
	const body = `{"request": "GET /s/acme/"}`
	status, _, a := g.wish(body, "Authorization", "Bearer "+issued.Token)
	if reason := g.reason(a.Header.Get("X-Request-Id")); status != 401 || reason != "token_bound" {
		t.Errorf("as a bearer: %d %s", status, reason)
	}
	proof := func(method, path string) string {
		return key.Proof(method, g.url(path), time.Now(), dpoptest.For(issued.Token))
	}
	status, _, a = g.wish(body, "Authorization", "DPoP "+issued.Token, "DPoP", proof("GET", "/s/acme/"))
	if reason := g.reason(a.Header.Get("X-Request-Id")); status != 401 || reason != "proof_mismatch" {
		t.Errorf("a proof for the request that is to come: %d %s", status, reason)
	}
	status, d, _ := g.wish(body, "Authorization", "DPoP "+issued.Token, "DPoP", proof("POST", "/api/v1/tickets"))
	if status != 201 {
		t.Fatalf("%d %s", status, g.log)
	}
	if status, reason, _ := g.show("GET", d.URL, ""); status != 200 {
		t.Errorf("%d %s", status, reason)
	}
}

// TestTicketsAcrossOrigins: the endpoint speaks CORS as the token endpoints do.
func TestTicketsAcrossOrigins(t *testing.T) {
	t.Parallel()
	g := ticketGate(t, "clients:", "serve: {cors: {origins: [\"https://spa.example\"]}}\n  clients:")
	r, err := http.NewRequest(http.MethodOptions, g.url("/api/v1/tickets"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Origin", "https://spa.example")
	r.Header.Set("Access-Control-Request-Method", "POST")
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	if a.StatusCode != 204 || a.Header.Get("Access-Control-Allow-Origin") != "https://spa.example" ||
		!strings.Contains(a.Header.Get("Access-Control-Allow-Methods"), "POST") {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
	_, _, answer := g.wish(`{"request": "GET /s/acme/"}`, "Authorization", "Bearer "+g.token("acme"),
		"Origin", "https://spa.example")
	if answer.StatusCode != 201 || answer.Header.Get("Access-Control-Allow-Origin") != "https://spa.example" {
		t.Errorf("%d %v", answer.StatusCode, answer.Header)
	}
}
