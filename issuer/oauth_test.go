package issuer

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/token"
)

// The secrets of the OAuth tests' clients. The first has what form-encoding changes.
const (
	webSecret = "web: a+b%20c&d=e \"f\" 22"
	svcSecret = "svc-secret-of-more-than-22-characters"
)

// oauthHouse has, beside the other tests' clients: web, which holds a secret and may nothing; svc, which may and has
// much; spa, which is public; signer, which signs with its own key.
func oauthHouse(t testing.TB, change func(*config.Config)) *house {
	t.Helper()
	h := newHouse(t, func(c *config.Config) {
		c.Issuer.Serve.OAuth2 = true
		c.Issuer.Audiences = []string{issuerURL + "/api", "https://other.test"}
		c.Issuer.Clients = append(c.Issuer.Clients,
			&config.Client{ID: "web", Secret: webSecret, CodeTTL: time.Minute},
			&config.Client{
				ID: "svc", Secret: svcSecret, CodeTTL: time.Minute,
				May:         []string{token.IssueCodes, token.Exchange, token.Introspect, token.Revoke},
				Permissions: all("acme", "READ_TENANT", "MANAGE_TICKETS"), Delegate: all("*", "READ_TENANT"),
			},
			&config.Client{ID: "spa", Public: true, CodeTTL: time.Minute},
			&config.Client{
				ID: "signer", Keys: keySet(t, testKey(t, "EdDSA")), Permissions: all("acme", "READ_TENANT"),
				CodeTTL: time.Minute,
			},
		)
		if change != nil {
			change(c)
		}
	})
	h.clock.advance(time.Second) // what was made in the second in which the process began is refused
	return h
}

func keySet(t testing.TB, keys ...*jose.PrivateKey) *jose.KeySet {
	t.Helper()
	var public []*jose.PublicKey
	for _, k := range keys {
		public = append(public, k.Public())
	}
	set, err := jose.NewKeySet(public...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// post sends a form; a value of names and values, in order.
func (h *house) post(path, form string, options ...option) reply {
	h.Helper()
	typed := func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }
	return h.ask("POST", path, form, append([]option{typed}, options...)...)
}

func (h *house) token(form string, options ...option) reply {
	h.Helper()
	return h.post("/oauth2/token", form, options...)
}

// basicAuth authenticates as RFC 6749 §2.3.1 says.
func basicAuth(id, secret string) option {
	return func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) }
}

func form(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v.Encode()
}

// oauthFault is the whole answer of an OAuth endpoint to a refused request.
func oauthFault(status int, code, description string, headers ...string) reply {
	r := reply{Status: status, Header: map[string]string{
		"Cache-Control": "no-store", "Pragma": "no-cache",
		"Content-Type": "application/json",
	}}
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = headers[i+1]
	}
	r.Body = fmt.Sprintf(`{"error":%q,"error_description":%q}`+"\n", code, description)
	return r
}

func badClient() reply {
	return oauthFault(401, "invalid_client", "Client authentication failed", "Www-Authenticate",
		`Basic realm="jotgate", charset="UTF-8"`)
}

func badGrant() reply {
	return oauthFault(400, "invalid_grant", "The code is expired, was used before, or is not for this request")
}

// granted is the token of an answer that is, but for it, exactly want's.
func (h *house) granted(r reply, want oauthAnswer) token.Claims {
	h.Helper()
	got := into[oauthAnswer](h, r, 200)
	same(h, "header", r.Header, map[string]string{
		"Cache-Control": "no-store", "Pragma": "no-cache",
		"Content-Type": "application/json",
	})
	want.AccessToken = got.AccessToken
	same(h, "answer", got, want)
	return h.claimsOf(got.AccessToken)
}

// TestOAuthRequestForm is RFC 6749 §3.2: a form in the body, each parameter once.
func TestOAuthRequestForm(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	invalid := func(description string) reply { return oauthFault(400, "invalid_request", description) }
	media := oauthFault(415, "invalid_request",
		"The parameters must be sent as Content-Type: application/x-www-form-urlencoded, without a content coding")
	good := form("grant_type", "client_credentials", "client_id", "svc", "client_secret", svcSecret)
	for name, c := range map[string]struct {
		got, want reply
	}{
		"JSON": {h.ask("POST", "/oauth2/token", `{"grant_type":"client_credentials"}`), media},
		"no Content-Type": {
			h.post("/oauth2/token", good, func(r *http.Request) { r.Header.Del("Content-Type") }),
			media,
		},
		"a content coding":     {h.token(good, header("Content-Encoding", "gzip")), media},
		"empty":                {h.token(""), invalid("The request lacks the parameter grant_type")},
		"grant_type empty":     {h.token("grant_type="), invalid("The request lacks the parameter grant_type")},
		"a parameter twice":    {h.token(good + "&grant_type=client_credentials"), invalid("A parameter is there twice")},
		"an unknown one twice": {h.token(good + "&x=1&x=1"), invalid("A parameter is there twice")},
		"an empty one twice":   {h.token(good + "&scope=&scope="), invalid("A parameter is there twice")},
		"half an escape":       {h.token(good + "&x=%2"), invalid("The form is malformed")},
		"semicolons":           {h.token(strings.ReplaceAll(good, "&", ";")), invalid("The form is malformed")},
		"in the URL": {
			h.post("/oauth2/token?client_secret="+svcSecret, form("grant_type", "client_credentials", "client_id", "svc")),
			invalid("The parameters belong into the body, not into the URL"),
		},
		"another grant": {
			h.token("grant_type=password&username=a&password=b"),
			oauthFault(400, "unsupported_grant_type",
				"The grant_type is none of authorization_code, client_credentials, "+
					"urn:ietf:params:oauth:grant-type:token-exchange"),
		},
		"GET": {
			h.ask("GET", "/oauth2/token", ""),
			oauthFault(405, "invalid_request", "The endpoint does not have this method; the Allow header lists those it has",
				"Allow", "POST"),
		},
		"too large": {
			h.token(good + "&x=" + strings.Repeat("x", 65536)),
			oauthFault(413, "invalid_request", "The body is larger than this endpoint takes"),
		},
	} {
		same(t, name, c.got, c.want)
	}
	for name, also := range map[string]string{"unknown": "&x=1&y=2", "without a value": "&scope=&resource="} {
		if got := h.token(good + also); got.Status != 200 {
			t.Errorf("parameters %s are ignored: %v", name, got)
		}
	}
	if got := h.token(good, func(r *http.Request) {
		r.Header.Set("Content-Type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8")
	}); got.Status != 200 {
		t.Errorf("with a charset: %v", got)
	}
}

// TestOAuthErrorsAreRFC6749: whatever reason there is gets an error code that an RFC defines, and a description of the
// characters that RFC 6749 §5.2 lets it have.
func TestOAuthErrorsAreRFC6749(t *testing.T) {
	t.Parallel()
	known := "invalid_request invalid_client invalid_grant unauthorized_client unsupported_grant_type invalid_scope " +
		"invalid_target " +
		"unsupported_token_type invalid_token insufficient_scope invalid_dpop_proof use_dpop_nonce temporarily_unavailable " +
		"server_error "
	for _, reason := range refusal.All() {
		status := oauth{}.status(reason)
		body := oauth{}.body(nil, status, asFault(refusal.Because(reason, "x"))).(oauthError)
		if !strings.Contains(known, body.Error+" ") {
			t.Errorf("%s: %q", reason, body.Error)
		}
		if body.Description == "" ||
			strings.ContainsFunc(body.Description, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) {
			t.Errorf("%s: %q", reason, body.Description)
		}
		if challenge := (oauth{}).challenge(new(request.Exchange), reason); status == 401 && challenge == "" {
			t.Errorf("%s: 401 without WWW-Authenticate (RFC 9110 section 15.5.2)", reason)
		}
	}
	same(t, "described", described("a \"b\" \\c\n\u00e9\U0001F600"), "a 'b' 'c???")
}

// TestNoOAuthCredentialAnywhere sends every credential to every OAuth endpoint, in every place, and greps what was
// written.
func TestNoOAuthCredentialAnywhere(t *testing.T) {
	t.Parallel()
	h := oauthHouse(t, nil)
	h.on = true
	h.reload(h.config)
	manage := h.management("svc", token.Introspect)
	access := h.roleToken("shop", "support", "", "alice")
	spent := h.codeFor("")
	credentials := map[string]string{
		"a secret": svcSecret, "another secret": webSecret, "a management token": manage, "an access token": access,
		"a code":       h.codeFor(""),
		"a spent code": spent, "a fixed id": makerID, "an assertion": h.assertion(nil), "a verifier": appendixVerifier,
	}
	credentials["a token of a spent code"] = into[oauthAnswer](t, h.token("grant_type=authorization_code&code="+spent),
		200).AccessToken
	names := []string{
		"grant_type", "code", "redirect_uri", "code_verifier", "client_id", "client_secret", "client_assertion",
		"client_assertion_type", "scope",
		"resource", "audience", "subject_token", "subject_token_type", "requested_token_type", "actor_token",
		"tenant_permissions", "expires_in",
		"token_type_hint",
	}
	var answers strings.Builder
	note := func(r reply) {
		if r.Status >= 400 {
			fmt.Fprintln(&answers, r)
		}
	}
	for _, secret := range credentials {
		for _, grant := range grantTypes() {
			for _, name := range names {
				if name == "grant_type" || name == "code" && grant == grantCode {
					continue // a good code is redeemed
				}
				note(h.token(form("grant_type", grant, name, secret)))
				note(h.token(form("grant_type", grant, name, secret), basicAuth("svc", svcSecret)))
			}
		}
		note(h.token(form("grant_type", secret)))
		note(h.token(form(secret, secret)))
		note(h.token(form(secret, "") + "&" + form(secret, "")))
		note(h.token(form("grant_type", grantCode, "code", secret+"x")))
		note(h.token("", basicAuth(secret, "x")))
		note(h.token("grant_type=client_credentials", basicAuth(secret, secret)))
		note(h.token("grant_type=client_credentials", bearer(strings.ReplaceAll(secret, " ", ""))))
		note(h.post("/oauth2/token?"+form("client_secret", secret), ""))
		for _, path := range []string{"/oauth2/introspect", "/oauth2/revoke"} {
			note(h.post(path, form("token", secret)))
			note(h.post(path, form("token", secret), basicAuth("web", webSecret)))
			note(h.post(path, form("token", secret, "client_id", secret)))
			note(h.post(path, form("token", secret+"x"), basicAuth("svc", svcSecret)))
		}
	}
	note(h.token("grant_type=authorization_code&code=" + spent))
	logs := h.logs.text()
	for name, secret := range credentials {
		for _, spelling := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			if strings.Contains(logs, spelling) {
				t.Errorf("the log has %s", name)
			}
			if strings.Contains(answers.String(), spelling) {
				t.Errorf("an error has %s", name)
			}
		}
	}
}

// FuzzBasic: what is read from HTTP Basic is what RFC 6749 §2.3.1 would write, or something that it would write
// otherwise but means the same; and nothing panics.
func FuzzBasic(f *testing.F) {
	for _, seed := range []string{
		"Basic c3ZjOnNlY3JldA==", "basic  YTpi", "Basic YQ==", "Basic Og==",
		"Basic JTNBOiUyQg==", "Bearer x", "Basic", "Basic %%",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		who, err := basic(header)
		if err != nil {
			if refusal.Of(err) != refusal.ClientUnauthenticated {
				t.Fatalf("%q: %v", header, err)
			}
			return
		}
		r := &http.Request{Header: http.Header{}}
		basicAuth(who.id, who.secret)(r)
		again, err := basic(r.Header.Get("Authorization"))
		if err != nil || again != who {
			t.Fatalf("%q: %v, then %v %v", header, who, again, err)
		}
	})
}

// FuzzParams: a form is taken only if encoding it again gives the same parameters, each once.
func FuzzParams(f *testing.F) {
	for _, seed := range []string{"a=b&c=d", "a=b&a=c", "resource=a&resource=b", "a=&b", "a;b", "%zz=1", "a=%00", "=x"} {
		f.Add(seed)
	}
	i := &Issuer{config: &config.Config{Limits: config.Limits{TokenBodyBytes: 1 << 16, BodyTimeout: time.Second}}}
	f.Fuzz(func(t *testing.T, body string) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/oauth2/token", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		c := &call{issuer: i, x: request.From(w), r: r}
		p, err := c.params()
		if err != nil {
			return
		}
		want, err := url.ParseQuery(body)
		if err != nil {
			t.Fatalf("%q is taken: %v", body, err)
		}
		for name, values := range want {
			if len(values) > 1 && !repeatable(name) {
				t.Fatalf("%q is taken, with %q twice", body, name)
			}
			if got := p.one(name); values[0] != "" && got != values[0] {
				t.Fatalf("%q: %q is %q", body, name, got)
			}
		}
	})
}
