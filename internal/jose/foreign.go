package jose

import (
	"strconv"
	"strings"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictjson"
)

// readForeign goes over the payload of another issuer's token once more, for what that issuer's rules ask for. Our own
// tokens are spared it.
func (x *Verified) readForeign(issuer *trusted, payload, typ string) error {
	if issuer.plain && typ == TypeAccessToken {
		return nil
	}
	f := foreign{issuer: issuer, r: strictjson.NewString(payload)}
	if err := f.object("", 0); err != nil {
		return claimsFault(err)
	}
	if f.idToken && typ != TypeAccessToken {
		return refusal.Because(refusal.TokenTypeRefused, "an id_token of issuer %s", issuer.URL)
	}
	for _, path := range issuer.required {
		if have, ok := f.required[path]; !ok || have != issuer.RequireClaims[path] {
			return refusal.Because(refusal.TokenClaimRequired, "issuer %s: %s is not as required", issuer.URL, path)
		}
	}
	if (typ == "" || typ == "jwt") && !f.accessToken {
		return refusal.Because(refusal.TokenTypeRefused, "a token of issuer %s that nothing tells from an id_token", issuer.URL)
	}
	if issuer.ClientClaim != "" {
		x.Claims.ClientID = f.client
	}
	x.Roles = f.roles
	return nil
}

// foreign collects, in one walk, the claims that an issuer's rules name by path.
type foreign struct {
	issuer   *trusted
	r        *strictjson.Reader
	required map[string]string
	client   string
	roles    []string
	hasRoles bool
	idToken  bool // it has a claim that only an id_token has (OpenID Connect Core §2, §3.3.2.11)
	// accessToken: it has one that no id_token has. An id_token need not have any claim of its own (a code flow without
	// nonce gives one without), and with token_types [JWT] its typ is that of the access tokens; so what has neither a typ
	// nor a claim that says what it is does not count (RFC 8725 §3.12).
	accessToken bool
}

// tellsAccessToken knows the claims by whose presence an issuer's access tokens differ from its id_tokens: RFC 9068
// §2.2, our own, and what Microsoft (scp, appid, azpacr), Okta (scp, cid), Auth0 (gty) and Kubernetes write.
func tellsAccessToken(name string) bool {
	switch name {
	case "scope", "client_id", "tenantPermissions", "scp", "cid", "appid", "azpacr", "gty", "kubernetes.io":
		return true
	}
	return false
}

// kind reads the claims in which Keycloak (typ) and Amazon Cognito (token_use) say which of the two a token is.
func (f *foreign) kind(name, value string) {
	switch name + " " + value {
	case "typ Bearer", "token_use access":
		f.accessToken = true
	case "typ ID", "token_use id":
		f.idToken = true
	}
}

// object walks an object whose members' paths start with prefix.
func (f *foreign) object(prefix string, depth int) error {
	return f.r.Object(func(name string) error {
		if depth == 0 {
			f.idToken = f.idToken || name == "nonce" || name == "at_hash" || name == "c_hash" || name == "s_hash"
			f.accessToken = f.accessToken || tellsAccessToken(name)
		}
		return f.claim(prefix+name, depth)
	})
}

// claim reads the value at path. A name may itself have dots, as in "https://example.com/roles"; so two members can
// have one path, and then the token is refused, since whichever is read might be the wrong one.
func (f *foreign) claim(path string, depth int) error {
	isRequired := has(f.issuer.RequireClaims, path)
	isClient, isRoles := f.issuer.ClientClaim != "" && path == f.issuer.ClientClaim, f.issuer.RolesFrom != "" && path == f.issuer.RolesFrom
	isKind := depth == 0 && (path == "typ" || path == "token_use") && f.r.Kind() == strictjson.KindString
	if !isRequired && !isClient && !isRoles && !isKind {
		if f.r.Kind() == strictjson.KindObject && f.leads(path+".") {
			return f.object(path+".", depth+1)
		}
		return f.r.Skip()
	}
	values, isList, err := f.values()
	if err != nil {
		return err
	}
	if isKind {
		f.kind(path, values[0])
	}
	if isRoles {
		if f.hasRoles {
			return f.twice(path)
		}
		f.roles, f.hasRoles = values, true
	}
	if isClient {
		if f.client != "" {
			return f.twice(path)
		}
		if isList || values[0] == "" || len(values[0]) > maxName {
			return f.r.Fault("want a string of 1 to %d bytes", maxName)
		}
		f.client = values[0]
	}
	if isRequired {
		if has(f.required, path) {
			return f.twice(path)
		}
		if f.required == nil {
			f.required = make(map[string]string, len(f.issuer.RequireClaims))
		}
		if !isList {
			f.required[path] = values[0]
		}
	}
	return nil
}

func has(m map[string]string, name string) bool {
	_, ok := m[name]
	return ok
}

func (f *foreign) twice(path string) error {
	return f.r.Fault("two claims have the path %s", path)
}

// leads reports whether any of the rules' paths starts with prefix.
func (f *foreign) leads(prefix string) bool {
	if strings.HasPrefix(f.issuer.ClientClaim, prefix) || strings.HasPrefix(f.issuer.RolesFrom, prefix) {
		return true
	}
	for _, path := range f.issuer.required {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

// values reads a string, true or false as a list of one, or an array of strings.
func (f *foreign) values() (list []string, isList bool, err error) {
	switch f.r.Kind() {
	case strictjson.KindArray:
		list, err = f.r.Strings()
		return list, true, err
	case strictjson.KindBool:
		b, err := f.r.Bool()
		return []string{strconv.FormatBool(b)}, false, err
	}
	one, err := f.r.String()
	return []string{one}, false, err
}
