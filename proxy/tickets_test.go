package proxy

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/replay"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/ticket"
	"github.com/jotgate/jotgate/internal/token"
)

const ticketRoutes = `  - {path: /taken, require: {tenant: acme, action: READ}, upstream: app, token_from: [ticket]}
  - {path: /named, require: {tenant_from: header.X-Tenant, action: READ}, upstream: app, token_from: [ticket]}
  - {path: /sock, require: authenticated, upstream: app, upgrade: true, token_from: [ticket]}
  - {path: /up, require: authenticated, upstream: app, token_from: [ticket]}
  - {path: /dark, require: {tenant: acme, action: READ}, upstream: app, shadow: true, token_from: [ticket]}
`

type guard struct{ *replay.Memory }

func (g guard) Consume(ctx context.Context, u replay.Use, _ int64) error {
	return g.Memory.Consume(ctx, u)
}

// ticketHouse is a house whose gate draws and takes tickets.
func ticketHouse(t *testing.T) *house {
	t.Helper()
	h := newHouse(t)
	h.load(settings + ticketRoutes)
	memory := must(replay.NewMemory(replay.Options{Clients: h.config.TicketOwners(), Capacity: 100, Clock: h.clock}))
	h.gate.tickets = &Tickets{
		Sealer: must(ticket.New([][]byte{[]byte(strings.Repeat("s", 32))}, memory.Epoch())), Guard: guard{memory},
		TTL: 30 * time.Second,
	}
	return h
}

// draw asks the gate for a ticket.
func (h *house) draw(body, bearer string) (int, drawn, refusal.Reason) {
	h.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/api/v1/tickets", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+bearer)
	w := httptest.NewRecorder()
	x := new(request.Exchange)
	x.Begin(w, time.Now())
	x.ID, x.Host, x.Scheme = "id", "app.example", "http"
	if err := x.Target.Parse("/api/v1/tickets"); err != nil {
		h.t.Fatal(err)
	}
	h.gate.ServeTickets(x, r)
	var d struct {
		Ticket, URL string
		ExpiresIn   int64 `json:"expires_in"`
	}
	if w.Code == 201 {
		if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
			h.t.Fatal(err)
		}
	}
	return w.Code, drawn{d.Ticket, d.URL, d.ExpiresIn}, x.Reason
}

// TestATicketNeverOutlivesItsToken, nor its own life, to the millisecond.
func TestATicketNeverOutlivesItsToken(t *testing.T) {
	t.Parallel()
	h := ticketHouse(t)
	short := h.mint(func(c *token.Claims) { c.Expiry = h.now.Load() + 10_500 })
	_, d, _ := h.draw(`{"request": "GET /taken"}`, short)
	if d.seconds != 10 {
		t.Errorf("expires_in %d", d.seconds)
	}
	_, long, _ := h.draw(`{"request": "GET /taken"}`, h.mint())
	h.now.Add(10_500)
	if got := h.get(d.url, ""); got.reason != refusal.TokenExpired {
		t.Errorf("when the token has ended: %d %s", got.status, got.reason)
	}
	h.now.Add(30_000 - 10_500 - 1)
	if got := h.get(long.url, ""); got.status != 200 {
		t.Errorf("in its last millisecond: %d %s", got.status, got.reason)
	}
	h.now.Add(1)
	if got := h.get(long.url, ""); got.reason != refusal.TokenExpired {
		t.Errorf("after it: %d %s", got.status, got.reason)
	}
}

// TestTicketsOfOtherIssuersTokens: roles, narrowed by none, and what does not fit.
func TestTicketsOfOtherIssuersTokens(t *testing.T) {
	t.Parallel()
	h := ticketHouse(t)
	reader := h.mintForeign("https://roles.example", `"roles": ["reader"]`)
	status, d, reason := h.draw(`{"request": "GET /taken"}`, reader)
	if status != 201 {
		t.Fatalf("%d %s", status, reason)
	}
	if got := h.get(d.url, ""); got.status != 200 {
		t.Errorf("%d %s", got.status, got.reason)
	}
	writer := h.mintForeign("https://roles.example", `"roles": ["writer"]`)
	if status, _, reason = h.draw(`{"request": "GET /taken"}`, writer); status != 403 || reason != refusal.ActionDenied {
		t.Errorf("%d %s", status, reason)
	}
	noise := make([]byte, 1500)
	rand.Read(noise)
	text := string(must(json.Marshal(noise)))
	large := h.mintForeign("https://roles.example", `"roles": ["reader"], "more": `+text)
	if status, _, reason = h.draw(`{"request": "GET /taken"}`, large); status != 400 || reason != refusal.BodyInvalid {
		t.Errorf("%d %s", status, reason)
	}
}

// TestATicketHoldsWhatDecides: of many entries the one, for the tenant that was asked for and no other.
func TestATicketHoldsWhatDecides(t *testing.T) {
	t.Parallel()
	h := ticketHouse(t)
	many := h.mint(func(c *token.Claims) {
		c.Permissions = nil
		for i := range 300 {
			c.Permissions = append(c.Permissions, token.TenantPermission{
				Tenant: "t" + strings.Repeat("x", i%40) + string(rune('a'+i%26)), AllowedActions: []string{"READ"},
			})
		}
		c.Permissions = append(c.Permissions, token.TenantPermission{Tenant: "*", AllowedActions: []string{"READ"}})
	})
	if len(many) > h.config.Limits.TokenBytes {
		many = h.mint(func(c *token.Claims) {
			c.Permissions = token.Permissions{
				{Tenant: "locked", AllowedActions: []string{"NOTHING"}}, {Tenant: "*", AllowedActions: []string{"READ"}},
			}
		})
	}
	status, d, reason := h.draw(`{"request": "GET /taken"}`, many)
	if status != 201 {
		t.Fatalf("%d %s", status, reason)
	}
	c := must(h.gate.tickets.Sealer.Open(d.ticket))
	if v := must(h.gate.verifier.Restored(c.Type, c.KeyID, c.Claims)); len(v.Claims.Permissions) != 1 ||
		v.Claims.Permissions[0].Tenant != "acme" {
		t.Errorf("%+v", v.Claims.Permissions)
	}
	if got := h.get(d.url, ""); got.status != 200 {
		t.Errorf("%d %s", got.status, got.reason)
	}
}

// TestATicketIsBoundToItsTenant, wherever the request has that.
func TestATicketIsBoundToItsTenant(t *testing.T) {
	t.Parallel()
	h := ticketHouse(t)
	now := h.now.Load()
	payload := `{"iss":"https://gate.example","sub":"alice","aud":"https://api.example","client_id":"web","jti":"i",` +
		`"iat":` + string(must(json.Marshal(now/1000))) + `,"exp":` + string(must(json.Marshal(now/1000+100))) +
		`,"grantor":"web","tenantPermissions":[{"tenant":"*","allowedActions":["READ"]}]}`
	for tenant, want := range map[string]refusal.Reason{"other": refusal.TicketMismatch, "acme": ""} {
		q := ticket.Request{Method: "GET", Host: "app.example", Path: "/named"}
		sealed := must(h.gate.tickets.Sealer.Seal(&ticket.Content{
			Request: q.Digest(), Made: now, Expiry: now + 1000, Tenant: "acme", Type: "at+jwt", Claims: payload,
		}))
		if got := h.get("/named?ticket="+sealed, "", "X-Tenant: "+tenant); got.reason != want {
			t.Errorf("%s: %d %s", tenant, got.status, got.reason)
		}
	}
}

// TestWhatIsRefusedDoesNotUseATicketUp: an upgrade that the route does not allow, and a shadow that lets anything
// through gets the query without the ticket.
func TestWhatIsRefusedDoesNotUseATicketUp(t *testing.T) {
	t.Parallel()
	h := ticketHouse(t)
	_, d, _ := h.draw(`{"request": "GET /up"}`, h.mint())
	upgrade := []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: a", "Sec-WebSocket-Version: 13"}
	if got := h.get(d.url, "", upgrade...); got.reason != refusal.UpgradeNotAllowed {
		t.Fatalf("%d %s", got.status, got.reason)
	}
	if got := h.get(d.url, ""); got.status != 200 {
		t.Errorf("%d %s", got.status, got.reason)
	}
	h.app.forget()
	if got := h.get("/dark?a=1&ticket=forged", ""); got.status != 200 {
		t.Errorf("%d %s", got.status, got.reason)
	}
	if seen := h.app.seen(); len(seen) != 1 || seen[0].line != "GET /dark?a=1 HTTP/1.1" {
		t.Errorf("%+v", seen)
	}
	if status, _, reason := h.draw(`{"request": "GET /dark"}`, "a.b.c"); status != 401 {
		t.Errorf("drawn in shadow: %d %s", status, reason)
	}
}

// TestASpentTicketVouchesForNoOne: a shadow lets a used ticket's request through, but says nothing of whose it was.
func TestASpentTicketVouchesForNoOne(t *testing.T) {
	t.Parallel()
	h := ticketHouse(t)
	_, d, _ := h.draw(`{"request": "GET /dark"}`, h.mint())
	for i, want := range []string{"alice", ""} {
		h.app.forget()
		if got := h.get(d.url, ""); got.status != 200 {
			t.Fatalf("%d %s", got.status, got.reason)
		}
		seen := h.app.seen()
		if len(seen) != 1 || strings.Join(seen[0].get("X-Jotgate-Subject"), "|") != want {
			t.Errorf("time %d: %+v, want subject %q", i+1, seen, want)
		}
	}
}

// TestAStreamOfATicketEndsWithItsToken: a WebSocket, opened by a ticket, and cut when the token is revoked.
func TestAStreamOfATicketEndsWithItsToken(t *testing.T) {
	t.Parallel()
	h := ticketHouse(t)
	upstream := h.script("")
	_, d, _ := h.draw(`{"request": "GET /sock"}`, h.mint())
	c, in := h.dial()
	io.WriteString(c, head("GET", d.url, "", upgradeLines...))
	r, err := http.ReadResponse(in, nil)
	if err != nil || r.StatusCode != 101 || r.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%+v %v", r, err)
	}
	if seen := h.app.seen(); len(seen) != 1 || seen[0].line != "GET /sock HTTP/1.1" {
		t.Errorf("%+v", seen)
	}
	h.revoked.ids.Store("id-1", true)
	if _, err := io.ReadAll(in); err != nil {
		t.Errorf("%v", err)
	}
	c.Close()
	<-upstream
	if reason := h.visit().Reason; reason != refusal.TokenRevoked {
		t.Errorf("%s", reason)
	}
}

// TestAFrontsQuestionTakesNoTicket: the front could not take it out of the query. It is not used up.
func TestAFrontsQuestionTakesNoTicket(t *testing.T) {
	t.Parallel()
	h := ticketHouse(t)
	_, d, _ := h.draw(`{"request": "GET /taken"}`, h.mint())
	r := httptest.NewRequest(http.MethodGet, d.url, nil)
	x := new(request.Exchange)
	x.Begin(httptest.NewRecorder(), time.Now())
	x.Host, x.Scheme = "app.example", "http"
	if err := x.Target.Parse(d.url); err != nil {
		t.Fatal(err)
	}
	if _, err := h.gate.Decide(x, r); refusal.Of(err) != refusal.TokenMissing {
		t.Errorf("%v", err)
	}
	if got := h.get(d.url, ""); got.status != 200 {
		t.Errorf("%d %s", got.status, got.reason)
	}
}

// TestATicketEndsWithTheKeyOfItsToken.
func TestATicketEndsWithTheKeyOfItsToken(t *testing.T) {
	t.Parallel()
	h := ticketHouse(t)
	_, d, _ := h.draw(`{"request": "GET /taken"}`, h.mint())
	before := h.keys.Load()
	h.keys.Store(must(jose.NewKeySet(must(jose.Generate("ES256")).Public())))
	if got := h.get(d.url, ""); got.reason != refusal.TokenKeyUnknown {
		t.Errorf("%d %s", got.status, got.reason)
	}
	h.keys.Store(before)
	if got := h.get(d.url, ""); got.status != 200 {
		t.Errorf("%d %s", got.status, got.reason)
	}
}

// TestSharesOfTickets: our clients and the other issuers have one each.
func TestSharesOfTickets(t *testing.T) {
	t.Parallel()
	h := ticketHouse(t)
	owners := h.config.TicketOwners()
	if len(owners) != len(h.config.Issuer.Clients)+len(h.config.TrustedIssuers) {
		t.Errorf("%q", owners)
	}
	if config.TicketOwner(true, "x", "a") == config.TicketOwner(false, "a", "") {
		t.Error("a client and an issuer of one name share")
	}
}

// TestExplainOfATicket tells what would be decided, uses nothing up, and does not show the ticket.
func TestExplainOfATicket(t *testing.T) {
	t.Parallel()
	h := ticketHouse(t)
	_, d, _ := h.draw(`{"request": "GET /taken?x=1"}`, h.mint())
	ask := func(target string) string {
		text, err := json.Marshal(h.trace("GET "+target+" HTTP/1.1\r\nHost: app.example\r\n\r\n", Bearer{}))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), d.ticket[:20]) {
			t.Errorf("it shows the ticket: %s", text)
		}
		return string(text)
	}
	for range 2 {
		if said := ask(d.url); strings.Contains(said, `"reason"`) ||
			!strings.Contains(said, "whether it was used before was not asked") {
			t.Errorf("a good one: %s", said)
		}
	}
	if said := ask("/taken?x=2&ticket=" + d.ticket); !strings.Contains(said, string(refusal.TicketMismatch)) {
		t.Errorf("for another request: %s", said)
	}
	if got := h.get(d.url, ""); got.status != 200 {
		t.Errorf("explain has used it up: %d %s", got.status, got.reason)
	}
	h.now.Add(31_000)
	if said := ask(d.url); !strings.Contains(said, string(refusal.TokenExpired)) {
		t.Errorf("an old one: %s", said)
	}
}
