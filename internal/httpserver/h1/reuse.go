package h1

import (
	"net/http"
	"net/url"
	"sync"
)

// What a request is made of serves another one if nothing can hold on to it any more. That needs the handler's word
// ([response.Release]), since a handler may leave goroutines behind. And it needs a plain course of events: the answer
// is whole, there was no body, which a sender may still read, and nothing waited for the end of the context.
//
// The response is made anew for each request all the same: what is written to it late must not land in the next answer.
// So is the text of the head, whose parts are kept in many places.

// A room is the memory of a turn that serves many requests.
type room struct {
	blank   *http.Request // without anything but its context, which is the turn's
	request http.Request
	header  http.Header // of the request
	values  []string    // of header
	few     [fieldsUsual]string
	answer  http.Header
}

var turns = sync.Pool{New: func() any {
	t := new(turn)
	t.lifetime.Asker = t
	t.room.blank = new(http.Request).WithContext(&t.lifetime)
	t.room.answer = make(http.Header)
	return t
}}

const (
	fieldsUsual = 8  // of a request; room for more is made when they come
	fieldsKept  = 48 // most fields for which there is room afterwards
)

// newTurn begins the next request of the connection.
func (c *Conn) newTurn() *turn {
	t := turns.Get().(*turn)
	t.conn, t.lifetime.Base = c, c.server.Context
	t.response = &response{turn: t, header: t.room.answer}
	return t
}

// blankRequest returns a request with the turn's context and nothing else.
func (t *turn) blankRequest() *http.Request {
	t.room.request = *t.room.blank
	return &t.room.request
}

// roomFor has room for so many fields, and returns that for their values.
func (t *turn) roomFor(fields int) []string {
	if t.room.header == nil || cap(t.room.values) < fields {
		t.room.header, t.room.values = make(http.Header, fields), t.room.few[:0]
		if fields > fieldsUsual {
			t.room.values = make([]string, 0, fields)
		}
	}
	return t.room.values
}

// Release says that nothing will hold on to the request, its header, URL and context, or to this response, when the
// handler has returned, so that their memory may serve another request. Strings are no part of that.
func (w *response) Release() { w.released = true }

// reuse gives the turn's memory to requests to come, if nothing holds on to it.
func (t *turn) reuse() {
	w := t.response
	if !w.released || t.body.turn != nil || t.watch.reading != nil || !t.lifetime.Renew() {
		return
	}
	w.turn, w.header = nil, nil
	t.conn, t.method, t.response, t.watch, t.url = nil, "", nil, watch{}, url.URL{}
	t.room.request = http.Request{}
	if len(t.room.answer) > fieldsUsual {
		t.room.answer = make(http.Header)
	}
	clear(t.room.answer)
	if cap(t.room.values) > fieldsKept {
		t.room.header, t.room.values = nil, nil
	}
	clear(t.room.header)
	clear(t.room.values[:cap(t.room.values)])
	turns.Put(t)
}
