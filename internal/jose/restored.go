package jose

import (
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictjson"
)

// Contents returns what can be kept of a token in place of the token: its typ and its payload. It looks at no
// signature: the caller has verified the token.
func (v *Verifier) Contents(compact string) (typ, payload string, err error) {
	u, err := parse(compact, v.maxBytes, nil)
	if err != nil {
		return "", "", err
	}
	return u.Header.Type, u.Payload, nil
}

// ClaimsOf returns claims of a token by their names, "" for each that is missing or null. It looks at no signature: the
// caller has verified the token.
func (v *Verifier) ClaimsOf(compact string, names ...string) ([]Value, error) {
	u, err := parse(compact, v.maxBytes, nil)
	if err != nil {
		return nil, err
	}
	var tree wanted
	for n, name := range names {
		tree.want(Path{name}, n)
	}
	values := make([]Value, len(names))
	if err := tree.collect(strictjson.NewString(u.Payload), values); err != nil {
		return nil, claimsFault(err)
	}
	return values, nil
}

// Restored reads, by the rules that the issuer has now, what Contents returned of a token that was verified. The caller
// vouches that it was not changed since, or has only narrowed it. Everything is judged that Verify judges, but for
// the signature and the times.
func (v *Verifier) Restored(typ, keyID, payload string) (*Verified, error) {
	if len(payload) > v.maxBytes {
		return nil, refusal.Because(refusal.TokenTooLarge, "%d bytes of claims, %d are allowed", len(payload), v.maxBytes)
	}
	x, err := v.read(&Unverified{Header: Header{Type: typ}, Payload: payload})
	if err != nil {
		return nil, err
	}
	x.KeyID = keyID
	return x, nil
}
