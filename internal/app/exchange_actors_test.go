package app_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/token"
)

// payloadOf is what a token says, read loosely.
func payloadOf(t testing.TB, compact string) (all map[string]any) {
	t.Helper()
	u, err := jose.Parse(compact, 0)
	must(t, err)
	must(t, json.Unmarshal([]byte(u.Payload), &all))
	return all
}

// TestMayActGoesOnWithTheToken: an exchange does not shed may_act, which decides of the next one as of the first; and
// without iss it speaks of subjects of the issuer that wrote it.
func TestMayActGoesOnWithTheToken(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	g := exchangeGate(t, f)
	forClient, reason := g.swap("svc", f.user(map[string]any{"may_act": map[string]any{"sub": "svc"}}))
	if forClient.Status != 200 {
		t.Fatal(forClient.Status, reason)
	}
	if got := payloadOf(t, forClient.Token)["may_act"]; fmt.Sprint(got) != "map[sub:svc]" {
		t.Errorf("may_act %v", got)
	}
	bob := []string{"actor_token", f.user(map[string]any{"sub": "bob", "jti": "bob-1"}), "actor_token_type", accessType}
	forBob, reason := g.swap("svc", f.user(map[string]any{"may_act": map[string]any{"sub": "bob", "iss": f.URL}}), bob...)
	if forBob.Status != 200 {
		t.Fatal(forBob.Status, reason)
	}
	unnamed, reason := g.swap("svc", f.user(map[string]any{"may_act": map[string]any{"sub": "bob"}}), bob...)
	if unnamed.Status != 200 {
		t.Fatal(unnamed.Status, reason)
	}
	for _, c := range []struct {
		name, client, subject string
		more                  []string
		reason                string
	}{
		{"the client that it names", "svc", forClient.Token, nil, ""},
		{"another client", "back", forClient.Token, nil, "subject_token_refused"},
		{"another client with the actor's token", "back", forClient.Token, bob, "actor_refused"},
		{"the actor that it names", "back", forBob.Token, bob, ""},
		{"the same, without iss", "back", unnamed.Token, bob, ""},
		{"without the actor", "svc", forBob.Token, nil, "subject_token_refused"},
		{"another actor", "svc", forBob.Token, []string{
			"actor_token", f.user(map[string]any{"sub": "carol"}), "actor_token_type", accessType,
		}, "actor_refused"},
	} {
		a, reason := g.swap(c.client, c.subject, c.more...)
		if reason != c.reason || (a.Status == 200) != (c.reason == "") {
			t.Errorf("%s: %d %q, want %q", c.name, a.Status, reason, c.reason)
		}
		if a.Status == 200 && payloadOf(t, a.Token)["may_act"] == nil {
			t.Errorf("%s: may_act is gone", c.name)
		}
	}
}

// TestExchangedTokensEndWithTheActors: what was exchanged with an actor's token ends with it, by whatever that is
// revoked, and so does what is exchanged from it.
func TestExchangedTokensEndWithTheActors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind, value string
		ends        bool
	}{
		{"token", "bob-1", true},
		{"subject", "bob", true},
		{"sid", "bobs", true},
		{"client", "desktop", true},
		{"subject", "carol", false},
		{"token", "bob-2", false},
	} {
		t.Run(c.kind+" "+c.value, func(t *testing.T) {
			t.Parallel()
			f := newForeigner(t)
			g := exchangeGate(t, f)
			actor := f.user(map[string]any{
				"sub": "bob", "jti": "bob-1", "sid": "bobs", "azp": "desktop", "iat": time.Now().Unix() - 20,
			})
			with := []string{"actor_token", actor, "actor_token_type", accessType}
			first, reason := g.swap("svc", f.user(map[string]any{"may_act": map[string]any{"sub": "bob"}}), with...)
			if first.Status != 200 {
				t.Fatal(first.Status, reason)
			}
			second, reason := g.swap("back", first.Token, with...)
			if second.Status != 200 {
				t.Fatal(second.Status, reason)
			}
			want := []token.Ancestor{{
				Issuer: f.URL, Subject: "bob", Session: "bobs", ID: "bob-1", ClientID: "desktop", KeyID: kidOf(t, actor),
				IssuedAt: claimsOf(t, actor).IssuedAt,
			}}
			for _, a := range []exchanged{first, second} {
				if got := claimsOf(t, a.Token).ActorTokens; !slices.Equal(got, want) {
					t.Errorf("actor_tokens %+v, want %+v", got, want)
				}
			}
			at := time.Now().Add(-10 * time.Second).UnixMilli()
			if c.kind == "token" {
				at = time.Now().Add(time.Hour).UnixMilli()
			}
			if status := g.revoke(adminToken, fmt.Sprintf(`{"kind":%q,"issuer":%q,"value":%q,"at":%d}`, c.kind, f.URL,
				c.value, at)); status != 204 {
				t.Fatal(status)
			}
			for name, compact := range map[string]string{"exchanged": first.Token, "twice": second.Token} {
				got := g.open("acme", compact)
				if ended := got == "401 token_revoked"; ended != c.ends || !ended && got != "200" {
					t.Errorf("%s: %s", name, got)
				}
				if g.active(compact) == c.ends {
					t.Errorf("%s: introspection says otherwise", name)
				}
			}
		})
	}
}

// TestActorsStandOnTheConfig: once the actor's issuer is not trusted with exchange any more, what its token was needed
// for opens nothing.
func TestActorsStandOnTheConfig(t *testing.T) {
	t.Parallel()
	f, other := newForeigner(t), newForeigner(t)
	both := func(exchange string) []string {
		entries := "trusted_issuers:\n  - {issuer: \"" + f.URL + "\", " + likeIdP + "}\n" +
			"  - {issuer: \"" + other.URL + "\", " +
			strings.Replace(likeIdP, "exchange: true, ", exchange, 1) + "}\nrevocations: {file: revoked}\nroutes:\n"
		return exchangeEdits(f, "routes:\n", entries)
	}
	g := startGate(t, both("exchange: true, ")...)
	a, reason := g.swap("svc", f.user(map[string]any{"may_act": map[string]any{"sub": "bob", "iss": other.URL}}),
		"actor_token", other.user(map[string]any{"sub": "bob"}), "actor_token_type", accessType)
	if a.Status != 200 {
		t.Fatal(a.Status, reason)
	}
	if got := g.open("acme", a.Token); got != "200" {
		t.Error(got)
	}
	g.write(both("")...)
	must(t, g.Reload())
	if got := g.open("acme", a.Token); got != "401 original_not_covered" {
		t.Errorf("its actor's issuer has no exchange: true: %s", got)
	}
}

// TestExchangeDoesNotWidenTheAudience: without resource or audience a foreign token is exchanged for the audiences that
// open no more routes than it does; those of routes with their own have to be asked for.
func TestExchangeDoesNotWidenTheAudience(t *testing.T) {
	t.Parallel()
	f := newForeigner(t)
	const shop, books, staff = "https://shop.test", "https://books.test", "https://staff.test"
	g := startGate(t, exchangeEdits(f, "issuer:\n", "issuer:\n  audiences: ["+shop+", "+books+", "+staff+"]\n",
		"  - {path: /open/", `  - {path: /staff, audiences: ["`+staff+`"], require: {tenant: acme, action: READ}, upstream: "$APP"}
  - {path: /books, audiences: ["`+books+`", api], require: {tenant: acme, action: READ}, upstream: "$APP"}
  - {path: /open/`)...)
	ask := func(path, compact string) int {
		status, _, _ := g.get(path, "Authorization", "Bearer "+compact)
		return status
	}
	original := f.user(nil)
	if a, b := ask("/books", original), ask("/staff", original); a != 200 || b != 401 {
		t.Fatalf("the original: %d %d", a, b)
	}
	a, _ := g.swap("svc", original)
	if got := claimsOf(t, a.Token).Audience; !slices.Equal(got, []string{shop, books}) {
		t.Errorf("aud %v", got)
	}
	if a, b := ask("/books", a.Token), ask("/staff", a.Token); a != 200 || b != 401 {
		t.Errorf("exchanged: %d %d", a, b)
	}
	if again, _ := g.swap("back", a.Token, "resource", staff); again.Error != "invalid_target" {
		t.Errorf("exchanged again, for another audience: %d %s", again.Status, again.Error)
	}
	asked, _ := g.swap("svc", original, "resource", staff)
	if got := claimsOf(t, asked.Token).Audience; !slices.Equal(got, []string{staff}) || ask("/staff", asked.Token) != 200 {
		t.Errorf("asked for: %v", got)
	}
}
