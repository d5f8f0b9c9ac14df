package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/jotgate/jotgate/internal/keyfile"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/issuer"
)

func mintCommand() command {
	return command{
		name:  "mint",
		usage: `--client ID [--scope "WORDS" | --role NAME [--tenant T]] [--sub S] [--ttl D] [--config FILE]`,
		brief: "sign a token here and print it", run: mint,
		help: `Signs a token with the config's first key and prints it, alone. What the config lets the client have bounds it, as
it bounds the token endpoints: more is refused, with 4. A line on standard error, like those of the gate's log, says who
was given what; it holds no credential.

With --scope it is a management token, which opens token endpoints and no route; with --role an access token for a
subject; with neither the client's own access token, with the client's own permissions.

  jotgate mint --config config.yaml --client web --scope issue_codes
  jotgate mint --config config.yaml --client web --role reader --tenant acme --sub alice --ttl 10m
`,
	}
}

type mintFlags struct {
	client, scope, role, tenant, subject string
	ttl                                  time.Duration
}

func mint(p *Process, c *call) error {
	fromFlag := configFlag(c.FlagSet)
	var m mintFlags
	c.StringVar(&m.client, "client", "", "the client's `ID` in the config: it grants the token")
	c.StringVar(&m.scope, "scope", "", "what a management token may do: `WORDS` of the client's may, separated by spaces")
	c.StringVar(&m.role, "role", "", "the role, by its `NAME` in the config, that an access token has")
	c.StringVar(&m.tenant, "tenant", "", "the `TENANT` for a role that says {tenant}")
	c.StringVar(&m.subject, "sub", "",
		"the `SUBJECT`, whom the token is for; with --role required, with --scope the client")
	c.DurationVar(&m.ttl, "ttl", 0, "how `LONG` it lives, like 10m; without it, issuer.token_ttl")
	if err := c.parse(0); err != nil {
		return err
	}
	if err := m.check(c); err != nil {
		return err
	}
	file, err := p.configFile(*fromFlag)
	if err != nil {
		return err
	}
	// A key that is still to be made is made now, as serve would: a token of a throw-away key would open nothing.
	settings, err := keyfile.Load(file)
	if err != nil {
		return err
	}
	minter, err := issuer.NewMinter(settings, time.Now)
	if err != nil {
		return err
	}
	compact, claims, refused := m.sign(minter)
	if err := errors.Join(refused, p.auditMint(&m, claims, refused)); err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.Stdout, compact)
	return err
}

// check refuses flags that do not go together, before any file is read.
func (m *mintFlags) check(c *call) error {
	management, role := c.given("scope"), c.given("role")
	switch {
	case m.client == "":
		return usagef("--client is missing: which of the config's clients grants the token?")
	case management && role:
		return usagef("--scope and --role exclude each other: a management token opens no route")
	case management && m.scope == "":
		return usagef("--scope is empty: name words of the client's may, like issue_codes")
	case role && m.role == "":
		return usagef("--role is empty: name one of the config's roles")
	case role && m.subject == "":
		return usagef("--role needs --sub: whom is the token for?")
	case !role && c.given("tenant"):
		return usagef("--tenant goes with --role alone")
	case !role && !management && c.given("sub"):
		return usagef("--sub goes with --scope or --role: a client's own token is the client's")
	case c.given("ttl") && m.ttl <= 0:
		return usagef("--ttl %v: a token lives longer than that", m.ttl)
	}
	return nil
}

func (m *mintFlags) sign(minter *issuer.Minter) (string, *token.Claims, error) {
	switch {
	case m.scope != "":
		return minter.Management(m.client, m.scope, m.subject, m.ttl)
	case m.role != "":
		return minter.ForRole(m.client, m.role, m.tenant, m.subject, m.ttl)
	}
	return minter.Own(m.client, m.ttl)
}
