package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/app"
)

func diffCommand() command {
	return command{
		name: "diff", usage: "OLD NEW [--log FILE] [--json]", brief: "show what a new config opens and closes",
		run: diff,
		help: `Compares two configs by what they decide: requests for every route of either, with the permissions that the roles,
users, clients and trusted issuers of either can hold, and settings that are wider. It lists what NEW opens that OLD
keeps closed, and what it closes. The exit code is 5 if anything opens. Key files need not be there.

--log judges the requests of an access log as well (log.format json), each with the entry of its token's permissions that
decided then. What a line does not tell is counted as such: a request whose verdict depends on what else its token says.

  jotgate diff running.yaml config.yaml
  jotgate diff running.yaml config.yaml --log access.log
`,
	}
}

func diff(p *Process, c *call) error {
	logFile := c.String("log", "", "`FILE` access log whose requests are judged by both configs; - is standard input")
	asJSON := jsonFlag(c.FlagSet)
	if err := c.parse(2); err != nil {
		return err
	}
	if len(c.operands) != 2 {
		return usagef("name two configs: jotgate diff OLD NEW")
	}
	old, err := config.Peek(c.operands[0])
	if err != nil {
		return err
	}
	fresh, err := config.Peek(c.operands[1])
	if err != nil {
		return err
	}
	d, err := app.NewDiff(old, fresh, time.Now)
	if err != nil {
		return err
	}
	changes := d.Changes()
	var log *app.LogDiff
	if *logFile != "" {
		log, err = p.diffLog(d, *logFile)
	}
	if err := errors.Join(err, d.Close()); err != nil {
		return err
	}
	if *asJSON {
		err = printDiffJSON(p.Stdout, changes, log)
	} else {
		err = printDiff(p.Stdout, c.style, changes, log)
	}
	if err == nil && opens(changes, log) {
		return errToldOpens
	}
	return err
}

func opens(changes []app.Change, log *app.LogDiff) bool {
	if log != nil {
		changes = slices.Concat(changes, log.Changes)
	}
	return slices.ContainsFunc(changes, func(c app.Change) bool { return c.Opens })
}

func (p *Process) diffLog(d *app.Diff, name string) (*app.LogDiff, error) {
	in := p.Stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close() // read only
		in = file
	}
	log, err := d.Log(in)
	return &log, err
}

func printDiffJSON(w io.Writer, changes []app.Change, log *app.LogDiff) error {
	return printJSON(w, struct {
		Opens   bool         `json:"opens"`
		Changes []app.Change `json:"changes"`
		Log     *app.LogDiff `json:"log,omitempty"`
	}{opens(changes, log), append([]app.Change{}, changes...), log})
}

func printDiff(w io.Writer, s style, changes []app.Change, log *app.LogDiff) error {
	if err := printChanges(w, s, changes); err != nil {
		return err
	}
	end := "nothing is decided otherwise"
	if len(changes) > 0 {
		end = count(len(changes), "change")
	}
	if _, err := fmt.Fprintln(w, end); log == nil || err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w, "\nof the log:"); err != nil {
		return err
	}
	if err := printChanges(w, s, log.Changes); err != nil {
		return err
	}
	differ := 0
	for _, c := range log.Changes {
		differ += c.Count
	}
	end = fmt.Sprintf("%s: %d decided otherwise, %d cannot be told", count(log.Requests, "logged request"), differ,
		log.Unknown)
	if log.Unreadable > 0 {
		end += "; " + count(log.Unreadable, "line") + " not read as JSON"
	}
	_, err := fmt.Fprintln(w, end)
	return err
}

func printChanges(w io.Writer, s style, changes []app.Change) error {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 1, 2, ' ', 0)
	for _, c := range changes {
		verb := "closes"
		if c.Opens {
			verb = "opens"
		}
		if c.Setting != "" {
			fmt.Fprintf(table, "%s\t%s\n", verb, c.Setting)
			continue
		}
		who := c.Holder
		if len(c.Tenants) > 0 {
			who += " on " + strings.Join(c.Tenants, ", ")
		}
		if len(c.Listeners) > 0 {
			who += " at listener " + strings.Join(c.Listeners, ", ")
		}
		if c.Count > 0 {
			who += ": " + count(c.Count, "request")
		}
		fmt.Fprintf(table, "%s\t%s %s\t%s\n", verb, orElse(strings.Join(c.Methods, ","), "any method of"), c.Route, who)
	}
	table.Flush() // a strings.Builder does not fail
	for line := range strings.Lines(text.String()) {
		if rest, opens := strings.CutPrefix(line, "opens"); opens {
			line = s.bad("opens") + rest
		}
		if _, err := io.WriteString(w, line); err != nil {
			return err
		}
	}
	return nil
}
