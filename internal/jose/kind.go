package jose

import (
	"cmp"
	"slices"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictjson"
)

// A Kind is what another issuer's token is for.
type Kind string

// The kinds of tokens. A token that says nothing of what it is counts as KindWorkload, or as an id_token where only
// those are taken.
const (
	KindAccess   Kind = "access"
	KindID       Kind = "id"
	KindWorkload Kind = "workload"
)

// signs are what a token's claims say of its kind, each with the claim that says it; "": none does. An id_token need
// not have any claim of its own, and its header's typ is often that of the access tokens; so what has neither a
// statement nor a sign counts as neither (RFC 8725 §3.12).
type signs struct {
	access, id string // it states it: typ (Keycloak), token_use (Amazon Cognito)
	bound      string // it states that it is an access token that needs a key: typ DPoP (Keycloak)
	other      string // it states that it is something else: a refresh or logout token, or what is not known
	idSign     string // a claim that only an id_token has (OpenID Connect Core §2, §3.3.2.11)
	accessSign string // one that no id_token has: RFC 9068 §2.2, ours, Microsoft's, Okta's, Auth0's
	artefact   string // a claim of another kind of signed answer: JARM, DPoP, introspection (RFC 9701)
}

// note takes in a claim's name, and for those that state the kind their value. It reads nothing else.
func (s *signs) note(name string, r *strictjson.Reader) error {
	switch name {
	case "typ", "token_use":
		return s.state(name, r)
	case "events", "nonce", "at_hash", "c_hash", "s_hash", "scope", "scp", "client_id", "cid", "azp", "tenantPermissions",
		"appid", "azpacr", "gty", "code", "response", "htm", "token_introspection":
	default:
		return nil
	}
	if r.Kind() == strictjson.KindNull {
		return nil
	}
	switch name {
	case "events": // a logout or security event token (RFC 8417)
		s.other = name
	case "nonce", "at_hash", "c_hash", "s_hash":
		s.idSign = name
	case "code", "response", "htm", "token_introspection":
		s.artefact = name
	default:
		s.accessSign = name
	}
	return nil
}

// state reads a claim that says what the token is. The claim is not used up: it is read from a copy of the reader.
func (s *signs) state(name string, r *strictjson.Reader) error {
	ahead := *r
	switch ahead.Kind() {
	case strictjson.KindNull:
		return nil
	case strictjson.KindString:
	default:
		s.other = name
		return nil
	}
	value, err := ahead.String()
	switch name + " " + value {
	case "typ Bearer", "token_use access":
		s.access = name
	case "typ DPoP":
		s.bound = name
	case "typ ID", "token_use id":
		s.id = name
	default:
		s.other = name
	}
	return err
}

// kind decides what a token of another issuer is, and whether the issuer's kinds have it. typ is its canonical header
// typ.
func (x *Verified) kind(issuer *trusted, typ string, s *signs) error {
	access, by := cmp.Or(s.access, s.bound), ""
	if typ == TypeAccessToken {
		access = "the header's typ"
	}
	refuse := func(what string) error {
		return refusal.Because(refusal.TokenTypeRefused, "%s, of issuer %s", what, issuer.URL)
	}
	switch {
	case s.other != "":
		return refuse("by its " + s.other + " the token is neither an access token nor an id_token")
	case s.bound != "" && x.Claims.Key == "":
		return refuse("by its typ the token is bound to a key, but it has no cnf.jkt")
	case access != "" && s.id != "":
		return refuse("by " + access + " an access token, by " + s.id + " an id_token")
	case access != "":
		x.Kind, by = KindAccess, access
	case s.id != "", s.idSign != "":
		x.Kind, by = KindID, cmp.Or(s.id, s.idSign)
	case s.accessSign != "":
		x.Kind, by = KindAccess, s.accessSign
	case slices.Contains(issuer.Kinds, KindWorkload):
		x.Kind, by = KindWorkload, "no claim that says more"
	case slices.Contains(issuer.Kinds, KindID):
		x.Kind, by = KindID, "no claim that says more"
	default:
		return refuse("no claim tells the token from an id_token (kinds: [workload] or [id] takes such tokens)")
	}
	if x.Kind != KindAccess && s.artefact != "" {
		return refuse("by its " + s.artefact + " the token is a signed answer or a proof")
	}
	if !slices.Contains(issuer.kinds(), x.Kind) {
		return refuse("by " + by + " an " + string(x.Kind) + " token, which kinds does not have")
	}
	if c := &x.Claims; x.Kind == KindID {
		switch {
		case c.Subject == "":
			return missing("sub")
		case c.IssuedAt == 0:
			return missing("iat")
		case len(c.Audience) == 0:
			return missing("aud")
		}
	}
	return nil
}

var accessAlone = []Kind{KindAccess}

func (i *Issuer) kinds() []Kind {
	if len(i.Kinds) == 0 {
		return accessAlone
	}
	return i.Kinds
}
