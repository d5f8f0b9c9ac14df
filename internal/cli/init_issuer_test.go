package cli

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jotgate/jotgate/config"
)

// TestInitForAnotherIssuer: a config that loads, made of metadata that are fetched or saved, with the preset of the
// issuer.
func TestInitForAnotherIssuer(t *testing.T) {
	t.Parallel()
	var served *httptest.Server
	served = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/realms/shop/.well-known/openid-configuration" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, `{"issuer":"%s/realms/shop","jwks_uri":"%s/certs","scopes_supported":["openid"]}`, served.URL,
			served.URL)
	}))
	t.Cleanup(served.Close)
	for _, c := range []struct {
		name, metadata string // "": from the server
		preset         string
		want           []string
	}{
		{"fetched", "", "keycloak", []string{
			served.URL + "/realms/shop", "organization", "realm_access.roles",
			`audiences: ["shop-api"]`,
		}},
		{"Auth0, saved", `{"issuer":"https://shop.eu.auth0.com/","jwks_uri":"https://shop.eu.auth0.com/.well-known/jwks.json"}`, "auth0", []string{"https://shop.eu.auth0.com/", "org_id"}},
		{
			"Entra's common endpoint, saved",
			`{"issuer":"https://login.microsoftonline.com/{tenantid}/v2.0","jwks_uri":"https://login.microsoftonline.com/common/discovery/v2.0/keys"}`, "entra",
			[]string{"https://login.microsoftonline.com/{tid}/v2.0", "issuer_values", "common/discovery"},
		},
		{
			"ZITADEL, saved", `{"issuer":"https://shop.zitadel.cloud","jwks_uri":"https://shop.zitadel.cloud/oauth/v2/keys"}`,
			"zitadel",
			[]string{"keys: true, tenants: keys"},
		},
		{
			"an issuer that is no URL", `{"issuer":"spiffe://example.org","jwks_uri":"https://spire.example.org/keys"}`, "spiffe",
			[]string{`jwks_url: "https://spire.example.org/keys"`},
		},
		{
			"an issuer of no vendor", `{"issuer":"https://idp.example.com","jwks_uri":"https://idp.example.com/keys"}`, "",
			[]string{"token_types"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			folder := filepath.Join(t.TempDir(), "gate")
			from := served.URL + "/realms/shop"
			if c.metadata != "" {
				saved := filepath.Join(t.TempDir(), "metadata.json")
				if err := os.WriteFile(saved, []byte(c.metadata), 0o600); err != nil {
					t.Fatal(err)
				}
				from = "@" + saved
			}
			var out, errs bytes.Buffer
			p := &Process{
				Args: []string{"init", folder, "--issuer", from, "--audience", "shop-api"}, Stdout: &out,
				Stderr: &errs, LookupEnv: os.LookupEnv,
			}
			if code := Run(p); code != 0 {
				t.Fatalf("exit code %d: %s", code, errs.String())
			}
			file := filepath.Join(folder, "config.yaml")
			got, err := config.Load(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Warnings) > 0 || len(got.TrustedIssuers) != 1 || got.TrustedIssuers[0].Preset != c.preset {
				t.Errorf("warnings %v, %d issuers, preset %s", got.Warnings, len(got.TrustedIssuers), got.TrustedIssuers[0].Preset)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				if !strings.Contains(string(text), want) {
					t.Errorf("the config does not say %s", want)
				}
			}
		})
	}
}

// Metadata that would break out of the config's quotes write nothing.
func TestInitTakesNoStrangeMetadata(t *testing.T) {
	t.Parallel()
	for name, metadata := range map[string]string{
		"a quote": `{"issuer":"https://a\"\nissuer: {url: x}"}`, "an expansion": `{"issuer":"https://${env:HOME}"}`,
		"no issuer": `{"jwks_uri":"https://a"}`, "no JSON": `<html>`,
	} {
		saved := filepath.Join(t.TempDir(), "metadata.json")
		if err := os.WriteFile(saved, []byte(metadata), 0o600); err != nil {
			t.Fatal(err)
		}
		folder := filepath.Join(t.TempDir(), "gate")
		var out, errs bytes.Buffer
		p := &Process{
			Args: []string{"init", folder, "--issuer", "@" + saved}, Stdout: &out, Stderr: &errs,
			LookupEnv: os.LookupEnv,
		}
		if code := Run(p); code == 0 {
			t.Errorf("%s: written", name)
		}
		if _, err := os.Stat(folder); err == nil {
			t.Errorf("%s: the folder is there", name)
		}
	}
}
