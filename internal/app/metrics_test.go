package app_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// scrape is what the admin listener tells Prometheus, without a token.
func (g *gate) scrape() string {
	g.t.Helper()
	answer, err := http.Get("http://" + g.AdminAddr().String() + "/metrics")
	if err != nil {
		g.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		g.t.Fatalf("metrics: %d %v", answer.StatusCode, err)
	}
	return string(body)
}

func (g *gate) tells(lines ...string) {
	g.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) { // some count behind what they count
		got := g.scrape()
		missing := slices.IndexFunc(lines, func(line string) bool { return !strings.Contains("\n"+got, "\n"+line) })
		if missing < 0 {
			return
		}
		if time.Now().After(end) {
			g.t.Fatalf("no line %s in\n%s", lines[missing], got)
		}
	}
}

func TestMetricsOfARunningGate(t *testing.T) {
	t.Parallel()
	g := startGate(t, "{path: /open/", "{name: open, path: /open/")
	token := g.token("acme")
	g.get("/open/")
	g.get("/open/")
	g.get("/t/acme/", "Authorization", "Bearer "+token)
	g.get("/t/other/", "Authorization", "Bearer "+token)
	g.get("/nowhere")
	g.raw("GET / HTTP/1.1\nHost: x\n\n") // refused before any handler
	g.write("routes:", "nonsense:")
	if g.Reload() == nil {
		t.Error("a bad config was taken")
	}
	g.tells(
		`jotgate_requests_total{method="GET",reason="",route="open",status="2xx"} 2`,
		`jotgate_requests_total{method="GET",reason="",route="/t/{tenant}/",status="2xx"} 1`,
		`jotgate_requests_total{method="GET",reason="tenant_denied",route="/t/{tenant}/",status="4xx"} 1`,
		`jotgate_requests_total{method="GET",reason="route_not_found",route="none",status="4xx"} 1`,
		`jotgate_requests_total{method="other",reason="request_malformed",route="none",status="4xx"} 1`,
		`jotgate_upstream_seconds_count{route="open"} 2`,
		`jotgate_added_seconds_count 5`,
		`jotgate_reloads_total{result="done"} 0`,
		`jotgate_reloads_total{result="refused"} 1`,
		`jotgate_token_cache_tokens 1`,
		`jotgate_token_cache_hits_total 1`,
		`jotgate_token_cache_misses_total 1`,
		`jotgate_config_generation 1`, // the refused reload changes nothing
		`jotgate_config_info{digest="`+g.Config().Digest+`"} 1`,
		`jotgate_replay_used_codes{client="web"} 0`,
		`jotgate_replay_capacity{client="web"} 1.048576e+06`,
		`jotgate_connections_turned_away_total 0`,
		`jotgate_connections_open `,
		`jotgate_config_loaded_timestamp_seconds `,
		`jotgate_build_info{`,
		`go_goroutines `,
	)
	if strings.Contains(g.scrape(), token[:20]) {
		t.Error("the metrics show a token")
	}
	g.write()
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	g.tells(`jotgate_reloads_total{result="done"} 1`, `jotgate_config_generation 2`, `jotgate_config_info{digest="`+
		g.Config().Digest+`"} 1`)
	if got := g.scrape(); strings.Contains(got, `route="open"`) {
		t.Errorf("a route that is gone is still told:\n%s", got)
	}
}
