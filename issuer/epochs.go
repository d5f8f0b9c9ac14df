package issuer

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/issuer/code"
)

// A ChangingGuard has an epoch that can change while it runs, since the store that it asks can forget.
type ChangingGuard interface {
	Guard
	// Fresh answers nil if the epoch is known and was confirmed lately.
	Fresh() error
	// Refresh asks for the epoch, and answers nil if it is known now.
	Refresh(ctx context.Context) error
}

// A codeSealer seals and opens codes under the guard's present epoch.
type codeSealer struct {
	options  code.Options // but for the epoch
	guard    Guard
	changing ChangingGuard // the same, or nil

	present atomic.Pointer[epochSealer]
	making  sync.Mutex
}

type epochSealer struct {
	*code.Sealer
	epoch []byte
}

// newSealer makes the sealer of the config's code secrets. Without any, the State's secret will do: codes are then good
// for this process alone, as its memory of used ones is.
func newSealer(settings *config.Issuer, state *State, guard Guard) (*codeSealer, error) {
	var secrets [][]byte
	for _, s := range settings.CodeSecrets {
		secrets = append(secrets, []byte(s.Reveal()))
	}
	if len(secrets) == 0 {
		secrets = [][]byte{state.codeSecret}
	}
	s := &codeSealer{guard: guard, options: code.Options{
		Issuer: settings.URL, Secrets: secrets,
		Prefixes: settings.CodePrefixes,
	}}
	s.changing, _ = guard.(ChangingGuard)
	first := s.options
	if first.Epoch = guard.Epoch(); first.Epoch == nil {
		first.Epoch = make([]byte, 32) // the store does not answer yet; whether the rest is right can be told all the same
	}
	if _, err := code.New(first); err != nil {
		return nil, fmt.Errorf("issuer: codes: %w", err)
	}
	return s, nil
}

// under is the sealer of the guard's present epoch.
func (s *codeSealer) under() (*epochSealer, error) {
	epoch := s.guard.Epoch()
	if epoch == nil {
		return nil, refusal.Because(refusal.StoreUnavailable, "the epoch of the shared store is not known")
	}
	if p := s.present.Load(); p != nil && bytes.Equal(p.epoch, epoch) {
		return p, nil
	}
	s.making.Lock()
	defer s.making.Unlock()
	if p := s.present.Load(); p != nil && bytes.Equal(p.epoch, epoch) {
		return p, nil
	}
	o := s.options
	o.Epoch = epoch
	sealer, err := code.New(o)
	if err != nil {
		return nil, fmt.Errorf("codes: %w", err)
	}
	p := &epochSealer{sealer, epoch}
	s.present.Store(p)
	return p, nil
}

// seal makes a code, unless a second use could not be noticed later.
func (s *codeSealer) seal(g code.Grant, b code.Binding) (string, error) {
	if s.changing != nil {
		if err := s.changing.Fresh(); err != nil {
			return "", err
		}
	}
	sealer, err := s.under()
	if err != nil {
		return "", err
	}
	return sealer.Seal(g, b)
}

// open answers what a code says and the epoch that it was sealed under. Where the epoch can change, another replica may
// have heard of the next one before this one: then the guard is asked before a code is said to be of another.
func (s *codeSealer) open(ctx context.Context, text string, presented code.Binding) (*code.Opened, []byte, error) {
	sealer, err := s.under()
	if err == nil {
		opened, err := sealer.Open(text, presented)
		if err == nil {
			return opened, sealer.epoch, nil
		}
		if s.changing == nil || refusal.Of(err) != refusal.CodeOtherEpoch {
			return nil, nil, err
		}
	} else if s.changing == nil {
		return nil, nil, err
	}
	if err := s.changing.Refresh(ctx); err != nil {
		return nil, nil, err
	}
	if sealer, err = s.under(); err != nil {
		return nil, nil, err
	}
	opened, err := sealer.Open(text, presented)
	return opened, sealer.epoch, err
}
