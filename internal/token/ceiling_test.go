package token

import (
	"testing"

	"pgregory.net/rapid"
)

func TestUnionOpensWhatEitherOpens(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, q := permissions().Draw(t, "p"), permissions().Draw(t, "q")
		sum := Union(p, q)
		questions(func(tenant string, global bool, action string) {
			want := decide(p, tenant, global, action) || decide(q, tenant, global, action)
			if got := allowed(sum, tenant, global, action); got != want {
				t.Fatalf("%v with %v is %v: tenant %q global %v action %s: %v, want %v", p, q, sum, tenant, global, action, got,
					want)
			}
		})
	})
}

func TestReservedNames(t *testing.T) {
	t.Parallel()
	isClient := func(id string) bool { return id == "shop" || id == "web" }
	for _, c := range []struct {
		name   string
		claims Claims
		ours   bool
		want   string
	}{
		{"a user", Claims{Subject: "alice", ClientID: "shop", Grantor: "shop"}, true, ""},
		{"a client's own", Claims{Subject: "shop", ClientID: "shop", Grantor: "shop", Application: "shop"}, true, ""},
		{"another client as the subject", Claims{Subject: "web", ClientID: "shop", Grantor: "shop"}, true, "sub"},
		{"a client's own by another grantor", Claims{Subject: "shop", ClientID: "shop", Grantor: "web"}, true, "sub"},
		{
			"an application",
			Claims{Subject: "alice", ClientID: "shop", Grantor: "shop", Application: "web"},
			true,
			"application",
		},
		{"a client's own for another application", Claims{
			Subject: "shop", ClientID: "shop", Grantor: "shop",
			Application: "web",
		}, true, "application"},
		{"foreign, as a client's own", Claims{Subject: "shop", ClientID: "shop", Grantor: "shop"}, false, "sub"},
		{"foreign, application", Claims{Subject: "alice", Application: "shop"}, false, "application"},
		{"foreign, client_id", Claims{Subject: "alice", ClientID: "shop"}, false, "client_id"},
		{"foreign", Claims{Subject: "alice", ClientID: "app"}, false, ""},
	} {
		if got := c.claims.Reserved(c.ours, isClient); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestCeilingOfAnOwnToken(t *testing.T) {
	t.Parallel()
	permissions, delegate := Permissions{{"acme", []string{"READ"}}}, Permissions{{Any, []string{Any}}}
	own := Claims{Subject: "shop", ClientID: "shop", Grantor: "shop"}
	if got := own.Ceiling(permissions, delegate); got[0].Tenant != "acme" {
		t.Errorf("own: %v", got)
	}
	own.Subject = "alice"
	if got := own.Ceiling(permissions, delegate); got[0].Tenant != Any {
		t.Errorf("a user's: %v", got)
	}
}
