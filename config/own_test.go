package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The well-known part goes between the host and the path, of an issuer as of a resource.
func TestMetadataPaths(t *testing.T) {
	t.Parallel()
	const server, openid, resource = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration",
		"/.well-known/oauth-protected-resource"
	for _, c := range []struct {
		issuer    string
		audiences []string
		want      []string
	}{
		{"https://gate.test", []string{"https://gate.test/api"}, []string{server, openid, resource, resource + "/api"}},
		{
			"https://gate.test:8443",
			[]string{"api", "https://gate.test", "https://gate.test/"},
			[]string{server, openid, resource},
		},
		{
			"https://gate.test/tenant/one",
			[]string{"https://a.test/x", "https://b.test/x", "http://c.test/x/y"},
			[]string{
				server + "/tenant/one", openid + "/tenant/one", "/tenant/one" + openid, resource, resource + "/x",
				resource + "/x/y",
			},
		},
		{
			"https://gate.test",
			[]string{"https://a.test/x?y", "https://a.test/x/", "urn:x:y", "https://a.test/../x"},
			[]string{server, openid, resource},
		},
	} {
		i := &Issuer{URL: c.issuer, Audiences: c.audiences}
		got := append(i.MetadataPaths(), i.ResourceMetadataPaths()...)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s %q (-want +got):\n%s", c.issuer, c.audiences, diff)
		}
	}
}
