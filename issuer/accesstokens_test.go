package issuer

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

const createPath = "/api/1/access_token/create"

// accessFault is the whole answer of the access-token dialect to a refused request.
func accessFault(status int, code, message string, headers ...string) reply {
	r := reply{Status: status, Header: map[string]string{"Cache-Control": "no-store", "Content-Type": "application/json"}}
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = headers[i+1]
	}
	quoted := strings.ReplaceAll(message, `"`, `\"`)
	r.Body = `{"errorCode":"` + code + `","message":"` + quoted + `"}` + "\n"
	return r
}

func noPermission(action string) reply {
	return accessFault(403, "ACTION_DENIED", `Current subject does not have permission to execute global action "`+action+
		`"`)
}

// create makes a token with the accessTokenId given.
func (h *house) create(id, body string, options ...option) reply {
	h.Helper()
	return h.ask("POST", createPath+"?accessTokenId="+url.QueryEscape(id), body, options...)
}

// created is create for a body that must be accepted.
func (h *house) created(id, body string) accessToken {
	h.Helper()
	return into[accessToken](h, h.create(id, body), 200)
}

const sampleBody = `{"application":"sample-app","master":false,"tenantPermissions":[{"allowedActions":["MANAGE_TICKETS","READ_TENANT"],"tenant":"sample-tenant"}],"expiresOn":%d}`

// TestCreateAccessToken: the seed's example, its answer, and the token that the id is.
func TestCreateAccessToken(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	end := h.clock.now().Add(time.Hour).UnixMilli()
	for _, target := range []string{createPath, createPath + ".json"} {
		got := h.ask("POST", target+"?accessTokenId="+makerID, fmt.Sprintf(sampleBody, end))
		a := into[accessToken](t, got, 200)
		claims := h.claimsOf(a.ID)
		same(t, target, got, reply{
			200,
			map[string]string{"Cache-Control": "no-store", "Content-Type": "application/json", "X-Access-Token-Jti": claims.ID},
			fmt.Sprintf(`{"application":"sample-app","master":false,"tenantPermissions":[{"tenant":"sample-tenant","allowedActions":["MANAGE_TICKETS","READ_TENANT"]}],"expiresOn":%d,"id":"%s"}`, end, a.ID) + "\n",
		})
		same(t, "claims", claims, token.Claims{
			Issuer: issuerURL, Subject: "sample-app", Audience: []string{issuerURL + "/api"}, ClientID: "maker",
			Grantor: "maker", ID: claims.ID,
			IssuedAt: h.clock.now().Unix() * 1000, Expiry: end / 1000 * 1000, ExpiresOn: end, Application: "sample-app",
			Permissions: all("sample-tenant", "MANAGE_TICKETS", "READ_TENANT"),
		})
	}
}

// TestExpiresOn: what is absent, null or too far is cut to the limit; what is past is born expired.
func TestExpiresOn(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	limit := h.clock.now().Add(8760 * time.Hour).UnixMilli()
	for member, want := range map[string]int64{
		"":                                    limit,
		`,"expiresOn":null`:                   limit,
		`,"expiresOn":9223372036854775807`:    limit,
		fmt.Sprintf(`,"expiresOn":%d`, limit): limit,
		`,"expiresOn":1704067200000`:          1704067200000,
		`,"expiresOn":1`:                      1,
	} {
		a := h.created(makerID, `{"application":"app"`+member+`}`)
		if a.ExpiresOn != want {
			t.Errorf("%s: until %d, want %d", member, a.ExpiresOn, want)
		}
		if want < limit && h.events.last().Note != "born expired" {
			t.Errorf("%s: the audit does not say that it is born expired", member)
		}
	}
	born := h.created(makerID, `{"application":"app","master":true,"expiresOn":1704067200000}`)
	got := h.create(born.ID, `{"application":"app"}`)
	if _, err := h.issuer.Load().verifier.Verify(born.ID, h.clock.now(), nil); refusal.Of(err) != refusal.TokenExpired {
		t.Errorf("a token born expired: %v", err)
	}
	claims, err := h.issuer.Load().verifier.VerifyUntimed(born.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "expired", got, accessFault(403, "ACCESS_DENIED", `Access token "`+claims.Claims.ID+
		`" of application "app" expired on 2024-01-01T00:00:00.000Z`))
}

// TestAccessTokenBody: what is wrong with a body is told as OTHER.
func TestAccessTokenBody(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	for name, c := range map[string]struct{ body, message string }{
		"not JSON":         {"application=x", notTaken + "byte 0: want an object"},
		"no application":   {"{}", "application is empty"},
		"application null": {`{"application":null}`, notTaken + "byte 15: application: want a string, have null"},
		"application long": {
			`{"application":"` + strings.Repeat("a", 257) + `"}`,
			"application has 257 bytes, at most 256 are taken",
		},
		"application control": {`{"application":"a\nb"}`, "application has a control character"},
		"application client":  {`{"application":"plain"}`, "application is the id of a client"},
		"id chosen": {`{"application":"a","id":"mine"}`, notTaken +
			"byte 24: id: the id is ours to make; leave it out"},
		"unknown member": {`{"application":"a","tenants":[]}`, notTaken + "there is no member tenants here"},
		"master a string": {`{"application":"a","master":"true"}`, notTaken +
			"byte 28: master: want true or false, have a string"},
		"permissions null": {
			`{"application":"a","tenantPermissions":null}`,
			notTaken + "byte 39: tenantPermissions: want an array, have null",
		},
		"tenant omitted": {`{"application":"a","tenantPermissions":[{"allowedActions":[]}]}`, notTaken +
			`byte 61: tenantPermissions[0]: the member tenant is missing; name the tenant, or "*" for all of them`},
		"actions omitted": {
			`{"application":"a","tenantPermissions":[{"tenant":"t"}]}`,
			notTaken + "byte 54: tenantPermissions[0]: the member allowedActions is missing",
		},
		"tenant malformed": {
			`{"application":"a","tenantPermissions":[{"tenant":"a b","allowedActions":[]}]}`,
			notTaken + "byte 55: tenantPermissions[0].tenant: this is not a tenant's name",
		},
		"action malformed": {
			`{"application":"a","tenantPermissions":[{"tenant":"t","allowedActions":["a b"]}]}`,
			notTaken + "byte 77: tenantPermissions[0].allowedActions[0]: this is not an action's name",
		},
		"expiresOn a date": {
			`{"application":"a","expiresOn":"2030-01-01"}`,
			notTaken + "byte 31: expiresOn: want a number, have a string",
		},
		"expiresOn negative": {
			`{"application":"a","expiresOn":-1}`,
			notTaken + "byte 33: expiresOn: this must be milliseconds since 1970, above 0; leave it out for the longest life",
		},
	} {
		same(t, name, h.create(makerID, c.body), accessFault(400, "OTHER", c.message))
	}
	same(t, "415", h.create(makerID, "{}", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }),
		accessFault(415, "OTHER", "The body must be sent as Content-Type: application/json, without a content coding"))
	got := h.create(makerID, strings.Repeat(" ", 65537))
	delete(got.Header, "Connection")
	same(t, "413", got, accessFault(413, "OTHER", "The body is larger than this endpoint takes"))

	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprintf(`{"tenant":"tenant-%d","allowedActions":["READ_TENANT"]}`, i))
	}
	same(t, "an id over 6 KiB", h.create(makerID, `{"application":"a","tenantPermissions":[`+strings.Join(many, ",")+
		`]}`).Status, 400)
	if a := h.created(makerID, `{"application":"a","tenantPermissions":[`+strings.Join(many[:70], ",")+
		`]}`); len(a.ID) >= 6<<10 {
		t.Errorf("an id of %d bytes", len(a.ID))
	}
	h.change(func(c *config.Config) { c.Issuer.Serve.MissingTenantIsAny = true })
	a := h.created(makerID, `{"application":"a","tenantPermissions":[{"tenant":"secret","allowedActions":[]},{"allowedActions":["READ_TENANT"]}]}`)
	same(t, "insecure_missing_tenant_is_any", a.Permissions,
		token.Permissions{
			{Tenant: "secret", AllowedActions: []string{}},
			{Tenant: "*", AllowedActions: []string{"READ_TENANT"}},
		})
}

// TestAccessTokenCredential: whose accessTokenId, and how it is brought.
func TestAccessTokenCredential(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	const body = `{"application":"app"}`
	master := h.created(makerID, `{"application":"m","master":true}`).ID
	missing := accessFault(403, "ACCESS_DENIED", "Access token ID param missing from request")
	none := func(id string) reply {
		return accessFault(403, "ACCESS_DENIED", `No access token found for ID "`+digest(id)+`"`)
	}
	two := accessFault(400, "OTHER", "The request brings more than one credential; send exactly one")
	for name, c := range map[string]struct {
		target  string
		options []option
		want    reply
	}{
		"missing": {createPath, nil, missing},
		"empty":   {createPath + "?accessTokenId=", nil, missing},
		"unknown": {
			createPath + "?accessTokenId=e8f5170c-877b-416f-b70f-4b09772f8e2d", nil,
			none("e8f5170c-877b-416f-b70f-4b09772f8e2d"),
		},
		"forged":          {createPath + "?accessTokenId=" + changed(master), nil, none(changed(master))},
		"twice":           {createPath + "?accessTokenId=" + makerID + "&accessTokenId=" + makerID, nil, two},
		"beside a bearer": {createPath + "?accessTokenId=" + makerID, []option{bearer(master)}, two},
		"beside a cookie": {createPath + "?accessTokenId=" + makerID, []option{header("Cookie", "access_token=x")}, two},
		"beside Basic": {
			createPath + "?accessTokenId=" + makerID,
			[]option{header("Authorization", "Basic eDp5")},
			two,
		},
		"Basic alone":     {createPath, []option{header("Authorization", "Basic eDp5")}, missing},
		"an empty bearer": {createPath, []option{header("Authorization", "Bearer ")}, missing},
		"malformed query": {
			createPath + "?accessTokenId=" + makerID + "&a=%zz", nil,
			accessFault(400, "OTHER", "The query is malformed"),
		},
		"fixed, not a master": {createPath + "?accessTokenId=" + plainID, nil, noPermission("CREATE_TOKEN")},
	} {
		same(t, name, h.ask("POST", c.target, body, c.options...), c.want)
	}
	if got := h.create(master, body); got.Status != 200 {
		t.Errorf("a created master: %v", got)
	}
	if got := h.ask("POST", createPath, body, bearer(master)); got.Status != 200 {
		t.Errorf("a created master as bearer: %v", got)
	}
	if got := h.create(h.management("maker", token.CreateAccessTokens), body); got.Status != 200 {
		t.Errorf("a management token with the scope: %v", got)
	}
}

// TestOrderCredentialBodyMaster: a stranger learns nothing of his body, and a non-master that it is bad before that he
// is none.
func TestOrderCredentialBodyMaster(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	if got := h.create("nobody", "not JSON"); got.Status != 403 {
		t.Errorf("stranger: %v", got)
	}
	if got := h.create(plainID, "not JSON"); got.Status != 400 {
		t.Errorf("no master, bad body: %v", got)
	}
	same(t, "no master", h.create(plainID,
		`{"application":"a","tenantPermissions":[{"tenant":"*","allowedActions":["*"]}]}`), noPermission("CREATE_TOKEN"))
}

// TestReadAccessToken answers the five members, to a master of the same client.
func TestReadAccessToken(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	a := h.created(makerID, fmt.Sprintf(sampleBody, h.clock.now().Add(time.Hour).UnixMilli()))
	path := func(id string) string { return "/api/1/access_token/" + id }
	for _, suffix := range []string{"", ".json"} {
		got := h.ask("GET", path(a.ID)+suffix+"?accessTokenId="+makerID, "")
		same(t, "200"+suffix, into[accessToken](t, got, 200), a)
		same(t, "header", got.Header, map[string]string{
			"Cache-Control": "no-store", "Content-Type": "application/json",
			"X-Access-Token-Jti": h.claimsOf(a.ID).ID,
		})
	}
	unknown := func(id string) reply {
		return accessFault(404, "NO_SUCH_ACCESS_TOKEN_ID", `No access token found for ID "`+digest(id)+`"`)
	}
	role := h.roleToken("shop", "support", "", "alice")
	for name, c := range map[string]struct {
		id, by string
		want   reply
	}{
		"unknown":        {"e8f5170c-877b-416f-b70f-4b09772f8e2d", makerID, unknown("e8f5170c-877b-416f-b70f-4b09772f8e2d")},
		"forged":         {changed(a.ID), makerID, unknown(changed(a.ID))},
		"a fixed id":     {makerID, makerID, unknown(makerID)},
		"a role's token": {role, makerID, unknown(role)},
		"no credential":  {a.ID, "", accessFault(403, "ACCESS_DENIED", "Access token ID param missing from request")},
		"no master":      {a.ID, plainID, noPermission("READ_TOKEN")},
		"itself":         {a.ID, a.ID, noPermission("READ_TOKEN")},
		"another client": {a.ID, h.management("other", token.CreateAccessTokens), noPermission("READ_TOKEN")},
	} {
		same(t, name, h.ask("GET", path(c.id)+"?accessTokenId="+c.by, ""), c.want)
	}
	if got := h.ask("HEAD", path(a.ID)+"?accessTokenId="+makerID, ""); got.Status != 200 || got.Body != "" {
		t.Errorf("HEAD: %v", got)
	}
	h.clock.advance(2 * time.Hour)
	same(t, "an expired token is still read", into[accessToken](t, h.ask("GET", path(a.ID)+"?accessTokenId="+makerID, ""),
		200), a)
}

// TestDeleteAccessToken: at once here, honestly refused without a memory of revocations.
func TestDeleteAccessToken(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	form := header("Content-Type", "application/x-www-form-urlencoded")
	a := h.created(makerID, `{"application":"m","master":true}`)
	path := "/api/1/access_token/" + a.ID + "/delete"
	same(t, "without revocations", h.ask("POST", path+"?accessTokenId="+makerID, ""),
		accessFault(501, "OTHER", "Nothing can be revoked without revocations.file"))
	h.on = true
	h.change(func(*config.Config) {})
	for name, c := range map[string]struct {
		target, body string
		options      []option
		want         reply
	}{
		"no credential": {
			path, "", nil,
			accessFault(403, "ACCESS_DENIED", "Access token ID param missing from request"),
		},
		"query and form": {
			path + "?accessTokenId=" + makerID, "accessTokenId=" + makerID,
			[]option{form},
			accessFault(400, "OTHER", "The request brings more than one credential; send exactly one"),
		},
		"twice in the form": {
			path, "accessTokenId=a&accessTokenId=a",
			[]option{form},
			accessFault(400, "OTHER", "A member of the form is there twice"),
		},
		"another form member": {
			path, "accessTokenId=a&b=c",
			[]option{form},
			accessFault(400, "OTHER", "The form takes accessTokenId alone"),
		},
		"JSON": {
			path, `{"accessTokenId":"x"}`,
			[]option{header("Content-Type", "application/json")},
			accessFault(415, "OTHER", "The body must be a form, or empty"),
		},
		"no master": {path, "accessTokenId=" + plainID, []option{form}, noPermission("DELETE_TOKEN")},
		"another client": {
			path, "accessTokenId=" + h.management("other", token.CreateAccessTokens),
			[]option{form},
			noPermission("DELETE_TOKEN"),
		},
		"unknown": {
			"/api/1/access_token/unknown/delete", "accessTokenId=" + makerID,
			[]option{form},
			accessFault(404, "NO_SUCH_ACCESS_TOKEN_ID", `No access token found for ID "`+digest("unknown")+`"`),
		},
	} {
		same(t, name, h.ask("POST", c.target, c.body, append(c.options, onlyLast("Content-Type"))...), c.want)
	}
	want := reply{200, map[string]string{"Cache-Control": "no-store"}, ""}
	same(t, "200", h.ask("POST", path+".json", "accessTokenId="+makerID, form, onlyLast("Content-Type")), want)
	same(t, "the audit", h.events.last(), Event{
		Name: "access_token_delete", Outcome: "granted", ClientID: "maker",
		Subject: "m", TokenID: h.events.last().TokenID,
	})
	same(t, "revoked, as credential", h.create(a.ID, `{"application":"x"}`),
		accessFault(403, "ACCESS_DENIED", `No access token found for ID "`+digest(a.ID)+`"`))
	same(t, "revoked, as path", h.ask("GET", "/api/1/access_token/"+a.ID+"?accessTokenId="+makerID, ""),
		accessFault(404, "NO_SUCH_ACCESS_TOKEN_ID", `No access token found for ID "`+digest(a.ID)+`"`))
}

// onlyLast keeps the last value of a header, so that an option can replace what ask has set.
func onlyLast(name string) option {
	return func(r *http.Request) {
		if values := r.Header[name]; len(values) > 0 {
			r.Header[name] = values[len(values)-1:]
		}
	}
}

func TestAccessTokenPrefix(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *config.Config) { c.Issuer.Serve.AccessTokenPrefix = "/crafter-profile" })
	if got := h.ask("POST", "/crafter-profile"+createPath+"?accessTokenId="+makerID,
		`{"application":"a"}`); got.Status != 200 {
		t.Errorf("below the prefix: %v", got)
	}
	if h.doc.Paths.Value("/crafter-profile"+createPath) == nil || h.doc.Paths.Value(createPath) != nil {
		t.Error("the document has other paths")
	}
}

// TestInternalErrorOfAccessTokens is the seed's 500, letter by letter.
func TestInternalErrorOfAccessTokens(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.issuer.Load().state = nil // whatever breaks
	got := h.create(makerID, `{"application":"a"}`)
	same(t, "500", got, reply{
		500,
		map[string]string{"Cache-Control": "no-store", "Content-Type": "application/json"},
		`{"message":"Internal server error"}` + "\n",
	})
}

func TestAccessTokensTooMany(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *config.Config) { c.Limits.IssueRate = 1 })
	for range 2 {
		h.created(makerID, `{"application":"a"}`)
	}
	same(t, "429", h.create(makerID, `{"application":"a"}`),
		accessFault(429, "OTHER", "Too many requests; the Retry-After header says when to come again",
			"Retry-After", "1", "X-Ratelimit-Limit", "1", "X-Ratelimit-Remaining", "0", "X-Ratelimit-Reset", "1"))
}
