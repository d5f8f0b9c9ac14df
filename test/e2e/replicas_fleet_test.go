package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A fleet is several gates that share a store, each over a link of its own.
type fleet struct {
	folder, secret string
	store          *store // nil: memory
	gates          []*replica
	audit          *audit
	manage         string // a management token
	client         *http.Client
}

// A replica is one place in a fleet. Its process may be killed and started again.
type replica struct {
	folder, address, url, admin string
	link                        *link
	env                         []string
	audit                       *audit

	mu      sync.Mutex
	cmd     *exec.Cmd
	exited  chan struct{}
	console *console
}

const adminToken = "fleet-admin-token-0123456789"

// newFleet starts n gates. more is added to the config of each, after what all have.
func newFleet(t *testing.T, s *store, n int, more string) *fleet {
	t.Helper()
	f := &fleet{folder: t.TempDir(), store: s, audit: newAudit(), client: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: patience,
	}}
	t.Cleanup(f.client.CloseIdleConnections)
	writeFile(t, filepath.Join(f.folder, "main.pem"), []byte(run(t, f.folder, nil, "keygen")))
	f.secret = strings.TrimSpace(run(t, f.folder, nil, "keygen", "--secret"))
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_,
			_ = io.WriteString(w, "app")
	}))
	t.Cleanup(app.Close)
	for range n {
		r := &replica{
			folder: t.TempDir(), address: freeAddress(t), admin: freeAddress(t), audit: f.audit,
			env: []string{"CODE_SECRET=" + f.secret},
		}
		r.url = "http://" + r.address
		sharing := ""
		if s != nil {
			r.link = newLink(t, s.Addr())
			sharing = fmt.Sprintf("replicas: %d\nreplay: {store: redis}\nredis: {url: \"redis://%s/0\"}\n", n, r.link.address)
		}
		writeFile(t, filepath.Join(r.folder, "config.yaml"), fmt.Appendf(nil, `version: 1
listen: %q
admin: {listen: %q, token: %s}
drain: {delay: 0s, timeout: 1s}
limits: {issue_rate: 1000000}
log: {access: false}
%sissuer:
  url: http://gate.test
  keys: [{file: %q}]
  code_secrets: ["${env:CODE_SECRET}"]
  code_ttl: 10m
  clients: [{id: web, may: [issue_codes, revoke], delegate: [{tenant: "*", actions: ["*"]}]}]
roles: {reader: [{tenant: "{tenant}", actions: [READ]}]}
routes: [{path: "/t/{tenant}/", require: {tenant_from: path.tenant, action: READ}, upstream: %q}]
%s`, r.address, r.admin, adminToken, sharing, filepath.Join(f.folder, "main.pem"), app.URL, more))
		t.Cleanup(func() {
			r.kill()
			if t.Failed() {
				t.Logf("%s:\n%s", r.address, r.console)
			}
		})
		f.gates = append(f.gates, r)
	}
	for _, r := range f.gates {
		r.start(t)
	}
	f.manage = strings.TrimSpace(run(t, f.gates[0].folder, f.gates[0].env, "mint", "--config", "config.yaml", "--client",
		"web", "--scope", "issue_codes revoke"))
	return f
}

// start returns when the gate listens.
func (r *replica) start(t *testing.T) {
	t.Helper()
	exited := r.launch(t)
	poll(t, "a gate listens", func() bool {
		select {
		case <-exited:
			t.Fatalf("the gate has ended:\n%s", r.console)
		default:
		}
		return r.console.has(`"msg":"listening"`)
	})
}

func (r *replica) launch(t *testing.T) (exited chan struct{}) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.console = &console{audit: r.audit}
	cmd := exec.Command(binary, "serve", "--config", "config.yaml")
	cmd.Dir, cmd.Env = r.folder, append(os.Environ(), r.env...)
	cmd.Stdout, cmd.Stderr = r.console, r.console
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited = make(chan struct{})
	r.cmd, r.exited = cmd, exited
	go func() {
		defer close(exited)
		_ = cmd.Wait() // the console says why
	}()
	return exited
}

// kill is kill -9, and waits for the end. It may be done twice.
func (r *replica) kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill() // it may be gone already
	<-r.exited
}

func (r *replica) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// An answer to an attempt to redeem a code.
type answer struct {
	status     int // 0: none came
	token      string
	retryAfter string
	body       string
	err        error
}

// post sends JSON, and returns what was answered, if anything was.
func (f *fleet) post(t *testing.T, url, bearer, body string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	request.GetBody = nil // so that no one sends it twice
	request.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	got, err := f.client.Do(request)
	if err != nil {
		return answer{err: err}
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		return answer{err: err}
	}
	return answer{status: got.StatusCode, retryAfter: got.Header.Get("Retry-After"), body: string(text)}
}

// issue asks a gate for a code.
func (f *fleet) issue(t *testing.T, r *replica) (string, answer) {
	t.Helper()
	a := f.post(t, r.url+"/api/v1/authorization-codes", f.manage, `{"subject":"alice","role":"reader","tenant":"acme"}`)
	var body struct {
		Code string `json:"authorization_code"`
	}
	if a.status == http.StatusCreated {
		a.err = json.Unmarshal([]byte(a.body), &body)
	}
	return body.Code, a
}

// redeem presents a code to a gate, once.
func (f *fleet) redeem(t *testing.T, r *replica, code string) answer {
	t.Helper()
	a := f.post(t, r.url+"/api/v1/tokens", "", fmt.Sprintf(`{"authorization_code":%q}`, code))
	var body struct {
		Token string `json:"access_token"`
	}
	if a.status == http.StatusCreated {
		a.err = json.Unmarshal([]byte(a.body), &body)
		a.token = body.Token
	}
	return a
}

// code is one that a healthy gate gives.
func (f *fleet) code(t *testing.T, r *replica) string {
	t.Helper()
	code, a := f.issue(t, r)
	if code == "" {
		t.Fatalf("a code: %d %s %v", a.status, a.body, a.err)
	}
	return code
}

// want redeems and compares the status, and what a 503 must say beside it.
func (f *fleet) want(t *testing.T, what string, r *replica, code string, status int) answer {
	t.Helper()
	a := f.redeem(t, r, code)
	if a.status != status {
		t.Errorf("%s: %d %s %v, want %d", what, a.status, a.body, a.err, status)
	}
	if a.status == http.StatusServiceUnavailable && a.retryAfter == "" {
		t.Errorf("%s: 503 without Retry-After", what)
	}
	return a
}

// well waits until a code that any gate issues is redeemed by the next one.
func (f *fleet) well(t *testing.T) {
	t.Helper()
	for i, r := range f.gates {
		next := f.gates[(i+1)%len(f.gates)]
		var last answer
		poll(t, "a gate gives codes that the next one redeems", func() bool {
			code, a := f.issue(t, r)
			if last = a; code == "" {
				return false
			}
			last = f.redeem(t, next, code)
			return last.status == http.StatusCreated
		})
	}
}

// An audit is what a fleet's audit lines say. They are written before an answer is, so they know of tokens whose answer
// never arrived.
type audit struct {
	mu      sync.Mutex
	granted map[string]int // tokens for codes, by jti, which a code decides
	refused map[string]int // redemptions that were refused, by reason
}

func newAudit() *audit { return &audit{granted: map[string]int{}, refused: map[string]int{}} }

func (a *audit) note(line []byte) {
	if !bytes.Contains(line, []byte(`"event":"code_redeem"`)) {
		return
	}
	var l struct{ Event, Outcome, Reason, JTI string }
	if json.Unmarshal(line, &l) != nil {
		return // cut short by a kill
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.Outcome == "granted" {
		a.granted[l.JTI]++
	} else {
		a.refused[l.Reason]++
	}
}

// reasons are the refusals, in a line.
func (a *audit) reasons() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []string
	for reason, n := range a.refused {
		all = append(all, fmt.Sprintf("%s %d", reason, n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// A console takes what one process writes: audit lines go to the audit, of the others the last ones are kept.
type console struct {
	audit *audit
	mu    sync.Mutex
	begun []byte // of a line
	kept  []string
}

const mostKept = 400

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun = append(c.begun, p...)
	for {
		end := bytes.IndexByte(c.begun, '\n')
		if end < 0 {
			return len(p), nil
		}
		if line := c.begun[:end]; bytes.Contains(line, []byte(`"log":"audit"`)) {
			c.audit.note(line)
		} else if c.kept = append(c.kept, string(line)); len(c.kept) > mostKept {
			c.kept = c.kept[mostKept/2:]
		}
		c.begun = append(c.begun[:0], c.begun[end+1:]...)
	}
}

func (c *console) has(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.kept, func(line string) bool { return strings.Contains(line, text) })
}

func (c *console) String() string {
	if c == nil {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.kept, "\n")
}
