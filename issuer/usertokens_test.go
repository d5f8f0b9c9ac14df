package issuer

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

const userTokenPath = "/api/v1/authorization-tokens"

func userBody(id string, more ...string) string {
	return `{"user_type":"end_user","user_id":"` + id + `"` + strings.Join(more, "") + `}`
}

// askUser asks for a user's token as shop, and checks that the request id is told in header and body alike.
func (h *house) askUser(body string, options ...option) reply {
	h.Helper()
	options = append([]option{bearer(h.management("shop", token.IssueUserTokens))}, options...)
	return h.ask("POST", userTokenPath, body, options...)
}

// userFault takes an error of the dialect apart; the request id differs from run to run.
func userFault(t testing.TB, r reply, status int) userError {
	t.Helper()
	e := into[userError](t, r, status)
	if len(e.RequestID) != 36 {
		t.Errorf("request_id %q", e.RequestID)
	}
	if strings.Contains(r.Body, "null") {
		t.Errorf("a member is null: %s", r.Body)
	}
	e.RequestID = ""
	return e
}

// fields is a 422's list as encoding/json reads it.
func fields(triples ...string) []any {
	var list []any
	for i := 0; i < len(triples); i += 3 {
		loc := []any{"body"}
		if triples[i] != "" {
			loc = append(loc, triples[i])
		}
		list = append(list, map[string]any{"loc": loc, "msg": triples[i+1], "type": triples[i+2]})
	}
	return list
}

// TestUserToken is api.md §2's table, row by row: 200 and 422.
func TestUserToken(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	got := h.askUser(userBody(strings.ToUpper(aliceID), `,"expiration":90`))
	answer := into[userTokenAnswer](t, got, 200)
	claims := h.claimsOf(answer.AccessToken)
	same(t, "200", answer, userTokenAnswer{
		ID: claims.ID, CreatedAt: "2026-03-01T12:00:00.823000Z", ModifiedAt: "2026-03-01T12:00:00.823000Z", UserID: aliceID,
		ExpiredAt: "2026-03-01T12:01:30.823000Z", UserType: "end_user", AccessToken: answer.AccessToken,
	})
	now := h.clock.now().Unix() * 1000
	same(t, "claims: the user's permissions, cut to the caller's delegate", claims, token.Claims{
		Issuer: issuerURL, Subject: aliceID, Audience: []string{issuerURL + "/api"}, ClientID: "shop", Grantor: "shop",
		ID:       claims.ID,
		IssuedAt: now, Expiry: now + 90_000,
		Permissions: token.Permissions{
			{Tenant: "secret", AllowedActions: []string{}},
			{Tenant: "*", AllowedActions: []string{"READ_TENANT"}},
		},
	})
	if got.Header["Cache-Control"] != "no-store" {
		t.Errorf("header %v", got.Header)
	}
	if a := into[userTokenAnswer](t, h.askUser(userBody(aliceID)), 200); a.ExpiredAt != "2026-03-01T14:00:00.823000Z" {
		t.Errorf("without expiration, until %s: max_token_ttl is less than a day here", a.ExpiredAt)
	}
	h.change(func(c *config.Config) { c.Issuer.MaxTokenTTL = 8760 * time.Hour })
	if a := into[userTokenAnswer](t, h.askUser(userBody(aliceID)), 200); a.ExpiredAt != "2026-03-02T12:00:00.823000Z" {
		t.Errorf("without expiration, until %s", a.ExpiredAt)
	}
}

func TestUserTokenBody(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	whole := "must be a whole number of seconds"
	notJSON := fields("", "must be one JSON object, each member once", "json_invalid")
	for name, c := range map[string]struct {
		body string
		want []any
	}{
		"not JSON":  {"user_type=end_user", notJSON},
		"an array":  {"[]", notJSON},
		"duplicate": {`{"user_id":"` + aliceID + `","user_id":"` + aliceID + `"}`, notJSON},
		"trailing":  {userBody(aliceID) + "1", notJSON},
		"empty object": {"{}", fields("user_type", "must be there", "missing", "user_id", "must be there",
			"missing")},
		"user_id missing": {`{"user_type":"end_user"}`, fields("user_id", "must be there", "missing")},
		"user_id null": {
			`{"user_type":"end_user","user_id":null}`,
			fields("user_id", "must be a string", "string_type"),
		},
		"bad UUID":       {userBody("7d44b3b2"), fields("user_id", "must be a UUID", "uuid_parsing")},
		"UUID in braces": {userBody("{" + aliceID + "}"), fields("user_id", "must be a UUID", "uuid_parsing")},
		"UUID as URN":    {userBody("urn:uuid:" + aliceID), fields("user_id", "must be a UUID", "uuid_parsing")},
		"wrong user_type": {
			`{"user_type":"person","user_id":"` + aliceID + `"}`,
			fields("user_type", `must be "end_user"`, "literal_error"),
		},
		"expiration 0": {
			userBody(aliceID, `,"expiration":0`),
			fields("expiration", "must be at least 1 second", "greater_than_equal"),
		},
		"expiration negative": {
			userBody(aliceID, `,"expiration":-1`),
			fields("expiration", "must be at least 1 second", "greater_than_equal"),
		},
		"expiration 315360001": {
			userBody(aliceID, `,"expiration":315360001`),
			fields("expiration", "must be at most 315360000 seconds", "less_than_equal"),
		},
		"expiration a string":   {userBody(aliceID, `,"expiration":"90"`), fields("expiration", whole, "int_type")},
		"expiration a fraction": {userBody(aliceID, `,"expiration":1.5`), fields("expiration", whole, "int_parsing")},
		"expiration 1e400":      {userBody(aliceID, `,"expiration":1e400`), fields("expiration", whole, "int_parsing")},
		"over max_token_ttl": {
			userBody(aliceID, `,"expiration":7201`),
			fields("expiration", "must be at most 7200 seconds, which is max_token_ttl here", "less_than_equal"),
		},
		"unknown member": {
			userBody(aliceID, `,"name":{"a":[1]}`),
			fields("name", "there is no such member here", "extra_forbidden"),
		},
		"all that is wrong": {`{"user_type":1,"expiration":"x"}`, fields("user_type", "must be a string", "string_type",
			"expiration", whole, "int_type", "user_id", "must be there", "missing")},
	} {
		same(t, name, userFault(t, h.askUser(c.body), 422), userError{Title: "Unprocessable Entity", Detail: c.want})
	}
	if got := h.askUser(userBody(aliceID, `,"expiration":7200`)); got.Status != 200 {
		t.Errorf("at max_token_ttl: %v", got)
	}
	if got := userFault(t, h.askUser("x", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }),
		415); got.Title != "Unsupported Media Type" {
		t.Errorf("415: %v", got)
	}
	if got := userFault(t, h.askUser(strings.Repeat(" ", 65537)), 413); got.Title != "Request Entity Too Large" {
		t.Errorf("413: %v", got)
	}
}

// TestUserTokenRefusals is the rest of the table.
func TestUserTokenRefusals(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	insufficient := `Bearer realm="jotgate", error="insufficient_scope"`
	for name, c := range map[string]struct {
		body      string
		option    option
		status    int
		want      userError
		challenge string
	}{
		"no bearer": {
			userBody(aliceID), func(r *http.Request) { r.Header.Del("Authorization") }, 401,
			userError{Title: "Unauthorized", Detail: "A management token is needed, as Authorization: Bearer"},
			`Bearer realm="jotgate"`,
		},
		"bad bearer": {
			userBody(aliceID), func(r *http.Request) { r.Header.Set("Authorization", "Bearer x.y.z") }, 401,
			userError{Title: "Unauthorized", Detail: "The token is not accepted"},
			`Bearer realm="jotgate", error="invalid_token"`,
		},
		"two bearers": {
			userBody(aliceID), bearer("x"), 400,
			userError{Title: "Bad Request", Detail: "The request brings more than one credential; send exactly one"},
			`Bearer realm="jotgate", error="invalid_request"`,
		},
		"an end user's own token": {userBody(aliceID), func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+into[userTokenAnswer](t, h.askUser(userBody(aliceID)), 200).AccessToken)
		}, 403, userError{Title: "Forbidden", Detail: "The token is no management token"}, insufficient},
		"another scope": {userBody(aliceID), func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+h.management("shop", token.IssueCodes))
		}, 403, userError{Title: "Forbidden", Detail: "The token's scope, or its client, does not allow this"}, insufficient},
		"a person": {
			userBody(personID), nil, 400,
			userError{
				Title: "Bad Request", Detail: "Tokens are issued for end users only",
				ErrorType: "cannot_issue_token_for_user_type",
			},
			"",
		},
		"unknown user": {userBody(unknownID), nil, 404, userError{
			Title: "Not Found", Detail: "There is no such user",
			Resource: "user",
		}, ""},
	} {
		options := []option{}
		if c.option != nil {
			options = append(options, c.option)
		}
		got := h.askUser(c.body, options...)
		same(t, name, userFault(t, got, c.status), c.want)
		if got.Header["Www-Authenticate"] != c.challenge {
			t.Errorf("%s: challenge %q", name, got.Header["Www-Authenticate"])
		}
	}
	good := h.management("shop", token.IssueUserTokens)
	h.clock.advance(time.Hour)
	if got := h.ask("POST", userTokenPath, userBody(aliceID), bearer(good)); got.Status != 401 {
		t.Errorf("expired bearer: %v", got)
	}
}

// TestUserTokenRequestID: header and body name the same request.
func TestUserTokenRequestID(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	response, err := h.server.Client().Post(h.server.URL+userTokenPath, "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var e userError
	if err := json.NewDecoder(response.Body).Decode(&e); err != nil {
		t.Fatal(err)
	}
	if id := response.Header.Get("x-request-id"); id == "" || id != e.RequestID {
		t.Errorf("header %q, body %q", id, e.RequestID)
	}
}

func TestUserTokenTooMany(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *config.Config) { c.Limits.IssueRate = 1 })
	for range 2 {
		if got := h.askUser(userBody(aliceID)); got.Status != 200 {
			t.Fatal(got)
		}
	}
	got := h.askUser(userBody(aliceID))
	same(t, "429", userFault(t, got, 429),
		userError{Title: "Too Many Requests", Detail: "Too many requests; the Retry-After header says when to come again"})
	for name, want := range map[string]string{
		"X-Ratelimit-Limit": "1", "X-Ratelimit-Remaining": "0",
		"X-Ratelimit-Reset": "1", "Retry-After": "1",
	} {
		if got.Header[name] != want {
			t.Errorf("%s: %q, want %q", name, got.Header[name], want)
		}
	}
}

func TestOpenUsers(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *config.Config) { c.Issuer.Users = &config.Users{Open: c.Roles["support"]} })
	a := into[userTokenAnswer](t, h.askUser(userBody(unknownID)), 200)
	same(t, "permissions", h.claimsOf(a.AccessToken).Permissions, all("acme", "READ_TENANT", "MANAGE_TICKETS"))
	h.change(func(c *config.Config) { c.Issuer.Users = nil })
	if got := h.askUser(userBody(unknownID)); got.Status != 404 {
		t.Errorf("without users: %v", got)
	}
	h.change(func(c *config.Config) {
		c.Issuer.Users = &config.Users{Open: c.Roles["support"]}
		c.Issuer.Clients[3].ID = unknownID
	})
	if got := h.askUser(userBody(unknownID)); got.Status != 400 || h.events.last().Reason != refusal.SubjectReserved {
		t.Errorf("a user named like a client: %v", got)
	}
}

// A people is a user directory on a real socket.
type people struct {
	*httptest.Server
	asked  atomic.Int64
	answer atomic.Pointer[http.HandlerFunc]
	seen   atomic.Pointer[http.Request]
}

func newPeople(t testing.TB) *people {
	p := new(people)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		p.seen.Store(r)
		(*p.answer.Load())(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *people) says(status int, body string) {
	f := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	})
	p.answer.Store(&f)
}

func (p *people) does(f http.HandlerFunc) { p.answer.Store(&f) }

func lookupHouse(t testing.TB, p *people, change func(*config.UserLookup)) *house {
	t.Helper()
	return newHouse(t, func(c *config.Config) {
		l := &config.UserLookup{
			URL: p.URL + "/users/{user_id}", Bearer: "the directory's own bearer",
			Timeout: 5 * time.Second, Cache: 30 * time.Second, Entries: 2, Bytes: 512,
		}
		if change != nil {
			change(l)
		}
		c.Issuer.Users = &config.Users{Lookup: l}
	})
}

const endUserAnswer = `{"type":"end_user","permissions":[{"tenant":"acme","allowedActions":["READ_TENANT"]}]}`

func TestLookup(t *testing.T) {
	t.Parallel()
	p := newPeople(t)
	h := lookupHouse(t, p, nil)
	p.says(200, endUserAnswer)
	a := into[userTokenAnswer](t, h.askUser(userBody(aliceID)), 200)
	same(t, "permissions", h.claimsOf(a.AccessToken).Permissions, all("acme", "READ_TENANT"))
	r := p.seen.Load()
	if r.URL.Path != "/users/"+aliceID || r.Header.Get("Authorization") != "Bearer the directory's own bearer" ||
		r.Method != "GET" {
		t.Errorf("asked %s %s %v", r.Method, r.URL, r.Header)
	}
	p.says(404, "")
	h.askUser(userBody(aliceID))
	if n := p.asked.Load(); n != 1 {
		t.Errorf("asked %d times within the cache's time", n)
	}
	h.clock.advance(30 * time.Second)
	for range 2 {
		if got := h.askUser(userBody(aliceID)); got.Status != 404 {
			t.Errorf("gone: %v", got)
		}
	}
	if n := p.asked.Load(); n != 2 {
		t.Errorf("asked %d times: a 404 is remembered too", n)
	}
	p.says(200, `{"type":"person"}`)
	if got := userFault(t, h.askUser(userBody(personID)), 400); got.ErrorType != "cannot_issue_token_for_user_type" {
		t.Errorf("a person: %v", got)
	}
	h.askUser(userBody(unknownID)) // the cache holds two: the oldest has to go
	h.askUser(userBody(aliceID))
	if n := p.asked.Load(); n != 5 {
		t.Errorf("asked %d times: the cache is bounded", n)
	}
}

// TestLookupAnswersThatOpenNothing: whatever is not the answer that was agreed on is no user.
func TestLookupAnswersThatOpenNothing(t *testing.T) {
	t.Parallel()
	p := newPeople(t)
	h := lookupHouse(t, p, func(l *config.UserLookup) { l.Cache = 0 })
	for name, c := range map[string]struct {
		status int
		body   string
	}{
		"not JSON":           {200, "<html>"},
		"empty":              {200, ""},
		"no type":            {200, `{"permissions":[]}`},
		"unknown type":       {200, `{"type":"admin","permissions":[]}`},
		"no permissions":     {200, `{"type":"end_user"}`},
		"unknown member":     {200, `{"type":"end_user","permissions":[],"x":1}`},
		"duplicate member":   {200, `{"type":"person","type":"end_user","permissions":[]}`},
		"missing tenant":     {200, `{"type":"end_user","permissions":[{"allowedActions":["*"]}]}`},
		"missing actions":    {200, `{"type":"end_user","permissions":[{"tenant":"acme"}]}`},
		"malformed tenant":   {200, `{"type":"end_user","permissions":[{"tenant":"a b","allowedActions":[]}]}`},
		"too long":           {200, endUserAnswer + strings.Repeat(" ", 512)},
		"a redirect":         {302, endUserAnswer},
		"another success":    {201, endUserAnswer},
		"an error":           {500, endUserAnswer},
		"unauthorized by it": {401, ""},
	} {
		p.says(c.status, c.body)
		same(t, name, userFault(t, h.askUser(userBody(aliceID)), 500),
			userError{Title: "Internal Server Error", Detail: "Internal server error"})
	}
}

// TestLookupRedirect: a redirect is no answer, and it is not followed with the directory's bearer.
func TestLookupRedirect(t *testing.T) {
	t.Parallel()
	p := newPeople(t)
	h := lookupHouse(t, p, nil)
	p.does(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			fmt.Fprint(w, endUserAnswer)
			return
		}
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	})
	userFault(t, h.askUser(userBody(aliceID)), 500)
	if n := p.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestLookupInTime(t *testing.T) {
	t.Parallel()
	p := newPeople(t)
	h := lookupHouse(t, p, func(l *config.UserLookup) { l.Timeout = 50 * time.Millisecond })
	p.does(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	late := userError{Title: "Request Timeout", Detail: "The user directory did not answer in time"}
	same(t, "hang", userFault(t, h.askUser(userBody(aliceID)), 408), late)
	p.does(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "{")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	same(t, "drip", userFault(t, h.askUser(userBody(aliceID)), 408), late)
	p.Close()
	same(t, "refused connection", userFault(t, h.askUser(userBody(aliceID)), 408), late)
}

// TestLookupOneFlight: while an answer is on its way, the same user is not asked for again.
func TestLookupOneFlight(t *testing.T) {
	t.Parallel()
	p := newPeople(t)
	h := lookupHouse(t, p, nil)
	arrived, release := make(chan struct{}, 8), make(chan struct{})
	p.does(func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
		fmt.Fprint(w, endUserAnswer)
	})
	auth := bearer(h.management("shop", token.IssueUserTokens))
	var wg sync.WaitGroup
	var done atomic.Int64
	for range 8 {
		wg.Go(func() {
			if got := h.ask("POST", userTokenPath, userBody(aliceID), auth); got.Status == 200 {
				done.Add(1)
			}
		})
	}
	<-arrived // the others join this flight, or find its answer
	close(release)
	wg.Wait()
	if p.asked.Load() != 1 || done.Load() != 8 {
		t.Errorf("asked %d times for %d answers", p.asked.Load(), done.Load())
	}
}
