package token

import "slices"

// Own reports whether the token is a client's own: its subject, its client and its grantor are one.
func (c *Claims) Own() bool { return c.Subject == c.ClientID && c.ClientID == c.Grantor }

// Ceiling returns the most that a token of ours may open, given what its grantor has: the client's own token what the
// client itself may, any other token what the client may delegate.
func (c *Claims) Ceiling(permissions, delegate Permissions) Permissions {
	if c.Own() {
		return permissions
	}
	return delegate
}

// Reserved returns the name of a claim that names one of our clients although the token is not that client's own, or
// "". An app that knows its services by subject must not take a user, or the subject of another issuer, for one of
// them. ours is false for a token of another issuer, which can never be a client's own.
func (c *Claims) Reserved(ours bool, isClient func(id string) bool) (claim string) {
	own := ours && c.Own()
	switch {
	case !own && isClient(c.Subject):
		return "sub"
	case !(own && c.Application == c.Subject) && isClient(c.Application):
		return "application"
	case !ours && isClient(c.ClientID):
		return "client_id"
	}
	return ""
}

// Union allows exactly what p or q allows. Appending one to the other would not: the first entry for a tenant decides
// alone, so the second set's entries would never count. One set alone is returned as it is.
func Union(p, q Permissions) Permissions {
	if len(p) == 0 {
		return q
	}
	if len(q) == 0 {
		return p
	}
	var sum Permissions
	for _, tenant := range append(named(p, q), Any) {
		actions := []string{}
		for _, action := range slices.Concat(p.actions(tenant), q.actions(tenant)) {
			if !slices.Contains(actions, action) {
				actions = append(actions, action)
			}
		}
		sum = append(sum, TenantPermission{Tenant: tenant, AllowedActions: actions})
	}
	return sum
}
