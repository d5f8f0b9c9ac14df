package issuer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/jotgate/jotgate/config"
	endpoints "github.com/jotgate/jotgate/internal/endpoint"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
)

func TestKeySet(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *config.Config) {
		c.Issuer.Keys = []*jose.PrivateKey{testKey(t, "ES256"), testKey(t, "RS256"), testKey(t, "EdDSA")}
	})
	got := h.ask("GET", "/.well-known/jwks.json", "")
	etag := got.Header["Etag"]
	same(t, "header", got.Header, map[string]string{
		"Cache-Control": "public, max-age=300",
		"Content-Type":  "application/json", "Etag": etag,
	})
	set, skipped, err := jose.ParseKeySet([]byte(got.Body))
	if err != nil || len(skipped) > 0 || set.Len() != 3 {
		t.Fatalf("%v %v %s", err, skipped, got.Body)
	}
	var ids []string
	for _, k := range set.Keys() {
		ids = append(ids, k.ID())
	}
	for _, k := range h.config.Issuer.Keys {
		if !slices.Contains(ids, k.ID()) {
			t.Errorf("key %s is not published", k.ID())
		}
	}
	for _, tag := range []string{etag, "W/" + etag, `"x", ` + etag, "*"} {
		same(t, tag, h.ask("GET", "/.well-known/jwks.json", "", header("If-None-Match", tag)),
			reply{304, map[string]string{"Cache-Control": "public, max-age=300", "Etag": etag}, ""})
	}
	if other := h.ask("GET", "/.well-known/jwks.json", "", header("If-None-Match", `"x"`)); other.Status != 200 {
		t.Errorf("another tag: %v", other)
	}
	if head := h.ask("HEAD", "/.well-known/jwks.json", ""); head.Status != 200 || head.Body != "" {
		t.Errorf("HEAD: %v", head)
	}
}

// TestDocumentIsWhatIsServed: each endpoint of the table has its operation, and no operation lacks an endpoint.
func TestDocumentIsWhatIsServed(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]config.Serve{
		"all":         {Codes: true, UserTokens: true, AccessTokens: true, OAuth2: true},
		"oauth2":      {OAuth2: true},
		"prefix":      {AccessTokens: true, AccessTokenPrefix: "/p"},
		"codes":       {Codes: true},
		"user tokens": {UserTokens: true},
		"documents":   {},
	} {
		h := newHouse(t, func(c *config.Config) { c.Issuer.Serve = serve })
		var served, told []string
		for _, e := range h.issuer.Load().settings.Endpoints().List() {
			served = append(served, e.Method+" "+e.Path)
		}
		doc := h.openAPI(h.issuer.Load())
		for path, item := range doc.Paths.Map() {
			for method := range item.Operations() {
				told = append(told, method+" "+path)
			}
		}
		slices.Sort(served)
		slices.Sort(told)
		same(t, name, told, served)
		if got := h.ask("GET", "/openapi.json", ""); !json.Valid([]byte(got.Body)) ||
			got.Header["Cache-Control"] != "public, max-age=300" {
			t.Errorf("%s: %v", name, got.Header)
		}
	}
}

// TestDocumentHasLogouts: the document describes the endpoint of logouts where an issuer tells of them, and only there.
func TestDocumentHasLogouts(t *testing.T) {
	t.Parallel()
	for _, audiences := range [][]string{nil, {"shop"}} {
		c := &config.Config{
			Issuer:         &config.Issuer{URL: "https://gate.test"},
			TrustedIssuers: []*config.TrustedIssuer{{Issuer: "https://op.test", LogoutAudiences: audiences}},
		}
		text, err := describe(c)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := openapi3.NewLoader().LoadFromData(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := doc.Validate(t.Context()); err != nil {
			t.Error(err)
		}
		if there := doc.Paths.Find(endpoints.BackchannelLogout) != nil; there != (audiences != nil) {
			t.Errorf("logout_audiences %v: the endpoint is described: %t", audiences, there)
		}
	}
}

// TestApplicationNumbers: the document's table has the numbers, names and statuses that the dialect answers with.
func TestApplicationNumbers(t *testing.T) {
	t.Parallel()
	text := string(openAPIDocument)
	for _, reason := range refusal.All() {
		number, name := application(reason)
		status := reason.Status()
		if number == 10001 {
			continue // whatever else there is never gets here, or is told as an internal error
		}
		if row := fmt.Sprintf("| %d | %s | %d |", number, name, status); !strings.Contains(text, row) {
			t.Errorf("%s: the document has no row %s", reason, row)
		}
	}
}
