package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWhereTrustedIssuersKeysAre(t *testing.T) {
	t.Parallel()
	const head, tail = "version: 1\ntrusted_issuers:\n  - {audiences: [api], permissions: [], ",
		"}\nroutes: [{path: /, require: authenticated, upstream: \"http://127.0.0.1:3000\"}]\n"
	usual := RemoteKeys{
		Refresh: 10 * time.Minute, MaxAge: 24 * time.Hour, Cooldown: 30 * time.Second,
		Wait: 2 * time.Second, Timeout: 5 * time.Second,
	}
	with := func(change func(*RemoteKeys)) *RemoteKeys {
		r := usual
		change(&r)
		return &r
	}
	for _, c := range []struct {
		name, text string
		want       *RemoteKeys
	}{
		{"discovery", "issuer: https://kc.example.com/realms/shop", &usual},
		{"a slash at the end, as Auth0 has it", "issuer: https://shop.eu.auth0.com/", &usual},
		{
			"jwks_url", "issuer: https://a.example, jwks_url: \"https://keys.example/set?p=1\"",
			with(func(r *RemoteKeys) { r.URL = "https://keys.example/set?p=1" }),
		},
		{"on this machine", "issuer: \"http://127.0.0.1:9000\"", &usual},
		{
			"on this machine by name", "issuer: https://a.example, jwks_url: \"http://localhost:9000/x\"",
			with(func(r *RemoteKeys) { r.URL = "http://localhost:9000/x" }),
		},
		{
			"plain http, said so", "issuer: \"http://kc:8080/realms/shop\", insecure_http: true",
			with(func(r *RemoteKeys) { r.InsecureHTTP = true }),
		},
		{"its own times", "issuer: https://a.example, fetch: {refresh: 1m, max_age: 1h, cooldown: 5s, wait: 0s, timeout: " +
			"1s, ca_file: a.pem}", &RemoteKeys{
			Refresh: time.Minute, MaxAge: time.Hour, Cooldown: 5 * time.Second, Timeout: time.Second,
			Authorities: string(files()["a.pem"]),
		}},
		{"files", "issuer: https://a.example, keys: [{file: kc.json}]", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := Parse("/etc/jotgate/gate.yaml", []byte(head+c.text+tail), hermetic)
			if err != nil {
				t.Fatal(err)
			}
			issuer := got.TrustedIssuers[0]
			if diff := cmp.Diff(c.want, issuer.Remote); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if (issuer.Keys == nil) != (issuer.Remote != nil) {
				t.Errorf("keys %v beside remote %v", issuer.Keys, issuer.Remote)
			}
		})
	}
}
