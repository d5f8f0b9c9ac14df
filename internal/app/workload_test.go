package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/redistest"
)

// workloads edits settings: clients that are workloads of the foreigner's, whose entry is given.
func (f *foreigner) workloads(entry string, clients ...string) []string {
	edits := f.trusting(entry + `, audiences: [api], permissions: [{tenant: acme, actions: [READ]}]`)
	list := ""
	for _, c := range clients {
		list += "\n    - " + strings.ReplaceAll(c, "$F", f.URL)
	}
	return append(edits, "  clients: [{", "  clients:"+list+"\n    - {", `[{tenant: "*", actions: ["*"]}]}]`,
		`[{tenant: "*", actions: ["*"]}]}`)
}

const (
	clusterEntry = `preset: kubernetes`
	clusterUser  = "system:serviceaccount:prod:app"
	clusterApp   = `{id: app, permissions: [{tenant: acme, actions: [READ]}], identity: {issuer: "$F", subject: "` +
		clusterUser + `"}}`
)

// projected are the claims of a service account's projected token, as the API server of Kubernetes writes them.
func projected(over map[string]any) map[string]any {
	now := time.Now().Unix()
	claims := map[string]any{
		"sub": clusterUser, "aud": []string{"https://gate.test"}, "iat": now, "nbf": now, "exp": now + 3600,
		"kubernetes.io": map[string]any{
			"namespace": "prod", "node": map[string]any{"name": "n1", "uid": "u1"}, "pod": map[string]any{"name": "app-7"},
			"serviceaccount": map[string]any{"name": "app", "uid": "u2"},
		},
	}
	for name, value := range over {
		claims[name] = value
	}
	return claims
}

// deployment are the claims of a workflow's token, as GitHub Actions writes them.
func deployment(over map[string]any) map[string]any {
	now := time.Now().Unix()
	claims := map[string]any{
		"sub": "repo:acme/shop:environment:production", "aud": "https://gate.test", "iat": now, "nbf": now - 600,
		"exp": now + 300, "ref": "refs/heads/main", "sha": "e6f1", "repository": "acme/shop", "repository_owner": "acme",
		"environment": "production", "run_id": "1", "actor": "octocat", "workflow": "deploy", "event_name": "push",
		"job_workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main", "runner_environment": "github-hosted",
	}
	for name, value := range over {
		claims[name] = value
	}
	return claims
}

// assert asks for a client's own token, and answers with the status, the body, and the reason that the log has.
func (g *gate) assert(assertion string, more ...string) (status int, reason string, body map[string]any) {
	g.t.Helper()
	form := url.Values{
		"grant_type":            {"client_credentials"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {assertion},
	}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	a, err := http.PostForm(g.url("/oauth2/token"), form)
	if err != nil {
		g.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	if err := json.Unmarshal(text, &body); err != nil {
		g.t.Errorf("%d %s: %v", a.StatusCode, text, err)
	}
	if a.StatusCode != 200 {
		reason = g.reason(a.Header.Get("X-Request-Id"))
	}
	return a.StatusCode, reason, body
}

// A workload shows the token that its platform projects, again and again, and gets a token of its own that opens the
// route. The platform's token opens nothing by itself.
func TestWorkloadsAuthenticate(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	g := startGate(t, f.workloads(clusterEntry, clusterApp)...)
	token := f.token(f.key, "", projected(nil))
	for range 3 {
		status, _, body := g.assert(token)
		if status != 200 {
			t.Fatalf("%d %v", status, body)
		}
		if got := g.open("acme", body["access_token"].(string)); got != "200" {
			t.Errorf("the workload's own token: %s", got)
		}
	}
	if status, _, body := g.assert(token, "client_id", "app"); status != 200 {
		t.Errorf("with its client_id: %d %v", status, body)
	}
	g.eventually(`workload ` + clusterUser + ` of ` + f.URL)
	if got := g.open("acme", token); got != "401 token_audience_mismatch" {
		t.Errorf("the platform's token on a route: %s", got)
	}
	if strings.Contains(g.log.String(), token) || strings.Contains(g.log.String(), strings.Split(token, ".")[2]) {
		t.Error("the log has the token")
	}
}

func TestWorkloadOfGitHubActions(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	g := startGate(t, f.workloads(`preset: github_actions, require_claims: {repository_owner: acme}`,
		`{id: deploy, permissions: [{tenant: acme, actions: [READ]}], identity: {issuer: "$F", subject: {prefix: `+
			`"repo:acme/shop:"}, claims: {environment: [production, staging], runner_environment: github-hosted}}}`,
		`{id: docs, permissions: [{tenant: acme, actions: [READ]}], identity: {issuer: "$F", claims: {repository: `+
			`acme/docs}}}`)...)
	for name, c := range map[string]struct {
		over map[string]any
		want string
	}{
		"the repository's":                {nil, "200"},
		"another environment that counts": {map[string]any{"environment": "staging"}, "200"},
		"another environment":             {map[string]any{"environment": "dev"}, "401 client_unauthenticated"},
		"no environment":                  {map[string]any{"environment": nil}, "401 client_unauthenticated"},
		"its own machine":                 {map[string]any{"runner_environment": "x"}, "401 client_unauthenticated"},
		"another repository":              {map[string]any{"sub": "repo:acme/shop-evil:x"}, "401 client_unauthenticated"},
		"another owner":                   {map[string]any{"sub": "repo:evil/shop:x"}, "401 client_unauthenticated"},
		"the prefix alone":                {map[string]any{"sub": "repo:acme/shop:"}, "401 client_unauthenticated"},
		"another case":                    {map[string]any{"sub": "repo:Acme/shop:x"}, "401 client_unauthenticated"},
		"of docs, by a claim":             {map[string]any{"sub": "repo:acme/docs:x", "repository": "acme/docs"}, "200"},
		"the claim is a list": {
			map[string]any{"sub": "x", "repository": []string{"acme/docs"}}, "401 client_unauthenticated",
		},
		"of both":                           {map[string]any{"repository": "acme/docs"}, "401 client_unauthenticated"},
		"require_claims of the entry":       {map[string]any{"repository_owner": "evil"}, "401 client_unauthenticated"},
		"no owner, which the entry demands": {map[string]any{"repository_owner": nil}, "401 client_unauthenticated"},
	} {
		over := deployment(c.over)
		status, reason, _ := g.assert(f.token(f.key, "JWT", over))
		if got := strings.TrimSpace(fmt.Sprint(status, " ", reason)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// What a token must not be to authenticate a workload: RFC 7523 §3 and RFC 8725, rule by rule.
func TestAttacksOnWorkloads(t *testing.T) {
	t.Parallel()
	f, other := newForeigner(t), newForeigner(t)
	g := startGate(t, append(f.workloads(clusterEntry, clusterApp,
		`{id: jobs, permissions: [{tenant: acme, actions: [READ]}], identity: {issuer: "$F", subject: {prefix: `+
			`"system:serviceaccount:jobs:"}, audience: "https://gate.test/workloads", max_lifetime: 10m}}`),
		"url: https://gate.test\n", "url: https://gate.test\n  audiences: [https://gate.test/api]\n")...)
	now := time.Now().Unix()
	job := func(over map[string]any) map[string]any {
		all := projected(map[string]any{
			"sub": "system:serviceaccount:jobs:a", "aud": "https://gate.test/workloads", "exp": now + 600,
		})
		for name, value := range over {
			all[name] = value
		}
		return all
	}
	sign := func(claims map[string]any) string { return f.token(f.key, "", claims) }
	aud := func(names ...string) map[string]any { return projected(map[string]any{"aud": names}) }
	bound := func(by string) map[string]any {
		return projected(map[string]any{"cnf": map[string]any{by: strings.Repeat("A", 43)}})
	}
	both := []string{"https://gate.test", "https://gate.test/workloads"}
	good := sign(projected(nil))
	segments := strings.Split(good, ".")
	for name, c := range map[string]struct{ token, want string }{
		"good":                     {good, "200"},
		"good, typ JWT":            {f.token(f.key, "JWT", projected(nil)), "200"},
		"good, of jobs":            {sign(job(nil)), "200"},
		"good, to the issuer":      {sign(job(map[string]any{"aud": "https://gate.test"})), "200"},
		"the longest life":         {sign(projected(map[string]any{"iat": now - 10, "exp": now + 3590})), "200"},
		"aud list of two":          {sign(aud("https://gate.test", "https://other.test")), ""},
		"aud list of us twice":     {sign(aud("https://gate.test", "https://gate.test")), ""},
		"aud of both names of us":  {sign(job(map[string]any{"aud": both})), ""},
		"aud of another client's":  {sign(projected(map[string]any{"aud": "https://gate.test/workloads"})), ""},
		"aud of a route":           {sign(projected(map[string]any{"aud": "api"})), ""},
		"aud of our tokens":        {sign(projected(map[string]any{"aud": "https://gate.test/api"})), ""},
		"aud of the API server":    {sign(projected(map[string]any{"aud": "https://kubernetes.default.svc"})), ""},
		"no aud":                   {sign(projected(map[string]any{"aud": nil})), ""},
		"aud with a slash":         {sign(projected(map[string]any{"aud": "https://gate.test/"})), ""},
		"another workload":         {sign(projected(map[string]any{"sub": "system:serviceaccount:prod:db"})), ""},
		"prefix confusion":         {sign(projected(map[string]any{"sub": clusterUser + "-evil"})), ""},
		"prefix confusion, jobs":   {sign(job(map[string]any{"sub": "system:serviceaccount:jobs-evil:a"})), ""},
		"a subject below":          {sign(projected(map[string]any{"sub": clusterUser + ":x"})), ""},
		"a subject with a NUL":     {sign(projected(map[string]any{"sub": clusterUser + "\x00"})), ""},
		"no subject":               {sign(projected(map[string]any{"sub": nil})), ""},
		"older than max_lifetime":  {sign(projected(map[string]any{"iat": now - 60, "exp": now + 3541})), ""},
		"older than jobs' own":     {sign(job(map[string]any{"exp": now + 601})), ""},
		"neither iat nor nbf":      {sign(projected(map[string]any{"iat": nil, "nbf": nil})), ""},
		"life by nbf":              {sign(projected(map[string]any{"iat": nil, "nbf": now - 3600})), ""},
		"expired":                  {sign(projected(map[string]any{"iat": now - 100, "nbf": now - 100, "exp": now - 1})), ""},
		"not yet":                  {sign(projected(map[string]any{"nbf": now + 600})), ""},
		"from the future":          {sign(projected(map[string]any{"iat": now + 600, "exp": now + 900})), ""},
		"no exp":                   {sign(projected(map[string]any{"exp": nil})), ""},
		"an access token":          {sign(projected(map[string]any{"scope": "x"})), ""},
		"an id_token":              {sign(projected(map[string]any{"nonce": "n"})), ""},
		"a logout token":           {sign(projected(map[string]any{"events": map[string]any{"x": map[string]any{}}})), ""},
		"typ of an access token":   {f.token(f.key, "at+jwt", projected(nil)), ""},
		"bound to a certificate":   {sign(bound("x5t#S256")), ""},
		"bound to a key":           {sign(bound("jkt")), ""},
		"another's key":            {f.token(other.key, "", projected(nil)), ""},
		"of an issuer unknown":     {other.token(other.key, "", projected(nil)), ""},
		"iss of us":                {f.token(f.key, "", projected(map[string]any{"iss": "https://gate.test"})), ""},
		"iss of a client":          {f.token(f.key, "", projected(map[string]any{"iss": "app"})), ""},
		"no iss":                   {f.token(f.key, "", projected(map[string]any{"iss": nil})), ""},
		"none":                     {"eyJhbGciOiJub25lIn0." + segments[1] + ".", ""},
		"without its signature":    {segments[0] + "." + segments[1] + ".", ""},
		"another's payload":        {segments[0] + "." + strings.Split(sign(job(nil)), ".")[1] + "." + segments[2], ""},
		"an access token of ours":  {g.token("acme"), ""},
		"a management token":       {g.management(), ""},
		"not a JWT":                {"x", ""},
		"larger than a token":      {strings.Repeat("x", 9000), ""},
		"extra claim of our names": {sign(projected(map[string]any{"tenantPermissions": []any{}})), ""},
	} {
		status, reason, body := g.assert(c.token)
		got := strings.TrimSpace(fmt.Sprint(status, " ", reason))
		if c.want == "" {
			c.want = "401 client_unauthenticated"
			if body["error"] != "invalid_client" || body["error_description"] != "Client authentication failed" {
				t.Errorf("%s: %v", name, body)
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if status, reason, _ := g.assert(good, "client_id", "jobs"); status != 401 || reason != "client_unauthenticated" {
		t.Errorf("as another client: %d %s", status, reason)
	}
	if status, _, _ := g.assert(good, "client_secret", "0123456789abcdefghijkl", "client_id", "web"); status != 400 {
		t.Errorf("beside a secret: %d", status)
	}
	if status, _, _ := g.assert(good, "client_assertion_type",
		"urn:ietf:params:oauth:grant-type:jwt-bearer"); status != 401 {
		t.Errorf("as another type: %d", status)
	}
}

// A workload's token is revoked as any other of its issuer is; keys that are not at hand are no fault of the workload.
func TestWorkloadRevokedAndKeysUnavailable(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	g := startGate(t, append(f.workloads(clusterEntry, clusterApp), "watch: false", "revocations: {file: revoked}")...)
	good := f.token(f.key, "", projected(map[string]any{"jti": "one"}))
	if status, _, body := g.assert(good); status != 200 {
		t.Fatalf("%d %v", status, body)
	}
	if status, body := g.operate("POST", "/revocations", operatorToken,
		fmt.Sprintf(`{"kind":"subject","issuer":%q,"value":%q,"at":%d}`, f.URL, clusterUser,
			time.Now().UnixMilli())); status != 204 {
		t.Fatalf("%d %s", status, body)
	}
	if status, reason, _ := g.assert(good); status != 401 || reason != "client_unauthenticated" {
		t.Errorf("revoked: %d %s", status, reason)
	}
	down := newForeigner(t)
	down.publish()
	h := startGate(t, down.workloads(clusterEntry, clusterApp)...)
	status, reason, body := h.assert(down.token(down.key, "", projected(nil)))
	if status != 503 || reason != "issuer_unavailable" || body["error"] != "temporarily_unavailable" {
		t.Errorf("no keys: %d %s %v", status, reason, body)
	}
}

// identity.once: one of 64 connections gets a token, and none after a reload.
func TestWorkloadOnceOnManyConnections(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	once := strings.Replace(clusterApp, `subject:`, `once: true, subject:`, 1)
	g := startGate(t, f.workloads(clusterEntry, once)...)
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) // iat, in seconds, is not before the start
	assertOnce(t, f.token(f.key, "", projected(map[string]any{"jti": "once"})), g)
	if status, reason, _ := g.assert(f.token(f.key, "", projected(map[string]any{"jti": nil}))); status != 401 ||
		reason != "client_unauthenticated" {
		t.Errorf("no jti: %d %s", status, reason)
	}
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	if status, reason, _ := g.assert(f.token(f.key, "", projected(map[string]any{"jti": "once"}))); status != 401 ||
		reason != "assertion_used" {
		t.Errorf("after a reload: %d %s", status, reason)
	}
	now := time.Now().Unix()
	before := f.token(f.key, "", projected(map[string]any{"jti": "old", "iat": now - 100, "exp": now + 900}))
	if status, reason, _ := g.assert(before); status != 401 || reason != "assertion_used" {
		t.Errorf("made before the process began: %d %s", status, reason)
	}
}

// assertOnce shows a token to the gates by turns, on 64 connections at a time: one answer is a token.
func assertOnce(t *testing.T, token string, gates ...*gate) {
	t.Helper()
	var all sync.WaitGroup
	var mu sync.Mutex
	counts := map[string]int{}
	for n := range 64 {
		all.Go(func() {
			status, reason, _ := gates[n%len(gates)].assert(token)
			mu.Lock()
			defer mu.Unlock()
			counts[fmt.Sprint(status, " ", reason)]++
		})
	}
	all.Wait()
	if counts["200 "] != 1 || counts["401 assertion_used"] != 63 {
		t.Errorf("64 times: %v", counts)
	}
}

// identity.once holds on every replica, when they share a store.
func TestWorkloadOnceOnAnotherReplica(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	store := redistest.Start(t)
	once := strings.Replace(clusterApp, `subject:`, `once: true, max_lifetime: 2h, subject:`, 1)
	edits := f.workloads(clusterEntry, once)
	before, after := sharing(store)
	// 64 at once may wait for each other for a while.
	edits = append(edits, before, strings.Replace(after, "timeout: 300ms", "timeout: 5s", 1))
	a, b := startGate(t, edits...), startGate(t, edits...)
	token := ""
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		// What was made before the store's memory began is refused, whatever its jti.
		token = f.token(f.key, "", projected(map[string]any{"jti": fmt.Sprint(time.Now().UnixNano())}))
		if status, _, _ := a.assert(token); status == 200 {
			break
		}
	}
	if status, reason, _ := b.assert(token); status != 401 || reason != "assertion_used" {
		t.Errorf("used at the other replica: %d %s", status, reason)
	}
	assertOnce(t, f.token(f.key, "", projected(map[string]any{"jti": "shared", "exp": time.Now().Unix() + 7200})), a, b)
}
