package console

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/request"
)

// longestStream is when a page has to ask again, so that what is half open does not stay.
const longestStream = 30 * time.Minute

// eventTimeout bounds the writing of one event: a page that does not read loses its stream, and its place.
const eventTimeout = 5 * time.Second

// events tells a page what has changed, as server-sent events. The stream ends with its session, with a drain, and when
// its page does not read.
func (c *Console) events(w http.ResponseWriter, r *http.Request) {
	s := c.sessions.of(r)
	site := r.Header.Get("Sec-Fetch-Site")
	switch {
	case s == nil:
		request.Problem(w, refusal.TokenMissing, request.NewID())
		return
	case site != "" && site != "same-origin" && site != "none":
		request.Problem(w, refusal.CrossSite, request.NewID())
		return
	}
	select {
	case c.streams <- struct{}{}:
		defer func() { <-c.streams }()
	default:
		request.Problem(w, refusal.StreamsFull, request.NewID())
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	if out.SetReadDeadline(time.Time{}) != nil { // the server's own would end the request as if its client had gone
		return
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for end := c.Clock().Add(longestStream); c.sessions.alive(s) && c.Clock().Before(end); {
		if out.SetWriteDeadline(time.Now().Add(eventTimeout)) != nil || c.send(w) != nil || out.Flush() != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		case <-c.Done:
			return
		}
	}
}

func (c *Console) send(w http.ResponseWriter) error {
	data, err := json.Marshal(c.moment(c.sampler.take()))
	if err != nil {
		return err
	}
	_, err = w.Write(append(append([]byte("data: "), data...), "\n\n"...))
	return err
}
