package issuer

import (
	"bytes"
	"encoding/json"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/strictjson"
	"github.com/jotgate/jotgate/internal/token"
)

// FuzzAccessTokenBody: what is accepted, encoding/json reads alike, and nothing in it is missing, or no name.
func FuzzAccessTokenBody(f *testing.F) {
	for _, seed := range []string{
		`{"application":"a","master":true,"tenantPermissions":[{"tenant":"t","allowedActions":["READ"]}],"expiresOn":1704067200000}`,
		`{"application":"a","expiresOn":null}`,
		`{"application":"a","tenantPermissions":[{"allowedActions":["*"]}]}`,
		`{"application":"a","application":"b"}`,
		`{"Application":"a"}`,
		`{"application":"\u0061","tenantPermissions":[{"tenant":"*","allowedActions":[]}]} `,
		`{"id":"mine"}`,
		"[]",
	} {
		f.Add([]byte(seed))
	}
	i := &Issuer{
		config:   &config.Config{TenantPattern: regexp.MustCompile(`^[A-Za-z0-9._~-]{1,64}$`)},
		settings: new(config.Issuer),
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got, want accessToken
		if err := strictjson.Document(body, got.member(i)); err != nil {
			return
		}
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		if err := d.Decode(&want); err != nil {
			t.Fatalf("accepted %q, encoding/json does not: %v", body, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q is read in two ways (-encoding/json +ours):\n%s", body, diff)
		}
		for _, e := range got.Permissions {
			if e.Tenant != token.Any && !i.config.TenantPattern.MatchString(e.Tenant) || e.AllowedActions == nil {
				t.Fatalf("%q: accepted %+v", body, e)
			}
		}
	})
}

// FuzzUserTokenBody: what is accepted without a fault has a UUID and a time within the limit.
func FuzzUserTokenBody(f *testing.F) {
	for _, seed := range []string{
		`{"user_type":"end_user","user_id":"7d44b3b2-5a51-4f0e-9a2f-3f2d5b1c0a01"}`,
		`{"user_type":"end_user","user_id":"7D44B3B2-5A51-4F0E-9A2F-3F2D5B1C0A01","expiration":7200}`,
		`{"user_type":"end_user","user_id":"{7d44b3b2-5a51-4f0e-9a2f-3f2d5b1c0a0}","expiration":1e3}`,
		`{"user_type":1,"user_id":[[]],"x":{}}`,
	} {
		f.Add([]byte(seed))
	}
	uuid := regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	f.Fuzz(func(t *testing.T, body []byte) {
		q := &userTokenRequest{seen: make(map[string]bool), limit: 7200}
		if err := strictjson.Document(body, q.member); err != nil || len(q.faults) > 0 || !q.seen["user_id"] {
			return
		}
		if !uuid.MatchString(q.userID) || q.expiration != nil && (*q.expiration < 1 || *q.expiration > q.limit) {
			t.Fatalf("accepted %q as %+v", body, q)
		}
	})
}
