package jose

import (
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

// signs are what a token's claims say of its kind. An id_token need not have any claim of its own, and its header's typ
// is often that of the access tokens; so what has neither a statement nor a sign counts as neither (RFC 8725 §3.12).
type signs struct {
	access, id bool // it states it: typ (Keycloak), token_use (Amazon Cognito)
	other      bool // it states that it is something else: a refresh or logout token, or what is not known
	idSign     bool // it has a claim that only an id_token has (OpenID Connect Core §2, §3.3.2.11)
	accessSign bool // it has one that no id_token has: RFC 9068 §2.2, ours, Microsoft's, Okta's, Auth0's
	artefact   bool // it has a claim of another kind of signed answer: JARM, DPoP, introspection (RFC 9701)
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
		s.other = true
	case "nonce", "at_hash", "c_hash", "s_hash":
		s.idSign = true
	case "code", "response", "htm", "token_introspection":
		s.artefact = true
	default:
		s.accessSign = true
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
		s.other = true
		return nil
	}
	value, err := ahead.String()
	switch name + " " + value {
	case "typ Bearer", "token_use access":
		s.access = true
	case "typ ID", "token_use id":
		s.id = true
	default:
		s.other = true
	}
	return err
}

// kind decides what a token of another issuer is, and whether the issuer's kinds have it. typ is its canonical header
// typ.
func (x *Verified) kind(issuer *trusted, typ string, s *signs) error {
	access := s.access || typ == TypeAccessToken
	refuse := func(what string) error {
		return refusal.Because(refusal.TokenTypeRefused, "%s of issuer %s", what, issuer.URL)
	}
	switch {
	case s.other:
		return refuse("a token that says it is neither an access token nor an id_token (typ, token_use, events)")
	case access && s.id:
		return refuse("a token that says it is an access token and an id_token")
	case access:
		x.Kind = KindAccess
	case s.id, s.idSign:
		x.Kind = KindID
	case s.accessSign:
		x.Kind = KindAccess
	case slices.Contains(issuer.Kinds, KindWorkload):
		x.Kind = KindWorkload
	case slices.Contains(issuer.Kinds, KindID):
		x.Kind = KindID
	default:
		return refuse("a token that nothing tells from an id_token (kinds: [workload] or [id] takes such tokens)")
	}
	if x.Kind != KindAccess && s.artefact {
		return refuse("a signed answer or proof")
	}
	if !slices.Contains(issuer.kinds(), x.Kind) {
		return refuse("an " + string(x.Kind) + " token, where kinds does not have it,")
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
