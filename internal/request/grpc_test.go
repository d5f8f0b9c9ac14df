package request

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/jotgate/jotgate/internal/refusal"
)

func TestWhichRequestsAreGRPC(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method string
		major  int
		kinds  []string
		want   bool
	}{
		{"POST", 2, []string{"application/grpc"}, true},
		{"POST", 2, []string{"application/grpc+proto"}, true},
		{"POST", 2, []string{"application/grpc;x=y"}, true},
		{"POST", 1, []string{"application/grpc"}, false},
		{"GET", 2, []string{"application/grpc"}, false},
		{"POST", 2, []string{"application/grpc-web+proto"}, false},
		{"POST", 2, []string{"application/grpc", "text/plain"}, false},
		{"POST", 2, []string{"application/json"}, false},
		{"POST", 2, nil, false},
	} {
		r := httptest.NewRequest(c.method, "/", nil)
		r.ProtoMajor, r.Header = c.major, http.Header{"Content-Type": c.kinds}
		if got := IsGRPC(r); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestRefusalsInTheWordsOfGRPC(t *testing.T) {
	t.Parallel()
	for reason, want := range map[refusal.Reason]string{
		refusal.TokenMissing: "16", refusal.ActionDenied: "7", refusal.UpstreamBusy: "14", refusal.UpstreamBroken: "14",
		refusal.UpstreamTimeout: "14",
		refusal.PathAmbiguous:   "3", refusal.RouteNotFound: "12", refusal.MethodNotAllowed: "12", refusal.BodyTooLarge: "8",
		refusal.InternalError: "13", refusal.ClientClosed: "1", refusal.RateLimited: "8",
	} {
		w := httptest.NewRecorder()
		x := begin(w)
		x.ID, x.GRPC = "id%\n", true
		x.Refuse(refusal.Because(reason, "a secret detail"))
		h := w.Header()
		if w.Code != 200 || w.Body.Len() > 0 || h.Get("Grpc-Status") != want || h.Get("Content-Type") != "application/grpc" ||
			h.Get("Content-Length") != "" {
			t.Errorf("%s: %d %v", reason, w.Code, h)
		}
		if got, want := h.Get("Grpc-Message"), ", request_id id%25%0A"; len(got) <= len(want) ||
			got[len(got)-len(want):] != want {
			t.Errorf("%s: %q", reason, got)
		}
		if x.Reason != reason {
			t.Errorf("recorded %s", x.Reason)
		}
	}
}
