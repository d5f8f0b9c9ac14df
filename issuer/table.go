package issuer

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/jotgate/jotgate/internal/token"
)

// An endpoint is one row of the table.
type endpoint struct {
	name     string // in the access log
	method   string // GET is HEAD too
	path     string
	dialect  dialect
	deadline time.Duration // for the whole call
	scope    string        // what a management token must have in its scope, and its client in `may`; "": see handle
	event    string        // of the audit; "": none
	handle   func(*call) (*answer, error)
}

// The deadlines bound a call that waits for others: for its body (limits.body_timeout comes earlier), for the replay
// store, for a user directory, for its turn to sign.
const (
	deadline       = 20 * time.Second
	lookupDeadline = 45 * time.Second // the directory has a deadline of its own, of at most 30 s
)

// table lists the endpoints that the config turns on.
func (i *Issuer) table() []*endpoint {
	serve := i.settings.Serve
	list := []*endpoint{
		{"jwks", http.MethodGet, "/.well-known/jwks.json", problems{}, deadline, "", "", (*call).keySet},
		{"openapi", http.MethodGet, "/openapi.json", problems{}, deadline, "", "", (*call).openAPI},
	}
	if serve.Codes {
		list = append(list,
			&endpoint{"issue_code", http.MethodPost, "/api/v1/authorization-codes", codes{}, deadline, token.IssueCodes, "code_issue", (*call).issueCode},
			&endpoint{"redeem_code", http.MethodPost, "/api/v1/tokens", codes{}, deadline, "", "code_redeem", (*call).redeemCode},
		)
	}
	if serve.UserTokens {
		list = append(list,
			&endpoint{"issue_user_token", http.MethodPost, "/api/v1/authorization-tokens", userTokens{}, lookupDeadline, token.IssueUserTokens, "user_token_issue", (*call).issueUserToken},
		)
	}
	if serve.AccessTokens {
		list = append(list, accessTokenEndpoints(serve.AccessTokenPrefix)...)
	}
	if serve.OAuth2 {
		list = append(list,
			&endpoint{"oauth_token", http.MethodPost, "/oauth2/token", oauth{}, deadline, "", "oauth_token", (*call).oauthToken},
			&endpoint{"oauth_introspect", http.MethodPost, "/oauth2/introspect", oauth{}, deadline, token.Introspect, "", (*call).introspect},
			&endpoint{"oauth_revoke", http.MethodPost, "/oauth2/revoke", oauth{}, deadline, token.Revoke, "oauth_revoke", (*call).revoke},
		)
		for _, path := range i.settings.MetadataPaths() {
			list = append(list, &endpoint{"oauth_metadata", http.MethodGet, path, problems{}, deadline, "", "", (*call).serverMetadata})
		}
		for _, path := range i.settings.ResourceMetadataPaths() {
			list = append(list, &endpoint{"oauth_resource_metadata", http.MethodGet, path, problems{}, deadline, "", "", (*call).resourceMetadata})
		}
	}
	return list
}

// accessTokenEndpoints has `create` before {id}, which would match it too. Known clients append .json to the path.
func accessTokenEndpoints(prefix string) []*endpoint {
	root := prefix + accessTokenRoot
	var list []*endpoint
	for _, suffix := range []string{"", ".json"} {
		list = append(list, &endpoint{"create_access_token", http.MethodPost, root + "create" + suffix, accessTokens{}, deadline, "", "access_token_create", (*call).createAccessToken})
	}
	list = append(list, &endpoint{"read_access_token", http.MethodGet, root + "{id}", accessTokens{}, deadline, "", "", (*call).readAccessToken})
	for _, suffix := range []string{"", ".json"} {
		list = append(list, &endpoint{"delete_access_token", http.MethodPost, root + "{id}/delete" + suffix, accessTokens{}, deadline, "", "access_token_delete", (*call).deleteAccessToken})
	}
	return list
}

const accessTokenRoot = "/api/1/access_token/"

// route builds the router. The methods of a path are told apart by serve, not by mux: mux would try {id} for a method
// that `create` lacks, and middleware of its own does not run for what it refuses.
func (i *Issuer) route() {
	i.router = mux.NewRouter().SkipClean(true)
	i.router.NotFoundHandler = http.HandlerFunc(i.notFound)
	i.owned, i.create = make(map[string]bool), make(map[string]bool)
	for _, p := range i.config.OwnPaths() { // the list that keeps the config's routes off our paths
		if path := p.String(); strings.HasSuffix(path, "/") {
			i.tree = path
		} else {
			i.owned[path] = true
		}
	}
	var paths []string
	byPath := make(map[string][]*endpoint)
	for _, e := range i.table() {
		if byPath[e.path] == nil {
			paths = append(paths, e.path)
		}
		byPath[e.path] = append(byPath[e.path], e)
	}
	for _, path := range paths {
		methods := byPath[path]
		i.router.Path(path).HandlerFunc(func(w http.ResponseWriter, r *http.Request) { i.serve(w, r, methods) })
		i.create[path] = strings.HasPrefix(path, i.tree) && !strings.Contains(path, "{")
	}
}

// allowed is the Allow header of a path (RFC 9110 §10.2.1).
func allowed(methods []*endpoint) string {
	var names []string
	for _, e := range methods {
		names = append(names, e.method)
		if e.method == http.MethodGet {
			names = append(names, http.MethodHead)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
