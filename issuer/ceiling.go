package issuer

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictjson"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/issuer/code"
)

// clients are those of the present config, by what names them.
type clients struct {
	byID     map[string]*config.Client
	byDigest map[code.Digest]*config.Client
	fixed    []fixedID
	secrets  map[string][sha256.Size]byte // digests, by id
}

// A fixedID is the accessTokenId that the config gives a client.
type fixedID struct {
	sum    [sha256.Size]byte
	client *config.Client
}

func newClients(list []*config.Client) (*clients, error) {
	all := &clients{
		byID: make(map[string]*config.Client), byDigest: make(map[code.Digest]*config.Client),
		secrets: make(map[string][sha256.Size]byte),
	}
	names := make([]string, 0, len(list))
	for _, c := range list {
		if all.byID[c.ID] != nil {
			return nil, fmt.Errorf("issuer: there are two clients %q", c.ID)
		}
		names = append(names, c.ID)
		all.byID[c.ID] = c
		all.byDigest[code.DigestOf(c.ID)] = c
		if sum, has := secretDigest(c); has {
			all.secrets[c.ID] = sum
		}
		if c.AccessTokenID != "" {
			all.fixed = append(all.fixed, fixedID{sha256.Sum256([]byte(c.AccessTokenID.Reveal())), c})
		}
	}
	if a, b, found := code.Collision(names); found {
		return nil, fmt.Errorf("issuer: the ids of the clients %q and %q share a digest; rename one", a, b)
	}
	return all, nil
}

// fixedTo is the client whose fixed accessTokenId this is, or nil. All are compared, by digests, in constant time.
func (all *clients) fixedTo(id string) (client *config.Client) {
	sum := sha256.Sum256([]byte(id))
	for i := range all.fixed {
		if subtle.ConstantTimeCompare(all.fixed[i].sum[:], sum[:]) == 1 {
			client = all.fixed[i].client
		}
	}
	return client
}

func rolesByDigest(roles map[string]*config.Role) (map[code.Digest]*config.Role, error) {
	names := slices.Sorted(maps.Keys(roles))
	if a, b, found := code.Collision(names); found {
		return nil, fmt.Errorf("issuer: the names of the roles %q and %q share a digest; rename one", a, b)
	}
	byDigest := make(map[code.Digest]*config.Role, len(roles))
	for name, r := range roles {
		byDigest[code.DigestOf(name)] = r
	}
	return byDigest, nil
}

func may(c *config.Client, word string) bool { return slices.Contains(c.May, word) }

// grantable is what a role grants at a tenant, if it can be asked for like that: a role that says {tenant} needs one,
// any other takes none.
func grantable(role *config.Role, tenant string, pattern *regexp.Regexp) (token.Permissions, error) {
	switch templated := role.Permissions.Templated(); {
	case templated && tenant == "":
		return nil, bad("The role needs a tenant")
	case templated && !tenantName(tenant, pattern):
		return nil, bad("The tenant is not a tenant's name")
	case !templated && tenant != "":
		return nil, bad("The role takes no tenant")
	}
	return role.Permissions.For(tenant), nil
}

// tenantName reports whether s names one tenant: never all of them, and never a placeholder, whatever the pattern says.
func tenantName(s string, pattern *regexp.Regexp) bool {
	return s != token.Any && s != token.Placeholder && pattern.MatchString(s)
}

// covered holds permissions to what the client may hand on.
func covered(client *config.Client, p token.Permissions) error {
	if !client.Delegate.Covers(p) {
		return refusal.Because(refusal.DelegateExceeded, "delegate of client %s does not cover it", client.ID)
	}
	return nil
}

// longSubject bounds subjects and applications, in bytes.
const longSubject = 256

// subjectFault holds the name of a subject, or of an application, to what a header can carry and to what is no
// client's.
func (all *clients) subjectFault(member, s string) error {
	switch {
	case s == "":
		return bad("%s is empty", member)
	case len(s) > longSubject:
		return bad("%s has %d bytes, at most %d are taken", member, len(s), longSubject)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, control):
		return bad("%s has a control character", member)
	case all.byID[s] != nil:
		return &fault{reason: refusal.SubjectReserved, text: member + " is the id of a client"}
	}
	return nil
}

// control tells C0, DEL and C1.
func control(c rune) bool { return c < 0x20 || 0x7f <= c && c < 0xa0 }

// readPermissions reads [{tenant, allowedActions}], both members there. A missing tenant means any tenant in the API
// that the list comes from; unless the config says so too, it is refused, since what is missing must not widen a grant.
func readPermissions(r *strictjson.Reader, pattern *regexp.Regexp, missingIsAny bool) (token.Permissions, error) {
	list := token.Permissions{}
	err := r.Array(func() error {
		e, err := readPermission(r, pattern)
		if err != nil {
			return err
		}
		if e.Tenant == "" {
			if !missingIsAny {
				return r.Fault("the member tenant is missing; name the tenant, or \"*\" for all of them")
			}
			e.Tenant = token.Any
		}
		if e.AllowedActions == nil {
			return r.Fault("the member allowedActions is missing")
		}
		list = append(list, e)
		return nil
	})
	return list, err
}

func readPermission(r *strictjson.Reader, pattern *regexp.Regexp) (e token.TenantPermission, err error) {
	err = r.Object(func(name string) (err error) {
		switch name {
		case "tenant":
			if e.Tenant, err = r.String(); err == nil && e.Tenant != token.Any && !tenantName(e.Tenant, pattern) {
				return r.Fault("this is not a tenant's name")
			}
		case "allowedActions":
			e.AllowedActions, err = readActions(r)
		default:
			err = &unknownMember{name}
		}
		return err
	})
	return e, err
}

func readActions(r *strictjson.Reader) ([]string, error) {
	actions := []string{}
	err := r.Array(func() error {
		a, err := r.String()
		if err == nil && a != token.Any && !actionName(a) {
			return r.Fault("this is not an action's name")
		}
		actions = append(actions, a)
		return err
	})
	return actions, err
}

// actionName reports whether s is [A-Za-z0-9_.:-]{1,64}, as in the config.
func actionName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("_.:-", c) >= 0) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}
