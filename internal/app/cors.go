package app

import (
	"net/http"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/cors"
	"github.com/jotgate/jotgate/internal/endpoint"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/proxy"
)

// endpointCORS is what the gate's own endpoints say to scripts of other origins: public documents are for everybody,
// and the token endpoints follow issuer.serve.cors.
type endpointCORS struct {
	tokens    *cors.Policy
	endpoints []endpoint.Endpoint
}

func newEndpointCORS(c *config.Config) *endpointCORS {
	if c.Issuer == nil {
		return nil
	}
	return &endpointCORS{tokens: proxy.CORS(c.Issuer.Serve.CORS), endpoints: c.Issuer.Endpoints().List()}
}

// documents are the endpoints whose answers are the same for everybody.
var documents = []string{"jwks", "openapi", "oauth_metadata", "oauth_resource_metadata"}

// of returns the policy of a path of ours and the methods that it takes.
func (e *endpointCORS) of(path string) (policy *cors.Policy, methods []string) {
	policy = e.tokens
	for _, row := range e.endpoints {
		if !sameSegments(row.Path, path) {
			continue
		}
		if slices.Contains(documents, row.Name) {
			policy = cors.Public()
		}
		methods = append(methods, row.Method)
		if row.Method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	return policy, methods
}

// sameSegments reports whether a path is one of a row of the table, in which {id} is any segment.
func sameSegments(row, path string) bool {
	if !strings.Contains(row, "{") {
		return row == path
	}
	pattern, segments := strings.Split(row, "/"), strings.Split(path, "/")
	return len(pattern) == len(segments) && slices.EqualFunc(pattern, segments, func(p, s string) bool {
		return p == s || p == "{id}" && s != ""
	})
}

// preflight gives an answer of one of our own endpoints its CORS fields, and answers a preflight whole.
func (snap *snapshot) preflight(x *request.Exchange, r *http.Request) bool {
	policy, methods := snap.endpoints.of(r.URL.Path)
	x.CORS = policy.Answer(r)
	if policy == nil || cors.Asked(r) == "" {
		return false
	}
	x.Preflight(methods)
	return true
}
