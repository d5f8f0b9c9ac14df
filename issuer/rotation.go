package issuer

import (
	"strings"
	"sync"
	"time"

	"github.com/jotgate/jotgate/internal/jose"
)

// publishedFirst is how long a key is published before it signs: as long as verifiers may keep the key set that they
// have (keySet's max-age), so that no verifier meets a token whose key it does not have.
const publishedFirst = 5 * time.Minute

// A rotation remembers, over reloads, since when each key is published and which one signs. The first config of a
// process signs with its own choice at once: whether its keys were published before, only the operator knows.
type rotation struct {
	mu        sync.Mutex
	published map[string]time.Time // by kid, those of the present config; zero: since the process began
	signing   signing
}

// signing says which key signs: before until from, wanted thereafter.
type signing struct {
	wanted, before *jose.PrivateKey
	from           time.Time
	published      map[string]time.Time // what rotation is to remember
}

func (s *signing) key(now time.Time) *jose.PrivateKey {
	if s.before != nil && now.Before(s.from) {
		return s.before
	}
	return s.wanted
}

// rotate says what becomes of the signing if a config's keys are taken over, of which the first is to sign. If it was
// not published long enough, the key that signs now goes on, as long as the config still has it. Nothing is remembered
// before take: a config that is refused publishes nothing.
func (r *rotation) rotate(keys []*jose.PrivateKey, now time.Time) signing {
	r.mu.Lock()
	defer r.mu.Unlock()
	first, known := r.published == nil, r.published
	next := signing{wanted: keys[0], published: make(map[string]time.Time, len(keys))}
	for _, k := range keys {
		since, old := known[k.ID()]
		if !old && !first {
			since = now
		}
		next.published[k.ID()] = since
	}
	if since := next.published[keys[0].ID()]; !since.IsZero() {
		next.from = since.Add(publishedFirst)
	}
	if !first && now.Before(next.from) {
		for _, k := range keys {
			if k.ID() == r.signing.key(now).ID() && k.ID() != keys[0].ID() {
				next.before = k
			}
		}
	}
	return next
}

// take puts the signing into force.
func (r *rotation) take(next signing) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.signing, r.published = next, next.published
}

// keys are those that this Minter may sign with.
func (s *signing) keys() []*jose.PrivateKey {
	if s.before == nil {
		return []*jose.PrivateKey{s.wanted}
	}
	return []*jose.PrivateKey{s.wanted, s.before}
}

// rsa reports whether a signature may cost what RSA costs.
func (s *signing) rsa() bool {
	for _, k := range s.keys() {
		if strings.HasPrefix(k.Algorithm(), "RS") {
			return true
		}
	}
	return false
}

// A KeyState is what one of an issuer's keys does.
type KeyState struct {
	ID, Algorithm string
	Signs         bool
	Published     time.Time // zero: since the process began, or longer
	From          time.Time // when it begins to sign; zero: it does, or is not to
}

// KeyStates lists the issuer's keys, in the order of the configuration.
func (i *Issuer) KeyStates() []KeyState {
	now, s := i.clock(), &i.minter.signing
	all := make([]KeyState, 0, len(i.settings.Keys))
	for _, k := range i.settings.Keys {
		state := KeyState{ID: k.ID(), Algorithm: k.Algorithm(), Published: s.published[k.ID()]}
		if state.Signs = s.key(now).ID() == k.ID(); !state.Signs && s.wanted.ID() == k.ID() {
			state.From = s.from
		}
		all = append(all, state)
	}
	return all
}
