package listen

import (
	"net/http"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
)

// Refused is a request that was refused before any handler, for the log and the metrics.
type Refused struct {
	Reason    refusal.Reason
	Detail    string // the cause; never holds bytes of the request
	RequestID string // as in the answer
	Remote    string // address and port of the peer
	TLS       bool
}

func (ls *Listeners) refuse(w http.ResponseWriter, r *http.Request, why *refusal.Error) {
	id := request.NewID()
	w.Header().Set(request.RequestIDHeader, id)
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	if ls.cors != nil {
		ls.cors(r, w.Header())
	}
	request.Problem(w, why.Reason, id)
	if ls.refused != nil {
		ls.refused(Refused{
			Reason: why.Reason, Detail: why.Detail, RequestID: id, Remote: r.RemoteAddr, TLS: r.TLS != nil,
		})
	}
}
