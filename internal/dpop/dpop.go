// Package dpop judges DPoP proofs (RFC 9449): short JWTs by which the sender of a request shows that it has the key
// that its token is bound to, or is to be bound to. The token endpoint and the gate both ask here.
//
// A proof is judged from the cheap to the dear. [Checker.Read] takes exactly one header and holds it to the request:
// its method and URL, the token and the key that it must be for, its time and its nonce (§4.3). [Proof.Verify] checks
// the signature, and [Proof.Spend] comes last of all: a proof is accepted at most once (§11.1). What is spent is
// remembered as codes are (package replay), in a bounded memory with a floor that rises with whatever leaves it; so
// when memory runs out, proofs that were never used are refused and no used one is let in.
//
// A nonce (§8, §9) is a time of ours with a MAC, so that nothing has to be stored: one that is fresh shows that the
// proof was made after that time, whatever its maker's clock says. It is asked for always where the configuration says
// so, and otherwise of proofs that may be older than the memory of used ones, which ends with the process.
package dpop

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"time"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/replay"
)

// The names of the header fields (RFC 9449 §4.1, §8.1), in the form in which net/http keeps them.
const (
	Header      = "Dpop"
	NonceHeader = "Dpop-Nonce"
)

// maxBytes is the longest proof: room for the longest RSA key that is worth its time.
const maxBytes = 4 << 10

// Bounds of the options.
const (
	MostMaxAge  = 10 * time.Minute
	MostNonce   = time.Hour
	LeastSecret = 32
)

// Options say how proofs are judged.
type Options struct {
	MaxAge time.Duration // how old iat may be; 1s to MostMaxAge
	Leeway time.Duration // how far iat may be ahead

	RequireNonce bool
	NonceTTL     time.Duration // how long a nonce counts; 1s to MostNonce
	// NonceSecrets make nonces that every replica knows, LeastSecret bytes or more each: the first makes, all count.
	// None: those of State, which only this process knows.
	NonceSecrets [][]byte

	// Origins are what an htu may begin with, like https://api.example.com. None: the scheme and host that the request
	// says it came to.
	Origins []string

	State *State           // outlives the Checker
	Once  Once             // nil: State, which remembers in this process
	Clock func() time.Time // nil: time.Now
}

// Once remembers which proofs were used.
type Once interface {
	// Spend answers nil for the first use of a proof, and for no other one. Otherwise it is a *refusal.Error: ProofUsed,
	// or StoreUnavailable where that cannot be told.
	Spend(ctx context.Context, u Use) error
	// Since is the time, in milliseconds since 1970, from which on it remembers. Of a proof that says to be older, whether
	// it was used is not known.
	Since() int64
}

// A Use is one proof that is good in every other respect.
type Use struct {
	Key      string   // the thumbprint of its key
	ID       [24]byte // digest of key and jti
	IssuedAt int64    // iat, milliseconds since 1970
	Expiry   int64    // when that is too old
	Made     int64    // it was made no earlier: its iat, or when the nonce was that it has
}

// A Checker judges proofs by one configuration. It is safe for concurrent use.
type Checker struct {
	maxAge, leeway int64 // ms
	require        bool
	nonces         *nonces
	origins        []string
	once           Once
	hold           *replay.Hold
	clock          func() time.Time
	keys           func() *jose.ProofKeys
}

// New checks the options.
func New(o Options) (*Checker, error) {
	switch {
	case o.MaxAge < time.Second || o.MaxAge > MostMaxAge:
		return nil, errors.New("dpop: max_age is not from 1s to 10m")
	case o.NonceTTL < time.Second || o.NonceTTL > MostNonce:
		return nil, errors.New("dpop: nonce_ttl is not from 1s to 1h")
	case o.Leeway < 0 || o.Leeway > jose.MaxLeeway:
		return nil, errors.New("dpop: the leeway is not from 0 to 60s")
	case o.State == nil:
		return nil, errors.New("dpop: a state is needed")
	}
	c := &Checker{
		maxAge: o.MaxAge.Milliseconds(), leeway: o.Leeway.Milliseconds(), require: o.RequireNonce, once: o.Once,
		hold: &o.State.hold, clock: o.Clock, keys: o.State.keys.Load,
	}
	if c.clock == nil {
		c.clock = time.Now
	}
	if c.once == nil {
		c.once = o.State
	}
	secrets := o.NonceSecrets
	if len(secrets) == 0 {
		secrets = [][]byte{o.State.secret}
	}
	var err error
	if c.nonces, err = newNonces(secrets, o.NonceTTL); err != nil {
		return nil, err
	}
	for _, text := range o.Origins {
		origin, err := ParseOrigin(text)
		if err != nil {
			return nil, err
		}
		c.origins = append(c.origins, origin)
	}
	return c, nil
}

// A Request is what a proof must be for.
type Request struct {
	Method string
	Scheme string // http or https, as the client used it
	Host   string // with its port, as the client used it
	Path   string // as it was sent, escaped
	// Known says that scheme and host come from the configuration, so that Options.Origins do not replace them.
	Known bool
	// Token is the access token that comes with the proof; "": none does, and ath does not matter.
	Token string
	// Key is the thumbprint that the token is bound to; "": any key will do.
	Key string
}

// A Proof is one that fits its request. It counts when Verify and then Spend have said so.
type Proof struct {
	Thumbprint string // of its key
	// Nonce is what the next proof should have, where this one's nonce will not do much longer; "": it need not change.
	Nonce string

	read    *jose.Proof
	checker *Checker
	awaited bool
	bound   bool // a token is bound to its key
}

// Read judges the DPoP fields of a request by everything but signature and first use. The refusal is ProofMissing,
// ProofMalformed, ProofMismatch, ProofKeyMismatch, ProofStale or ProofNonce; with the last, the answer must bring
// Nonce.
func (c *Checker) Read(fields []string, q *Request) (*Proof, error) {
	switch len(fields) {
	case 0:
		return nil, &refusal.Error{Reason: refusal.ProofMissing}
	case 1:
	default:
		return nil, refusal.Because(refusal.ProofMalformed, "%d DPoP fields", len(fields))
	}
	read, err := jose.ParseProof(fields[0], maxBytes)
	if err != nil {
		return nil, err
	}
	if err := c.fits(&read.Claims, q); err != nil {
		return nil, err
	}
	if q.Key != "" && read.Thumbprint != q.Key {
		return nil, refusal.Because(refusal.ProofKeyMismatch, "by key %s, the token is bound to %s", read.Thumbprint, q.Key)
	}
	p := &Proof{Thumbprint: read.Thumbprint, read: read, checker: c, bound: q.Key != ""}
	p.Nonce, err = c.timely(&read.Claims, c.clock())
	if err != nil {
		return nil, err
	}
	return p, nil
}

// fits reports whether the proof is for this method, URL and token (§4.3, points 8, 9 and 12).
func (c *Checker) fits(said *jose.ProofClaims, q *Request) error {
	if said.Method != q.Method {
		return refusal.Because(refusal.ProofMismatch, "htm %.32q, the method is %.32q", said.Method, q.Method)
	}
	origin, path, err := splitURL(said.URL)
	if err != nil {
		return refusal.Because(refusal.ProofMismatch, "htu: %v", err)
	}
	if !c.expects(origin, q) {
		return refusal.Because(refusal.ProofMismatch, "htu begins with %.128q", origin)
	}
	if path != canonicalPath(q.Path) {
		return refusal.Because(refusal.ProofMismatch, "htu has another path")
	}
	if q.Token != "" && said.TokenHash != hashOf(q.Token) {
		return refusal.Because(refusal.ProofMismatch, "ath is not that of the token")
	}
	return nil
}

// expects reports whether a proof for the request may name this origin.
func (c *Checker) expects(origin string, q *Request) bool {
	if q.Known || len(c.origins) == 0 {
		if sent, err := originOf(q.Scheme, q.Host); err == nil && sent == origin {
			return true
		}
	}
	for _, o := range c.origins {
		if o == origin {
			return true
		}
	}
	return false
}

// hashOf is the ath of a token (§4.2).
func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// timely judges iat, and the nonce where one is needed; next is a nonce to go on with, if this one is getting old.
func (c *Checker) timely(said *jose.ProofClaims, now time.Time) (next string, err error) {
	at := now.UnixMilli()
	switch {
	case said.IssuedAt > at+c.leeway:
		return "", refusal.Because(refusal.ProofStale, "iat lies %d ms ahead", said.IssuedAt-at)
	case said.IssuedAt+c.maxAge <= at:
		return "", refusal.Because(refusal.ProofStale, "iat was %d ms ago", at-said.IssuedAt)
	case said.Expiry != 0 && said.Expiry <= at:
		return "", refusal.Because(refusal.ProofStale, "exp was %d ms ago", at-said.Expiry)
	case said.NotBefore > at+c.leeway:
		return "", refusal.Because(refusal.ProofStale, "nbf lies %d ms ahead", said.NotBefore-at)
	}
	since := c.once.Since()
	older := said.IssuedAt < since
	if !c.require && !older {
		return "", nil
	}
	made, ok := c.nonces.read(said.Nonce)
	switch {
	case said.Nonce == "" && older:
		return "", refusal.Because(refusal.ProofNonce, "made before this process remembers, and without a nonce")
	case said.Nonce == "":
		return "", refusal.Because(refusal.ProofNonce, "no nonce")
	case !ok:
		return "", refusal.Because(refusal.ProofNonce, "the nonce is none of ours")
	case made+c.nonces.ttl <= at || made > at+c.leeway:
		return "", refusal.Because(refusal.ProofNonce, "the nonce is of %d ms ago", at-made)
	case made < since:
		return "", refusal.Because(refusal.ProofNonce, "the nonce is older than this process remembers")
	}
	if c.require && made+c.nonces.ttl/2 <= at {
		next = c.nonces.make(at)
	}
	return next, nil
}

// Nonce is one that counts from now on, for the field DPoP-Nonce of an answer.
func (c *Checker) Nonce() string { return c.nonces.make(c.clock().UnixMilli()) }

// Verify reports whether the proof's own key signed it.
func (p *Proof) Verify() error {
	keys := p.checker.keys()
	if !p.read.Signed(keys) {
		return refusal.Because(refusal.ProofSignatureInvalid, "key %s did not sign it", p.Thumbprint)
	}
	if p.bound {
		p.read.Remember(keys)
	}
	return nil
}

// Ahead reports whether the proof says that it was made later than now.
func (p *Proof) Ahead() bool {
	return max(p.read.Claims.IssuedAt, p.read.Claims.NotBefore) > p.checker.clock().UnixMilli()
}

// Await waits until the time has come at which the proof says that it was made, if that lies ahead within the leeway,
// and reports whether it did: no proof is accepted before that time, so that none can be accepted again by a process
// that begins before it. It is for proofs that Verify found good.
func (p *Proof) Await(ctx context.Context) (waited bool, err error) {
	if p.awaited {
		return false, nil
	}
	said := &p.read.Claims
	waited, err = p.checker.hold.Until(ctx, max(said.IssuedAt, said.NotBefore), p.checker.clock().UnixMilli())
	if err != nil {
		return false, refusal.Because(refusal.ProofStale, "%v", err)
	}
	p.awaited = true
	return waited, nil
}

// Spend accepts the proof if it was not accepted before, after Await. It is for proofs that Verify found good, when
// nothing else can be refused any more.
func (p *Proof) Spend(ctx context.Context) error {
	if _, err := p.Await(ctx); err != nil {
		return err
	}
	said := &p.read.Claims
	sum := sha256.Sum256([]byte(p.Thumbprint + " " + said.ID))
	made := said.IssuedAt
	if said.Nonce != "" {
		if at, ours := p.checker.nonces.read(said.Nonce); ours {
			made = max(made, at)
		}
	}
	return p.checker.once.Spend(ctx, Use{
		Key: p.Thumbprint, ID: [24]byte(sum[:24]), IssuedAt: said.IssuedAt, Expiry: said.IssuedAt + p.checker.maxAge,
		Made: made,
	})
}
