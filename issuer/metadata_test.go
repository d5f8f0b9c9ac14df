package issuer

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
)

const (
	serverPath   = "/.well-known/oauth-authorization-server"
	openIDPath   = "/.well-known/openid-configuration"
	resourcePath = "/.well-known/oauth-protected-resource"
)

// TestServerMetadata is RFC 8414, whole: what is there, and that nothing else is.
func TestServerMetadata(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		url   string
		on    bool // something can be revoked
		paths []string
		gone  []string
	}{
		"plain": {issuerURL, true, []string{serverPath, openIDPath}, nil},
		"with a path": {issuerURL + "/tenant/one", false, []string{
			serverPath + "/tenant/one", openIDPath + "/tenant/one",
			"/tenant/one" + openIDPath,
		}, []string{serverPath, openIDPath}},
	} {
		h := oauthHouse(t, func(c2 *config.Config) { c2.Issuer.URL = c.url })
		h.on = c.on
		h.reload(h.config)
		algorithms := `["ES256","ES384","ES512","EdDSA","PS256","PS384","PS512","RS256","RS384","RS512"]`
		want := `{"issuer":"` + c.url + `","token_endpoint":"` + issuerURL + `/oauth2/token","jwks_uri":"` + issuerURL +
			`/.well-known/jwks.json",` +
			`"scopes_supported":["issue_codes","issue_user_tokens","create_access_tokens","create_masters","exchange","introspect","revoke"],` +
			`"grant_types_supported":["authorization_code","client_credentials","urn:ietf:params:oauth:grant-type:token-exchange"],` +
			`"token_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","private_key_jwt","none"],` +
			`"token_endpoint_auth_signing_alg_values_supported":` + algorithms + `,` +
			`"introspection_endpoint":"` + issuerURL + `/oauth2/introspect",` +
			`"introspection_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","private_key_jwt"],` +
			`"introspection_endpoint_auth_signing_alg_values_supported":` + algorithms + `,`
		if c.on {
			want += `"revocation_endpoint":"` + issuerURL + `/oauth2/revoke",` +
				`"revocation_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","private_key_jwt","none"],` +
				`"revocation_endpoint_auth_signing_alg_values_supported":` + algorithms + `,`
		}
		want += `"code_challenge_methods_supported":["S256"],"dpop_signing_alg_values_supported":["ES256","Ed25519","EdDSA","PS256","RS256"],"protected_resources":["` + issuerURL + `/api","https://other.test"]}`
		for _, path := range c.paths {
			got := h.ask("GET", path, "")
			etag := got.Header["Etag"]
			same(t, name+" "+path, got,
				reply{200, map[string]string{
					"Cache-Control": "public, max-age=300", "Content-Type": "application/json",
					"Etag": etag,
				}, want})
			same(t, name+" "+path+" again", h.ask("GET", path, "", header("If-None-Match", etag)).Status, 304)
			if !h.issuer.Load().Owns("gate.test", path) {
				t.Errorf("%s is not ours", path)
			}
		}
		for _, path := range c.gone {
			if got := h.ask("GET", path, ""); got.Status != 404 {
				t.Errorf("%s: %v", path, got)
			}
		}
	}
}

// TestAdvertisedEndpointsAnswer: each URL of the metadata is one that we serve, with the methods that it is for.
func TestAdvertisedEndpointsAnswer(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	h.on = true
	h.reload(h.config)
	var metadata map[string]any
	if err := json.Unmarshal([]byte(h.ask("GET", serverPath, "").Body), &metadata); err != nil {
		t.Fatal(err)
	}
	endpoints := 0
	for name, value := range metadata {
		url, _ := value.(string)
		if !strings.HasSuffix(name, "_endpoint") && name != "jwks_uri" {
			continue
		}
		endpoints++
		path, ours := strings.CutPrefix(url, issuerURL)
		if !ours || !h.issuer.Load().Owns("gate.test", path) {
			t.Errorf("%s is %s, which is not ours", name, url)
		}
		if name == "jwks_uri" {
			if _, _, err := jose.ParseKeySet([]byte(h.ask("GET", path, "").Body)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		for _, method := range metadata["token_endpoint_auth_methods_supported"].([]any) {
			got := h.post(path, map[any]string{
				"client_secret_basic": "", "client_secret_post": form("client_id", "svc", "client_secret", svcSecret),
				"none":            "client_id=spa",
				"private_key_jwt": form("client_assertion_type", assertionType, "client_assertion", h.assertion(nil)),
			}[method]+"&token=x&grant_type=x", basicIf(method == "client_secret_basic"))
			if got.Status == 401 || got.Status == 404 || got.Status >= 500 {
				t.Errorf("%s with %v: %v", name, method, got)
			}
			h.clock.advance(2 * longestAssertion) // the same jti may come again
		}
	}
	if endpoints != 4 {
		t.Errorf("%d endpoints", endpoints)
	}
}

func basicIf(yes bool) option {
	if yes {
		return basicAuth("svc", svcSecret)
	}
	return header("X-None", "")
}

// TestResourceMetadata is RFC 9728: each audience that is a URL has its document where a client looks for it, and the
// challenge of the gate names one that is there.
func TestResourceMetadata(t *testing.T) {
	t.Parallel()
	doc := func(resource string) string {
		return `{"resource":"` + resource + `","authorization_servers":["` + issuerURL +
			`"],"bearer_methods_supported":["header"],"dpop_signing_alg_values_supported":["ES256","Ed25519","EdDSA","PS256","RS256"]}`
	}
	h := oauthHouse(t, func(c *config.Config) {
		c.Issuer.Audiences = []string{issuerURL + "/api", "https://other.test", "https://third.test/api", "not-a-url"}
	})
	for _, c := range []struct{ host, path, resource string }{
		{"gate.test", resourcePath + "/api", issuerURL + "/api"},
		{"third.test", resourcePath + "/api", "https://third.test/api"},
		{"third.test:8443", resourcePath + "/api", "https://third.test/api"},
		{"elsewhere.test", resourcePath + "/api", issuerURL + "/api"},
		{"other.test", resourcePath, "https://other.test"},
		{"gate.test", resourcePath, issuerURL + "/api"},
	} {
		got := h.ask("GET", c.path, "", header("X-Test-Host", strings.Split(c.host, ":")[0]))
		if c.host == "gate.test" && c.path == resourcePath {
			c.resource = "https://other.test" // the only audience without a path; the other host's document is as good as any
		}
		same(t, c.host+c.path, got.Body, doc(c.resource))
		if got.Header["Cache-Control"] != "public, max-age=300" {
			t.Errorf("%s: %v", c.path, got.Header)
		}
	}
	i := h.issuer.Load()
	for host, want := range map[string]string{
		"gate.test":  issuerURL + resourcePath + "/api",
		"other.test": "https://other.test" + resourcePath,
		"third.test": "https://third.test" + resourcePath + "/api",
		"else.test":  issuerURL + resourcePath + "/api",
	} {
		got := i.ResourceMetadata(host)
		same(t, host, got, want)
		if path := got[strings.Index(got, "/.well"):]; !i.Owns(host, path) {
			t.Errorf("%s: %s does not answer", host, path)
		}
	}
	h.config.Issuer.Audiences, h.config.Issuer.Serve.Hosts = []string{"api", "https://other.test/x"}, []string{"gate.test"}
	h.reload(h.config)
	same(t, "no audience at our hosts", h.issuer.Load().ResourceMetadata("other.test"), issuerURL+resourcePath)
	same(t, "the first audience", h.ask("GET", resourcePath, "").Body, doc("api"))
	h.config.Issuer.Serve.OAuth2 = false
	h.reload(h.config)
	same(t, "without OAuth 2.0", h.issuer.Load().ResourceMetadata("gate.test"), "")
	for _, path := range []string{resourcePath, serverPath, openIDPath, "/oauth2/token"} {
		if slices.Contains([]int{200, 304}, h.ask("GET", path, "").Status) || h.issuer.Load().Owns("gate.test", path) {
			t.Errorf("%s is served without the dialect", path)
		}
	}
}
