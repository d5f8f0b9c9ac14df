// Package endpoint is the table of the gate's own HTTP endpoints: which paths they answer on, and which of these paths
// carry a credential.
//
// The configuration keeps routes off these paths, package issuer attaches a handler to each row, and everything that
// writes a path to a log goes through Redact. docs/api.md has the endpoints' contract.
package endpoint

import (
	"net/http"
	"slices"
	"strings"
)

// An Endpoint is one row of the table: a method on a path.
type Endpoint struct {
	Name   string // as the access log and the metrics have it
	Method string // GET stands for HEAD too
	Path   string // a literal, or with {id} for one segment
}

// Served says which endpoints a configuration turns on.
type Served struct {
	Codes, UserTokens, AccessTokens, OAuth2 bool

	AccessTokenPrefix string   // before AccessTokenTree; "" or like /crafter-profile
	Metadata          []string // paths of the authorization server's metadata (RFC 8414 §3.1)
	ResourceMetadata  []string // paths of the resources' metadata (RFC 9728 §3.1)
}

// AccessTokenTree is the tree of the access-token dialect. A path in it, but for create, has a credential as its next
// segment.
const AccessTokenTree = "/api/1/access_token/"

// Tickets is where one-time tickets are drawn, where a route takes any.
const Tickets = "/api/v1/tickets"

// BackchannelLogout is where trusted issuers tell of logouts, where one has logout_audiences.
const BackchannelLogout = "/oauth2/backchannel-logout"

// List returns the endpoints that are served, the more specific path first.
func (s Served) List() []Endpoint {
	list := []Endpoint{
		{"jwks", http.MethodGet, "/.well-known/jwks.json"},
		{"openapi", http.MethodGet, "/openapi.json"},
	}
	if s.Codes {
		list = append(list,
			Endpoint{"issue_code", http.MethodPost, "/api/v1/authorization-codes"},
			Endpoint{"redeem_code", http.MethodPost, "/api/v1/tokens"})
	}
	if s.UserTokens {
		list = append(list, Endpoint{"issue_user_token", http.MethodPost, "/api/v1/authorization-tokens"})
	}
	if s.AccessTokens {
		root := s.AccessTokenPrefix + AccessTokenTree
		list = append(list, // known clients append .json
			Endpoint{"create_access_token", http.MethodPost, root + "create"},
			Endpoint{"create_access_token", http.MethodPost, root + "create.json"},
			Endpoint{"read_access_token", http.MethodGet, root + "{id}"},
			Endpoint{"delete_access_token", http.MethodPost, root + "{id}/delete"},
			Endpoint{"delete_access_token", http.MethodPost, root + "{id}/delete.json"})
	}
	if s.OAuth2 {
		list = append(list,
			Endpoint{"oauth_token", http.MethodPost, "/oauth2/token"},
			Endpoint{"oauth_introspect", http.MethodPost, "/oauth2/introspect"},
			Endpoint{"oauth_revoke", http.MethodPost, "/oauth2/revoke"})
		for _, path := range s.Metadata {
			list = append(list, Endpoint{"oauth_metadata", http.MethodGet, path})
		}
		for _, path := range s.ResourceMetadata {
			list = append(list, Endpoint{"oauth_resource_metadata", http.MethodGet, path})
		}
	}
	return list
}

// Paths returns what belongs to the endpoints that are served, each once: whole paths, and trees, which end in "/".
// In a tree the paths of no endpoint belong to us, too.
func (s Served) Paths() (paths []string) {
	tree := s.Tree()
	for _, e := range s.List() {
		path := e.Path
		if tree != "" && strings.HasPrefix(path, tree) {
			path = tree
		}
		if !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}

// Tree returns the tree of the access-token dialect; "" where it is not served.
func (s Served) Tree() string {
	if !s.AccessTokens {
		return ""
	}
	return s.AccessTokenPrefix + AccessTokenTree
}
