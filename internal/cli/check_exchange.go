package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/token"
)

// printExchanges tells who may exchange which tokens for what: one line for each client with exchange and each issuer
// whose tokens it may exchange, with the most that can come out.
func printExchanges(w io.Writer, s style, settings *config.Config) error {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 1, 2, ' ', 0)
	fmt.Fprintln(table, "EXCHANGED BY\tTOKENS OF\tFOR AUDIENCES\tAT MOST\tCLAIMS")
	lines := 0
	if i := settings.Issuer; i != nil && i.Serve.OAuth2 {
		for _, c := range i.Clients {
			if !slices.Contains(c.May, token.Exchange) || c.Public {
				continue
			}
			audiences, claims := strings.Join(i.Audiences, " "), orElse(strings.Join(c.Claims, " "), "none")
			row := func(issuer string, most token.Permissions) {
				lines++
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", shown(c.ID), shown(issuer), audiences, allowed(most), claims)
			}
			row(i.URL, c.Delegate)
			for _, t := range settings.TrustedIssuers {
				if t.Exchange {
					row(t.Issuer, t.Permissions.Cut(c.Delegate))
				}
			}
		}
	}
	if lines == 0 {
		_, err := fmt.Fprintln(w, "\nno client may exchange tokens")
		return err
	}
	table.Flush() // a strings.Builder does not fail
	head, rest, _ := strings.Cut(text.String(), "\n")
	_, err := fmt.Fprintf(w, "\n%s\n%s", s.dim(head), rest)
	return err
}

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
