package jose

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/jotgate/jotgate/internal/strictjson"
)

// What a key set may be at most; a remote one is untrusted text.
const (
	MaxKeySetBytes = 1 << 20
	MaxKeySetKeys  = 100
)

// A KeySet holds the keys of one issuer by their kid. It never changes.
type KeySet struct {
	keys []*PublicKey
	byID map[string][]*PublicKey
	jwks []byte
}

// Holds reports whether the set has a key that verifies what k does, under the same name.
func (s *KeySet) Holds(k *PublicKey) bool {
	return s != nil && slices.ContainsFunc(s.byID[k.id], k.equal)
}

// NewKeySet makes a set of keys, in their order. Two of one kid and algorithm are a fault: which one is meant would be
// a guess.
func NewKeySet(keys ...*PublicKey) (*KeySet, error) {
	type name struct{ id, alg string }
	seen := make(map[name]bool, len(keys))
	for _, key := range keys {
		n := name{key.id, key.alg}
		if seen[n] {
			return nil, fmt.Errorf("two keys have the kid %s", brief(key.id))
		}
		seen[n] = true
	}
	return newKeySet(keys)
}

// newKeySet makes a set in which several keys may have one kid.
func newKeySet(keys []*PublicKey) (*KeySet, error) {
	s := &KeySet{keys: slices.Clone(keys), byID: make(map[string][]*PublicKey, len(keys))}
	if len(keys) > MaxKeySetKeys {
		return nil, fmt.Errorf("%d keys, the limit is %d", len(keys), MaxKeySetKeys)
	}
	public := jwk.NewSet()
	for _, key := range keys {
		s.byID[key.id] = append(s.byID[key.id], key)
		if key.Symmetric() {
			continue
		}
		shown, err := key.published()
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", brief(key.id), err)
		}
		if err := public.AddKey(shown); err != nil {
			return nil, fmt.Errorf("key %s: %w", brief(key.id), err)
		}
	}
	var err error
	if s.jwks, err = json.Marshal(public); err != nil {
		return nil, fmt.Errorf("write the key set: %w", err)
	}
	return s, nil
}

// Key returns a key by its kid, the first where one kid stands for several algorithms; nil if there is none.
func (s *KeySet) Key(id string) *PublicKey {
	if keys := s.byID[id]; len(keys) > 0 {
		return keys[0]
	}
	return nil
}

// Keys lists the keys in their order.
func (s *KeySet) Keys() []*PublicKey { return slices.Clone(s.keys) }

// Len is how many keys there are.
func (s *KeySet) Len() int { return len(s.keys) }

// JWKS is the set as it is published (RFC 7517 §5): public keys alone, each with kid, alg and use. The caller must not
// change it.
func (s *KeySet) JWKS() []byte { return s.jwks }

// mostTried is how many keys are tried for a token that does not say which one signed it.
const mostTried = 4

// candidates are the keys that can have signed a token of this header for the issuer; room holds them. A token with a
// kid means the key of that kid and algorithm, or else the only key of its algorithm if that one came without a kid. A
// token without a kid can mean any key of its algorithm.
func (s *KeySet) candidates(i *Issuer, h *Header, room *[mostTried]*PublicKey) []*PublicKey {
	if s == nil {
		return nil
	}
	list := room[:0]
	if h.KeyID != "" {
		for _, key := range s.byID[h.KeyID] {
			if len(list) < mostTried && key.fitFor(i, h.Algorithm) {
				list = append(list, key)
			}
		}
		if len(s.byID[h.KeyID]) > 0 || i.Own {
			return list
		}
	} else if i.Own {
		return nil
	}
	fitting := 0
	for _, key := range s.keys {
		if key.fitFor(i, h.Algorithm) {
			if fitting++; fitting <= mostTried {
				list = append(list, key)
			}
		}
	}
	if h.KeyID != "" && (fitting != 1 || !list[0].unnamed) {
		return nil
	}
	return list
}

// ParseKeySet reads a JWK set, one JWK, or PEM blocks with public keys (PKIX, or PKCS#1 for RSA). A key that cannot
// be used (weak, of an unknown type, for encryption, private) is left out and told in skipped, and the others stay
// (RFC 7517 §5); err is for a text that is no key set, is too large, has two keys of one kid, or none of use.
func ParseKeySet(data []byte) (set *KeySet, skipped []error, err error) {
	return ParseNamedKeySet(data, "")
}

// ParseNamedKeySet is ParseKeySet for a text that holds one key without a kid, like a PEM, which gets this kid; ""
// gives none.
func ParseNamedKeySet(data []byte, kid string) (set *KeySet, skipped []error, err error) {
	if len(data) > MaxKeySetBytes {
		return nil, nil, fmt.Errorf("the key set has %d bytes, the limit is %d", len(data), MaxKeySetBytes)
	}
	var parsed parsedKeys
	switch data = bytes.TrimSpace(strictjson.TrimBOM(data)); {
	case bytes.HasPrefix(data, []byte("{")):
		err = parsed.readJSON(data)
	case bytes.HasPrefix(data, []byte("-----BEGIN")):
		err = parsed.readPEM(data)
	default:
		err = errors.New("neither a JWK set nor PEM")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("key set: %w", err)
	}
	if len(parsed.keys)+len(parsed.skipped) == 0 {
		return nil, nil, errors.New("key set: there is no key in it")
	}
	if len(parsed.keys) == 0 {
		return nil, parsed.skipped, fmt.Errorf("key set: no key of use: %w", errors.Join(parsed.skipped...))
	}
	if kid != "" {
		if len(parsed.keys) != 1 || !parsed.keys[0].unnamed {
			return nil, parsed.skipped, errors.New("key set: a kid can be given to one key that has none")
		}
		parsed.keys[0].id, parsed.keys[0].unnamed = kid, false
	}
	if set, err = NewKeySet(parsed.keys...); err != nil {
		return nil, parsed.skipped, fmt.Errorf("key set: %w", err)
	}
	return set, parsed.skipped, nil
}

// ParseRemoteKeySet reads a JWK set that an issuer publishes publicly (RFC 7517 §5). As in
// ParseKeySet a key that cannot be used is left out; so is a symmetric one, which is no secret there, and so are all
// that share a kid, since which one is meant would be a guess. A set without any key of use is a set all the same: its
// issuer has revoked what it published before.
func ParseRemoteKeySet(data []byte) (set *KeySet, skipped []error, err error) {
	if len(data) > MaxKeySetBytes {
		return nil, nil, fmt.Errorf("the key set has more than %d bytes", MaxKeySetBytes)
	}
	var parsed parsedKeys
	isSet, err := parsed.readSet(strictjson.TrimBOM(data))
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("key set: %w", err)
	case !isSet:
		return nil, nil, errors.New("key set: no member keys, so it is no JWK set")
	}
	parsed.keepUnambiguous()
	if set, err = newKeySet(parsed.keys); err != nil {
		return nil, parsed.skipped, fmt.Errorf("key set: %w", err)
	}
	return set, parsed.skipped, nil
}

// Equal reports whether both sets verify exactly the same: each key with its kid and algorithm, in any order.
func (s *KeySet) Equal(other *KeySet) bool {
	if len(s.keys) != len(other.keys) {
		return false
	}
	return !slices.ContainsFunc(s.keys, func(key *PublicKey) bool {
		return !slices.ContainsFunc(other.byID[key.id], key.equal)
	})
}

type parsedKeys struct {
	keys    []*PublicKey
	skipped []error
}

func (p *parsedKeys) add(key *PublicKey, err error) error {
	if len(p.keys)+len(p.skipped) == MaxKeySetKeys {
		return fmt.Errorf("more than %d keys", MaxKeySetKeys)
	}
	if err != nil {
		p.skipped = append(p.skipped, fmt.Errorf("key %d: %w", len(p.keys)+len(p.skipped)+1, err))
		return nil
	}
	p.keys = append(p.keys, key)
	return nil
}

// once returns the keys without those that are there again just as they are.
func (p *parsedKeys) once() []*PublicKey {
	var list []*PublicKey
	for _, key := range p.keys {
		if !slices.ContainsFunc(list, key.equal) {
			list = append(list, key)
		}
	}
	return list
}

// keepUnambiguous leaves out keys that a remote key set must not bring (symmetric ones, and those that are expensive),
// and different ones of one kid, algorithm and issuer. A key that is there twice as it is stays, once.
func (p *parsedKeys) keepUnambiguous() {
	var kept []*PublicKey
	all := p.once()
	for _, key := range all {
		differs := func(other *PublicKey) bool {
			return key.id == other.id && key.alg == other.alg && key.issuer == other.issuer && !key.sameMaterial(other)
		}
		switch {
		case key.Symmetric():
			p.skipped = append(p.skipped, fmt.Errorf("key %s: a symmetric key that is published is no secret", brief(key.id)))
		case key.Expensive() != nil:
			p.skipped = append(p.skipped, fmt.Errorf("key %s: %w", brief(key.id), key.Expensive()))
		case slices.ContainsFunc(all, differs):
			p.skipped = append(p.skipped, fmt.Errorf("key %s: several keys have this kid", brief(key.id)))
		default:
			kept = append(kept, key)
		}
	}
	p.keys = kept
}

func (p *parsedKeys) readJSON(data []byte) error {
	isSet, err := p.readSet(data)
	if err == nil && !isSet {
		err = p.add(parsePublicJWK(string(data)))
	}
	return err
}

// readSet reads the member keys; isSet reports whether there is one.
func (p *parsedKeys) readSet(data []byte) (isSet bool, err error) {
	err = strictjson.Document(data, func(r *strictjson.Reader, name string) error {
		if name != "keys" {
			return r.Skip()
		}
		isSet = true
		return r.Array(func() error {
			text, err := r.Raw()
			if err != nil {
				return err
			}
			return p.add(parsePublicJWK(text))
		})
	})
	return isSet, err
}

func (p *parsedKeys) readPEM(data []byte) error {
	for len(data) > 0 {
		block, rest := pem.Decode(data)
		if block == nil || !bytes.HasPrefix(data, []byte("-----BEGIN")) {
			return errors.New("text that is not PEM")
		}
		data = bytes.TrimSpace(rest)
		if err := p.add(parsePublicPEM(block)); err != nil {
			return err
		}
	}
	return nil
}
