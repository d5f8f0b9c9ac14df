package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/admin"
	"github.com/jotgate/jotgate/internal/redisstore"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/revoke"
)

// listedPage is how many entries one printed page has.
const listedPage = 1000

// alone refuses --list and --undo beside what says what to revoke.
func (f *revokeFlags) alone(c *call) error {
	if c.given("undo") && f.undo == "" {
		return usagef("--undo is empty")
	}
	if !f.list && f.undo == "" {
		return nil
	}
	conflict := f.list && f.undo != "" || len(c.operands) > 0
	for _, name := range []string{"jti", "subject", "client", "tenant", "key", "all", "before", "issuer"} {
		conflict = conflict || c.given(name)
	}
	if conflict {
		return usagef("--list and --undo stand alone: they conflict with each other and with what is to be revoked")
	}
	return nil
}

// listRevocations prints the file's list, whether a gate holds it or not, or the store's.
func (p *Process) listRevocations(settings *config.Config) error {
	list, done, err := readRevocations(settings)
	if err != nil {
		return err
	}
	defer done()
	for after := ""; ; {
		page := admin.List(list, after, listedPage)
		if err := printJSON(p.Stdout, page); err != nil || page.Next == "" {
			return err
		}
		after = page.Next
	}
}

func readRevocations(settings *config.Config) (list *revoke.List, done func(), err error) {
	r := &settings.Revocations
	if !r.Shared {
		list, err = revoke.Read(revoke.Options{
			File: r.File, Capacity: r.Capacity, Clients: clients(settings), Clock: time.Now,
		})
		return list, func() {}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), revokeDeadline)
	defer cancel()
	store, err := redisstore.Open(ctx, settings.Redis, nil)
	if err != nil {
		return nil, nil, err
	}
	list, err = revoke.Peek(ctx, revoke.SharedOptions{
		Store: store, Capacity: r.Capacity, Clients: clients(settings), Clock: time.Now,
	})
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return list, func() { _ = store.Close() }, nil // all that was asked of it has been answered
}

// undoRevocation writes to the shared store, or to the journal if no gate holds it, and otherwise asks the gate that
// does.
func (p *Process) undoRevocation(id string, settings *config.Config, asJSON bool) error {
	by, err := p.undo(id, settings)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(p.Stdout, struct {
			Undone string `json:"undone"`
			By     string `json:"by"`
		}{id, by})
	}
	where := map[string]string{
		"gate": "at the running gate", "file": "in the file",
		"store": "in the shared store; each replica has it within revocations.poll",
	}[by]
	_, err = fmt.Fprintf(p.Stdout, "the mark %s is undone %s\n", id, where)
	return err
}

func (p *Process) undo(id string, settings *config.Config) (by string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), revokeDeadline)
	defer cancel()
	if settings.Revocations.Shared {
		var e revoke.Entry
		err := share(ctx, settings, func(list *revoke.List) (err error) {
			e, err = list.Undo(ctx, id)
			return err
		})
		return "store", errors.Join(err, p.auditRevocation(admin.Undone(e), err))
	}
	list, err := revoke.Open(revoke.Options{
		File: settings.Revocations.File, Capacity: settings.Revocations.Capacity, Clients: clients(settings), Clock: time.Now,
	})
	if errors.Is(err, revoke.ErrHeld) {
		return "gate", askToUndo(ctx, id, settings)
	}
	if err != nil {
		return "", err
	}
	list.SetLife(settings.SessionLife())
	e, err := list.Undo(ctx, id)
	err = errors.Join(err, list.Close())
	return "file", errors.Join(err, p.auditRevocation(admin.Undone(e), err))
}

func askToUndo(ctx context.Context, id string, settings *config.Config) error {
	status, text, err := send(ctx, settings, http.MethodDelete, admin.RevocationsPath+"/"+url.PathEscape(id), nil)
	if err != nil {
		return fmt.Errorf("a running gate holds the revocations: %w", err)
	}
	switch status {
	case http.StatusNoContent:
		return nil
	case http.StatusNotFound:
		return refusal.Because(refusal.RevocationUnknown, "the running gate has no revocation with the id %.80q", id)
	case http.StatusConflict:
		return refusal.Because(refusal.RevocationKept, "the running gate undoes marks alone, and %.80q is a token", id)
	}
	return fmt.Errorf("the running gate answered %d: %s", status, text)
}
