package jose

import (
	"strconv"

	"github.com/jotgate/jotgate/internal/strictjson"
	"github.com/jotgate/jotgate/internal/token"
)

// EncodeClaims appends c as a JSON claims set to dst, without reflection: minting is a hot path. Times are written as
// whole seconds, rounded down. Members that are empty or zero are left out, but for permissions: nil is left out, and
// an empty list is `[]`, which says that the token opens nothing. A single audience is written as a string. What is not
// UTF-8 becomes U+FFFD, so that the result is always JSON.
func EncodeClaims(dst []byte, c *token.Claims) []byte {
	e := encoder{dst: append(dst, '{')}
	e.text("iss", c.Issuer)
	e.text("sub", c.Subject)
	switch len(c.Audience) {
	case 0:
	case 1:
		e.text("aud", c.Audience[0])
	default:
		e.name("aud")
		e.dst = appendStrings(e.dst, c.Audience)
	}
	e.text("client_id", c.ClientID)
	e.text("sid", c.Session)
	e.integer("iat", c.IssuedAt/1000)
	e.integer("nbf", c.NotBefore/1000)
	e.integer("exp", c.Expiry/1000)
	e.text("jti", c.ID)
	e.text("scope", c.Scope)
	e.text("grantor", c.Grantor)
	if c.Permissions != nil {
		e.name("tenantPermissions")
		e.dst = AppendPermissions(e.dst, c.Permissions)
	}
	if len(c.Ancestors) > 0 {
		e.name("exchanged_from")
		e.dst = appendAncestors(e.dst, c.Ancestors)
	}
	if len(c.ActorTokens) > 0 {
		e.name("actor_tokens")
		e.dst = appendAncestors(e.dst, c.ActorTokens)
	}
	if len(c.Actors) > 0 {
		e.name("act")
		e.dst = appendActors(e.dst, c.Actors)
	}
	if c.Key != "" || c.Cert != "" {
		e.name("cnf")
		inner := encoder{dst: append(e.dst, '{')}
		inner.text("jkt", c.Key)
		inner.text("x5t#S256", c.Cert)
		e.dst = append(inner.dst, '}')
	}
	e.text("application", c.Application)
	if c.Master {
		e.name("master")
		e.dst = append(e.dst, "true"...)
	}
	e.integer("expiresOn", c.ExpiresOn)
	for _, custom := range c.Custom {
		if e.started {
			e.dst = append(e.dst, ',')
		}
		e.started = true
		e.dst = append(strictjson.AppendString(e.dst, custom.Name), ':')
		e.dst = append(e.dst, custom.Value...)
	}
	return append(e.dst, '}')
}

type encoder struct {
	dst     []byte
	started bool
}

// name writes a member's name, which needs no escapes, and what goes before and after it.
func (e *encoder) name(name string) {
	if e.started {
		e.dst = append(e.dst, ',')
	}
	e.started = true
	e.dst = append(e.dst, '"')
	e.dst = append(e.dst, name...)
	e.dst = append(e.dst, '"', ':')
}

func (e *encoder) text(name, value string) {
	if value != "" {
		e.name(name)
		e.dst = strictjson.AppendString(e.dst, value)
	}
}

func (e *encoder) integer(name string, value int64) {
	if value != 0 {
		e.name(name)
		e.dst = strconv.AppendInt(e.dst, value, 10)
	}
}

func appendAncestors(dst []byte, ancestors []token.Ancestor) []byte {
	e := encoder{dst: append(dst, '[')}
	for i := range ancestors {
		if i > 0 {
			e.dst = append(e.dst, ',')
		}
		e.dst, e.started = append(e.dst, '{'), false
		e.text("iss", ancestors[i].Issuer)
		e.text("sub", ancestors[i].Subject)
		e.text("sid", ancestors[i].Session)
		e.text("grantor", ancestors[i].Grantor)
		e.text("jti", ancestors[i].ID)
		e.text("client_id", ancestors[i].ClientID)
		e.text("kid", ancestors[i].KeyID)
		e.integer("iat", ancestors[i].IssuedAt/1000)
		e.dst = append(e.dst, '}')
	}
	return append(e.dst, ']')
}

// appendActors appends the act claim: each actor holds the one before it (RFC 8693 §4.1).
func appendActors(dst []byte, actors []token.Actor) []byte {
	for i, a := range actors {
		if i > 0 {
			dst = append(dst, `,"act":`...)
		}
		dst = strictjson.AppendString(append(dst, `{"sub":`...), a.Subject)
		if a.Issuer != "" {
			dst = strictjson.AppendString(append(dst, `,"iss":`...), a.Issuer)
		}
	}
	for range actors {
		dst = append(dst, '}')
	}
	return dst
}

// AppendPermissions appends p as a JSON array; allowedActions is never null.
func AppendPermissions(dst []byte, p token.Permissions) []byte {
	dst = append(dst, '[')
	for i := range p {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"tenant":`...)
		dst = strictjson.AppendString(dst, p[i].Tenant)
		dst = append(dst, `,"allowedActions":`...)
		dst = append(appendStrings(dst, p[i].AllowedActions), '}')
	}
	return append(dst, ']')
}

func appendStrings(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strictjson.AppendString(dst, s)
	}
	return append(dst, ']')
}
