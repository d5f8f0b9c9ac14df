package jose

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// MaxLeeway bounds how far another clock may be ahead of ours.
const MaxLeeway = 60 * time.Second

// An Issuer is what is trusted of one issuer's tokens. It must not change once a Verifier has it.
type Issuer struct {
	// URL is the iss, compared byte by byte.
	URL string
	// Keys gives the present key set; nil while none is at hand, which refuses every token (IssuerUnavailable).
	Keys func() *KeySet
	// Seek is asked once more for the set when Keys gives none, or one without the kid that a token names. It may take a
	// moment, and is asked after every other check but the signature. nil: what Keys says is the last word.
	Seek func(kid string) (*KeySet, error)
	// Source is what Keys and Seek ask, comparable: two Issuers of one Source have the same keys at any time. nil: Keys
	// gives the same set for ever.
	Source any
	// Types lists the typ that its tokens may have, with or without "application/", in any case;
	// none: at+jwt. "" stands for a token without typ.
	Types []string
	// Algorithms narrows what its keys verify; none: each key's own. A key that names no alg takes the first that fits.
	Algorithms []string
	// MaxLifetime bounds exp - iat; a token without iat may then end at most so long from now. Zero: no bound.
	MaxLifetime time.Duration
	// RequireIssuedAt refuses tokens without iat.
	RequireIssuedAt bool
	// Own marks our own tokens: they must have what RFC 9068 §2.2 requires, and the rules below are not for them.
	Own bool
	// Assertions marks tokens that authenticate a client (RFC 7523 §3) and are no access tokens, so that nothing has to
	// tell them from id_tokens; the rules below are not for them either.
	Assertions bool
	// Logout marks logout tokens (OpenID Connect Back-Channel Logout 1.0 §2.4), which are of no kind, and have iat. What
	// they must say is for the caller to judge, by Retain.
	Logout bool

	// Kinds lists which kinds of its tokens are taken; none: access tokens alone.
	Kinds []Kind
	// AudienceClaims name the claims that stand in for a missing aud, the first that is there. aud, where it is, decides.
	AudienceClaims []Path
	// Require lists what its tokens' claims must hold.
	Require []Requirement
	// ClientClaim is the claim that is read into Claims.ClientID in place of client_id; none: client_id.
	ClientClaim Path
	// Words says which claims are read into Verified.Words, in their order.
	Words []WordRule
	// TrustDomain is, of a SPIFFE issuer, the domain that its subjects have; its tokens need no iss then.
	TrustDomain string

	// Retain lists the claims that are kept in Verified.Retained, in their order, of our own tokens too.
	Retain []Path
	// Scopes says that the words of scope and scp are kept in Verified.Scopes.
	Scopes bool
}

// trusted is an issuer with what verification wants at hand.
type trusted struct {
	*Issuer
	types []string // canonical
	rules *rules
}

// Options says how a Verifier judges.
type Options struct {
	Issuers  []*Issuer
	Leeway   time.Duration // for nbf and iat, never for exp; 0 to MaxLeeway
	MaxBytes int           // the longest token; DefaultMaxBytes if not positive

	// PreparedKeys is for how many keys at a time what all their signatures have in common is computed once; 0: none, the
	// standard library judges every signature.
	PreparedKeys int
}

// A Verifier judges tokens of the issuers that it knows. It is safe for concurrent use, and keeps nothing but what
// makes the signatures of keys that verify often cheaper, and headers that it has read.
type Verifier struct {
	issuers  map[string]*trusted
	domains  map[string]*trusted // by SPIFFE trust domain
	foreign  bool                // there is an issuer that is not ours
	types    []string            // of all issuers
	leeway   time.Duration
	maxBytes int
	prepared *preparations
	dear     *dearChecks
	headers  headers
}

// Verified is a token that its issuer's key signed.
type Verified struct {
	Claims token.Claims
	Issuer *Issuer
	KeyID  string
	Keys   *KeySet // the set that the key was found in

	Kind         Kind           // of another issuer's token
	Words        [][]token.Word // by the issuer's Words
	SaidClientID string         // client_id as it stands, where ClientClaim replaces it
	Retained     []Value        // by the issuer's Retain
	Scopes       []string       // the words of scope and scp, where the issuer keeps them
}

// NewVerifier checks the options: two issuers of one URL, or one without keys, are a fault.
func NewVerifier(o Options) (*Verifier, error) {
	v := &Verifier{
		issuers: make(map[string]*trusted, len(o.Issuers)), leeway: o.Leeway, maxBytes: o.MaxBytes,
		prepared: newPreparations(o.PreparedKeys), dear: newDearChecks(),
	}
	if o.Leeway < 0 || o.Leeway > MaxLeeway {
		return nil, fmt.Errorf("leeway %v is not from 0 to %v", o.Leeway, MaxLeeway)
	}
	for _, given := range o.Issuers {
		issuer, err := given.trusted()
		if err != nil {
			return nil, err
		}
		if v.issuers[issuer.URL] != nil {
			return nil, fmt.Errorf("issuer %s is there twice", issuer.URL)
		}
		v.issuers[issuer.URL] = issuer
		if issuer.TrustDomain != "" {
			if v.domains[issuer.TrustDomain] != nil {
				return nil, fmt.Errorf("trust domain %s is there twice", issuer.TrustDomain)
			}
			if v.domains == nil {
				v.domains = make(map[string]*trusted)
			}
			v.domains[issuer.TrustDomain] = issuer
		}
		v.foreign = v.foreign || !issuer.Own && !issuer.Assertions
		v.types = append(v.types, issuer.types...)
	}
	slices.Sort(v.types)
	v.types = slices.Compact(v.types)
	return v, nil
}

func (i *Issuer) trusted() (*trusted, error) {
	if i.URL == "" || i.Keys == nil {
		return nil, fmt.Errorf("issuer %q: an issuer needs a URL and keys", i.URL)
	}
	for _, alg := range i.Algorithms {
		if _, known := algorithms[alg]; !known {
			return nil, fmt.Errorf("issuer %s: algorithm %q is not one of %v", i.URL, alg, Algorithms())
		}
	}
	t := &trusted{Issuer: i, rules: i.compile()}
	for _, typ := range i.Types {
		t.types = append(t.types, canonicalType(typ))
	}
	if len(t.types) == 0 {
		t.types = []string{TypeAccessToken}
	}
	return t, nil
}

// Adopt takes over each issuer of an earlier Verifier about which nothing has changed, so that what that one has
// verified counts as verified by v. It is called before v is in use; nil is no earlier one.
func (v *Verifier) Adopt(earlier *Verifier) {
	if earlier == nil {
		return
	}
	v.dear = earlier.dear
	v.prepared = v.prepared.adopt(earlier.prepared)
	if earlier.maxBytes != v.maxBytes {
		return
	}
	for url, issuer := range v.issuers {
		if old := earlier.issuers[url]; old != nil && old.same(issuer.Issuer) {
			v.issuers[url] = old
			if old.TrustDomain != "" {
				v.domains[old.TrustDomain] = old
			}
		}
	}
}

// OnDisagreement sets what is called, once, with the kid of a prepared key that accepted a signature that the standard
// library does not accept. From then on nothing is prepared.
func (v *Verifier) OnDisagreement(tell func(kid string)) {
	if v.prepared != nil {
		v.prepared.tell.Store(&tell)
	}
}

// Knows reports whether v has this very Issuer: its own, or one that it adopted.
func (v *Verifier) Knows(i *Issuer) bool {
	mine := v.issuers[i.URL]
	return mine != nil && mine.Issuer == i
}

// same reports whether two Issuers judge every token alike.
func (i *Issuer) same(other *Issuer) bool {
	a, b := *i, *other
	a.Keys, a.Seek, b.Keys, b.Seek = nil, nil, nil, nil // functions cannot be compared; what they answer is, below
	if !reflect.DeepEqual(a, b) {
		return false
	}
	if i.Source != nil {
		return true
	}
	mine, theirs := i.Keys(), other.Keys()
	return mine != nil && theirs != nil && mine.Equal(theirs)
}

// canonicalType makes spellings of one media type equal (RFC 7515 §4.1.9: case and "application/" do not count).
func canonicalType(typ string) string {
	return strings.TrimPrefix(strings.ToLower(typ), "application/")
}

// Verify judges a token at now, from the cheap to the dear, and says by the refusal's reason what is wrong. before, if
// there is one, is asked last but for the signature: it sees claims whose signature is not checked yet, and its
// refusal spares the signature's cost; it must not keep or change anything. The result may be cached as long as its
// issuer's keys and settings stay, if CheckTimes is asked again on each use.
func (v *Verifier) Verify(compact string, now time.Time, before func(*Verified) error) (*Verified, error) {
	return v.VerifyUntimed(compact, func(x *Verified) error {
		if err := v.CheckTimes(x, now); err != nil || before == nil {
			return err
		}
		return before(x)
	})
}

// VerifyUntimed is Verify without CheckTimes. It is for endpoints that say of an expired token that it is expired, or
// what it said: a forger must not get that answer, so the signature has to be checked whatever the times are. Callers
// that let the token open something ask CheckTimes too.
func (v *Verifier) VerifyUntimed(compact string, before func(*Verified) error) (*Verified, error) {
	u, err := parse(compact, v.maxBytes, &v.headers)
	if err != nil {
		return nil, err
	}
	x, err := v.read(u)
	if err != nil {
		return nil, err
	}
	x.Keys = x.Issuer.Keys()
	var room [mostTried]*PublicKey
	keys := x.Keys.candidates(x.Issuer, &u.Header, &room)
	if len(keys) == 0 && x.worthSeeking(&u.Header) {
		// An answer over the network costs more than a signature, so only a token that lacks nothing but its key asks for
		// one.
		if before != nil {
			if err := before(x); err != nil {
				return nil, err
			}
		}
		if x.Keys, err = x.Issuer.Seek(u.Header.KeyID); err != nil {
			return nil, err
		}
		keys = x.Keys.candidates(x.Issuer, &u.Header, &room)
	}
	if len(keys) == 0 {
		return nil, x.noKey(&u.Header)
	}
	x.KeyID = keys[0].id
	if before != nil {
		if err := before(x); err != nil {
			return nil, err
		}
	}
	key, err := v.signer(keys, u)
	if err != nil {
		return nil, err
	}
	x.KeyID = key.id
	if !u.known {
		v.headers.keep(u)
	}
	return x, nil
}

// signer returns the key that signed the token.
func (v *Verifier) signer(keys []*PublicKey, u *Unverified) (*PublicKey, error) {
	alg, cost := u.Header.Algorithm, 0
	for _, key := range keys {
		cost += checkCost(key.material, alg)
	}
	if cost > dearCost {
		if err := v.dear.enter(len(keys)); err != nil {
			return nil, err
		}
		defer v.dear.leave(len(keys))
	}
	for _, key := range keys {
		if v.prepared.verify(key, alg, bytesOf(u.signed), u.Signature) {
			return key, nil
		}
	}
	return nil, refusal.Because(refusal.TokenSignatureInvalid, "key %s did not sign this", brief(keys[0].id))
}

// read finds the issuer and reads the claims by its rules.
func (v *Verifier) read(u *Unverified) (*Verified, error) {
	typ := canonicalType(u.Header.Type)
	if !slices.Contains(v.types, typ) {
		return nil, refusal.Because(refusal.TokenTypeRefused, "typ %s", brief(u.Header.Type))
	}
	x := &Verified{}
	claims := &x.Claims
	d := decoder{claims: claims}
	issuer, err := v.issuerOf(&d, u.Payload)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(issuer.types, typ) {
		return nil, refusal.Because(refusal.TokenTypeRefused, "typ %s is not one of issuer %s", brief(u.Header.Type),
			issuer.URL)
	}
	x.Issuer = issuer.Issuer
	if issuer.Own || issuer.Assertions {
		if err := u.Header.strict(); err != nil {
			return nil, err
		}
		if err := x.readRules(issuer, u.Payload); err != nil {
			return nil, err
		}
		if issuer.Own {
			return x, complete(claims)
		}
		return x, nil
	}
	if (issuer.RequireIssuedAt || issuer.Logout) && claims.IssuedAt == 0 {
		return nil, missing("iat")
	}
	if issuer.Logout {
		return x, x.readRules(issuer, u.Payload)
	}
	claims.Ancestors = slices.DeleteFunc(claims.Ancestors, func(a token.Ancestor) bool { return a.Issuer != "" })
	if domain := issuer.TrustDomain; domain != "" && domainOf(claims.Subject) != domain {
		return nil, refusal.Because(refusal.TokenClaimRequired, "sub %s is not of the trust domain %s",
			brief(claims.Subject), domain)
	}
	if err := x.kind(issuer, typ, &d.signs); err != nil {
		return nil, err
	}
	return x, x.readRules(issuer, u.Payload)
}

// issuerOf reads the claims and finds their issuer. What cannot be read as ours may still be another issuer's, whose
// claims may differ from ours in shape.
func (v *Verifier) issuerOf(d *decoder, payload string) (*trusted, error) {
	err := d.decode(payload)
	if err == nil && d.claims.Issuer != "" {
		if issuer := v.issuers[d.claims.Issuer]; issuer != nil {
			return issuer, nil
		}
		return nil, refusal.Because(refusal.TokenIssuerUnknown, "iss %s", brief(d.claims.Issuer))
	}
	if err == nil {
		err = missing("iss")
	}
	if !v.foreign || refusal.Of(err) == refusal.TokenMalformed {
		return nil, err
	}
	*d.claims, d.signs, d.foreign = token.Claims{}, signs{}, true
	again := d.decode(payload)
	issuer := v.issuers[d.claims.Issuer]
	if d.claims.Issuer == "" && again == nil {
		if issuer = v.domains[domainOf(d.claims.Subject)]; issuer != nil {
			d.claims.Issuer = issuer.URL
		}
	}
	switch {
	case issuer == nil && again == nil && d.claims.Issuer != "":
		return nil, refusal.Because(refusal.TokenIssuerUnknown, "iss %s", brief(d.claims.Issuer))
	case issuer == nil || issuer.Own || issuer.Assertions:
		return nil, err
	case again != nil:
		return nil, again
	}
	return issuer, nil
}

// complete sees to what RFC 9068 §2.2 requires.
func complete(c *token.Claims) error {
	switch {
	case c.Subject == "":
		return missing("sub")
	case len(c.Audience) == 0:
		return missing("aud")
	case c.ClientID == "":
		return missing("client_id")
	case c.IssuedAt == 0:
		return missing("iat")
	case c.ID == "":
		return missing("jti")
	}
	return nil
}

// worthSeeking reports whether another key set could have what this one lacks; a token that names no key asks for none.
func (x *Verified) worthSeeking(h *Header) bool {
	return x.Issuer.Seek != nil && (x.Keys == nil || h.KeyID != "" && x.Keys.Key(h.KeyID) == nil)
}

// noKey says why no key can have signed a token of this header.
func (x *Verified) noKey(h *Header) error {
	i := x.Issuer
	if x.Keys == nil {
		return refusal.Because(refusal.IssuerUnavailable, "no keys of issuer %s are at hand", i.URL)
	}
	key := x.Keys.Key(h.KeyID)
	if h.KeyID == "" && !i.Own && x.Keys.Len() > 0 {
		key = x.Keys.keys[0]
	}
	switch {
	case key == nil:
		return refusal.Because(refusal.TokenKeyUnknown, "issuer %s has no key %s", i.URL, brief(h.KeyID))
	case !key.serves(i.URL):
		return refusal.Because(refusal.TokenKeyUnknown,
			"key %s is for issuer %s, the token is of issuer %s", brief(key.id), brief(key.issuer), i.URL)
	}
	return refusal.Because(refusal.TokenAlgorithmRefused, "the token says %s, key %s of issuer %s verifies %s",
		brief(h.Algorithm), brief(key.id), i.URL, brief(key.algorithmAmong(i.Algorithms)))
}

// CheckTimes judges a token's times at now: exp without leeway, for that is its owner's promise; nbf and iat with it;
// and the lifetime. A cached token is judged again by it each time.
func (v *Verifier) CheckTimes(x *Verified, now time.Time) error {
	c, at, leeway := &x.Claims, now.UnixMilli(), v.leeway.Milliseconds()
	switch {
	case c.Expiry <= at:
		return refusal.Because(refusal.TokenExpired, "%d ms ago", at-c.Expiry)
	case c.NotBefore > at+leeway:
		return refusal.Because(refusal.TokenNotYetValid, "nbf lies %d ms ahead", c.NotBefore-at)
	case c.IssuedAt > at+leeway:
		return refusal.Because(refusal.TokenNotYetValid, "iat lies %d ms ahead", c.IssuedAt-at)
	}
	start := c.IssuedAt
	if start == 0 {
		start = at
	}
	if most := x.Issuer.MaxLifetime.Milliseconds(); most > 0 && c.Expiry-start > most {
		return refusal.Because(refusal.TokenLifetimeTooLong, "%d ms, the limit is %d", c.Expiry-start, most)
	}
	return nil
}
