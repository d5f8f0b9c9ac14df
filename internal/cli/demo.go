package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/keyfile"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/issuer"
)

// demoAddress is taken if it is free; the README's commands name it.
const demoAddress = "127.0.0.1:8080"

// demoAnswers bounds how long one step may take.
const demoAnswers = 10 * time.Second

func demoCommand() command {
	return command{
		name: "demo", usage: "[--listen ADDRESS] [--log] [--once]",
		brief: "play the whole story with throw-away keys, then keep serving", run: playDemo,
		help: `Starts a gate with throw-away keys in front of a small app of its own, plays the whole story through real sockets and
prints each step: a code, its redemption, a request that the token opens, two that are refused, the code again. An
unexpected answer ends it with exit code 1. The last lines are export commands to paste into a second terminal; then the
gate keeps serving until Ctrl-C.

  jotgate demo
  jotgate demo --log
`,
	}
}

func playDemo(p *Process, c *call) error {
	listen := c.String("listen", demoAddress, "`ADDRESS` to listen on; port 0 picks a free one")
	withLog := c.Bool("log", false, "print the gate's log after the story, each refusal with its reason")
	once := c.Bool("once", false, "end after the story")
	if err := c.parse(0); err != nil {
		return err
	}
	fmt.Fprintf(p.Stdout, "Jotgate demo: a gate with throw-away keys, an app behind it, and six requests.\n\n")
	folder, err := os.MkdirTemp("", "jotgate-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	address, err := demoListen(*listen, c.given("listen"))
	if err != nil {
		return err
	}
	app, err := startDemoApp()
	if err != nil {
		return err
	}
	defer app.close()
	settings, err := demoConfig(folder, address, app.url())
	if err != nil {
		return err
	}
	log := &heldWriter{w: p.Stderr}
	return p.serve(settings, log, func(ctx context.Context) error {
		d := &demo{out: p.Stdout, app: app, client: direct(), values: map[string]string{"GATE": "http://" + address}}
		if d.values["MANAGE"], err = managementToken(settings); err != nil {
			return err
		}
		if err := d.play(ctx); err != nil {
			log.release()
			return fmt.Errorf("the story went wrong: %w", err)
		}
		if *once {
			log.discard()
			return nil
		}
		d.invite(*withLog)
		if *withLog {
			log.release()
		} else {
			log.discard()
		}
		<-ctx.Done()
		return nil
	})
}

// demoListen returns the address to serve on: the given one or, if none was given and the default is taken, a free one.
func demoListen(address string, asked bool) (string, error) {
	l, err := net.Listen("tcp", address)
	if err != nil && !asked {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

const demoClient = "web"

// demoConfig is the sidecar config of the documentation, but for its addresses and its secret;
// no load balancer is in front of it, so it drains without delay.
func demoConfig(folder, address, upstream string) (*config.Config, error) {
	text := fmt.Sprintf(`version: 1
listen: %q
admin: {listen: ""}
drain: {delay: 0s}
issuer:
  url: %q
  keys: [{file: keys/main.pem, create: true}]
  clients: [{id: %s, secret: %q, may: [issue_codes], delegate: [{tenant: "*", actions: ["*"]}]}]
roles: {reader: [{tenant: "{tenant}", actions: [READ]}]}
routes: [{path: "/t/{tenant}/", require: {tenant_from: path.tenant, action: READ}, upstream: %q}]
`, address, "http://"+address, demoClient, newSecret(), upstream)
	file := filepath.Join(folder, "config.yaml")
	if err := writeFile(file, 0o600, []byte(text)); err != nil {
		return nil, err
	}
	return keyfile.Load(file)
}

// managementToken is what `jotgate mint --client web --scope issue_codes` would print.
func managementToken(settings *config.Config) (string, error) {
	minter, err := issuer.NewMinter(settings, time.Now)
	if err != nil {
		return "", err
	}
	compact, _, err := minter.Management(demoClient, token.IssueCodes, "", 0)
	return compact, err
}

// A step is one request of the story. Its texts hold $VARIABLES, so that what is sent and what is printed for the
// reader to paste are the same thing.
type step struct {
	story    string
	path     string
	bearer   string // "" for none
	body     string // JSON; "" for a GET
	keep     string // the variable that the answer's first member goes to, or ""
	status   int
	upstream int64 // how many requests the app saw of it
}

func story() []step {
	return []step{
		{
			story: "alice has logged in at the shop's backend. It asks for a code in her name, for tenant acme.",
			path:  "/api/v1/authorization-codes", bearer: "$MANAGE",
			body: `{"subject":"alice","role":"reader","tenant":"acme"}`, keep: "CODE", status: http.StatusCreated,
		},
		{
			story: "Her browser or app redeems the code: no secret, only the code, once.",
			path:  "/api/v1/tokens", body: `{"authorization_code":"$CODE"}`, keep: "TOKEN", status: http.StatusCreated,
		},
		{
			story: "The token opens what the route asks for: READ on acme. The app sees who it is, and never the token.",
			path:  "/t/acme/orders", bearer: "$TOKEN", status: http.StatusOK, upstream: 1,
		},
		{
			story: "Without a token: refused, and the app never hears of it.",
			path:  "/t/acme/orders", status: http.StatusUnauthorized,
		},
		{
			story: "With her token, but for another tenant: refused as well.",
			path:  "/t/globex/orders", bearer: "$TOKEN", status: http.StatusForbidden,
		},
		{
			story: "Somebody found the code and redeems it again: it is spent.",
			path:  "/api/v1/tokens", body: `{"authorization_code":"$CODE"}`, status: http.StatusBadRequest,
		},
	}
}

// curl is the step as a command to paste.
func (s *step) curl() string {
	var b strings.Builder
	b.WriteString("curl -i $GATE" + s.path)
	if s.bearer != "" {
		fmt.Fprintf(&b, ` -H "Authorization: Bearer %s"`, s.bearer)
	}
	if s.body != "" {
		b.WriteString(` -H 'Content-Type: application/json' -d '` + strings.ReplaceAll(s.body, "$CODE", `'$CODE'`) + `'`)
	}
	if s.keep == "" {
		return b.String()
	}
	return s.keep + "=$(" + strings.Replace(b.String(), "curl -i", "curl -s", 1) + ` | cut -d'"' -f4)`
}

// A demo is the story being told.
type demo struct {
	out    io.Writer
	app    *demoApp
	client *http.Client
	values map[string]string // of the variables
}

func (d *demo) play(ctx context.Context) error {
	for i, s := range story() {
		fmt.Fprintf(d.out, "%d. %s\n   $ %s\n", i+1, s.story, s.curl())
		before := d.app.requests.Load()
		status, body, err := d.send(ctx, &s)
		if err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
		fmt.Fprintf(d.out, "   %d %s  %s\n\n", status, http.StatusText(status), shortened(body))
		if status != s.status {
			return fmt.Errorf("step %d: answered %d, not %d", i+1, status, s.status)
		}
		if n := d.app.requests.Load() - before; n != s.upstream {
			return fmt.Errorf("step %d: the app saw %d requests, not %d", i+1, n, s.upstream)
		}
		if s.keep != "" {
			if d.values[s.keep], err = credentialIn(body); err != nil {
				return fmt.Errorf("step %d: %w", i+1, err)
			}
		}
	}
	return nil
}

func (d *demo) send(ctx context.Context, s *step) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, demoAnswers)
	defer cancel()
	expand := func(text string) string { return os.Expand(text, func(name string) string { return d.values[name] }) }
	method, body := http.MethodGet, io.Reader(nil)
	if s.body != "" {
		method, body = http.MethodPost, strings.NewReader(expand(s.body))
	}
	request, err := http.NewRequestWithContext(ctx, method, d.values["GATE"]+s.path, body)
	if err != nil {
		return 0, nil, err
	}
	if s.body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if s.bearer != "" {
		request.Header.Set("Authorization", "Bearer "+expand(s.bearer))
	}
	answer, err := d.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	return answer.StatusCode, text, err
}

// credentialIn takes the code or the token out of an answer.
func credentialIn(body []byte) (string, error) {
	var answer struct {
		Code  string `json:"authorization_code"`
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", err
	}
	if answer.Code+answer.Token == "" {
		return "", errors.New("the answer has no code and no token")
	}
	return answer.Code + answer.Token, nil
}

// shortened is an answer on one line, long credentials cut.
func shortened(body []byte) string {
	words := strings.Split(string(bytes.TrimSpace(body)), `"`)
	for i, w := range words {
		if len(w) > 40 && !strings.Contains(w, " ") {
			words[i] = w[:16] + "…"
		}
	}
	return strings.Join(words, `"`)
}

// invite ends the story. The lines to paste come last and alone.
func (d *demo) invite(withLog bool) {
	hint := "jotgate demo --log also prints what the gate logs."
	if withLog {
		hint = "What the gate logs follows them, each refusal with its reason."
	}
	fmt.Fprintf(d.out, `Every answer was as expected. The gate serves on %[1]s until Ctrl-C; README.md has the next
commands. %[4]s

To go on, paste these lines into a second terminal (the tokens are valid for one hour, and only here):

export GATE=%[1]s
export MANAGE=%[2]s
export TOKEN=%[3]s
`, d.values["GATE"], d.values["MANAGE"], d.values["TOKEN"], hint)
}
