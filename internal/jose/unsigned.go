package jose

import (
	"slices"

	"github.com/jotgate/jotgate/internal/token"
)

// Unsigned reads a token as Verify does, by the rules of the issuer that it names, but neither looks for its key nor at
// its signature: it may be forged. It is for telling an operator what a token says, and nothing
// that answers requests may call it.
func (v *Verifier) Unsigned(compact string) (*Verified, error) {
	u, err := parse(compact, v.maxBytes, nil)
	if err != nil {
		return nil, err
	}
	x, err := v.read(u)
	if err != nil {
		return nil, err
	}
	x.KeyID = u.Header.KeyID
	return x, nil
}

// Names returns the URL of the issuer, one of v's, that a token says it is of; "" if it says none. The token may be
// forged: this is for telling by whose rules it is to be judged, and nothing else.
func (v *Verifier) Names(compact string) string {
	u, err := parse(compact, v.maxBytes, &v.headers)
	if err != nil {
		return ""
	}
	issuer, err := v.issuerOf(&decoder{claims: &token.Claims{}}, u.Payload)
	if err != nil {
		return ""
	}
	return issuer.URL
}

// Said reads claims that stand in no token, as if the issuer that they name had signed them. It is for the tests of a
// policy, and nothing that answers requests may call it.
func (v *Verifier) Said(payload string) (*Verified, error) {
	u := &Unverified{Payload: payload}
	issuer, err := v.issuerOf(&decoder{claims: &token.Claims{}}, payload)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(issuer.types, "") {
		u.Header.Type = issuer.types[0]
	}
	return v.read(u)
}
