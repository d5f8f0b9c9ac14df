package revoke

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
)

// An Entry is one revocation of the list.
type Entry struct {
	ID     string // the same after a restart, and on every replica
	Kind   string // token, or a Kind
	Issuer string
	Value  string // the jti, or what is marked; "" for a mark on the issuer
	At     int64  // ms: the token's end, or the moment of the mark
}

// idBytes is how much of a SHA-256 names an entry.
const idBytes = 16

// id does not depend on a token's end, which may be learned later, but on a mark's moment.
func (e *Entry) id() string {
	at := e.At
	if e.Kind == "token" {
		at = 0
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %d", e.Kind, e.Issuer, e.Value, at))
	return hex.EncodeToString(sum[:idBytes])
}

// Entries returns at most so many entries in the order of their ids, which begins behind the id after ("": at the
// first), and reports whether there are more. Tokens that ended long ago are left out.
func (l *List) Entries(after string, most int) (page []Entry, more bool) {
	return l.Search("", after, most)
}

// Search is Entries of those alone whose kind, issuer, value or id has a text in it, whatever the case of letters. The
// list is read once.
func (l *List) Search(text, after string, most int) (page []Entry, more bool) {
	text = strings.ToLower(text)
	all := l.entries()
	kept := all[:0]
	for _, e := range all {
		if e.ID = e.id(); e.ID > after && e.holds(text) {
			kept = append(kept, e)
		}
	}
	slices.SortFunc(kept, func(a, b Entry) int { return cmp.Compare(a.ID, b.ID) })
	if len(kept) > most {
		return slices.Clone(kept[:most]), true
	}
	return kept, false
}

func (e *Entry) holds(text string) bool {
	for _, value := range []string{e.ID, e.Value, e.Kind, e.Issuer} {
		if text == "" || strings.Contains(strings.ToLower(value), text) {
			return true
		}
	}
	return false
}

// entries copies the list, without ids: digests take too long for the lock.
func (l *List) entries() []Entry {
	ended := l.clock().Add(-keptAfterExpiry).UnixMilli()
	l.mu.RLock()
	defer l.mu.RUnlock()
	all := make([]Entry, 0, l.tokens.len()+l.marked)
	for r := range l.tokens.all() {
		if r.At > ended {
			all = append(all, Entry{Kind: r.Kind, Issuer: r.Issuer, Value: r.Value, At: r.At})
		}
	}
	passed := l.passed()
	for key, marks := range l.marks {
		for _, at := range marks {
			if key.kind.passing() && at <= passed {
				continue
			}
			all = append(all, Entry{Kind: string(key.kind), Issuer: key.issuer, Value: key.value, At: at})
		}
	}
	return all
}

// Undo takes one mark back: what it alone revoked counts again, and the latest of the other marks on the same thing
// stays. It has taken effect here, and is durable, when nil is returned; what replicas share takes effect on each of
// them with its next poll. Errors: refusal.RevocationUnknown; refusal.RevocationKept for a token;
// refusal.StoreUnavailable.
func (l *List) Undo(ctx context.Context, id string) (Entry, error) {
	if err := ctx.Err(); err != nil {
		return Entry{}, refusal.Because(refusal.StoreUnavailable, "revocations: %v", err)
	}
	l.write.Lock()
	defer l.write.Unlock()
	if l.shared != nil { // it may be of another replica
		if err := l.shared.refresh(ctx, l); err != nil {
			return Entry{}, refusal.Because(refusal.StoreUnavailable, "revocations: %v", err)
		}
	}
	e, err := l.find(id)
	if err != nil {
		return e, err
	}
	r := record{Kind: e.Kind, Issuer: e.Issuer, Value: e.Value, At: e.At, Undo: true}
	switch {
	case e.Kind == "token":
		return e, refusal.Because(refusal.RevocationKept, "jti %.130q: only marks can be undone", e.Value)
	case l.shared != nil:
		return e, l.addShared(ctx, r)
	case l.file == nil:
		return e, errReadOnly
	}
	if err := l.file.append(r); err != nil {
		return e, refusal.Because(refusal.StoreUnavailable, "revocations: %v", err)
	}
	l.apply(r)
	if l.file.records > 2*l.size()+1024 {
		_ = l.compact() // the mark is undone whatever becomes of it; the next write tries again
	}
	return e, nil
}

func (l *List) find(id string) (Entry, error) {
	if len(id) == 2*idBytes && strings.Trim(id, "0123456789abcdef") == "" {
		for _, e := range l.entries() {
			if e.ID = e.id(); e.ID == id {
				return e, nil
			}
		}
	}
	return Entry{}, refusal.Because(refusal.RevocationUnknown, "no revocation has the id %.80q", id)
}

// A word is what the store has on a mark: it was set, or undone, at a moment by the store's clock.
type word struct {
	when   int64 // ms
	undone bool
}

// outdates reports whether w counts against an older word. Of two at the same moment, the mark counts.
func (w word) outdates(old word) bool {
	return w.when > old.when || w.when == old.when && old.undone && !w.undone
}

func (m notBefore) record(w word) record {
	return record{
		Kind: string(m.kind), Issuer: m.issuer, Value: m.value, At: m.at, When: w.when, Undo: w.undone,
	}
}

func (r *record) notBefore() notBefore {
	return notBefore{markKey{Kind(r.Kind), r.Issuer, r.Value}, r.At}
}

// keptUndone is for how long it is remembered that a mark in a shared store was undone, so that a replica that did not
// hear of it cannot bring the mark back when the store loses its memory.
const keptUndone = 24 * time.Hour

// applyMark sets a mark, or takes it back, unless a later word on it is known. The caller holds mu.
func (l *List) applyMark(r record) {
	key := r.notBefore().markKey
	if l.shared != nil {
		now := word{r.When, r.Undo}
		if old, known := l.words[r.notBefore()]; known && !now.outdates(old) {
			return
		}
		l.words[r.notBefore()] = now
	}
	all := l.marks[key]
	i, known := slices.BinarySearch(all, r.At)
	was := len(all)
	switch {
	case r.Undo && known:
		all = slices.Delete(all, i, i+1)
	case r.Undo || known:
		return
	default:
		all = slices.Insert(all, i, r.At)
	}
	l.marked += len(all) - was
	if key.kind.passing() {
		l.passing += len(all) - was
	}
	if l.marks[key] = all; len(all) == 0 {
		delete(l.marks, key)
	}
}
