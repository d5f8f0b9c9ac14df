package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/jotgate/jotgate/internal/redistest"
)

const rulesFile = "deploy/prometheus/jotgate.rules.yaml"

// Prometheus's own tool reads the alert rules, and plays the cases that stand beside them: when each alert comes, and
// when not.
func TestAlertRulesHoldTheirOwnTests(t *testing.T) {
	t.Parallel()
	needs(t, "promtool", "prometheus")
	if out := tool(t, "promtool", "check", "rules",
		rulesFile); !regexp.MustCompile(`SUCCESS: [1-9][0-9]* rules found`).MatchString(out) {
		t.Errorf("check rules: %s", out)
	}
	const cases, week = "deploy/prometheus/jotgate.rules.test.yaml", "deploy/prometheus/jotgate.rules.week.test.yaml"
	tool(t, "promtool", "test", "rules", cases, week)
	// No alert is without a case of its own.
	var rules struct {
		Groups []struct{ Rules []struct{ Alert string } }
	}
	unmarshal(t, rulesFile, &rules)
	tested := readFile(t, cases) + readFile(t, week)
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			for _, case_ := range []string{"alertname: " + r.Alert + ", exp_alerts: []", "alertname: " + r.Alert +
				"\n        exp_alerts:\n"} {
				if !strings.Contains(tested, case_) {
					t.Errorf("%s: no case with %q", r.Alert, case_)
				}
			}
		}
	}
}

func unmarshal(t *testing.T, file string, to any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, to); err != nil {
		t.Fatal(err)
	}
}

// openWatched opens a gate that has every metric to tell: an issuer, a memory of revoked tokens, a certificate, a
// trusted issuer whose keys cannot be fetched, a route in shadow, and requests of several outcomes. more is more of its
// config.
func openWatched(t *testing.T, more string) (g *gate, admin string) {
	t.Helper()
	app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(app.Close)
	folder := t.TempDir()
	certificate(t, folder, "site", 1, "gate.test")
	g = openGate(t, `version: 1
listeners:
  - {name: main, address: "127.0.0.1:0"}
  - {name: tls, address: "127.0.0.1:0", tls: {certificates: [{cert: `+folder+`/site.pem, key: `+folder+`/site.key}]}}
admin: {listen: "127.0.0.1:0"}
`+more+`
trusted_issuers: [{issuer: "http://127.0.0.1:1", audiences: [api], permissions: [{tenant: acme, actions: [READ]}]}]
`+strings.NewReplacer("{id: web,", "{id: web, may: [issue_codes],", "  clients:", "  code_secrets: [0123456789abcdef0123456789abcdef]\n  clients:").Replace(issuing)+`
routes:
  - {name: shop, path: "/t/{tenant}/", require: {tenant_from: path.tenant, action: READ}, upstream: "`+app.URL+`"}
  - {name: tried, path: "/tried/", require: authenticated, upstream: "`+app.URL+`", shadow: true}
`)
	token := g.token(t)
	for _, r := range []struct {
		path, bearer string
		want         int
	}{
		{"/t/acme/", token, 200},
		{"/t/acme/", token, 200},
		{"/t/other/", token, 403},
		{"/nowhere", "", 404},
		{"/tried/", "", 200},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.at(t, "main")+r.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.bearer != "" {
			request.Header.Set("Authorization", "Bearer "+r.bearer)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body) // the status is what counts
		answer.Body.Close()
		if answer.StatusCode != r.want {
			t.Fatalf("%s: %d, want %d", r.path, answer.StatusCode, r.want)
		}
	}
	for line := range strings.Lines(g.until(t, g.stderr, `"msg":"admin listening"`)) {
		var l struct{ Msg, Side, Address string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "admin listening" && l.Side == "admin" {
			return g, l.Address
		}
	}
	t.Fatal("the log does not tell where admin listens")
	return nil, ""
}

// alone is the config of a gate that shares nothing.
const alone = "revocations: {file: revoked}"

// scrape is what the gate tells Prometheus.
func scrape(t *testing.T, admin string) string {
	t.Helper()
	answer, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("metrics: %d %v", answer.StatusCode, err)
	}
	return string(body)
}

// Prometheus's linter has nothing to say about a gate's metrics, and every one that the rules or the dashboard ask for
// is there.
func TestMetricsPassThePrometheusLinter(t *testing.T) {
	t.Parallel()
	needs(t, "promtool", "prometheus")
	_, admin := openWatched(t, alone)
	_, sharing := openWatched(t, "replay: {store: redis}\nredis: {url: \"redis://"+redistest.Start(t).Addr()+"/0\"}")
	text, shared := scrape(t, admin), scrape(t, sharing)
	lint := exec.CommandContext(t.Context(), "promtool", "check", "metrics", "--extended")
	lint.Stdin = strings.NewReader(shared)
	var said strings.Builder
	lint.Stderr = &said
	if out, err := lint.Output(); err != nil || said.Len() > 0 {
		t.Errorf("promtool check metrics: %v\n%s%s", err, out, said.String())
	}
	if want := `jotgate_build_info{goversion="go`; !strings.Contains(text, want) ||
		!strings.Contains(text, `version="`+testedVersion+`"} 1`) {
		t.Errorf("the build is not told: want version %s in\n%s", testedVersion, text)
	}
	var told []string
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (jotgate_\w+) (\w+)$`).FindAllStringSubmatch(text+shared, -1) {
		told = append(told, m[1])
		if m[2] == "histogram" {
			told = append(told, m[1]+"_bucket", m[1]+"_count", m[1]+"_sum")
		}
	}
	asked := 0
	for _, file := range []string{rulesFile, "deploy/grafana/jotgate.json"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`jotgate_\w+`).FindAllString(string(data), -1) {
			if asked++; !slices.Contains(told, name) {
				t.Errorf("%s asks for %s, which a gate does not tell", file, name)
			}
		}
	}
	if asked < 15 {
		t.Errorf("rules and dashboard ask for %d metrics", asked)
	}
}

// A Prometheus server scrapes a running gate, has our rules, and answers what they ask.
func TestPrometheusScrapesAGate(t *testing.T) {
	t.Parallel()
	needs(t, "prometheus", "prometheus")
	g, admin := openWatched(t, alone+"\ntracing: {endpoint: \"http://127.0.0.1:1\"}")
	folder := t.TempDir()
	rules, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(folder, "prometheus.yaml"), []byte(fmt.Sprintf(`
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs: [{job_name: jotgate, static_configs: [{targets: [%q]}]}]
`, rules, admin)))
	address := freeAddress(t)
	server := exec.Command("prometheus", "--config.file="+filepath.Join(folder, "prometheus.yaml"), "--storage.tsdb.path="+
		filepath.Join(folder, "data"), "--web.listen-address="+address, "--enable-feature=exemplar-storage")
	said := newTranscript()
	server.Stdout, server.Stderr = said, said
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill() // nothing of it is kept
		_ = server.Wait()
		if t.Failed() {
			t.Log(said)
		}
	})
	for query, want := range map[string]string{
		`up{job="jotgate"}`: "1",
		`sum(jotgate_requests_total{route="shop",reason=""})`:        "2",
		`sum(jotgate_requests_total{reason="tenant_denied"})`:        "1",
		`sum(jotgate_shadow_refusals_total{reason="token_missing"})`: "1",
		`jotgate_token_cache_hits_total`:                             "2",
		`sum(jotgate_upstream_seconds_count)`:                        "3",
		`jotgate_shadow_routes`:                                      "1",
		`count(jotgate_build_info{version="` + testedVersion + `"})`: "1",
		// pending: seven days are not over
		`count(ALERTS{alertname="JotgateRouteInShadow"})`:                                                  "1",
		`count(ALERTS{alertname="JotgateRouteInShadow"} unless ALERTS{alertstate="pending"}) or vector(0)`: "0",
	} {
		var got string
		for end := time.Now().Add(patience); got != want && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			got = instant(address, query)
		}
		if got != want {
			t.Errorf("%s is %s, want %s", query, got, want)
		}
	}
	// Each of what it has as an example is a trace that the access log tells, too.
	for _, name := range []string{"jotgate_added_seconds_bucket", "jotgate_upstream_seconds_bucket"} {
		var traces []string
		for end := time.Now().Add(patience); len(traces) == 0 && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			traces = exemplars(t, address, name)
		}
		if len(traces) == 0 {
			t.Errorf("no exemplar of %s", name)
		}
		for _, trace := range traces {
			g.until(t, g.stderr, `"trace_id":"`+trace+`"`)
		}
	}
}

// exemplars asks a Prometheus server for the traces of a series' exemplars.
func exemplars(t *testing.T, address, query string) (traces []string) {
	t.Helper()
	answer, err := http.Get("http://" + address + "/api/v1/query_exemplars?" + url.Values{
		"query": {query}, "start": {"0"}, "end": {fmt.Sprint(time.Now().Add(time.Hour).Unix())},
	}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var body struct {
		Data []struct {
			Exemplars []struct {
				Labels map[string]string
			}
		}
	}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	for _, series := range body.Data {
		for _, e := range series.Exemplars {
			traces = append(traces, e.Labels["trace_id"])
		}
	}
	return traces
}

// instant asks a Prometheus server for one number; what is no number is why there is none.
func instant(address, query string) string {
	answer, err := http.Get("http://" + address + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	var body struct {
		Error string
		Data  struct{ Result []struct{ Value [2]any } }
	}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil {
		return err.Error()
	}
	if len(body.Data.Result) != 1 {
		return fmt.Sprintf("%d results %s", len(body.Data.Result), body.Error)
	}
	return fmt.Sprint(body.Data.Result[0].Value[1])
}
