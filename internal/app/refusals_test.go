package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jotgate/jotgate/internal/app"
)

// past asks admin about a refusal.
func (g *gate) past(id string) (int, app.Refused, string) {
	g.t.Helper()
	status, body := g.operate("POST", "/explain", operatorToken, `{"request_id":"`+id+`"}`)
	var kept app.Refused
	if status == http.StatusOK {
		if err := json.Unmarshal([]byte(body), &kept); err != nil {
			g.t.Fatalf("%v in %s", err, body)
		}
	}
	return status, kept, body
}

// What explain tells of a refusal afterwards is what it told at that moment, without the token.
func TestExplainAfterTheFact(t *testing.T) {
	t.Parallel()
	g := startGate(t, "routes:\n", "routes:\n  - {path: /far/, public: true, upstream: \"http://127.0.0.1:1\"}\n")
	token := g.token("acme")
	for _, c := range []struct {
		path, authorization string
		status              int
		reason, step        string // the last step
	}{
		{"/t/other/7?secret=query-of-the-client", "Bearer " + token, 403, "tenant_denied", "refused permission"},
		{"/t/acme/7", "", 401, "token_missing", "refused bearer"},
		{"/t/acme/7", "Bearer " + token[:len(token)-6], 401, "token_signature_invalid", "refused token"},
		{"/T/acme/7", "", 404, "route_not_found", "refused route"},
		{"/open/../x", "", 400, "path_ambiguous", ""},
		{"/api/1/access_token/" + token, "", 401, "", ""},
		{"/far/x", "", 502, "upstream_unreachable", ""},
	} {
		header := []string{"Cookie", "session=cookie-of-the-client"}
		if c.authorization != "" {
			header = append(header, "Authorization", c.authorization)
		}
		answer := g.dial(c.path, header...)
		id := answer.Header.Get("X-Request-Id")
		g.eventually(`"request_id":"` + id + `"`)
		status, kept, body := g.past(id)
		last := ""
		if kept.Trace != nil && len(kept.Steps) > 0 {
			s := kept.Steps[len(kept.Steps)-1]
			last = s.Outcome + " " + s.Check
		}
		switch {
		case status != 200 || kept.RequestID != id || kept.Allowed || kept.Status != answer.StatusCode:
			t.Errorf("%s: %d %s", c.path, status, body)
		case c.reason != "" && (answer.StatusCode != c.status || string(kept.Reason) != c.reason || last != c.step):
			t.Errorf("%s: %d %s, last step %q: want %d %s, %q",
				c.path, kept.Status, kept.Reason, last, c.status, c.reason, c.step)
		}
		for _, secret := range []string{token, token[strings.LastIndexByte(token, '.')+1:][:20], "query-of", "cookie-of"} {
			if strings.Contains(body, secret) {
				t.Errorf("%s: a credential, or what could be one: %s", c.path, body)
			}
		}
	}
	answer := g.dial("/t/other/7", "Authorization", "Bearer "+token)
	id := answer.Header.Get("X-Request-Id")
	g.eventually(`"request_id":"` + id + `"`)
	_, kept, body := g.past(id)
	now, err := g.Trace(app.Question{Request: "GET http://" + g.Addr("main").String() + "/t/other/7", Token: token})
	if err != nil || kept.Subject != "alice" || kept.Token == nil ||
		kept.Detail != now.Detail || kept.Needed != now.Needed ||
		fmt.Sprint(kept.Permissions) != fmt.Sprint(now.Permissions) || len(kept.Steps) != len(now.Steps) {
		t.Errorf("then %s\nnow  %+v, %v", body, now, err)
	}
	if kept.Trace != nil && now != nil {
		for i := range min(len(kept.Steps), len(now.Steps)) {
			if a, b := kept.Steps[i], now.Steps[i]; a.Check != b.Check || a.Outcome != b.Outcome && a.Check != "revocation" {
				t.Errorf("then %v, now %v", kept.Steps[i], now.Steps[i])
			}
		}
	}
	answer = g.dial("/open/")
	if status, _, _ := g.past(answer.Header.Get("X-Request-Id")); status != 404 {
		t.Errorf("a request that was not refused: %d", status)
	}
	if status, body := g.operate("POST", "/explain", "somebody", `{"request_id":"`+id+`"}`); status != 401 {
		t.Errorf("without the token: %d %s", status, body)
	}
	for _, bad := range []string{`{"request_id":"` + id + `","token":"x"}`, `{"request_id":""}`, `{"request_id":1}`} {
		if status, body := g.operate("POST", "/explain", operatorToken, bad); status != 400 {
			t.Errorf("%s: %d %s", bad, status, body)
		}
	}
}

// TestRefusalsAreFoundByOurOwnID: behind a trusted proxy a client can often choose the request id, and so give two
// requests one, or give its own that of another's.
func TestRefusalsAreFoundByOurOwnID(t *testing.T) {
	t.Parallel()
	g := startGate(t, "listen: 127.0.0.1:0\n", "listen: 127.0.0.1:0\ntrusted_proxies: [127.0.0.0/8]\n",
		"routes:\n", "routes:\n  - {path: /far/, public: true, upstream: \"http://127.0.0.1:1\"}\n")
	const chosen = "chosen-by-the-client"
	seen := map[string]bool{chosen: true}
	for _, path := range []string{"/t/acme/7", "/nowhere", "/open/../x", "/far/x"} {
		answer, body := g.roundTrip(path, "X-Request-Id", chosen)
		id := answer.Header.Get("X-Request-Id")
		if seen[id] || len(answer.Header["X-Request-Id"]) != 1 || !strings.Contains(string(body), `"request_id":"`+id+`"`) {
			t.Errorf("%s: request id %q: %s", path, answer.Header["X-Request-Id"], body)
		}
		seen[id] = true
		g.eventually(`"request_id":"` + id + `","proxy_request_id":"` + chosen + `"`)
		if status, kept, body := g.past(id); status != 200 || kept.Status != answer.StatusCode {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _, body := g.past(chosen); status != 404 {
		t.Errorf("by the proxy's id: %d %s", status, body)
	}
	for id := range seen { // what a client has seen of another's refusal does not let it cover that one
		before := map[string]string{}
		_, _, before[id] = g.past(id)
		g.dial("/nowhere", "X-Request-Id", id)
		if _, _, after := g.past(id); after != before[id] {
			t.Errorf("%s: %s, and then %s", id, before[id], after)
		}
	}
}

func (g *gate) dial(target string, header ...string) *http.Response {
	g.t.Helper()
	answer, _ := g.roundTrip(target, header...)
	return answer
}

func TestTheRingOfRefusalsIsBounded(t *testing.T) {
	t.Parallel()
	g := startGate(t, "admin: {", "admin: {refusals: 3, ")
	var ids []string
	for range 5 {
		ids = append(ids, g.dial("/nowhere").Header.Get("X-Request-Id"))
	}
	g.eventually(`"request_id":"` + ids[4] + `"`)
	for i, want := range []int{404, 404, 200, 200, 200} {
		if status, _, body := g.past(ids[i]); status != want {
			t.Errorf("%d: %d %s", i, status, body)
		}
	}
	none := startGate(t, "admin: {", "admin: {refusals: 0, ")
	id := none.dial("/nowhere").Header.Get("X-Request-Id")
	none.eventually(`"request_id":"` + id + `"`)
	if status, _, _ := none.past(id); status != 404 {
		t.Errorf("with refusals: 0: %d", status)
	}
}
