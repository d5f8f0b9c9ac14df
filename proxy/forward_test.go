package proxy

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// raws answers at once, without reading the body, and goes on as it is told.
func raws(keep bool, parts ...string) func(net.Conn, *received) bool {
	return func(c net.Conn, _ *received) bool {
		for _, p := range parts {
			if _, err := io.WriteString(c, p); err != nil {
				return false
			}
		}
		return keep
	}
}

func TestUpstreamFaults(t *testing.T) {
	t.Parallel()
	reset := func(before string) func(net.Conn, *received) bool {
		return func(c net.Conn, r *received) bool {
			_ = r.readBody()
			io.WriteString(c, before)
			c.(*net.TCPConn).SetLinger(0)
			return false
		}
	}
	hang := func(before string) func(net.Conn, *received) bool {
		return func(c net.Conn, r *received) bool {
			io.WriteString(c, before)
			io.Copy(io.Discard, r.in) // until the gate gives up
			return false
		}
	}
	const ok = "HTTP/1.1 200 OK\r\n"
	storm := strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 1000)
	for _, c := range []struct {
		name   string
		answer func(net.Conn, *received) bool
		status int // 0: the answer breaks off
		reason refusal.Reason
	}{
		{"closed before the head", raws(false), 502, refusal.UpstreamBroken},
		{"reset before the head", reset(""), 502, refusal.UpstreamBroken},
		{"reset inside the head", reset("HTTP/1.1 200 OK\r\nConte"), 502, refusal.UpstreamBroken},
		{"no HTTP", raws(false, "SSH-2.0-OpenSSH\r\n\r\n"), 502, refusal.UpstreamBroken},
		{"hang before the head", hang(""), 504, refusal.UpstreamTimeout},
		{"hang inside the head", hang(ok + "X: "), 504, refusal.UpstreamTimeout},
		{"a storm of 1xx", raws(false, storm, ok+"\r\n"), 502, refusal.UpstreamBroken},
		{
			"a head of 2 MB", raws(false, ok, strings.Repeat("X: "+strings.Repeat("a", 1000)+"\r\n", 2000), "\r\n"), 502,
			refusal.UpstreamBroken,
		},
		{
			"101 that was not requested",
			raws(false, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"), 502,
			refusal.UpstreamBroken,
		},
		{"two lengths", raws(false, ok+"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), 502, refusal.UpstreamBroken},
		{"reset after the head", reset(ok + "Content-Length: 10\r\n\r\nabc"), 0, refusal.UpstreamBroken},
		{"a short body", raws(false, ok+"Content-Length: 10\r\n\r\nabc"), 0, refusal.UpstreamBroken},
		{"a bad chunk", raws(false, ok+"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n"), 0, refusal.UpstreamBroken},
		{"chunks without an end", raws(false, ok+"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"), 0, refusal.UpstreamBroken},
		{"hang inside the body", hang(ok + "Content-Length: 10\r\n\r\nabc"), 0, refusal.UpstreamTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.app.says(c.answer)
			got := h.raw(head("POST", "/me", h.mint(), "Content-Length: 2") + "hi")
			switch {
			case c.status == 0 && got.err == nil:
				t.Errorf("half an answer looks whole: %+v", got)
			case c.status != 0 && (got.status != c.status || got.err != nil):
				t.Errorf("got %+v, want %d", got, c.status)
			case got.reason != c.reason:
				t.Errorf("reason %s, want %s (%s)", got.reason, c.reason, h.visit().Detail)
			case c.status != 0 && got.header.Get("X-Request-Id") != "0190-id":
				t.Errorf("no request id: %v", got.header)
			}
			if n := len(h.app.seen()); n != 1 {
				t.Errorf("a POST was sent %d times", n)
			}
		})
	}
}

func TestAnUpstreamThatIsNotThere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.app.listener.Close()
	got := h.get("/me", h.mint())
	want := `{"type":"about:blank","title":"Bad Gateway","status":502,"request_id":"0190-id"}` + "\n"
	if got.status != 502 || got.body != want || got.reason != refusal.UpstreamUnreachable {
		t.Errorf("got %+v", got)
	}
}

func TestAnswersPassAsTheyAre(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	bearer := h.mint()
	for _, c := range []struct {
		name, method, answer string
		status               int
		header               http.Header
		body                 string
	}{
		{
			"fields, but those for one hop", "GET",
			"HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nX-App: 1\r\nX-App: 2\r\nContent-Length: " +
				"1\r\nDate: now\r\n\r\na",
			200,
			http.Header{"X-App": {"1", "2"}, "Content-Length": {"1"}, "Date": {"now"}},
			"a",
		},
		{
			"a request id of the app's", "GET",
			"HTTP/1.1 200 OK\r\nX-Request-Id: theirs\r\nContent-Length: 0\r\nDate: now\r\n\r\n",
			200,
			http.Header{"Content-Length": {"0"}, "Date": {"now"}},
			"",
		},
		{
			"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nDate: now\r\n\r\n", 200,
			http.Header{"Content-Length": {"99"}, "Date": {"now"}},
			"",
		},
		{"204", "GET", "HTTP/1.1 204 No Content\r\nDate: now\r\n\r\n", 204, http.Header{"Date": {"now"}}, ""},
		{
			"304", "GET", "HTTP/1.1 304 Not Modified\r\nEtag: x\r\nDate: now\r\n\r\n", 304,
			http.Header{"Etag": {"x"}, "Date": {"now"}},
			"",
		},
		{
			"an error of the app's", "GET", "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\nDate: now\r\n\r\noops", 500,
			http.Header{"Content-Length": {"4"}, "Date": {"now"}},
			"oops",
		},
		{"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nDate: now\r\nContent-Type: x/y\r\n\r\n1\r\n" +
			"a\r\n2\r\nbc\r\n0\r\n\r\n", 200, http.Header{"Content-Type": {"x/y"}, "Date": {"now"}}, "abc"},
	} {
		h.app.says(readAndSay(c.answer))
		got := h.raw(head(c.method, "/me", bearer))
		c.header["X-Request-Id"] = []string{"0190-id"}
		if got.status != c.status || got.body != c.body || got.err != nil {
			t.Errorf("%s: got %+v", c.name, got)
		}
		if d := cmp.Diff(c.header, got.header); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func TestTrailersAndHintsPass(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.app.says(readAndSay("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\nHTTP/1.1 200 OK\r\n" +
		"Transfer-Encoding: chunked\r\nTrailer: X-One\r\nDate: now\r\nContent-Type: x/y\r\n\r\n" +
		"1\r\na\r\n0\r\nX-One: 1\r\nX-Two: 2\r\n\r\n"))
	c, in := h.dial()
	io.WriteString(c, head("GET", "/me", h.mint(), "Connection: close"))
	all, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	want := "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" +
		"HTTP/1.1 200 OK\r\nContent-Type: x/y\r\nDate: now\r\nTrailer: X-One\r\nX-Request-Id: 0190-id\r\nConnection: " +
		"close\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"1\r\na\r\n0\r\nX-One: 1\r\nX-Two: 2\r\n\r\n"
	if d := cmp.Diff(want, string(all)); d != "" {
		t.Error(d)
	}
}

// TestTrailersThatMustNotPass: an app, or a party that speaks through it, says at the end of an answer what only its
// head may say. Whether it was announced makes no difference.
func TestTrailersThatMustNotPass(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	bearer := h.mint()
	for name, c := range map[string]struct{ head, trailers, announced, passed string }{
		"none":            {"", "", "", ""},
		"a status":        {"", "Grpc-Status: 0\r\nGrpc-Message: ok\r\n", "", "Grpc-Status: 0\r\nGrpc-Message: ok\r\n"},
		"announced":       {"Trailer: Grpc-Status\r\n", "Grpc-Status: 0\r\n", "Grpc-Status", "Grpc-Status: 0\r\n"},
		"a cookie":        {"", "Set-Cookie: a=b\r\nX-One: 1\r\n", "", "X-One: 1\r\n"},
		"one announced":   {"Trailer: Set-Cookie, X-One\r\n", "Set-Cookie: a=b\r\nX-One: 1\r\n", "X-One", "X-One: 1\r\n"},
		"a cookie alone":  {"Trailer: Set-Cookie\r\n", "Set-Cookie: a=b\r\n", "", ""},
		"a challenge":     {"", "WWW-Authenticate: Basic realm=x\r\n", "", ""},
		"how long":        {"", "Cache-Control: public, max-age=9999\r\nAge: 0\r\nExpires: never\r\nVary: *\r\n", "", ""},
		"where to":        {"", "Location: http://evil/\r\nRefresh: 0; url=http://evil/\r\n", "", ""},
		"what it is":      {"", "Content-Type: text/html\r\nContent-Disposition: inline\r\n", "", ""},
		"a hop's":         {"", "TE: x\r\nProxy-Authenticate: Basic\r\nMax-Forwards: 1\r\n", "", ""},
		"Connection says": {"Connection: X-Two\r\n", "X-One: 1\r\nX-Two: 2\r\n", "", "X-One: 1\r\n"},
		"our names": {
			"", "X-Request-Id: 1\r\nX-Jotgate-Subject: bob\r\nX_Jotgate_Tenant: a\r\nX-Forwarded-For: 1\r\n",
			"", "",
		},
		"a browser's": {"", "Access-Control-Allow-Origin: *\r\nX-Accel-Redirect: /etc\r\nStrict-Transport-Security: " +
			"max-age=0\r\n", "", ""},
		"a digest": {
			"", "Content-Digest: sha-256=:x:\r\nServer-Timing: db\r\n", "",
			"Content-Digest: sha-256=:x:\r\nServer-Timing: db\r\n",
		},
	} {
		h.app.says(readAndSay("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: x/y\r\n" + c.head +
			"\r\n1\r\na\r\n0\r\n" + c.trailers + "\r\n"))
		conn, in := h.dial()
		io.WriteString(conn, head("GET", "/me", bearer, "Connection: close", "Te: trailers"))
		all, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		said, body, _ := strings.Cut(string(all), "\r\n\r\n")
		_, trailers, whole := strings.Cut(body, "1\r\na\r\n0\r\n")
		have := strings.Split(strings.TrimSuffix(trailers, "\r\n"), "\r\n")
		want := strings.Split(c.passed, "\r\n")
		slices.Sort(have)
		slices.Sort(want)
		if diff := cmp.Diff(want, have); diff != "" || !whole {
			t.Errorf("%s: %s\n%s", name, diff, all)
		}
		announced := ""
		for line := range strings.SplitSeq(said, "\r\n") {
			if after, is := strings.CutPrefix(line, "Trailer: "); is {
				announced = after
			}
		}
		if announced != c.announced {
			t.Errorf("%s: announced %q, want %q", name, announced, c.announced)
		}
	}
}

// TestHintsThatMustNotPass: HTTP/1.0 knows none, and beside a client that waits for 100 (Continue) they would be
// written into the same buffer as that one.
func TestHintsThatMustNotPass(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.app.says(readAndSay("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	bearer := h.mint()
	for name, text := range map[string]string{
		"HTTP/1.0": strings.Replace(head("GET", "/me", bearer), "HTTP/1.1", "HTTP/1.0", 1),
		"Expect":   head("POST", "/me", bearer, "Connection: close", "Expect: 100-continue", "Content-Length: 2") + "hi",
	} {
		c, in := h.dial()
		io.WriteString(c, text)
		all, err := io.ReadAll(in)
		if err != nil || strings.Contains(string(all), " 103 ") || !strings.Contains(string(all), " 200 OK\r\n") {
			t.Errorf("%s: %v, %q", name, err, all)
		}
		h.visit()
	}
}

func TestBodiesGoOnAsTheyCome(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	bearer := h.mint()
	for _, c := range []struct {
		name, text, body string
		field            string // that frames it
	}{
		{"a length", head("POST", "/me", bearer, "Content-Length: 5") + "hello", "hello", "Content-Length: 5"},
		{
			"chunks", head("POST", "/me", bearer, "Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n",
			"5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked",
		},
		{"none", head("POST", "/me", bearer, "Content-Length: 0"), "", "Content-Length: 0"},
		{"a GET with one", head("GET", "/me", bearer, "Content-Length: 2") + "hi", "hi", "Content-Length: 2"},
		{"a form is not read", head("POST", "/me", bearer, "Content-Type: application/x-www-form-urlencoded",
			"Content-Length: 14") + "access_token=x", "access_token=x", "Content-Length: 14"},
	} {
		h.app.forget()
		if got := h.raw(c.text); got.status != 200 {
			t.Errorf("%s: got %+v", c.name, got)
			continue
		}
		seen := h.app.seen()[0]
		if seen.body != c.body || !slices.Contains(seen.fields, c.field) {
			t.Errorf("%s: upstream got %q with body %q", c.name, seen.fields, seen.body)
		}
	}
}

func TestBodiesThatTheClientBreaks(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	bearer := h.mint()
	for _, c := range []struct {
		name, text string
		status     int
		reason     refusal.Reason
	}{
		{
			"a bad chunk", head("POST", "/me", bearer, "Transfer-Encoding: chunked") + "2\r\nhi\r\nzz\r\n", 400,
			refusal.BodyMalformed,
		},
		{
			"a length over the limit", head("POST", "/small", bearer, "Content-Length: 11") + "hello world", 413,
			refusal.BodyTooLarge,
		},
		{"a length at the limit", head("POST", "/small", bearer, "Content-Length: 10") + "hello worl", 200, ""},
		{"chunks over the limit", head("POST", "/small", bearer, "Transfer-Encoding: chunked") +
			"b\r\nhello world\r\n0\r\n\r\n", 413, refusal.BodyTooLarge},
		{
			"chunks at the limit", head("POST", "/small", bearer, "Transfer-Encoding: chunked") + "a\r\nhello worl\r\n0\r\n\r\n",
			200, "",
		},
	} {
		got := h.raw(c.text)
		if got.status != c.status || got.reason != c.reason {
			t.Errorf("%s: got %+v", c.name, got)
		}
		if got.last != (c.status != 200) {
			t.Errorf("%s: connection ends: %v", c.name, got.last)
		}
	}
}

// What is left of a body that the upstream did not wait for must never be read as the next request.
func TestAnEarlyAnswerEndsTheConnection(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.app.says(raws(false, "HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno"))
	c, in := h.dial()
	smuggled := head("GET", "/assets/smuggled", "")
	io.WriteString(c, head("POST", "/me", h.mint(), "Content-Length: 1000")+smuggled)
	got := h.read(in, "POST")
	if got.status != 413 || got.body != "no" || !got.last {
		t.Errorf("got %+v", got)
	}
	c.(*net.TCPConn).CloseWrite()
	if more, err := io.ReadAll(in); len(more) > 0 {
		t.Errorf("then came %q (%v)", more, err)
	}
	for _, r := range h.app.seen() {
		if strings.Contains(r.line, "smuggled") {
			t.Error("the body was taken for a request")
		}
	}
}

// An upstream that fails while the client has not sent all of its body is answered for at once, without a wait for the
// rest.
func TestAFailureIsNotHeldBackByASlowBody(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.app.says(raws(false, "nonsense\r\n\r\n"))
	c, in := h.dial()
	io.WriteString(c, head("POST", "/me", h.mint(), "Content-Length: 1000")+"only this")
	if got := h.read(in, "POST"); got.status != http.StatusBadGateway || got.err != nil {
		t.Errorf("got %+v", got)
	}
}

func TestContinueIsAskedForOnlyWhenTheTokenIsGood(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	if got := h.raw(head("POST", "/me", "x", "Expect: 100-continue", "Content-Length: 5")); got.status != 401 {
		t.Errorf("a bad token: got %+v", got)
	}
	c, in := h.dial()
	io.WriteString(c, head("POST", "/me", h.mint(), "Expect: 100-continue", "Content-Length: 5"))
	if line, err := in.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("got %q %v", line, err)
	}
	if _, err := in.Discard(2); err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "hello")
	if got := h.read(in, "POST"); got.status != 200 || h.app.seen()[0].body != "hello" {
		t.Errorf("got %+v, upstream %q", got, h.app.seen()[0].body)
	}
}

// Both directions stream at once, and every piece arrives before the next one is sent.
func TestStreamsAreNotHeldBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.app.says(func(c net.Conn, r *received) bool {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
		for {
			size, err := r.in.ReadString('\n')
			if err != nil {
				return false
			}
			data, err := r.in.ReadString('\n')
			if err != nil {
				return false
			}
			io.WriteString(c, size+data)
			if size == "0\r\n" {
				return false
			}
		}
	})
	c, in := h.dial()
	io.WriteString(c, head("POST", "/me", h.mint(), "Transfer-Encoding: chunked")+"1\r\n0\r\n")
	r, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		b := make([]byte, 1)
		if _, err := io.ReadFull(r.Body, b); err != nil || b[0] != byte('0'+i) {
			t.Fatalf("piece %d: %q %v", i, b, err)
		}
		next := string([]byte{byte('1' + i)})
		if i == 4 {
			io.WriteString(c, "0\r\n\r\n")
		} else {
			io.WriteString(c, "1\r\n"+next+"\r\n")
		}
	}
	if rest, err := io.ReadAll(r.Body); len(rest) > 0 || err != nil {
		t.Errorf("then %q %v", rest, err)
	}
}

func TestAClientThatLeavesEndsItsRequest(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	arrived, gone := make(chan struct{}), make(chan error, 1)
	h.app.says(func(c net.Conn, r *received) bool {
		close(arrived)
		_, err := r.in.ReadByte()
		gone <- err
		return false
	})
	c, _ := h.dial()
	io.WriteString(c, head("GET", "/me", h.mint()))
	<-arrived
	c.Close()
	if err := <-gone; err == nil {
		t.Error("the upstream's connection went on")
	}
}

func TestAnAssertionSaysWhatWasDecided(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	bearer := h.mint()
	var last string
	for i := range 3 {
		h.app.forget()
		if got := h.get("/signed", bearer, "X-Jotgate-Assertion: evil", "x_jotgate_assertion: evil"); got.status != 200 {
			t.Fatalf("got %+v", got)
		}
		values := h.app.seen()[0].get("X-Jotgate-Assertion")
		if len(values) != 1 {
			t.Fatalf("got %q", values)
		}
		if i == 1 && values[0] != last {
			t.Error("signed anew, in the first half of its life")
		}
		if i == 2 && values[0] == last {
			t.Error("not signed anew, in the second half of its life")
		}
		last = values[0]
		if i == 1 {
			h.now.Add(31_000)
		}
	}
	head, claims, ok := h.open(last)
	if !ok || !strings.Contains(head, `"typ":"jotgate-assertion+jwt"`) {
		t.Errorf("head %s, signed %v", head, ok)
	}
	now := h.clock().Unix()
	want := map[string]any{
		"iss": "https://gate.example", "aud": "app", "sub": "alice", "client_id": "web",
		"token_issuer": "https://gate.example",
		"token_id":     "id-1", "tenant": "acme", "actions": []any{"READ", "LIST"}, "iat": float64(now),
		"exp": float64(now + 60),
	}
	if d := cmp.Diff(want, claims); d != "" {
		t.Error(d)
	}
	if got := h.get("/me", last); got.reason != refusal.TokenTypeRefused {
		t.Errorf("an assertion as a bearer: %s", got.reason)
	}
	short := h.mint(func(c *token.Claims) { c.ID, c.Expiry = "short", h.now.Load()+10_000 })
	h.app.forget()
	h.get("/signed", short)
	if _, claims, _ := h.open(h.app.seen()[0].get("X-Jotgate-Assertion")[0]); claims["exp"] != float64(now+10) {
		t.Errorf("it outlives its token: %v", claims["exp"])
	}
}

// open checks an assertion with the published keys, and reads it.
func (h *house) open(compact string) (head string, claims map[string]any, ok bool) {
	h.t.Helper()
	v := must(jose.NewVerifier(jose.Options{Issuers: []*jose.Issuer{
		{URL: h.config.Issuer.URL, Keys: h.keys.Load, Types: []string{assertionType}},
	}}))
	_, err := v.Verify(compact, h.clock(), nil)
	parts := strings.Split(compact, ".")
	if e := json.Unmarshal(must(base64.RawURLEncoding.DecodeString(parts[1])), &claims); e != nil {
		h.t.Fatal(e)
	}
	return string(must(base64.RawURLEncoding.DecodeString(parts[0]))), claims, err == nil
}
