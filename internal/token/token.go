// Package token holds the words that the side that issues tokens and the side that judges them share: what a token
// claims, what a tenant permission allows, and when one set of permissions covers another.
//
// The rules of evaluation come from the access-token API that Jotgate speaks; they hold on every route:
//
//   - the first entry whose tenant is the request's, or "*", decides alone; there is no union, so order matters;
//   - its actions must hold the action asked for, or "*"; no entry means denied;
//   - a global action, one without a tenant, needs an entry whose tenant is "*".
package token

import (
	"slices"
	"strings"
)

// Any is the wildcard, for a tenant and for an action.
const Any = "*"

// A TenantPermission allows actions on one tenant, or on any.
type TenantPermission struct {
	Tenant         string   `json:"tenant"`
	AllowedActions []string `json:"allowedActions"`
}

// Permissions is an ordered list of entries; the first that matches a tenant decides.
type Permissions []TenantPermission

// Deciding is the index of the entry that decides for tenant, or -1. The tenant "*" asks for the global decision,
// which only an entry for "*" can make.
func (p Permissions) Deciding(tenant string) int {
	for i := range p {
		if p[i].Tenant == tenant || p[i].Tenant == Any {
			return i
		}
	}
	return -1
}

// Allows reports whether p allows action on tenant; the tenant "*" asks for the global action. A request's own tenant
// must have been refused before if it is spelled "*".
func (p Permissions) Allows(tenant, action string) bool {
	i := p.Deciding(tenant)
	return i >= 0 && allows(p[i].AllowedActions, action)
}

// An Index finds the entry that decides without reading a long list through. It is of one list, which must not change.
type Index struct {
	list  Permissions
	first map[string]int // the first entry of each tenant; nil: the list is short
	any   int            // the first entry for any tenant, or -1
}

// indexed is the length from which on a list is worth a map.
const indexed = 8

// Index makes the list's index.
func (p Permissions) Index() Index {
	x := Index{list: p, any: -1}
	if len(p) < indexed {
		return x
	}
	x.first = make(map[string]int, len(p))
	for i := range p {
		if p[i].Tenant == Any {
			x.any = i
			break // what follows never decides
		}
		if _, there := x.first[p[i].Tenant]; !there {
			x.first[p[i].Tenant] = i
		}
	}
	return x
}

// Deciding is [Permissions.Deciding].
func (x *Index) Deciding(tenant string) int {
	if x.first == nil {
		return x.list.Deciding(tenant)
	}
	if i, there := x.first[tenant]; there { // those of the map come before the one for any
		return i
	}
	return x.any
}

// Holds reports whether the entry allows an action.
func (e *TenantPermission) Holds(action string) bool { return allows(e.AllowedActions, action) }

func allows(actions []string, action string) bool {
	return slices.Contains(actions, action) || slices.Contains(actions, Any)
}

func (p Permissions) actions(tenant string) []string {
	if i := p.Deciding(tenant); i >= 0 {
		return p[i].AllowedActions
	}
	return nil
}

// named lists the tenants, "*" left out, that p and q name, each once and in order.
func named(p, q Permissions) []string {
	var names []string
	for _, set := range [...]Permissions{p, q} {
		for _, e := range set {
			if e.Tenant != Any && !slices.Contains(names, e.Tenant) {
				names = append(names, e.Tenant)
			}
		}
	}
	return names
}

// Covers reports whether p allows all that q allows: for every tenant named in either, for one that neither names, and
// for global actions. (The last two are decided by the "*" entry alike.)
func (p Permissions) Covers(q Permissions) bool {
	for _, tenant := range append(named(p, q), Any) {
		if !covers(p.actions(tenant), q.actions(tenant)) {
			return false
		}
	}
	return true
}

func covers(p, q []string) bool {
	if slices.Contains(p, Any) {
		return true
	}
	for _, action := range q {
		if !slices.Contains(p, action) {
			return false
		}
	}
	return true
}

// Cut narrows p to a ceiling: the result allows exactly what both allow. A set that the ceiling covers is returned as
// it is. Otherwise there is one entry for each tenant named in either, in order, then one for "*"; an entry left
// without actions stays, since without it a later "*" would decide.
func (p Permissions) Cut(ceiling Permissions) Permissions {
	if ceiling.Covers(p) {
		return p
	}
	var cut Permissions
	for _, tenant := range append(named(p, ceiling), Any) {
		both := intersect(p.actions(tenant), ceiling.actions(tenant))
		cut = append(cut, TenantPermission{Tenant: tenant, AllowedActions: both})
	}
	return cut
}

func intersect(p, q []string) []string {
	if slices.Contains(p, Any) {
		p, q = q, p
	}
	both := []string{}
	for _, action := range p {
		if (slices.Contains(q, Any) || slices.Contains(q, action)) && !slices.Contains(both, action) {
			both = append(both, action)
		}
	}
	return both
}

// Shadowed is the index of the first entry that can never decide because an earlier one always does, or -1.
func (p Permissions) Shadowed() int {
	for i := range p {
		if p[:i].Deciding(p[i].Tenant) >= 0 {
			return i
		}
	}
	return -1
}

// For returns p with the placeholder "{tenant}" replaced by tenant, in every entry that names it.
func (p Permissions) For(tenant string) Permissions {
	if !p.Templated() {
		return p
	}
	filled := slices.Clone(p)
	for i := range filled {
		if filled[i].Tenant == Placeholder {
			filled[i].Tenant = tenant
		}
	}
	return filled
}

// Placeholder stands in a role for the tenant that is named with each code.
const Placeholder = "{tenant}"

// Templated reports whether an entry's tenant is the placeholder.
func (p Permissions) Templated() bool {
	return slices.ContainsFunc(p, func(e TenantPermission) bool { return e.Tenant == Placeholder })
}

// The words of a client's `may` list; in a management token they are its scope.
const (
	IssueCodes         = "issue_codes"
	IssueUserTokens    = "issue_user_tokens"
	CreateAccessTokens = "create_access_tokens"
	CreateMasters      = "create_masters"
	Exchange           = "exchange"
	Introspect         = "introspect"
	Revoke             = "revoke"
)

var mayWords = [...]string{IssueCodes, IssueUserTokens, CreateAccessTokens, CreateMasters, Exchange, Introspect, Revoke}

// MayWords lists the words that a client's `may` can hold.
func MayWords() []string { return mayWords[:] }

// Claims is what a token says (RFC 9068, with our tenantPermissions and grantor), as a strict reading of its payload
// gives it. Times are whole milliseconds since 1970, as NumericDate may have a fraction (RFC 7519 §2); zero means
// absent.
type Claims struct {
	Issuer      string      // iss
	Subject     string      // sub
	Audience    []string    // aud, a single string read as a list of one
	ClientID    string      // client_id: who redeemed
	Session     string      // sid: of another issuer's token, the session there that it belongs to
	ID          string      // jti
	IssuedAt    int64       // iat, ms
	NotBefore   int64       // nbf, ms
	Expiry      int64       // exp, ms; never zero in a token that was accepted
	Scope       string      // scope, words separated by single spaces (RFC 6749 §3.3)
	Grantor     string      // our claim: the client whose delegate covers the permissions
	Permissions Permissions // tenantPermissions
	// our claim exchanged_from: the tokens that this one was made from, one out of the other, the latest first
	Ancestors []Ancestor
	// our claim actor_tokens: the actors' tokens that it was exchanged with, and what those were made from, each with its
	// own issuer
	ActorTokens []Ancestor
	Actors      []Actor // act: who exchanged the token, the latest first (RFC 8693 §4.1)
	// cnf.jkt: thumbprint of the key that the token is bound to (RFC 9449 §6.1); "": a plain bearer
	Key string
	// cnf.x5t#S256: digest of the client certificate that the token is bound to (RFC 8705 §3.1); "": to none
	Cert string

	// The access-token dialect's own claims.
	Application string // application
	Master      bool   // master: manages tokens; opens no route by itself
	ExpiresOn   int64  // expiresOn, ms, the value that the dialect answers with; zero means absent

	// Custom are claims that the config lets a client carry through. They are written into tokens alone: who wants to
	// know of one asks for it by name.
	Custom []Custom
}

// A Custom is one claim of a name that is not ours.
type Custom struct {
	Name  string
	Value string // its JSON
}

// An Ancestor is what must be known of an earlier token to know whether it was revoked. One of ours has no Issuer: its
// issuer and subject are those of the token that was made from it, and so is its grantor. The token of another issuer,
// which can only be the first of the line, has its own.
type Ancestor struct {
	Issuer   string // iss; "": ours
	Subject  string // sub, with Issuer alone
	Session  string // sid, with Issuer alone
	Grantor  string // grantor, with Issuer alone
	ID       string // jti, or a digest of a token without one
	ClientID string // client_id
	KeyID    string // of the key that signed it
	IssuedAt int64  // iat, ms
}

// An Actor is who acted with a token (RFC 8693 §4.1).
type Actor struct {
	Issuer  string // iss, of an actor that another issuer knows; "": one of our clients
	Subject string // sub
}

// Original returns the token of another issuer that a token of ours was made from, nil if there is none.
func (c *Claims) Original() *Ancestor {
	if n := len(c.Ancestors); n > 0 && c.Ancestors[n-1].Issuer != "" {
		return &c.Ancestors[n-1]
	}
	return nil
}

// Identity returns whom a token stands for: the issuer and the subject of the token that it was first made from.
func (c *Claims) Identity() (issuer, subject string) {
	if o := c.Original(); o != nil {
		return o.Issuer, o.Subject
	}
	return c.Issuer, c.Subject
}

// HasScope reports whether word is one of the scope's words.
func (c *Claims) HasScope(word string) bool {
	for w := range strings.SplitSeq(c.Scope, " ") {
		if w == word && w != "" {
			return true
		}
	}
	return false
}

// Manages reports whether the scope has any of our `may` words, which makes the token a management token.
func (c *Claims) Manages() bool {
	for w := range strings.SplitSeq(c.Scope, " ") {
		if slices.Contains(mayWords[:], w) {
			return true
		}
	}
	return false
}
