package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/admin"
	"github.com/jotgate/jotgate/internal/keysets"
	"github.com/jotgate/jotgate/internal/redisstore"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/revoke"
)

// revokeDeadline bounds how long a running gate may take to make a revocation durable.
const revokeDeadline = 10 * time.Second

func revokeCommand() command {
	return command{
		name: "revoke",
		usage: `((@FILE | - | --jti ID | --subject S | --client ID | --tenant T | --key KID | --sid ID | --all) ` +
			`[--before TIME] [--issuer URL] | --list | --undo ID) [--config FILE] [--json]`,
		brief: "revoke a token, or every token issued before a time", run: revokeTokens,
		help: `Revokes one token (@FILE, standard input, or --jti), or every token of a subject, client, tenant, session, key or issuer
that was issued before a time (--before, default now). It needs revocations.file or redis in the config.

Exit code 0 means that the revocation is durable and in force: written to the shared store, which all replicas poll every
revocations.poll; or accepted by the running gate through its admin listener (admin.token); or, without a running gate,
written to the file. The last case prints the audit line on standard error. --json prints what was revoked, and by whom:
gate, file or store.

--list prints what is revoked, as JSON, one page of at most 1000 after another (see next). --undo takes one mark back,
by its id in the list; the latest of the other marks on the same thing stays. With redis, each replica has it within
revocations.poll. A revoked token stays revoked.

  jotgate revoke --config config.yaml @stolen.jwt
  jotgate revoke --config config.yaml --subject alice
  jotgate revoke --config config.yaml --tenant acme --before 2026-01-02T15:04:05Z --json
  jotgate revoke --config config.yaml --key NroMG9otiUyhwknMsbtx0Ibm9w4NY3n2LUiVGAm2Oww
  jotgate revoke --config config.yaml --list
`,
	}
}

type revokeFlags struct {
	jti, subject, client, tenant, key, sid string
	all                                    bool
	before, issuer                         string
	list                                   bool
	undo                                   string
}

func revokeTokens(p *Process, c *call) error {
	fromFlag := configFlag(c.FlagSet)
	asJSON := jsonFlag(c.FlagSet)
	var f revokeFlags
	c.StringVar(&f.jti, "jti", "", "`ID` of one token (its jti)")
	c.StringVar(&f.subject, "subject", "", "`SUBJECT` whose tokens are revoked")
	c.StringVar(&f.client, "client", "", "`ID` of the client that redeemed or granted the tokens")
	c.StringVar(&f.tenant, "tenant", "", "`TENANT` on which every token is revoked")
	c.StringVar(&f.key, "key", "", "`KID` of the key that signed the tokens")
	c.StringVar(&f.sid, "sid", "", "`ID` of the session (sid) that the tokens belong to")
	c.BoolVar(&f.all, "all", false, "every token of the issuer")
	c.StringVar(&f.before, "before", "",
		"`TIME` before which the tokens were issued, as 2006-01-02T15:04:05Z (default now)")
	c.StringVar(&f.issuer, "issuer", "", "`URL` of the tokens' issuer (default issuer.url)")
	c.BoolVar(&f.list, "list", false, "print what is revoked")
	c.StringVar(&f.undo, "undo", "", "`ID` of the mark to take back, as --list has it")
	if err := c.parse(1); err != nil {
		return err
	}
	if err := f.alone(c); err != nil {
		return err
	}
	file, err := p.configFile(*fromFlag)
	if err != nil {
		return err
	}
	settings, err := config.Load(file)
	if err != nil {
		return err
	}
	var w admin.Revocation
	if !f.list && f.undo == "" {
		if w, err = f.revocation(p, c, settings); err != nil {
			return err
		}
	}
	if settings.Revocations.File == "" && !settings.Revocations.Shared {
		return refusal.Because(refusal.RevocationOff,
			"without revocations.file or redis in the config nothing can be revoked")
	}
	switch {
	case f.list:
		return p.listRevocations(settings)
	case f.undo != "":
		return p.undoRevocation(f.undo, settings, *asJSON)
	}
	by, err := p.apply(w, settings)
	if err != nil {
		return err
	}
	if !*asJSON {
		_, err := fmt.Fprintln(p.Stdout, revoked(w, by))
		return err
	}
	return printJSON(p.Stdout, revocationReport{
		true, w.Kind, w.Issuer, w.Value,
		time.UnixMilli(w.At).UTC().Format(time.RFC3339Nano), by, liveTokens(w),
	})
}

// revoked says in words what was done. How many tokens a mark concerns is not known to anyone: the gate keeps no list
// of the tokens that it issued, and whether a subject exists is for the backend to say.
func revoked(w admin.Revocation, by string) string {
	where := map[string]string{
		"gate": "in force at the running gate", "file": "written to the file; a gate has it in force when it starts",
		"store": "in the shared store; each replica has it within revocations.poll",
	}[by]
	at := time.UnixMilli(w.At).UTC().Format(time.RFC3339)
	if w.Kind == "token" {
		text := fmt.Sprintf("revoked the token %q of %s, which ends at %s: %s", w.Value, w.Issuer, at, where)
		if *liveTokens(w) == 0 {
			text += ". It has ended already: no live token is concerned."
		}
		return text
	}
	of := fmt.Sprintf(" with %s %q", w.Kind, w.Value)
	if revoke.Kind(w.Kind) == revoke.Issuer {
		of = ""
	}
	return fmt.Sprintf("revoked every token of %s%s that was issued before %s: %s. How many live ones there "+
		"are cannot be "+
		"known: issued tokens are not listed.", w.Issuer, of, at, where)
}

// liveTokens is how many live tokens a revocation can concern; nil: that cannot be known.
func liveTokens(w admin.Revocation) *int {
	if w.Kind != "token" {
		return nil
	}
	one := 1
	if w.At <= time.Now().UnixMilli() {
		one = 0
	}
	return &one
}

// A revocationReport is what revoke says.
type revocationReport struct {
	Revoked bool   `json:"revoked"`
	Kind    string `json:"kind"`
	Issuer  string `json:"issuer"`
	Value   string `json:"value"`
	At      string `json:"at"`
	By      string `json:"by"`          // gate: a running one was asked; file, store: it was written here
	Live    *int   `json:"live_tokens"` // at most so many are concerned; null: that cannot be known
}

// revocation is what the flags ask for: exactly one thing.
func (f *revokeFlags) revocation(p *Process, c *call, settings *config.Config) (w admin.Revocation, err error) {
	kinds := map[string]struct{ kind, value string }{
		"jti": {"token", f.jti}, "subject": {string(revoke.Subject), f.subject}, "client": {string(revoke.Client), f.client},
		"tenant": {string(revoke.Tenant), f.tenant}, "key": {string(revoke.KeyID), f.key}, "all": {string(revoke.Issuer), ""},
		"sid": {string(revoke.Session), f.sid},
	}
	named := 0
	for flag, k := range kinds {
		if c.given(flag) {
			named++
			w.Kind, w.Value = k.kind, k.value
			if k.value == "" && flag != "all" {
				return w, usagef("--%s is empty", flag)
			}
		}
	}
	if named+len(c.operands) != 1 {
		return w, usagef("name exactly one of @FILE, -, --jti, --subject, --client, --tenant, --key, --sid and --all")
	}
	if len(c.operands) == 1 {
		if c.given("before") || c.given("issuer") {
			return w, usagef("--issuer and --before conflict with a token, which names both itself")
		}
		return p.tokenRevocation(c.operand(""), settings)
	}
	if w.Issuer = f.issuer; w.Issuer == "" {
		if settings.Issuer == nil {
			return w, usagef("--issuer is missing: the config issues no tokens, so name the issuer whose tokens to revoke")
		}
		w.Issuer = settings.Issuer.URL
	}
	w.At, err = f.moment(w.Kind, c, settings)
	return w, err
}

// moment is the mark's, or the latest time at which the token of a bare jti can end.
func (f *revokeFlags) moment(kind string, c *call, settings *config.Config) (int64, error) {
	if kind == "token" {
		if c.given("before") {
			return 0, usagef("--before conflicts with --jti, which names one token")
		}
		return time.Now().Add(longestLife(settings)).UnixMilli(), nil
	}
	if f.before == "" {
		return time.Now().UnixMilli(), nil
	}
	at, err := time.Parse(time.RFC3339, f.before)
	if err != nil {
		return 0, usagef("--before %q: want a time like 2006-01-02T15:04:05Z", f.before)
	}
	return at.UnixMilli(), nil
}

// longestLife bounds how long any token can live that the config lets in.
func longestLife(settings *config.Config) (life time.Duration) {
	if i := settings.Issuer; i != nil {
		life = max(i.MaxTokenTTL, i.MaxAccessTokenTTL)
	}
	for _, i := range settings.TrustedIssuers {
		life = max(life, i.MaxTokenTTL)
	}
	return life
}

// tokenRevocation reads a token that one of the config's issuers signed; it may have expired.
func (p *Process) tokenRevocation(operand string, settings *config.Config) (w admin.Revocation, err error) {
	compact, err := p.credential(operand)
	if err != nil {
		return w, err
	}
	verifier, err := keysets.Verifier(settings)
	if err != nil {
		return w, err
	}
	v, err := verifier.VerifyUntimed(compact, nil)
	if err != nil {
		return w, err
	}
	return admin.Revocation{Kind: "token", Issuer: v.Claims.Issuer, Value: v.Claims.ID, At: v.Claims.Expiry}, nil
}

// apply writes the journal if no one holds it, and otherwise asks the gate that does.
func (p *Process) apply(w admin.Revocation, settings *config.Config) (by string, err error) {
	body, err := w.JSON()
	if err != nil {
		return "", err
	}
	if _, err := admin.ParseRevocation(body); err != nil {
		return "", usagef("%v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), revokeDeadline)
	defer cancel()
	if settings.Revocations.Shared {
		err := share(ctx, settings, func(list *revoke.List) error { return w.Apply(ctx, list) })
		return "store", errors.Join(err, p.auditRevocation(w, err))
	}
	list, err := revoke.Open(revoke.Options{
		File: settings.Revocations.File, Capacity: settings.Revocations.Capacity, Clients: clients(settings), Clock: time.Now,
	})
	if errors.Is(err, revoke.ErrHeld) {
		return "gate", ask(ctx, body, settings)
	}
	if err != nil {
		return "", err
	}
	list.SetLife(settings.SessionLife())
	err = errors.Join(w.Apply(ctx, list), list.Close())
	return "file", errors.Join(err, p.auditRevocation(w, err))
}

// share writes to the store itself: no gate needs to run.
func share(ctx context.Context, settings *config.Config, write func(*revoke.List) error) error {
	store, err := redisstore.Open(ctx, settings.Redis, nil)
	if err != nil {
		return err
	}
	list, err := revoke.Borrow(revoke.SharedOptions{
		Store: store, Capacity: settings.Revocations.Capacity, Clients: clients(settings), Clock: time.Now,
	})
	if err != nil {
		return errors.Join(err, store.Close())
	}
	list.SetLife(settings.SessionLife())
	return errors.Join(write(list), list.Close(), store.Close())
}

// ask posts a revocation to the running gate.
func ask(ctx context.Context, body []byte, settings *config.Config) error {
	status, text, err := post(ctx, settings, admin.RevocationsPath, body)
	switch {
	case err != nil:
		return fmt.Errorf("a running gate holds the revocations: %w", err)
	case status != http.StatusNoContent:
		return fmt.Errorf("the running gate answered %d: %s", status, text)
	}
	return nil
}
