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
		help: `Signs a token with the config's current signing key and prints the token alone. The limits of the config apply as they
do at the token endpoints; more is refused with exit code 4. An audit line on standard error says what was granted to
whom; it holds no credential.

--scope makes a management token, which opens token endpoints and no routes. --role makes an access token for a subject.
Without either, the token is the client's own access token, with the client's own permissions.

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
	c.StringVar(&m.client, "client", "", "`ID` of the client in the config that grants the token")
	c.StringVar(&m.scope, "scope", "", "`WORDS` of the client's may that a management token carries, separated by spaces")
	c.StringVar(&m.role, "role", "", "`NAME` of the role in the config that an access token carries")
	c.StringVar(&m.tenant, "tenant", "", "`TENANT` for a role that contains {tenant}")
	c.StringVar(&m.subject, "sub", "",
		"`SUBJECT` of the token; required with --role (default with --scope: the client)")
	c.DurationVar(&m.ttl, "ttl", 0, "`DURATION` of the token's life, for example 10m (default issuer.token_ttl)")
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
		return usagef("--client is missing: name the client in the config that grants the token")
	case management && role:
		return usagef("--scope conflicts with --role: a management token opens no route")
	case management && m.scope == "":
		return usagef("--scope is empty: name words of the client's may, for example issue_codes")
	case role && m.role == "":
		return usagef("--role is empty: name one of the config's roles")
	case role && m.subject == "":
		return usagef("--role needs --sub, the subject of the token")
	case !role && c.given("tenant"):
		return usagef("--tenant needs --role")
	case !role && !management && c.given("sub"):
		return usagef("--sub needs --scope or --role: the subject of a client's own token is the client")
	case c.given("ttl") && m.ttl <= 0:
		return usagef("--ttl %v: must be positive", m.ttl)
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
