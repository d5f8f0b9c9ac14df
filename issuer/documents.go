package issuer

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/config"
	endpoints "github.com/jotgate/jotgate/internal/endpoint"
)

//go:embed openapi.json
var openAPIDocument []byte

// A document is public and always the same.
type document struct {
	data []byte
	etag string
}

func newDocument(data []byte) document {
	sum := sha256.Sum256(data)
	return document{data, `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
}

type documents struct {
	keys, openAPI, server document
	resources             []resource
}

// newDocuments makes what is published. Whether something can be revoked is not in the config alone.
func newDocuments(cfg *config.Config, revocable bool) (documents, error) {
	keys, err := cfg.KeySet()
	if err != nil {
		return documents{}, fmt.Errorf("issuer: %w", err)
	}
	api, err := describe(cfg)
	if err != nil {
		return documents{}, err
	}
	d := documents{keys: newDocument(keys.JWKS()), openAPI: newDocument(api)}
	if !cfg.Issuer.Serve.OAuth2 {
		return d, nil
	}
	if d.server, err = newServerMetadata(cfg.Issuer, revocable); err != nil {
		return documents{}, err
	}
	d.resources, err = newResources(cfg.Issuer)
	return d, err
}

// describe is the OpenAPI document of what this config serves: without the dialects that are off, with the access-token
// dialect below its prefix, and with the metadata where they are for this issuer and these audiences.
func describe(cfg *config.Config) ([]byte, error) {
	settings := cfg.Issuer
	serve := settings.Serve
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(openAPIDocument, &doc); err != nil {
		return nil, fmt.Errorf("issuer: openapi.json: %w", err)
	}
	var paths map[string]json.RawMessage
	if err := json.Unmarshal(doc["paths"], &paths); err != nil {
		return nil, fmt.Errorf("issuer: openapi.json: paths: %w", err)
	}
	served := make(map[string]json.RawMessage)
	for path, item := range paths {
		switch {
		case strings.HasPrefix(path, endpoints.AccessTokenTree):
			if serve.AccessTokens {
				served[serve.AccessTokenPrefix+path] = item
			}
		case path == endpoints.Tickets: // which the gate answers
			if cfg.Tickets.Taken {
				served[path] = item
			}
		case path == endpoints.BackchannelLogout: // which the gate answers
			tells := func(t *config.TrustedIssuer) bool { return len(t.LogoutAudiences) > 0 }
			if slices.ContainsFunc(cfg.TrustedIssuers, tells) {
				served[path] = item
			}
		case path == "/api/v1/authorization-tokens":
			if serve.UserTokens {
				served[path] = item
			}
		case strings.HasPrefix(path, "/api/v1/"):
			if serve.Codes {
				served[path] = item
			}
		case strings.HasPrefix(path, "/oauth2/"), strings.HasPrefix(path, "/.well-known/o"):
			if serve.OAuth2 {
				for _, at := range standing(path, settings) {
					served[at] = item
				}
			}
		default:
			served[path] = item
		}
	}
	var err error
	if doc["paths"], err = json.Marshal(served); err != nil {
		return nil, err
	}
	return json.Marshal(doc)
}

// standing are the paths at which the OpenAPI document's path of this name stands here.
func standing(path string, settings *config.Issuer) []string {
	switch metadata := settings.MetadataPaths(); path {
	case "/.well-known/oauth-authorization-server":
		return metadata[:1]
	case "/.well-known/openid-configuration":
		return metadata[1:]
	case "/.well-known/oauth-protected-resource":
		return settings.ResourceMetadataPaths()
	}
	return []string{path}
}

// keySet publishes the public halves of our keys. Verifiers keep them for five minutes, so a new key must be published
// that long before it signs.
func (c *call) keySet() (*answer, error) { return c.publish(c.issuer.documents.keys), nil }

func (c *call) openAPI() (*answer, error) { return c.publish(c.issuer.documents.openAPI), nil }

// publish answers with a document, or with 304 to a client that has it (RFC 9110 §13.1.2).
func (c *call) publish(d document) *answer {
	a := &answer{status: http.StatusOK, raw: d.data, public: true, header: http.Header{
		"Cache-Control": {"public, max-age=300"},
		"Etag":          {d.etag},
	}}
	for _, known := range c.r.Header["If-None-Match"] {
		for tag := range strings.SplitSeq(known, ",") {
			if tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/"); tag == d.etag || tag == "*" {
				a.status, a.raw = http.StatusNotModified, nil
			}
		}
	}
	return a
}
