package issuer

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/token"
)

// serverMetadata is RFC 8414 §2. Jotgate has no authorization endpoint, since it has no login; so the members that
// speak of one, response_types_supported among them, are not there (docs/standards.md).
type serverMetadata struct {
	Issuer               string   `json:"issuer"`
	TokenEndpoint        string   `json:"token_endpoint"`
	JWKSURI              string   `json:"jwks_uri"`
	ScopesSupported      []string `json:"scopes_supported"`
	GrantTypes           []string `json:"grant_types_supported"`
	AuthMethods          []string `json:"token_endpoint_auth_methods_supported"`
	AuthAlgorithms       []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	Introspection        string   `json:"introspection_endpoint"`
	IntrospectionMethods []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionAlgs    []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	Revocation           string   `json:"revocation_endpoint,omitempty"`
	RevocationMethods    []string `json:"revocation_endpoint_auth_methods_supported,omitempty"`
	RevocationAlgs       []string `json:"revocation_endpoint_auth_signing_alg_values_supported,omitempty"`
	ChallengeMethods     []string `json:"code_challenge_methods_supported"`
	ProofAlgorithms      []string `json:"dpop_signing_alg_values_supported"`                    // RFC 9449 §5.1
	ProtectedResources   []string `json:"protected_resources,omitempty"`                        // RFC 9728 §4
	CertificateBound     bool     `json:"tls_client_certificate_bound_access_tokens,omitempty"` // RFC 8705 §3.3
}

// resourceMetadata is RFC 9728 §2, of our routes.
type resourceMetadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	BearerMethods        []string `json:"bearer_methods_supported"`
	ProofAlgorithms      []string `json:"dpop_signing_alg_values_supported"`
}

// A resource is an audience that is a URL, and so has metadata.
type resource struct {
	host     string // canonical, of the audience's URL; "" at the bare path
	path     string // of its metadata
	url      string // of its metadata
	home     bool   // its host is the issuer's
	document document
}

// newServerMetadata says what is served. Revocation is only told where something can be revoked.
func newServerMetadata(settings *config.Issuer, revocable bool) (document, error) {
	at := func(path string) string { return origin(settings.URL) + path }
	m := serverMetadata{
		Issuer: settings.URL, TokenEndpoint: at("/oauth2/token"), JWKSURI: at("/.well-known/jwks.json"),
		ScopesSupported: token.MayWords(), GrantTypes: grantTypes(), AuthMethods: authMethods(settings),
		AuthAlgorithms: assertionAlgorithms(),
		Introspection:  at("/oauth2/introspect"), IntrospectionMethods: confidentialMethods(settings),
		IntrospectionAlgs: assertionAlgorithms(),
		ChallengeMethods:  []string{"S256"}, ProofAlgorithms: jose.ProofAlgorithms(),
		CertificateBound: hasCertificates(settings),
	}
	if revocable {
		m.Revocation, m.RevocationMethods = at("/oauth2/revoke"), authMethods(settings)
		m.RevocationAlgs = assertionAlgorithms()
	}
	for _, a := range settings.Audiences {
		if _, ok := config.WellKnown("oauth-protected-resource", a); ok {
			m.ProtectedResources = append(m.ProtectedResources, a)
		}
	}
	data, err := json.Marshal(m)
	if err != nil {
		return document{}, fmt.Errorf("issuer: metadata: %w", err)
	}
	return newDocument(data), nil
}

// confidentialMethods are those of clients that can show who they are.
func confidentialMethods(settings *config.Issuer) []string {
	all := []string{authBasic, authPost, authAssertion}
	if hasCertificates(settings) {
		all = append(all, authTLS)
	}
	return all
}

// hasCertificates reports whether some client authenticates with a certificate.
func hasCertificates(settings *config.Issuer) bool {
	return slices.ContainsFunc(settings.Clients, func(c *config.Client) bool { return c.Certificate != nil })
}

// assertionAlgorithms are those that client assertions can be signed with: no shared secret among them.
func assertionAlgorithms() []string {
	return slices.DeleteFunc(jose.Algorithms(), func(alg string) bool { return strings.HasPrefix(alg, "HS") })
}

// newResources makes the metadata of each audience that can have some. The last resource stands at the bare well-known
// path, for clients that look only there: it is the first audience, URL or not.
func newResources(settings *config.Issuer) ([]resource, error) {
	var all []resource
	add := func(audience, host, base, path string) error {
		data, err := json.Marshal(resourceMetadata{
			audience,
			[]string{settings.URL},
			[]string{"header"},
			jose.ProofAlgorithms(),
		})
		all = append(all, resource{host, path, base + path, base == origin(settings.URL), newDocument(data)})
		return err
	}
	for _, a := range settings.Audiences {
		path, ok := config.WellKnown("oauth-protected-resource", a)
		u, err := url.Parse(a)
		if !ok || err != nil {
			continue
		}
		if err := add(a, strings.ToLower(u.Hostname()), origin(a), path); err != nil {
			return nil, fmt.Errorf("issuer: resource metadata: %w", err)
		}
	}
	if len(settings.Audiences) == 0 {
		return all, nil
	}
	bare := settings.ResourceMetadataPaths()[0]
	if err := add(settings.Audiences[0], "", origin(settings.URL), bare); err != nil {
		return nil, fmt.Errorf("issuer: resource metadata: %w", err)
	}
	return all, nil
}

// ResourceMetadata is the URL that a bearer challenge at host tells (RFC 9728 §5.1): of the audience at this host, if
// there is one, else of one at the issuer's, which we surely answer for; "" without OAuth 2.0. The host is canonical.
func (i *Issuer) ResourceMetadata(host string) string {
	ours := ""
	for k := range i.documents.resources {
		r := &i.documents.resources[k]
		if r.host != "" && r.host == host && i.servesHost(host) {
			return r.url
		}
		if ours == "" && r.home {
			ours = r.url
		}
	}
	return ours
}

// serverMetadata answers what this issuer serves.
func (c *call) serverMetadata() (*answer, error) { return c.publish(c.issuer.documents.server), nil }

// resourceMetadata answers for the resource whose well-known path this is; where two hosts have one, for this host's.
func (c *call) resourceMetadata() (*answer, error) {
	var found *resource
	for k := range c.issuer.documents.resources {
		r := &c.issuer.documents.resources[k]
		if r.path == c.r.URL.EscapedPath() && (found == nil || r.host == c.x.Host && found.host != c.x.Host) {
			found = r
		}
	}
	if found == nil { // the table has no other paths
		return &answer{status: http.StatusNotFound}, nil
	}
	return c.publish(found.document), nil
}
