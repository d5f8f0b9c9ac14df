package proxy

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/token"
)

// The model is api.md's evaluation rules and design.md's order, written down a second time, as plainly as they are
// there. It knows nothing of the gate's own code but the words of the reasons.

type question struct {
	path    string // of settings
	tenant  string // as the request says it
	claims  *token.Claims
	ceiling []token.TenantPermission
}

func model(q *question) refusal.Reason {
	c := q.claims
	if c.Scope != "" {
		return refusal.TokenManagement
	}
	if len(c.Audience) != 1 || c.Audience[0] != "https://api.example" {
		return refusal.TokenAudienceMismatch
	}
	if c.Subject == "web" || c.Subject == "narrow" {
		if c.Subject != c.ClientID || c.ClientID != c.Grantor {
			return refusal.TokenSubjectReserved
		}
	}
	if c.Grantor != "web" && c.Grantor != "narrow" {
		return refusal.GrantorUnknown
	}
	for _, tenant := range []string{"acme", "other", "third", "*"} {
		for _, action := range []string{"READ", "WRITE", "CREATE", "any"} {
			if modelAllows(c.Permissions, tenant, action) && !modelAllows(q.ceiling, tenant, action) {
				return refusal.GrantorNotCovering
			}
		}
	}
	tenant, action := q.tenant, "READ"
	switch q.path {
	case "/me":
		return ""
	case "/global":
		tenant, action = "*", "CREATE"
	case "/fixed":
		tenant = "acme"
	default:
		if tenant == "" {
			return refusal.TenantMissing
		}
		if tenant == "*" {
			return refusal.TenantMalformed
		}
	}
	for _, e := range c.Permissions {
		if e.Tenant == tenant || e.Tenant == "*" {
			if modelHolds(e.AllowedActions, action) {
				return ""
			}
			return refusal.ActionDenied
		}
	}
	return refusal.TenantDenied
}

func modelAllows(p []token.TenantPermission, tenant, action string) bool {
	for _, e := range p {
		if e.Tenant == tenant || e.Tenant == "*" {
			return modelHolds(e.AllowedActions, action)
		}
	}
	return false
}

func modelHolds(actions []string, action string) bool {
	for _, a := range actions {
		if a == action || a == "*" {
			return true
		}
	}
	return false
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func (h *house) ask(r *rand.Rand) *question {
	c := h.claims()
	c.Subject = pick(r, "alice", "alice", "alice", "web", "narrow")
	c.Grantor = pick(r, "web", "web", "web", "narrow", "old")
	c.ClientID = pick(r, "web", "web", "narrow")
	c.Scope = pick(r, "", "", "", "", "", "", "", "issue_codes")
	c.Audience = []string{pick(r, "https://api.example", "https://api.example", "https://api.example",
		"https://x.example")}
	c.Permissions = token.Permissions{}
	for range r.IntN(4) {
		e := token.TenantPermission{Tenant: pick(r, "acme", "other", "*"), AllowedActions: []string{}}
		for range r.IntN(3) {
			e.AllowedActions = append(e.AllowedActions, pick(r, "READ", "WRITE", "CREATE", "*"))
		}
		c.Permissions = append(c.Permissions, e)
	}
	q := &question{
		path:   pick(r, "/h", "/h", "/h", "/me", "/fixed", "/global"),
		tenant: pick(r, "acme", "other", "third", "", "*"), claims: c,
	}
	for _, client := range h.config.Issuer.Clients {
		if client.ID == c.Grantor {
			q.ceiling = client.Delegate
			if c.Subject == c.ClientID && c.ClientID == c.Grantor {
				q.ceiling = client.Permissions
			}
		}
	}
	return q
}

// answer asks the gate, up to its upstream. A part of the tokens comes twice, so that cached ones are judged as well.
func (h *house) answer(q *question, bearer string) refusal.Reason {
	r := httptest.NewRequest(http.MethodGet, q.path, nil)
	r.Header["Authorization"] = []string{"Bearer " + bearer}
	if q.tenant != "" {
		r.Header["X-Tenant"] = []string{q.tenant}
	}
	x := new(request.Exchange)
	x.Begin(httptest.NewRecorder(), h.clock())
	x.Host = "app.example"
	if err := x.Target.Parse(q.path); err != nil {
		return refusal.Of(err)
	}
	return refusal.Of(h.gate.admit(&inbound{x: x, r: r, now: h.clock()}))
}

// The gate and the model agree on every request that the generator thinks of. JOTGATE_CAMPAIGN makes it ten million.
func TestTheGateAgreesWithTheModel(t *testing.T) {
	t.Parallel()
	n := 100_000
	if os.Getenv("JOTGATE_CAMPAIGN") != "" {
		n = 10_000_000
	}
	h := newHouse(t)
	r := rand.New(rand.NewPCG(rand.Uint64(), 1))
	outcomes := map[refusal.Reason]int{}
	for i := 0; i < n; {
		// A signature costs more than all the rest, so each token is asked about several routes and tenants.
		first := h.ask(r)
		bearer := h.mint(func(c *token.Claims) { *c = *first.claims })
		for range 20 {
			q := h.ask(r)
			q.claims, q.ceiling = first.claims, first.ceiling
			want, got := model(q), h.answer(q, bearer)
			if got != want {
				t.Fatalf("%s tenant %q, token %+v:\nthe gate says %q, the model %q", q.path, q.tenant, *q.claims, got, want)
			}
			outcomes[got]++
			i++
		}
	}
	for _, reason := range strings.Fields("action_denied tenant_denied tenant_missing tenant_malformed token_management " +
		"token_audience_mismatch grantor_unknown grantor_not_covering token_subject_reserved") {
		if outcomes[refusal.Reason(reason)] == 0 {
			t.Errorf("the generator never made a request that is refused for %s", reason)
		}
	}
	if ok := outcomes[""]; ok < n/20 {
		t.Errorf("only %d of %d are let through: %s", ok, n, fmt.Sprint(outcomes))
	}
}
