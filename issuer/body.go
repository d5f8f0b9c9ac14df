package issuer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictjson"
)

// json reads the body as one JSON object, member by member. Nothing else is taken for it.
func (c *call) json(member func(r *strictjson.Reader, name string) error) error {
	data, err := c.read()
	if err != nil {
		return err
	}
	if len(data) > 0 && !c.contentType("application/json") { // no body at all is no JSON, whatever its type
		return refusal.Because(refusal.MediaUnsupported, "Content-Type is not application/json")
	}
	if err := strictjson.Document(data, member); err != nil {
		return &fault{reason: refusal.BodyInvalid, text: "The body is not what this endpoint takes: " + readable(err)}
	}
	return nil
}

// readable is what the client may read of an error in its body. The path to it is made of members that we know: unknown
// ones are refused before anything below them is read.
func readable(err error) string {
	var u *unknownMember
	if errors.As(err, &u) {
		return u.Error()
	}
	return err.Error()
}

// An unknownMember is named to the client only if its name looks like one: what somebody put in the wrong place may be
// a credential.
type unknownMember struct{ name string }

func (u *unknownMember) Error() string {
	if name := speakable(u.name); name != "" {
		return "there is no member " + name + " here"
	}
	return "there is a member that is not known here"
}

// speakable is name if it is short and made of letters and underscores, and "" otherwise.
func speakable(name string) string {
	if len(name) > 20 {
		return ""
	}
	for _, c := range name {
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') {
			return ""
		}
	}
	return name
}

// form reads the body as a form of single members (URL Living Standard §5.1). No body at all is an empty form.
func (c *call) form() (map[string]string, error) {
	data, err := c.read()
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, nil
	}
	if !c.contentType("application/x-www-form-urlencoded") {
		return nil, &fault{reason: refusal.MediaUnsupported, text: "The body must be a form, or empty"}
	}
	values, err := url.ParseQuery(string(data))
	if err != nil {
		return nil, &fault{reason: refusal.BodyInvalid, text: "The form is malformed"}
	}
	form := make(map[string]string, len(values))
	for name, list := range values {
		if len(list) != 1 {
			return nil, &fault{reason: refusal.BodyInvalid, text: "A member of the form is there twice"}
		}
		form[name] = list[0]
	}
	return form, nil
}

// contentType reports whether the request has exactly one Content-Type, the wanted one, and no content coding.
func (c *call) contentType(want string) bool {
	given := c.r.Header["Content-Type"]
	if len(given) != 1 || len(c.r.Header["Content-Encoding"]) > 0 {
		return false
	}
	if given[0] == want {
		return true
	}
	media, params, err := mime.ParseMediaType(given[0])
	if err != nil || media != want {
		return false
	}
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return false
		}
	}
	return true
}

// read reads the body within limits.token_body_bytes and limits.body_timeout.
func (c *call) read() ([]byte, error) {
	limit := c.issuer.config.Limits.TokenBodyBytes
	if c.r.ContentLength > limit {
		return nil, refusal.Because(refusal.BodyTooLarge, "%d bytes, at most %d", c.r.ContentLength, limit)
	}
	// The deadline is the connection's own, so it is the wall clock's. A writer without one has the body in memory.
	control := http.NewResponseController(c.x)
	_ = control.SetReadDeadline(time.Now().Add(c.issuer.config.Limits.BodyTimeout))
	size := max(c.r.ContentLength, 0) + 1
	data := make([]byte, 0, size)
	data, err := readAll(io.LimitReader(c.r.Body, limit+1), data)
	if err != nil {
		c.x.BodyError = err
		return nil, c.brokeOff(err, len(data))
	}
	_ = control.SetReadDeadline(time.Time{})
	if int64(len(data)) > limit {
		return nil, refusal.Because(refusal.BodyTooLarge, "more than %d bytes", limit)
	}
	return data, nil
}

// brokeOff tells why a body could not be read. Our own servers say it. net/http's cancels the request's context
// whenever a read over HTTP/2 fails, so that a cancelled context alone does not mean that the client went away: a
// timeout comes first.
func (c *call) brokeOff(err error, after int) error {
	var known *refusal.Error
	var timeout net.Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &timeout) && timeout.Timeout():
		return refusal.Because(refusal.BodyTimeout, "%d bytes came in time", after)
	case errors.Is(c.r.Context().Err(), context.Canceled):
		return refusal.Because(refusal.ClientClosed, "after %d bytes", after)
	}
	return refusal.Because(refusal.BodyMalformed, "after %d bytes: %v", after, err)
}

// readAll is io.ReadAll into a buffer that is large enough, if the length was told.
func readAll(r io.Reader, data []byte) ([]byte, error) {
	for {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if err == io.EOF {
			return data, nil
		}
		if err != nil {
			return data, err
		}
	}
}

// need is the fault of a member that must be there.
func need(name string) error {
	return &fault{reason: refusal.BodyInvalid, text: "The body lacks the member " + name}
}

// bad is the fault of a member, or of two that do not go together.
func bad(format string, args ...any) error {
	return &fault{reason: refusal.BodyInvalid, text: fmt.Sprintf(format, args...)}
}
