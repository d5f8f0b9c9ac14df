package jose

import (
	"crypto/sha256"
	"errors"
	"strconv"
	"strings"
	"unicode"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictjson"
	"github.com/jotgate/jotgate/internal/token"
)

const (
	// maxSeconds is the last second of the year 9999: beyond it, no calendar format that we answer with has a date.
	maxSeconds = 253402300799
	// maxName bounds each string that names somebody, in bytes.
	maxName = 2048
)

// DecodeClaims reads a claims set (RFC 7519 §4) into token.Claims. Claims of other names are read strictly and
// skipped. iss and exp must be there; what else must be is for the issuer's rules. The refusal is TokenMalformed where
// the payload is no strict JSON, TokenClaimsMalformed where a claim is missing or of another type.
func DecodeClaims(payload string) (*token.Claims, error) {
	c := &token.Claims{}
	if err := decodeClaims(payload, c); err != nil {
		return nil, err
	}
	return c, nil
}

func decodeClaims(payload string, c *token.Claims) error {
	d := decoder{claims: c}
	if err := d.decode(payload); err != nil {
		return err
	}
	if c.Issuer == "" {
		return missing("iss")
	}
	return nil
}

// A decoder reads a claims set.
type decoder struct {
	claims *token.Claims
	signs  signs
	// foreign tokens may use our names for claims of their own: in another shape these count as absent, and null counts as
	// absent everywhere.
	foreign bool
}

// decode leaves it to the caller that there is an iss.
func (d *decoder) decode(payload string) error {
	r := strictjson.NewString(payload)
	err := r.Object(func(name string) error {
		if err := d.signs.note(name, r); err != nil {
			return err
		}
		if d.foreign {
			return d.foreignClaim(r, name)
		}
		return decodeClaim(r, name, d.claims)
	})
	if err == nil {
		err = r.End()
	}
	switch {
	case err != nil:
		return claimsFault(err)
	case d.claims.Expiry <= 0:
		return missing("exp")
	}
	return nil
}

// foreignClaim reads a claim of another issuer's token.
func (d *decoder) foreignClaim(r *strictjson.Reader, name string) error {
	if r.Kind() == strictjson.KindNull {
		return r.Null()
	}
	switch name {
	case "scope", "application", "master", "expiresOn", "grantor", "act", "tenantPermissions", "exchanged_from", "sid":
		text, err := r.Raw()
		if err != nil {
			return err
		}
		c := *d.claims
		if decodeClaim(strictjson.NewString(text), name, &c) == nil {
			*d.claims = c
		}
		return nil
	case "actor_tokens": // of ours alone: it names tokens of any issuer
		return r.Skip()
	case "sub", "client_id", "jti":
		ahead := *r
		if text, err := ahead.String(); err == nil && text == "" {
			return r.Skip()
		}
	}
	return decodeClaim(r, name, d.claims)
}

func claimsFault(err error) error {
	var at *strictjson.Error
	if errors.As(err, &at) && at.Syntax {
		return refusedAs(refusal.TokenMalformed, "payload", err)
	}
	return refusedAs(refusal.TokenClaimsMalformed, "claims", err)
}

func missing(claim string) error {
	return refusal.Because(refusal.TokenClaimsMalformed, "no %s", claim)
}

func decodeClaim(r *strictjson.Reader, name string, c *token.Claims) (err error) {
	switch name {
	case "iss":
		c.Issuer, err = named(r)
	case "sub":
		c.Subject, err = named(r)
	case "aud":
		c.Audience, err = audience(r)
	case "client_id":
		c.ClientID, err = named(r)
	case "jti":
		c.ID, err = named(r)
	case "sid":
		c.Session, err = named(r)
	case "iat":
		c.IssuedAt, err = numericDate(r)
	case "nbf":
		c.NotBefore, err = numericDate(r)
	case "exp":
		if c.Expiry, err = numericDate(r); err == nil && c.Expiry == 0 {
			err = r.Fault("want a time after 1970")
		}
	case "scope":
		c.Scope, err = scope(r)
	case "grantor":
		c.Grantor, err = named(r)
	case "tenantPermissions":
		c.Permissions, err = permissions(r)
	case "exchanged_from":
		c.Ancestors, err = ancestors(r)
	case "actor_tokens":
		c.ActorTokens, err = ancestors(r)
	case "act":
		c.Actors, err = actors(r)
	case "cnf":
		c.Key, c.Cert, err = confirmation(r)
	case "application":
		c.Application, err = named(r)
	case "master":
		c.Master, err = r.Bool()
	case "expiresOn":
		c.ExpiresOn, err = milliseconds(r)
	default:
		err = r.Skip()
	}
	return err
}

// named reads a string that names somebody or something.
func named(r *strictjson.Reader) (string, error) {
	s, err := r.String()
	if err == nil && (s == "" || len(s) > maxName) {
		return "", r.Fault("want 1 to %d bytes, have %d", maxName, len(s))
	}
	return s, err
}

// audience reads a string or an array of strings, at least one (RFC 7519 §4.1.3).
func audience(r *strictjson.Reader) ([]string, error) {
	if r.Kind() == strictjson.KindString {
		one, err := named(r)
		return []string{one}, err
	}
	var list []string
	err := r.Array(func() error {
		one, err := named(r)
		list = append(list, one)
		return err
	})
	if err == nil && len(list) == 0 {
		err = r.Fault("want at least one audience")
	}
	return list, err
}

// scope reads words that are separated by single spaces (RFC 6749 §3.3), or nothing.
func scope(r *strictjson.Reader) (string, error) {
	s, err := r.String()
	if err != nil || s == "" {
		return "", err
	}
	for word := range strings.SplitSeq(s, " ") {
		if word == "" || strings.ContainsFunc(word, notInScope) {
			return "", r.Fault("want words separated by single spaces")
		}
	}
	return s, nil
}

func notInScope(c rune) bool { return c <= ' ' || c == '"' || c == '\\' || c > '~' }

// numericDate reads seconds since 1970 with or without a fraction (RFC 7519 §2) as whole milliseconds; what is finer
// is cut off, which makes an expiry earlier.
func numericDate(r *strictjson.Reader) (int64, error) {
	spelled, err := r.Number()
	if err != nil {
		return 0, err
	}
	ms, ok := toMilliseconds(spelled)
	if !ok {
		return 0, r.Fault("want seconds from 0 to %d", int64(maxSeconds))
	}
	return ms, nil
}

func toMilliseconds(spelled string) (int64, bool) {
	if strings.ContainsAny(spelled, "eE") { // some writers spell every number this way: 1.7000036E9
		f, err := strconv.ParseFloat(spelled, 64)
		if err != nil || f < 0 || f > maxSeconds {
			return 0, false
		}
		return int64(f * 1000), true
	}
	whole, fraction, _ := strings.Cut(spelled, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || seconds < 0 || seconds > maxSeconds || whole[0] == '-' {
		return 0, false
	}
	ms, err := strconv.ParseInt((fraction + "000")[:3], 10, 64)
	return seconds*1000 + ms, err == nil
}

// milliseconds reads expiresOn, the access-token dialect's own spelling of a time.
func milliseconds(r *strictjson.Reader) (int64, error) {
	ms, err := r.Int64()
	if err == nil && (ms <= 0 || ms > maxSeconds*1000+999) {
		err = r.Fault("want milliseconds from 1 to %d", int64(maxSeconds*1000+999))
	}
	return ms, err
}

// permissions reads tenantPermissions: each entry has both members and no other, since a missing one must not be read
// as a wider or narrower grant than its writer meant.
func permissions(r *strictjson.Reader) (token.Permissions, error) {
	list := token.Permissions{}
	err := r.Array(func() error {
		entry, err := permission(r)
		list = append(list, entry)
		return err
	})
	return list, err
}

func permission(r *strictjson.Reader) (entry token.TenantPermission, err error) {
	err = r.Object(func(name string) (err error) {
		switch name {
		case "tenant":
			entry.Tenant, err = named(r)
		case "allowedActions":
			entry.AllowedActions, err = actions(r)
		default:
			err = r.Unknown(name)
		}
		return err
	})
	switch {
	case err != nil:
		return entry, err
	case entry.Tenant == "":
		return entry, r.Fault("no tenant")
	case entry.AllowedActions == nil:
		return entry, r.Fault("no allowedActions")
	}
	return entry, nil
}

// ancestors reads exchanged_from or actor_tokens. Their members are ours; what others put under these names, in another
// shape, is skipped.
func ancestors(r *strictjson.Reader) (list []token.Ancestor, err error) {
	if r.Kind() != strictjson.KindArray {
		return nil, r.Skip()
	}
	err = r.Array(func() error {
		if r.Kind() != strictjson.KindObject {
			return r.Skip()
		}
		var a token.Ancestor
		err := r.Object(func(name string) (err error) {
			switch name {
			case "iss":
				a.Issuer, err = named(r)
			case "sub":
				a.Subject, err = named(r)
			case "sid":
				a.Session, err = named(r)
			case "grantor":
				a.Grantor, err = named(r)
			case "jti":
				a.ID, err = named(r)
			case "client_id":
				a.ClientID, err = named(r)
			case "kid":
				a.KeyID, err = named(r)
			case "iat":
				a.IssuedAt, err = numericDate(r)
			default:
				err = r.Skip()
			}
			return err
		})
		list = append(list, a)
		return err
	})
	return list, err
}

// actors reads the act claim (RFC 8693 §4.1), the latest actor first. It opens nothing, so what other issuers put
// there, beside sub and iss or instead of them, is skipped.
func actors(r *strictjson.Reader) ([]token.Actor, error) {
	if r.Kind() != strictjson.KindObject {
		return nil, r.Skip()
	}
	var a token.Actor
	var latest, earlier []token.Actor
	named := false
	err := r.Object(func(name string) (err error) {
		switch {
		case name == "sub" && r.Kind() == strictjson.KindString:
			named = true
			a.Subject, err = r.String()
		case name == "iss" && r.Kind() == strictjson.KindString:
			a.Issuer, err = r.String()
		case name == "act":
			earlier, err = actors(r)
		default:
			err = r.Skip()
		}
		return err
	})
	if named {
		latest = []token.Actor{a}
	}
	return append(latest, earlier...), err
}

// confirmation reads the cnf claim (RFC 7800 §3.1): its jkt (RFC 9449 §6.1) and its x5t#S256 (RFC 8705 §3.1); with
// both, both bind. A token that is bound to something else as well must not pass for one that is not, so what cannot be
// checked here refuses it.
func confirmation(r *strictjson.Reader) (key, cert string, err error) {
	err = r.Object(func(name string) (err error) {
		to := &key
		switch name {
		case "jkt":
		case "x5t#S256":
			to = &cert
		default:
			return refusal.Because(refusal.TokenBindingUnsupported, "cnf has %s", brief(name))
		}
		if *to, err = r.String(); err == nil && !isThumbprint(*to) {
			err = r.Fault("want a SHA-256 in base64url")
		}
		return err
	})
	if err == nil && key == "" && cert == "" {
		err = refusal.Because(refusal.TokenBindingUnsupported, "cnf has neither jkt nor x5t#S256")
	}
	return key, cert, err
}

// isThumbprint reports whether s is the base64url of a SHA-256 in its only spelling.
func isThumbprint(s string) bool {
	sum, err := decode("jkt", s)
	return err == nil && len(sum) == sha256.Size
}

func actions(r *strictjson.Reader) ([]string, error) {
	list := []string{}
	err := r.Array(func() error {
		action, err := named(r)
		list = append(list, action)
		return err
	})
	return list, err
}

// CheckIdentity refuses claims that cannot become header values for the upstream (RFC 9110 §5.5): those that hold a
// control character. Other characters that are not plain ASCII are for the gate to percent-encode.
func CheckIdentity(c *token.Claims) error {
	for _, claim := range [...]struct{ name, value string }{
		{"sub", c.Subject},
		{"iss", c.Issuer},
		{"client_id", c.ClientID},
		{"jti", c.ID},
		{"application", c.Application},
		{"grantor", c.Grantor},
	} {
		if hasControl(claim.value) {
			return refusal.Because(refusal.TokenIdentityRefused, "%s holds a control character", claim.name)
		}
	}
	for i := range c.Permissions {
		if hasControl(c.Permissions[i].Tenant) {
			return refusal.Because(refusal.TokenIdentityRefused, "a tenant holds a control character")
		}
		for _, action := range c.Permissions[i].AllowedActions {
			if hasControl(action) {
				return refusal.Because(refusal.TokenIdentityRefused, "an action holds a control character")
			}
		}
	}
	return nil
}

// hasControl finds C0, DEL and C1 (U+0080 to U+009F); the claims are valid UTF-8.
func hasControl(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }
