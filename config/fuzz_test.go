package config

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

const canary = "canary-canary-canary-canary-canary"

var secretPath = regexp.MustCompile(`secret|access_token_id|\.token$|bearer`)

// FuzzParse: nothing panics; a refused file says where, in its order, and shows no secret that came from outside; an
// accepted one has no hole in it.
func FuzzParse(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil || len(seeds) < 30 {
		f.Fatalf("found %d seeds (%v)", len(seeds), err)
	}
	for _, seed := range append(seeds, "../config.example.yaml") {
		data, err := os.ReadFile(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	opts := Options{
		Env:      func(string) (string, bool) { return canary, true },
		ReadFile: laidOut,
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("fuzz.yaml", data, opts)
		if err != nil {
			refused(t, err)
			return
		}
		sound(t, c)
	})
}

func refused(t *testing.T, err error) {
	var faults Faults
	if !errors.As(err, &faults) || len(faults) == 0 || len(faults) > yaml.MostFaults+1 {
		t.Fatalf("%T with %d faults: %v", err, len(faults), err)
	}
	for i, f := range faults {
		if f.Problem == "" || f.File != "fuzz.yaml" {
			t.Errorf("fault %d says nothing: %+v", i, f)
		}
		if i > 0 && f.Line > 0 && f.Line < faults[i-1].Line {
			t.Errorf("fault %d is out of order: %v", i, faults)
		}
		if strings.IndexFunc(f.String(), yaml.IsControl) >= 0 {
			t.Errorf("fault %d has control characters: %q", i, f.String())
		}
		if secretPath.MatchString(f.Path) && strings.Contains(f.String(), "canary") {
			t.Errorf("fault %d shows a secret: %s", i, f)
		}
	}
}

func sound(t *testing.T, c *Config) {
	if len(c.Listeners) == 0 || c.TenantPattern == nil || c.Table == nil || c.Issuer == nil && len(c.Routes) == 0 {
		t.Fatalf("accepted without its parts: %+v", c)
	}
	for _, never := range []string{"", "*", "a/b", "a b", "a\n", "{tenant}"} {
		if c.TenantPattern.MatchString(never) {
			t.Errorf("tenant pattern %s matches %q", c.TenantPattern, never)
		}
	}
	for i, r := range c.Routes {
		if r.Index != i || r.Upstream == nil || len(r.Upstream.Servers) == 0 || r.Path.String() == "" || r.Name == "" {
			t.Errorf("route %d has a hole: %+v", i, r)
		}
		q := r.Require
		if r.Public && (q.Action != "" || q.Optional) {
			t.Errorf("route %d is public and requires %+v", i, q)
		}
		ways := 0
		for _, way := range []bool{q.Global, q.Tenant != "", q.From != FromNowhere} {
			if way {
				ways++
			}
		}
		if q.Action == "*" || q.Tenant == "*" || (q.Action == "") != (ways == 0) || ways > 1 {
			t.Errorf("route %d requires %+v", i, q)
		}
		if !r.Public && c.Issuer == nil && len(c.TrustedIssuers) == 0 {
			t.Errorf("route %d requires a token that cannot exist", i)
		}
	}
	for _, r := range c.Roles {
		if r.Permissions.Shadowed() >= 0 {
			t.Errorf("role %s is shadowed", r.Name)
		}
	}
	if c.Issuer != nil {
		soundIssuer(t, c.Issuer)
	}
	if _, err := c.KeySet(); err != nil {
		t.Errorf("no key set: %v", err)
	}
	for _, issuer := range c.TrustedIssuers {
		if (issuer.Keys == nil) == (issuer.Remote == nil) {
			t.Errorf("trusted issuer %s has keys in %v and %v", issuer.Issuer, issuer.Keys, issuer.Remote)
		}
	}
}

func soundIssuer(t *testing.T, i *Issuer) {
	if i.URL == "" || len(i.Keys) == 0 || slices.Contains(i.Keys, nil) || len(i.Audiences) == 0 ||
		slices.Contains(i.Audiences, i.URL) {
		t.Errorf("issuer has a hole: %+v", i)
	}
	for _, d := range []time.Duration{i.CodeTTL, i.TokenTTL, i.MaxTokenTTL, i.MaxAccessTokenTTL} {
		if d < time.Second || d%time.Second != 0 {
			t.Errorf("a life of %v", d)
		}
	}
	if i.CodeTTL > 10*time.Minute || i.TokenTTL > i.MaxTokenTTL {
		t.Errorf("lives out of bounds: %+v", i)
	}
	ids := map[string]bool{}
	for _, c := range i.Clients {
		if c.ID == "" || ids[c.ID] || c.CodeTTL < time.Second || c.CodeTTL > 10*time.Minute {
			t.Errorf("client %+v", c)
		}
		ids[c.ID] = true
		if c.Secret != "" && len(c.Secret) < 22 || c.AccessTokenID != "" && len(c.AccessTokenID) < 22 || c.Secret != "" &&
			c.SecretSHA256 != nil {
			t.Errorf("client %s has a weak secret", c.ID)
		}
		if c.Delegate.Templated() || c.Permissions.Templated() || c.Delegate.Shadowed() >= 0 ||
			c.Permissions.Shadowed() >= 0 {
			t.Errorf("client %s: %+v", c.ID, c)
		}
	}
	if u := i.Users; u != nil {
		ways := 0
		for _, way := range []bool{u.Open != nil, u.List != nil, u.Lookup != nil} {
			if way {
				ways++
			}
		}
		if ways != 1 {
			t.Errorf("users in %d ways", ways)
		}
		for id := range u.List {
			if ids[id] {
				t.Errorf("user %s is a client", id)
			}
		}
	}
}
