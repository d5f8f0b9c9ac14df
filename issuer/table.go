package issuer

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"

	endpoints "github.com/jotgate/jotgate/internal/endpoint"
	"github.com/jotgate/jotgate/internal/token"
)

// A behaviour is what an endpoint does.
type behaviour struct {
	dialect  dialect
	deadline time.Duration // for the whole call
	scope    string        // what a management token must have in its scope, and its client in `may`; "": see handle
	event    string        // of the audit; "": none
	handle   func(*call) (*answer, error)
}

// An endpoint is a row of package endpoint's table with its behaviour.
type endpoint struct {
	endpoints.Endpoint
	behaviour
}

// The deadlines bound a call that waits for others: for its body (limits.body_timeout comes earlier), for the replay
// store, for a user directory, for its turn to sign.
const (
	deadline       = 20 * time.Second
	lookupDeadline = 45 * time.Second // the directory has a deadline of its own, of at most 30 s
)

// behaviours returns what each endpoint does, by its name.
func behaviours() map[string]behaviour {
	return map[string]behaviour{
		"jwks":    {problems{}, deadline, "", "", (*call).keySet},
		"openapi": {problems{}, deadline, "", "", (*call).openAPI},

		"issue_code":       {codes{}, deadline, token.IssueCodes, "code_issue", (*call).issueCode},
		"redeem_code":      {codes{}, deadline, "", "code_redeem", (*call).redeemCode},
		"issue_user_token": {userTokens{}, lookupDeadline, token.IssueUserTokens, "user_token_issue", (*call).issueUserToken},

		"create_access_token": {accessTokens{}, deadline, "", "access_token_create", (*call).createAccessToken},
		"read_access_token":   {accessTokens{}, deadline, "", "", (*call).readAccessToken},
		"delete_access_token": {accessTokens{}, deadline, "", "access_token_delete", (*call).deleteAccessToken},

		"oauth_token":             {oauth{}, deadline, "", "oauth_token", (*call).oauthToken},
		"oauth_introspect":        {oauth{}, deadline, token.Introspect, "", (*call).introspect},
		"oauth_revoke":            {oauth{}, deadline, token.Revoke, "oauth_revoke", (*call).revoke},
		"oauth_metadata":          {problems{}, deadline, "", "", (*call).serverMetadata},
		"oauth_resource_metadata": {problems{}, deadline, "", "", (*call).resourceMetadata},
	}
}

// table returns the endpoints that the config turns on.
func (i *Issuer) table() ([]*endpoint, error) {
	var list []*endpoint
	all := behaviours()
	for _, row := range i.settings.Endpoints().List() {
		does, ok := all[row.Name]
		if !ok {
			return nil, fmt.Errorf("issuer: nothing handles the endpoint %s", row.Name)
		}
		list = append(list, &endpoint{row, does})
	}
	return list, nil
}

// route builds the router. The methods of a path are told apart by serve, not by mux: mux would try {id} for a method
// that `create` lacks, and middleware of its own does not run for what it refuses.
func (i *Issuer) route() error {
	i.router = mux.NewRouter().SkipClean(true)
	i.router.NotFoundHandler = http.HandlerFunc(i.notFound)
	i.owned = make(map[string]bool)
	served := i.settings.Endpoints()
	i.tree = served.Tree()
	for _, path := range served.Paths() {
		if path != i.tree {
			i.owned[path] = true
		}
	}
	table, err := i.table()
	if err != nil {
		return err
	}
	var paths []string
	byPath := make(map[string][]*endpoint)
	for _, e := range table {
		if byPath[e.Path] == nil {
			paths = append(paths, e.Path)
		}
		byPath[e.Path] = append(byPath[e.Path], e)
	}
	for _, path := range paths {
		methods := byPath[path]
		i.router.Path(path).HandlerFunc(func(w http.ResponseWriter, r *http.Request) { i.serve(w, r, methods) })
	}
	return nil
}

// allowed is the Allow header of a path (RFC 9110 §10.2.1).
func allowed(methods []*endpoint) string {
	var names []string
	for _, e := range methods {
		names = append(names, e.Method)
		if e.Method == http.MethodGet {
			names = append(names, http.MethodHead)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
