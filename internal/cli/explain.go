package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/admin"
	"github.com/jotgate/jotgate/internal/app"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/proxy"
)

func explainCommand() command {
	return command{
		name: "explain",
		usage: `[--config FILE] [--request "GET https://host/path"] [--header "Name: value"]… [--listener NAME] [--unverified] [--json] ` +
			`[--request-id ID] [@TOKEN | -]`,
		brief: "show why a request is allowed or refused", run: explain,
		help: `Judges a request by the config as the gate would, and prints each step: the routes considered, the checks of the token,
the tenant, the entry that decided, and what would have been allowed. Without a request it prints the claims of the token
and the routes that it opens. The token comes from @FILE, or from standard input as -; it is never printed.

explain asks no running gate and fetches nothing. Revocations are read from the config's file, not from a shared store.
Keys that an issuer publishes are unknown here; --unverified judges without them. POST /explain on a gate's admin
listener knows both: send admin.token as the bearer and {"request": "…", "headers": {}, "token": "…"} as the body.

With --request-id it prints the trace of a request that the running gate refused, which keeps the latest of them
(admin.refusals); every refusal's answer and log line has the id.

The exit code is 0 if the request is allowed (or the token is valid), and 4 if it is refused, or would be if its route
were not in shadow mode.

  jotgate explain --config config.yaml --request "GET https://app.example.com/t/acme/1" @token
  jotgate mint --config config.yaml --client web | jotgate explain --config config.yaml -
`,
	}
}

type explainFlags struct {
	request    string
	listener   string
	requestID  string
	headers    headerFlag
	unverified bool
	json       bool
}

// A headerFlag gathers "Name: value".
type headerFlag http.Header

func (h headerFlag) String() string { return "" }

func (h headerFlag) Set(text string) error {
	name, value, ok := strings.Cut(text, ":")
	if name = strings.TrimSpace(name); !ok || name == "" {
		return fmt.Errorf(`want "Name: value"`)
	}
	http.Header(h).Add(name, strings.TrimSpace(value))
	return nil
}

func explain(p *Process, c *call) error {
	fromFlag := configFlag(c.FlagSet)
	f := explainFlags{headers: headerFlag{}}
	c.StringVar(&f.request, "request", "",
		"`REQUEST` to judge: method and absolute URL; without it, only the token is examined")
	c.StringVar(&f.listener, "listener", "", "`NAME` of the listener that the request comes in on (default the first)")
	c.StringVar(&f.requestID, "request-id", "",
		"`ID` of a request that the running gate refused; its admin listener is asked")
	c.Var(f.headers, "header", "`HEADER` of the request, as \"Name: value\"; repeatable")
	c.BoolVar(&f.unverified, "unverified", false,
		"skip key and signature: the token may be forged")
	c.BoolVar(&f.json, "json", false, "print the trace as JSON")
	if err := c.parse(1); err != nil {
		return err
	}
	if c.given("request-id") {
		return f.past(p, c, *fromFlag)
	}
	q, err := f.question(p, c)
	if err != nil {
		return err
	}
	trace, err := f.ask(p, *fromFlag, q)
	if err != nil {
		return err
	}
	if err := f.print(painter{p.Stdout, p.style(p.Stdout)}, trace); err != nil {
		return err
	}
	if !trace.Allowed && !trace.Own {
		return errToldRefused
	}
	return nil
}

// past prints what the running gate has kept of a refusal.
func (f *explainFlags) past(p *Process, c *call, fromFlag string) error {
	if f.request != "" || f.listener != "" || len(f.headers) > 0 || f.unverified || len(c.operands) > 0 {
		return usagef("--request-id asks about a request that was refused: it goes with --config and --json alone")
	}
	file, err := p.configFile(fromFlag)
	if err != nil {
		return err
	}
	settings, err := config.Load(file)
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]string{"request_id": f.requestID})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), revokeDeadline)
	defer cancel()
	status, text, err := post(ctx, settings, admin.ExplainPath, body)
	switch {
	case err != nil:
		return err
	case status != http.StatusOK:
		return fmt.Errorf("the running gate answered %d: %s", status, text)
	}
	var kept app.Refused
	if err := json.Unmarshal([]byte(text), &kept); err != nil || kept.Trace == nil {
		return fmt.Errorf("the running gate's answer cannot be read: %w", err)
	}
	if f.json {
		err = printJSON(p.Stdout, kept)
	} else {
		w := painter{p.Stdout, p.style(p.Stdout)}
		fmt.Fprintf(w, "%s  request %s", kept.At.Format(time.RFC3339Nano), shown(kept.RequestID))
		for _, said := range [][2]string{
			{"from", kept.Client}, {"subject", kept.Subject}, {"client", kept.ClientID}, {"jti", kept.TokenID},
		} {
			if said[1] != "" {
				fmt.Fprintf(w, "  %s %s", said[0], shown(said[1]))
			}
		}
		fmt.Fprintln(w)
		err = f.print(w, kept.Trace)
	}
	if err != nil {
		return err
	}
	return errToldRefused
}

func (f *explainFlags) question(p *Process, c *call) (q app.Question, err error) {
	q = app.Question{
		Request: f.request, Header: http.Header(f.headers), Unverified: f.unverified,
		Listener: f.listener,
	}
	switch {
	case f.request == "" && len(c.operands) == 0:
		return q, usagef("nothing to explain: give a request with --request, a token as @FILE or -, or both")
	case f.request == "" && len(f.headers) > 0:
		return q, usagef("--header needs --request")
	case f.request == "" && f.listener != "":
		return q, usagef("--listener needs --request")
	case f.request != "":
		if err := config.CheckRequest(f.request); err != nil {
			return q, usagef("--request %v", err)
		}
	}
	if len(c.operands) == 0 {
		return q, nil
	}
	if q.Token, err = p.credential(c.operand("")); err == nil && q.Token == "" {
		err = usagef("the token is empty")
	}
	return q, err
}

func (f *explainFlags) ask(p *Process, fromFlag string, q app.Question) (*proxy.Trace, error) {
	file, err := p.configFile(fromFlag)
	if err != nil {
		return nil, err
	}
	load := config.Load
	if f.unverified {
		load = config.Peek // nothing that the keys signed is looked at
	}
	settings, err := load(file)
	if err != nil {
		return nil, err
	}
	judge, err := app.NewJudge(settings, time.Now)
	if err != nil {
		return nil, err
	}
	defer judge.Close() // nothing was written
	return judge.Trace(q)
}

func (f *explainFlags) print(w io.Writer, t *proxy.Trace) error {
	if f.json {
		return printJSON(w, t)
	}
	var b strings.Builder
	printVerdict(&b, t)
	printRoutes(&b, t)
	printSteps(&b, t)
	printToken(&b, t)
	printOpens(&b, t)
	_, err := io.WriteString(w, b.String())
	return err
}

func printVerdict(w io.Writer, t *proxy.Trace) {
	if t.Unverified {
		fmt.Fprintln(w, "UNVERIFIED: the signature was not checked; anyone may have written this token.")
	}
	what := "the token is good here"
	if t.Request != nil {
		what = shown(t.Request.Method) + " " + t.Request.Host + " " + shown(t.Request.Path)
	}
	switch {
	case t.Own:
		fmt.Fprintln(w, "OURS  one of the issuer's own endpoints answers this; no route decides")
	case t.Allowed:
		fmt.Fprintln(w, "ALLOWED  "+what)
	default:
		if t.Shadow {
			fmt.Fprintf(w, "WOULD BE REFUSED  %d %s\n  LET THROUGH all the same: the route is in shadow\n", t.Status, t.Reason)
		} else {
			fmt.Fprintf(w, "REFUSED  %d %s\n", t.Status, t.Reason)
		}
		if t.Request != nil {
			fmt.Fprintln(w, "  "+what)
		}
		if t.Detail != "" {
			fmt.Fprintln(w, "  because: "+shown(t.Detail))
		}
		if t.Needed != "" {
			fmt.Fprintln(w, "  needed:  "+shown(t.Needed))
		}
	}
}

// printRoutes lists the routes whose host and path match, or all if there are few.
func printRoutes(w io.Writer, t *proxy.Trace) {
	const few = 12
	if len(t.Routes) == 0 {
		return
	}
	fmt.Fprintln(w, "\nroutes")
	table, left := tabwriter.NewWriter(w, 0, 1, 2, ' ', 0), 0
	for _, r := range t.Routes {
		if !r.Matches && len(t.Routes) > few {
			left++
			continue
		}
		methods := "the usual methods"
		if len(r.Methods) > 0 {
			methods = strings.Join(r.Methods, ",")
		}
		verdict := r.Verdict
		if len(r.Listeners) > 0 {
			verdict += " (it answers on " + strings.Join(r.Listeners, ", ") + ")"
		}
		if r.Shadow {
			verdict += " (in shadow)"
		}
		fmt.Fprintf(table, "  routes[%d]\t%s\t%s\t%s\n", r.Index, r.Host+r.Path, methods, verdict)
	}
	table.Flush() // a strings.Builder does not fail
	if left > 0 {
		fmt.Fprintf(w, "  and %s whose host or path does not match\n", count(left, "route"))
	}
}

func printSteps(w io.Writer, t *proxy.Trace) {
	fmt.Fprintln(w, "\nchecks")
	table := tabwriter.NewWriter(w, 0, 1, 2, ' ', 0)
	for _, s := range t.Steps {
		fmt.Fprintf(table, "  %s\t%s\t%s\n", s.Outcome, s.Check, shown(s.Detail))
	}
	table.Flush()
}

func printToken(w io.Writer, t *proxy.Trace) {
	said := t.Token
	if said == nil {
		return
	}
	fmt.Fprintln(w, "\nthe token says")
	table := tabwriter.NewWriter(w, 0, 1, 2, ' ', 0)
	for _, claim := range [][2]string{
		{"iss", said.Issuer},
		{"sub", said.Subject},
		{"client_id", said.Client},
		{"grantor", said.Grantor},
		{"exchanged from", strings.Join(said.From, "; ")},
		{"exchanged with", strings.Join(said.ActorTokens, "; ")},
		{"authenticates", strings.Join(said.Workload, " ")},
		{"aud", strings.Join(said.Audience, " ")},
		{"scope", said.Scope},
		{"roles", strings.Join(said.Roles, " ")},
		{"jti", said.ID},
		{"kid", said.Key},
		{"iat", said.IssuedAt},
		{"nbf", said.NotBefore},
		{"exp", said.Expiry},
		{"permissions", permissions(said.Permissions)},
	} {
		if claim[1] != "" {
			fmt.Fprintf(table, "  %s\t%s\n", claim[0], shown(claim[1]))
		}
	}
	for _, line := range said.Mapped {
		fmt.Fprintf(table, "  mapped\t%s\n", shown(line))
	}
	if here := permissions(t.Permissions); here != permissions(said.Permissions) {
		fmt.Fprintf(table, "  worth here\t%s\n", shown(here))
	}
	table.Flush()
}

// permissions is one line: the entries in their order, which matters.
func permissions(p token.Permissions) string {
	entries := make([]string, len(p))
	for i := range p {
		entries[i] = fmt.Sprintf("%d. %s: %s", i, p[i].Tenant, strings.Join(p[i].AllowedActions, " "))
	}
	return strings.Join(entries, "; ")
}

func printOpens(w io.Writer, t *proxy.Trace) {
	if t.Request != nil || !t.Allowed {
		return
	}
	fmt.Fprintln(w, "\nit opens")
	if len(t.Opens) == 0 {
		fmt.Fprintln(w, "  no route")
	}
	table := tabwriter.NewWriter(w, 0, 1, 2, ' ', 0)
	for _, o := range t.Opens {
		methods := "the usual methods"
		if len(o.Methods) > 0 {
			methods = strings.Join(o.Methods, ",")
		}
		tenants := ""
		switch {
		case o.Public:
			tenants = "public: no token is needed"
		case o.Any && len(o.Tenants) > 0:
			tenants = "every tenant but " + strings.Join(o.Tenants, ", ")
		case o.Any:
			tenants = "every tenant"
		case len(o.Tenants) > 0:
			tenants = "tenant " + strings.Join(o.Tenants, ", ")
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\t%s\n", shown(o.Route), o.Path, methods, shown(tenants))
	}
	table.Flush()
}

// shown keeps what came with a request or a token from playing with the terminal.
func shown(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return '\ufffd'
		}
		return c
	}, s)
}
