package app_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// What a route in shadow lets through is told everywhere where a refusal would be, and the shadow itself is told
// loudly.
func TestAShadowIsTold(t *testing.T) {
	t.Parallel()
	g := startGate(t, `action: READ}, upstream`, `action: READ}, shadow: true, upstream`)
	token := g.token("acme")
	if status, _, _ := g.get("/t/other/x?access_token=no-secret-of-ours"); status != http.StatusOK {
		t.Errorf("without a token: %d", status)
	}
	if status, _, _ := g.get("/t/other/x", "Authorization", "Bearer "+token); status != http.StatusOK {
		t.Errorf("another tenant: %d", status)
	}
	if status, _, _ := g.get("/t/acme/x", "Authorization", "Bearer "+token); status != http.StatusOK {
		t.Errorf("allowed: %d", status)
	}
	if status, _, _ := g.get("/t/a%2Fb/x", "Authorization", "Bearer "+token); status != http.StatusBadRequest {
		t.Errorf("an encoded slash: %d", status)
	}
	g.tells(
		`jotgate_requests_total{method="GET",reason="",route="/t/{tenant}/",status="2xx"} 3`,
		`jotgate_shadow_refusals_total{reason="tenant_denied",route="/t/{tenant}/"} 1`,
		`jotgate_shadow_refusals_total{reason="token_in_query",route="/t/{tenant}/"} 1`,
		`jotgate_shadow_routes 1`,
	)
	if got, want := g.ready(), "ready\nwarning: route /t/{tenant}/: in shadow, lets through what it "+
		"should refuse\n"; got != want {
		t.Errorf("readyz: %s", got)
	}
	g.eventually(`"reason":"path_ambiguous"`)
	var reasons []string
	loud := false
	for line := range strings.Lines(g.log.String()) {
		var l struct {
			Level, Msg, Log, Reason string
			Routes                  []string
			Shadow                  string `json:"shadow_reason"`
			Detail                  string `json:"shadow_detail"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		loud = loud || l.Level == "warn" && strings.HasPrefix(l.Msg, "IN SHADOW") && len(l.Routes) == 1 &&
			l.Routes[0] == "/t/{tenant}/"
		if l.Log == "access" {
			reasons = append(reasons, l.Shadow+" "+l.Reason)
		}
	}
	if got := strings.Join(reasons, ","); got != "token_in_query ,tenant_denied , , path_ambiguous" {
		t.Errorf("the access lines have %s", got)
	}
	if !loud {
		t.Errorf("nothing loud in the log:\n%s", g.log)
	}
	if strings.Contains(g.log.String(), "no-secret-of-ours") || strings.Contains(g.log.String(), token) {
		t.Error("the log has a credential")
	}
}
