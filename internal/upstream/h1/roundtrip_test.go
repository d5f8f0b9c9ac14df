package h1

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
)

// A roundTrip is a response and its body in one piece.
type roundTrip struct {
	response http.Response
	answer   Answer
	request  Request
}

// RoundTrip is [Client.Do] for net/http's types. r's URL says the target alone; the server is the client's. Hints are
// for httptrace.ClientTrace.Got1xxResponse, as with http.Transport.
func (c *Client) RoundTrip(r *http.Request) (*http.Response, error) {
	x := &roundTrip{}
	q := &x.request
	*q = Request{
		Method: r.Method, Target: r.URL.RequestURI(), Host: r.Host, Fields: HeaderFields(r.Header),
		Body: r.Body, Length: r.ContentLength, Trailer: r.Trailer, Close: r.Close, Hint: hint(r),
	}
	if q.Method == "" {
		q.Method = http.MethodGet
	}
	if q.Host == "" {
		q.Host = r.URL.Host
	}
	if q.Body == http.NoBody {
		q.Body = nil
	}
	if q.Body != nil && q.Length == 0 {
		q.Length = -1 // net/http's word for unknown, where there is a body
	}
	a := &x.answer
	if err := c.Do(r.Context(), q, a); err != nil {
		var dial *DialError
		if errors.As(err, &dial) {
			q.closeBody()
		}
		return nil, err
	}
	x.response = http.Response{
		Status: a.StatusLine, StatusCode: a.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: a.Minor,
		Header: a.Header, Trailer: a.Trailer, ContentLength: a.Length, Close: a.Closing, Request: r, Body: http.NoBody,
	}
	if a.Minor == 0 {
		x.response.Proto = "HTTP/1.0"
	}
	if a.Chunked {
		x.response.TransferEncoding = []string{"chunked"}
	}
	if a.framing != noBody {
		x.response.Body = x
	}
	return &x.response, nil
}

func hint(r *http.Request) func(int, http.Header) error {
	trace := httptrace.ContextClientTrace(r.Context())
	if trace == nil || trace.Got1xxResponse == nil {
		return nil
	}
	return func(status int, h http.Header) error { return trace.Got1xxResponse(status, textproto.MIMEHeader(h)) }
}

// Read reads the answer's body; the trailers are there with io.EOF.
func (x *roundTrip) Read(p []byte) (int, error) {
	n, err := x.answer.Read(p)
	if err == io.EOF {
		x.response.Trailer = x.answer.Trailer
	}
	return n, err
}

// Close gives up what was not read.
func (x *roundTrip) Close() error { return x.answer.Close() }
