// Package revoke remembers what was revoked: single tokens by issuer and jti, and not-before marks, which revoke
// all tokens of an issuer, subject, client, tenant or signing key that were issued before a moment.
//
// A revocation is durable before it is answered: it is appended to a file and fsynced, or kept in the store that all
// replicas share (shared.go, scripts.go), then it takes effect here, on the very next request. A token's entry is
// forgotten only some time after the token has ended; a mark is never forgotten, only undone (entries.go). When the
// list is full, or a client has used up its share of it, a revocation is refused: forgetting an older one would open
// what was closed.
//
// This is no database of tokens: the list holds only what was revoked, RFC 7009's memory.
package revoke

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// keptAfterExpiry is how long a token's entry outlives the token, so that a clock that steps back does not bring it
// back.
const keptAfterExpiry = 10 * time.Minute

// A Kind is what a not-before mark revokes.
type Kind string

// The kinds of marks.
const (
	Issuer  Kind = "issuer"  // every token of the issuer
	Subject Kind = "subject" // … of the subject
	Client  Kind = "client"  // … that the client redeemed or granted
	Tenant  Kind = "tenant"  // … used on the tenant
	KeyID   Kind = "key"     // … signed by the key
	Session Kind = "sid"     // … of the session, by its sid
	// … of the subject, who has logged out at the issuer. Like those of a session, such a mark is forgotten when all that
	// was issued before has ended.
	LoggedOut Kind = "logout"
)

// Kinds lists the kinds of marks that an operator makes.
func Kinds() []Kind { return []Kind{Issuer, Subject, Client, Tenant, KeyID, Session} }

// passing reports whether marks of the kind are forgotten some time.
func (k Kind) passing() bool { return k == Session || k == LoggedOut }

type markKey struct {
	kind          Kind
	issuer, value string
}

// A notBefore is one entry of marks.
type notBefore struct {
	markKey
	at int64
}

// A List is what was revoked. It is safe for concurrent use.
type List struct {
	clock    func() time.Time
	capacity int

	// any spares the hot path the lock while nothing was ever revoked.
	any atomic.Bool

	mu       sync.RWMutex // guards the maps; held shortly, never while the disk works
	tokens   *tokenTable
	marks    map[markKey][]int64 // ms, ascending: each is an entry of its own, and the last one counts
	marked   int                 // entries of marks …
	passing  int                 // … that are forgotten some time, …
	life     time.Duration       // … so long after their moment
	words    map[notBefore]word  // the latest word on each, of a shared list alone
	shares   map[string]int      // entries for each client
	quota    int                 // … of its own
	replayed int                 // … and for the tokens of replayed codes

	write sync.Mutex // one writer at a time; taken before mu
	file  *journal   // nil where the list is …
	// … the store's, which all replicas share.
	shared *sharing
}

// Options are what a list stands on.
type Options struct {
	File     string // the journal, created with mode 0600 if missing
	Capacity int    // entries: tokens and marks together
	Clients  int    // how many clients share the capacity; the operator has a share of its own
	Clock    func() time.Time
	Torn     func(bytes int64) // told of a torn tail that was cut off; nil: not told
}

// Open reads the journal and takes hold of it; a second process that opens it is refused.
func Open(o Options) (*List, error) {
	l, err := newList(o.Clock, o.Capacity, o.Clients)
	if err != nil {
		return nil, err
	}
	file, torn, err := openJournal(o.File, l.apply)
	if err != nil {
		return nil, err
	}
	if torn > 0 && o.Torn != nil {
		o.Torn(torn)
	}
	l.file = file
	return l, nil
}

// Read is the list as its file says now, for questions alone: the file is not held, so that a running gate can have it,
// and nothing can be added. A file that is not there yet has revoked nothing.
func Read(o Options) (*List, error) {
	l, err := newList(o.Clock, o.Capacity, o.Clients)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(o.File)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("revocations: %w", err)
	}
	err = (&journal{path: o.File, file: file}).read(l.apply)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("revocations: %s: %w", o.File, err)
	}
	return l, nil
}

// errReadOnly is what a list that was only read says to whatever is to be added.
var errReadOnly = errors.New("revocations: this list was only read")

func newList(clock func() time.Time, capacity, clients int) (*List, error) {
	if capacity < 1 {
		return nil, fmt.Errorf("revocations: capacity %d: want at least 1", capacity)
	}
	l := &List{
		clock: clock, capacity: capacity, life: usualLife,
		tokens: newTokenTable(), marks: map[markKey][]int64{}, words: map[notBefore]word{},
		shares: map[string]int{},
	}
	l.SetClients(clients)
	return l, nil
}

// usualLife is how long marks of sessions are kept, where SetLife says nothing.
const usualLife = 24 * time.Hour

// SetLife says how long a mark of a session, or of a logout, is kept: as long as any token of a session can live. It is
// never shortened, as an earlier configuration may have let in tokens that live longer.
func (l *List) SetLife(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d > l.life && l.shared != nil {
		l.shared.again.Store(true) // the store may have what was forgotten here
	}
	l.life = max(l.life, d)
}

// SetClients shares the capacity out among n clients and the operator, evenly; a client already over its new share
// keeps what it has. A quarter of each share is for the tokens of replayed codes, whose number the holders of codes
// decide: so they never take the room in which a client revokes what it means to.
func (l *List) SetClients(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	share := l.capacity / (n + 1)
	l.replayed = max(1, share/4)
	l.quota = max(1, share-l.replayed)
}

// quotaOf is how many entries an owner may have. The caller holds mu.
func (l *List) quotaOf(owner string) int {
	if owner == logouts {
		return max(1, l.capacity/2)
	}
	if strings.HasSuffix(owner, replayedSuffix) {
		return l.replayed
	}
	return l.quota
}

// replayedSuffix makes the name of a client's share for the tokens of replayed codes. No client's id has a space.
const replayedSuffix = " replayed"

// Close lets go of the journal, or of the store, which it leaves open.
func (l *List) Close() error {
	if l.shared != nil {
		l.shared.close()
		return nil
	}
	if l.file == nil {
		return nil
	}
	l.write.Lock()
	defer l.write.Unlock()
	return l.file.close()
}

// A Token is a token to revoke.
type Token struct {
	Issuer, ID string // iss and jti
	Client     string // who revokes it, whose share it takes; "" is the operator
	Expiry     int64  // its exp, ms
	// it is that of a code that was presented again: it takes Client's second share, which is for such alone
	Replayed bool
}

// Revoke revokes one token. It has taken effect, and is durable, when nil is returned. Revoking a token twice
// changes nothing. Errors: refusal.RevocationFull; refusal.StoreUnavailable where the disk or the store failed:
// then nothing is known to be kept.
func (l *List) Revoke(ctx context.Context, t Token) error {
	if t.ID == "" {
		return refusal.Because(refusal.TokenClaimsMalformed, "a token without a jti can only be revoked by a mark")
	}
	owner := t.Client
	if t.Replayed {
		owner += replayedSuffix
	}
	return l.add(ctx, record{Kind: "token", Issuer: t.Issuer, Value: t.ID, Client: owner, At: t.Expiry})
}

// Mark revokes every token of a kind that was issued before the moment. Each moment is an entry of its own; the latest
// one counts.
func (l *List) Mark(ctx context.Context, kind Kind, issuer, value string, notBefore time.Time) error {
	return l.add(ctx, record{Kind: string(kind), Issuer: issuer, Value: value, At: notBefore.UnixMilli()})
}

// LogOut marks a session, or a subject who has logged out. Such marks take no more than half of the capacity, so that
// an issuer with many logouts never takes the room in which tokens are revoked.
func (l *List) LogOut(ctx context.Context, kind Kind, issuer, value string, notBefore time.Time) error {
	r := record{Kind: string(kind), Issuer: issuer, Value: value, Client: logouts, At: notBefore.UnixMilli()}
	return l.add(ctx, r)
}

// logouts is the share of marks of logouts. No client's id has a space.
const logouts = "logged out"

func (l *List) add(ctx context.Context, r record) error {
	if l.shared != nil {
		return l.addShared(ctx, r)
	}
	if l.file == nil {
		return errReadOnly
	}
	l.write.Lock()
	defer l.write.Unlock()
	known, full := l.room(r)
	if known {
		return nil
	}
	if full {
		if err := l.compact(); err != nil {
			return refusal.Because(refusal.StoreUnavailable, "revocations: %v", err)
		}
		if _, full = l.room(r); full {
			return refusal.Because(refusal.RevocationFull, "capacity %d, share of %q", l.capacity, r.Client)
		}
	}
	if err := l.file.append(r); err != nil {
		return refusal.Because(refusal.StoreUnavailable, "revocations: %v", err) // nothing is known to be kept
	}
	l.apply(r)
	if l.file.records > 2*l.size()+1024 {
		// The revocation is kept whatever becomes of the compaction; the next one tries again.
		_ = l.compact()
	}
	return nil
}

// addShared keeps r in the store, which alone knows how full it is.
func (l *List) addShared(ctx context.Context, r record) error {
	l.mu.RLock()
	quota, life := l.quotaOf(r.Client), l.life
	r.When = l.words[r.notBefore()].when
	l.mu.RUnlock()
	kept, err := l.shared.keep(ctx, &r, quota, life, false)
	if err != nil {
		return err
	}
	if !kept {
		return refusal.Because(refusal.RevocationFull, "capacity %d, share of %q", l.capacity, r.Client)
	}
	l.apply(r)
	l.fit()
	return nil
}

// fit forgets what ended long ago as soon as there is more than the store holds, which has forgotten it by then.
func (l *List) fit() {
	l.mu.RLock()
	over := l.tokens.len()+len(l.words) > l.capacity
	l.mu.RUnlock()
	if over {
		l.live()
	}
}

// room reports whether r is in the list already, and whether there is no place for it.
func (l *List) room(r record) (known, full bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if r.Kind == "token" {
		if e := l.tokens.get(r.Issuer, r.Value); e != nil { // one that is to be kept longer takes no further place
			return e.expiry >= r.At, false
		}
		full = l.shares[r.Client] >= l.quotaOf(r.Client)
	} else if all := l.marks[markKey{Kind(r.Kind), r.Issuer, r.Value}]; len(all) > 0 {
		if _, known = slices.BinarySearch(all, r.At); known {
			return true, false
		}
	}
	full = full || r.Client == logouts && l.passing >= l.quotaOf(logouts)
	return false, full || l.tokens.len()+l.marked >= l.capacity
}

func (l *List) size() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.tokens.len() + l.marked
}

// apply makes a record effective.
func (l *List) apply(r record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Kind == "token" {
		if client, added := l.tokens.put(r.Issuer, r.Value, r.Client, r.At); added {
			l.shares[client]++
		}
	} else {
		l.applyMark(r)
	}
	l.any.Store(true)
}

// compact forgets the tokens that ended long enough ago and rewrites the journal. The caller holds write, so that the
// list does not change meanwhile.
func (l *List) compact() error {
	l.forget()
	if err := l.file.rewrite(l.records()); err != nil {
		return fmt.Errorf("revocations: compact: %w", err)
	}
	return nil
}

// live forgets the tokens that ended long enough ago, and lists what is left.
func (l *List) live() []record {
	l.forget()
	l.mu.RLock()
	defer l.mu.RUnlock()
	return slices.Collect(l.records())
}

// forget forgets the tokens that ended long enough ago, sessions that passed, and what was undone long enough ago.
func (l *List) forget() {
	ended := l.clock().Add(-keptAfterExpiry).UnixMilli()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tokens = l.tokens.without(ended, func(client string) {
		if l.shares[client]--; l.shares[client] == 0 {
			delete(l.shares, client)
		}
	})
	passed := l.passed()
	for key, all := range l.marks {
		for key.kind.passing() && len(all) > 0 && all[0] <= passed {
			delete(l.words, notBefore{key, all[0]})
			all = all[1:]
			l.marked--
			l.passing--
		}
		if l.marks[key] = all; len(all) == 0 {
			delete(l.marks, key)
		}
	}
	long := l.clock().Add(-keptUndone).UnixMilli()
	for m, said := range l.words {
		if said.undone && said.when <= long {
			delete(l.words, m)
		}
	}
}

// records are all that the list knows. Nothing may be added while they are read.
func (l *List) records() iter.Seq[record] {
	return func(yield func(record) bool) {
		for r := range l.tokens.all() {
			if !yield(r) {
				return
			}
		}
		for key, all := range l.marks {
			for _, at := range all {
				if !yield(notBefore{key, at}.record(l.words[notBefore{key, at}])) {
					return
				}
			}
		}
		for m, said := range l.words {
			if said.undone && !yield(m.record(said)) {
				return
			}
		}
	}
}

// passed is the moment of the latest mark of a session that need not be known any more, in ms. The caller holds mu.
func (l *List) passed() int64 { return l.clock().Add(-l.life - keptAfterExpiry).UnixMilli() }

// Check refuses a token that was revoked, or that a mark revoked, itself, one that it was exchanged from, or an actor's
// that it was exchanged with; keyID is the key that signed it.
// Marks on tenants are judged by [List.CheckTenant], when the request's tenant is known.
func (l *List) Check(c *token.Claims, keyID string) error {
	if !l.any.Load() {
		return nil
	}
	if l.shared != nil && l.shared.refuses() {
		return refusal.Because(refusal.RevocationsStale, "the shared store has not answered for %v", l.shared.o.MaxStaleness)
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	self := token.Ancestor{
		Issuer: c.Issuer, Subject: c.Subject, Session: c.Session, ID: c.ID, ClientID: c.ClientID, KeyID: keyID,
		IssuedAt: c.IssuedAt,
	}
	if err := l.revoked(&self, c.Grantor); err != nil {
		return err
	}
	for i := range c.Ancestors {
		a := c.Ancestors[i]
		grantor := a.Grantor
		if a.Issuer == "" {
			a.Issuer, a.Subject, grantor = c.Issuer, c.Subject, c.Grantor
		}
		if err := l.revoked(&a, grantor); err != nil {
			return err
		}
	}
	for i := range c.ActorTokens {
		if err := l.revoked(&c.ActorTokens[i], c.ActorTokens[i].Grantor); err != nil {
			return err
		}
	}
	return nil
}

// revoked judges a token, or one that it was made from.
func (l *List) revoked(a *token.Ancestor, grantor string) error {
	if a.ID != "" {
		if l.tokens.get(a.Issuer, a.ID) != nil {
			return &refusal.Error{Reason: refusal.TokenRevoked, Detail: "jti " + a.ID}
		}
	}
	if len(l.marks) == 0 {
		return nil
	}
	for _, m := range [...]markKey{
		{Issuer, a.Issuer, ""},
		{Subject, a.Issuer, a.Subject},
		{Client, a.Issuer, a.ClientID},
		{Client, a.Issuer, grantor},
		{KeyID, a.Issuer, a.KeyID},
	} {
		if err := l.before(m, a.IssuedAt); err != nil {
			return err
		}
	}
	if l.passing == 0 {
		return nil
	}
	if err := l.before(markKey{LoggedOut, a.Issuer, a.Subject}, a.IssuedAt); err != nil {
		return err
	}
	if a.Session != "" {
		return l.before(markKey{Session, a.Issuer, a.Session}, a.IssuedAt)
	}
	return nil
}

// earliest is when the first of a token and its ancestors was issued.
func earliest(c *token.Claims) int64 {
	at := c.IssuedAt
	for i := range c.Ancestors {
		at = min(at, c.Ancestors[i].IssuedAt)
	}
	return at
}

// CheckTenant refuses a token that a mark on the request's tenant revoked.
func (l *List) CheckTenant(c *token.Claims, tenant string) error {
	if tenant == "" || !l.any.Load() {
		return nil
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if err := l.before(markKey{Tenant, c.Issuer, tenant}, earliest(c)); err != nil {
		return err
	}
	if o := c.Original(); o != nil {
		return l.before(markKey{Tenant, o.Issuer, tenant}, o.IssuedAt)
	}
	return nil
}

// CheckPermissions refuses a token that a mark on any tenant revoked that its permissions open something on: such a
// token must not be turned into a younger one, which the mark would not reach.
func (l *List) CheckPermissions(c *token.Claims) error {
	if len(c.Permissions) == 0 || !l.any.Load() {
		return nil
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	original := c.Original()
	for m := range l.marks {
		issuedAt := earliest(c)
		switch {
		case m.kind != Tenant:
			continue
		case original != nil && m.issuer == original.Issuer:
			issuedAt = original.IssuedAt
		case m.issuer != c.Issuer:
			continue
		}
		if i := c.Permissions.Deciding(m.value); i < 0 || len(c.Permissions[i].AllowedActions) == 0 {
			continue
		}
		if err := l.before(m, issuedAt); err != nil {
			return err
		}
	}
	return nil
}

// before refuses what was issued before the mark. A token without an iat (0) is before every mark, and since iat is in
// whole seconds, one issued in the mark's own second is too.
func (l *List) before(m markKey, issuedAt int64) error {
	if all := l.marks[m]; len(all) > 0 && issuedAt < all[len(all)-1] {
		return &refusal.Error{Reason: refusal.TokenRevoked, Detail: "not before: " + string(m.kind)}
	}
	return nil
}

// Stats is how full the list is.
type Stats struct {
	Tokens, Marks, Capacity int
	Shared                  bool          // the store's, of which this is a copy …
	Age                     time.Duration // … that was right so long ago; negative: it was never read
	Stale                   bool          // … which is longer than it may
}

// Stats tells how full the list is.
func (l *List) Stats() Stats {
	l.mu.RLock()
	defer l.mu.RUnlock()
	all := Stats{Tokens: l.tokens.len(), Marks: l.marked, Capacity: l.capacity}
	if l.shared != nil {
		all.Shared, all.Age = true, l.shared.age()
		all.Stale = all.Age < 0 || all.Age > l.shared.o.MaxStaleness
	}
	return all
}
