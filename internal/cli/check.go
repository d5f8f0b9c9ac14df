package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/app"
)

func checkCommand() command {
	return command{
		name: "check", usage: "[--config FILE] [--json] [--explain]",
		brief: "check a config and report every fault with its line",
		run:   check,
		help: `Loads and compiles the config as serve does and runs its policy tests, without serving and without creating files.
Faults and failed tests go to standard error as file:line:column: yaml.path: what is wrong, what to do; the exit code
is 3 then. At a terminal a table of the routes follows. --json prints one object with everything: fine, faults, warnings
and counts. --explain prints who may exchange which tokens for what (RFC 8693), which clients authenticate with
tokens of other issuers, which issuers tell of logouts, and the protected resources.

  jotgate check --config config.yaml
  jotgate check --config config.yaml --json
  jotgate check --config config.yaml --explain
`,
	}
}

func check(p *Process, c *call) error {
	fromFlag := configFlag(c.FlagSet)
	asJSON := jsonFlag(c.FlagSet)
	explain := c.Bool("explain", false, "print the tables of exchange, workloads, logouts and resources")
	if err := c.parse(0); err != nil {
		return err
	}
	file, err := p.configFile(*fromFlag)
	if err != nil {
		return err
	}
	settings, err := checked(file)
	if *asJSON {
		return printCheck(p.Stdout, file, settings, err)
	}
	if err != nil {
		return err
	}
	for _, w := range settings.Warnings {
		fmt.Fprintf(p.Stderr, "%s %v\n", p.style(p.Stderr).warn("warning:"), w)
	}
	tests := ""
	if n := len(settings.Tests); n > 0 {
		tests = ", " + count(n, "test") + " passed"
	}
	_, err = fmt.Fprintf(p.Stdout, "%s is %s: %s, %s, %s%s\n", file, c.style.good("fine"),
		count(len(settings.Listeners), "listener"), count(clients(settings), "client"), count(len(settings.Routes), "route"),
		tests)
	if err == nil && atTerminal(p.Stdout) {
		err = printRouteTable(p.Stdout, c.style, settings.Routes)
	}
	if err == nil && *explain {
		err = printTokensIn(p.Stdout, c.style, settings)
	}
	return err
}

func clients(settings *config.Config) int {
	if settings.Issuer == nil {
		return 0
	}
	return len(settings.Issuer.Clients)
}

// printRouteTable is for people: what each request needs, at a glance.
func printRouteTable(w io.Writer, s style, routes []*config.Route) error {
	if len(routes) == 0 {
		return nil
	}
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 1, 2, ' ', 0)
	fmt.Fprintln(table, "ROUTE\tHOSTS\tPATH\tMETHODS\tNEEDS\tUPSTREAM")
	for _, r := range routes {
		hosts := make([]string, len(r.Hosts))
		for i, h := range r.Hosts {
			hosts[i] = h.String()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", shown(r.Name), orElse(strings.Join(hosts, ","), "any"), r.Path,
			orElse(strings.Join(r.Methods, ","), "the usual"), needs(r), upstreamName(r))
	}
	table.Flush() // a strings.Builder does not fail
	head, rest, _ := strings.Cut(text.String(), "\n")
	_, err := fmt.Fprintf(w, "\n%s\n%s", s.dim(head), rest)
	return err
}

func upstreamName(r *config.Route) string {
	if r.Upstream == nil {
		return "none"
	}
	return r.Upstream.Name
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// needs is what a request must bring to be let through, in the words of the config.
func needs(r *config.Route) string {
	q := r.Require
	switch {
	case r.Public:
		return "nothing"
	case q.Action == "":
		return "a good token"
	case q.Global:
		return q.Action + ", globally"
	case q.Tenant != "":
		return q.Action + " on " + q.Tenant
	}
	from := map[config.Source]string{
		config.FromPath: "path", config.FromHost: "host", config.FromHeader: "header", config.FromQuery: "query",
	}
	return fmt.Sprintf("%s on the tenant in %s.%s", q.Action, from[q.From], q.Name)
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// checked is a config without faults, whose own tests pass.
func checked(file string) (*config.Config, error) {
	settings, err := config.Load(file)
	if err != nil {
		return nil, err
	}
	judge, err := app.NewJudge(settings, time.Now)
	if err != nil {
		return nil, err
	}
	return settings, errors.Join(judge.Policy(), judge.Close())
}
