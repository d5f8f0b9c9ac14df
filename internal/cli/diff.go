package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
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

--log judges the requests of an access log instead, each with the entry of its token's permissions that decided then.

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
	changes, lines := []app.Change(nil), -1
	if *logFile == "" {
		changes = d.Changes()
	} else {
		changes, lines, err = p.diffLog(d, *logFile)
	}
	if err := errors.Join(err, d.Close()); err != nil {
		return err
	}
	if *asJSON {
		err = printDiffJSON(p.Stdout, changes, lines)
	} else {
		err = printDiff(p.Stdout, c.style, changes, lines)
	}
	for _, change := range changes {
		if change.Opens && err == nil {
			return errToldOpens
		}
	}
	return err
}

func (p *Process) diffLog(d *app.Diff, name string) ([]app.Change, int, error) {
	if name == "-" {
		return d.Log(p.Stdin)
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close() // read only
	return d.Log(file)
}

func printDiffJSON(w io.Writer, changes []app.Change, lines int) error {
	report := struct {
		Opens    bool         `json:"opens"`
		Changes  []app.Change `json:"changes"`
		Requests *int         `json:"requests,omitempty"`
	}{Changes: append([]app.Change{}, changes...)}
	for _, c := range changes {
		report.Opens = report.Opens || c.Opens
	}
	if lines >= 0 {
		report.Requests = &lines
	}
	return printJSON(w, report)
}

func printDiff(w io.Writer, s style, changes []app.Change, lines int) error {
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
	end := "nothing is decided otherwise"
	if len(changes) > 0 {
		end = count(len(changes), "change")
	}
	if lines >= 0 {
		end += " in " + count(lines, "logged request")
	}
	_, err := fmt.Fprintln(w, end)
	return err
}
