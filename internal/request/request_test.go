package request

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/jotgate/jotgate/internal/refusal"
)

func begin(w http.ResponseWriter) *Exchange {
	x := new(Exchange)
	x.Begin(w, time.Unix(0, 0))
	x.ID = "id-1"
	return x
}

func TestRefuseAnswersTheClassAndKeepsTheReason(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err       error
		status    int
		challenge string
		retry     string
		body      string
	}{
		{
			refusal.Because(refusal.TokenMissing, "x"), 401, `Bearer realm="jotgate"`, "",
			`{"type":"about:blank","title":"Unauthorized","status":401,"request_id":"id-1"}`,
		},
		{
			refusal.Because(refusal.TokenExpired, "exp 1"), 401, `Bearer realm="jotgate", error="invalid_token"`, "",
			`{"type":"about:blank","title":"Unauthorized","status":401,"request_id":"id-1"}`,
		},
		{
			refusal.Because(refusal.ActionDenied, ""), 403, `Bearer realm="jotgate", error="insufficient_scope"`, "",
			`{"type":"about:blank","title":"Forbidden","status":403,"request_id":"id-1"}`,
		},
		{
			refusal.Because(refusal.CredentialsMultiple, ""), 400, `Bearer realm="jotgate", error="invalid_request"`, "",
			`{"type":"about:blank","title":"Bad Request","status":400,"request_id":"id-1"}`,
		},
		{
			refusal.Because(refusal.PathAmbiguous, ""), 400, "", "",
			`{"type":"about:blank","title":"Bad Request","status":400,"request_id":"id-1"}`,
		},
		{
			refusal.Because(refusal.UpstreamBusy, ""), 503, "", "1",
			`{"type":"about:blank","title":"Service Unavailable","status":503,"request_id":"id-1"}`,
		},
		{
			errors.New("disk on fire"), 500, "", "",
			`{"type":"about:blank","title":"Internal Server Error","status":500,"request_id":"id-1"}`,
		},
	} {
		w := httptest.NewRecorder()
		x := begin(w)
		x.Refuse(c.err)
		got := w.Result().Header
		if w.Code != c.status || got.Get("WWW-Authenticate") != c.challenge || got.Get("Retry-After") != c.retry ||
			got.Get("Content-Type") != "application/problem+json" || got.Get("Cache-Control") != "no-store" ||
			w.Body.String() != c.body+"\n" {
			t.Errorf("%v: %d %v %s", c.err, w.Code, got, w.Body)
		}
		if x.Reason != refusal.Of(c.err) || x.Status() != c.status || x.Bytes() != int64(w.Body.Len()) {
			t.Errorf("%v: recorded %s %d %d", c.err, x.Reason, x.Status(), x.Bytes())
		}
	}
}

func TestEveryReasonHasATitle(t *testing.T) {
	t.Parallel()
	for _, r := range refusal.All() {
		w := httptest.NewRecorder()
		Problem(w, r, `a"b`)
		if w.Code != r.Status() || w.Body.Len() < 60 {
			t.Errorf("%s: %d %s", r, w.Code, w.Body)
		}
	}
}

func TestRefuseAfterTheAnswerBeganBreaksItOff(t *testing.T) {
	t.Parallel()
	x := begin(httptest.NewRecorder())
	_, _ = x.Write([]byte("half"))
	defer func() {
		if p := recover(); p != http.ErrAbortHandler || x.Reason != refusal.UpstreamBroken {
			t.Errorf("panic %v, reason %s", p, x.Reason)
		}
	}()
	x.Refuse(refusal.Because(refusal.UpstreamBroken, "reset"))
}

// RFC 9728 §5.1: the challenge says where the metadata of what was asked for are; an answer without one does not.
func TestChallengeTellsTheResourceMetadata(t *testing.T) {
	t.Parallel()
	for reason, want := range map[refusal.Reason]string{
		refusal.TokenMissing:  `Bearer realm="jotgate", resource_metadata="https://gate.test/x"`,
		refusal.TokenExpired:  `Bearer realm="jotgate", error="invalid_token", resource_metadata="https://gate.test/x"`,
		refusal.RouteNotFound: "",
	} {
		w := httptest.NewRecorder()
		x := begin(w)
		x.ResourceMetadata = "https://gate.test/x"
		x.Refuse(refusal.Because(reason, "x"))
		if got := w.Header().Get("WWW-Authenticate"); got != want {
			t.Errorf("%s: %s", reason, got)
		}
	}
}

func TestInformationalHeadsAreNotTheAnswer(t *testing.T) {
	t.Parallel()
	x := begin(httptest.NewRecorder())
	x.WriteHeader(http.StatusEarlyHints)
	if x.Status() != 0 {
		t.Errorf("after 103: status %d", x.Status())
	}
	x.WriteHeader(http.StatusNoContent)
	x.WriteHeader(http.StatusOK) // a second head is not sent
	if x.Status() != http.StatusNoContent {
		t.Errorf("status %d, want 204", x.Status())
	}
}

func TestFromFindsOrBegins(t *testing.T) {
	t.Parallel()
	x := begin(httptest.NewRecorder())
	if From(x) != x {
		t.Error("another exchange than the one that was passed")
	}
	fresh := From(httptest.NewRecorder())
	if id, err := uuid.Parse(fresh.ID); err != nil || id.Version() != 7 {
		t.Errorf("request id %q: %v", fresh.ID, err)
	}
}
