package request_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
)

// A broken writer fails as a server does that has given its client up.
type broken struct {
	http.ResponseWriter
	err error
}

func (b broken) Write([]byte) (int, error) { return 0, b.err }

// A download that the server cuts leaves the reason to the access line, although its status is 200; what was noted
// before stays.
func TestWriteNotesWhyItFailed(t *testing.T) {
	t.Parallel()
	cut := &refusal.Error{Reason: refusal.ClientClosed, Detail: "the client granted no window"}
	for _, row := range []struct {
		name   string
		before refusal.Reason
		err    error
		want   refusal.Reason
		detail string
	}{
		{"cut", "", errors.Join(errors.New("h2"), cut), refusal.ClientClosed, cut.Detail},
		{"cut after another reason", refusal.BodyTooLarge, cut, refusal.BodyTooLarge, ""},
		{"a mistake of the handler", "", http.ErrContentLength, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var x request.Exchange
			x.Begin(broken{httptest.NewRecorder(), row.err}, time.Now())
			x.Reason = row.before
			if _, err := x.Write([]byte("hello")); err == nil {
				t.Error("no error")
			}
			if x.Reason != row.want || x.Detail != row.detail || x.Status() != 200 {
				t.Errorf("%d %q %q", x.Status(), x.Reason, x.Detail)
			}
		})
	}
}
