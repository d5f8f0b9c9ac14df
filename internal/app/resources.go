package app

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/cors"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
)

// resources are the metadata of the configured resources (RFC 9728), by the path of the document. Two of them can have
// one path on different hosts.
type resources map[string][]resourceDocument

type resourceDocument struct {
	host, etag string
	data       []byte
}

// resourceMetadata is RFC 9728 §2.
type resourceMetadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	Scopes               []string `json:"scopes_supported,omitempty"`
	BearerMethods        []string `json:"bearer_methods_supported"`
	ProofAlgorithms      []string `json:"dpop_signing_alg_values_supported"`
}

func newResources(all []*config.Resource) (resources, error) {
	documents := resources{}
	for _, r := range all {
		data, err := json.Marshal(resourceMetadata{r.URL, r.Servers, r.Scopes, []string{"header"}, jose.ProofAlgorithms()})
		if err != nil {
			return nil, fmt.Errorf("resource %s: metadata: %w", r.URL, err)
		}
		sum := sha256.Sum256(data)
		documents[r.WellKnown] = append(documents[r.WellKnown],
			resourceDocument{r.Host, `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`, data})
	}
	return documents, nil
}

// find returns the document of a request's path: of the resource at its host, or else of the first.
func (r resources) find(x *request.Exchange, path string) *resourceDocument {
	if len(r) == 0 || !strings.HasPrefix(path, "/.well-known/") || x.Target.Oddities != 0 {
		return nil
	}
	documents := r[path]
	for i := range documents {
		if documents[i].host == x.Host {
			return &documents[i]
		}
	}
	if len(documents) > 0 {
		return &documents[0]
	}
	return nil
}

// ServeHTTP answers with the document, which is public.
func (d *resourceDocument) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := request.From(w)
	x.Route, x.Pattern = "oauth_resource_metadata", "/.well-known/oauth-protected-resource"
	x.CORS = cors.Public().Answer(r)
	if cors.Asked(r) != "" {
		x.Preflight([]string{http.MethodGet, http.MethodHead})
		return
	}
	h := x.Header()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		x.Refuse(refusal.Because(refusal.MethodNotAllowed, "%.32q for a document", r.Method))
		return
	}
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("Etag", d.etag)
	h.Set(request.RequestIDHeader, x.ID)
	http.ServeContent(x, r, "", time.Time{}, bytes.NewReader(d.data))
}
