package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/internal/trust"
)

// printTokensIn tells what becomes of other issuers' tokens: who may exchange which for what, which authenticate a
// client, who tells of logouts, and which resources send clients to which authorization server.
func printTokensIn(w io.Writer, s style, settings *config.Config) error {
	exchanges := [][]string{{"EXCHANGED BY", "TOKENS OF", "FOR AUDIENCES", "IF NAMED", "AT MOST", "CLAIMS"}}
	for _, x := range trust.Exchanges(settings) {
		exchanges = append(exchanges, []string{
			x.Client, x.Issuer, words(x.Audiences), words(x.Named), allowed(x.Most), words(x.Claims),
		})
	}
	workloads := [][]string{{"CLIENT", "BY TOKENS OF", "WHOSE", "FOR", "LIFETIME", "USED"}}
	for _, x := range trust.Workloads(settings) {
		used := "while it lives"
		if x.Identity.Once {
			used = "once"
		}
		workloads = append(workloads, []string{
			x.Client, x.Issuer, x.Is, words(x.Identity.Audiences), x.Identity.MaxLifetime.String(), used,
		})
	}
	logouts := [][]string{{"TELLS OF LOGOUTS", "FOR AUDIENCES"}}
	for _, t := range settings.TrustedIssuers {
		if len(t.LogoutAudiences) > 0 {
			logouts = append(logouts, []string{t.Issuer, words(t.LogoutAudiences)})
		}
	}
	resources := [][]string{{"RESOURCE", "PATH", "TOKENS OF", "SCOPES"}}
	for _, r := range settings.Resources {
		resources = append(resources, []string{r.URL, r.Path.String(), words(r.Servers), words(r.Scopes)})
	}
	if len(exchanges) == 1 {
		if _, err := fmt.Fprintln(w, "\nno client may exchange tokens"); err != nil {
			return err
		}
	}
	for _, table := range [][][]string{exchanges, workloads, logouts, resources} {
		if len(table) == 1 {
			continue
		}
		if err := printTable(w, s, table); err != nil {
			return err
		}
	}
	return nil
}

// printTable prints rows whose first is the head.
func printTable(w io.Writer, s style, rows [][]string) error {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 1, 2, ' ', 0)
	for _, row := range rows {
		for i := range row {
			row[i] = shown(row[i])
		}
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	table.Flush() // a strings.Builder does not fail
	head, rest, _ := strings.Cut(text.String(), "\n")
	_, err := fmt.Fprintf(w, "\n%s\n%s", s.dim(head), rest)
	return err
}

func words(list []string) string { return orElse(strings.Join(list, " "), "none") }

// allowed is permissions in a few words.
func allowed(p token.Permissions) string {
	var entries []string
	for _, e := range p {
		if len(e.AllowedActions) > 0 {
			entries = append(entries, strings.Join(e.AllowedActions, ",")+" on "+e.Tenant)
		} else if e.Tenant != token.Any {
			entries = append(entries, "nothing on "+e.Tenant)
		}
	}
	return orElse(strings.Join(entries, "; "), "nothing")
}
