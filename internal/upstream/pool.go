package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jotgate/jotgate/internal/upstream/h1"
)

const (
	headLimit  = 1 << 20 // bytes of an answer's head
	ejection   = 5 * time.Second
	idleExpiry = 90 * time.Second
	// hintLimit bounds the informational answers (1xx) to one request; a storm of them must not hold a request for ever.
	hintLimit = 16
)

// A Pool is one upstream. It is safe for concurrent use.
type Pool struct {
	settings  Settings
	servers   []*server
	turn      atomic.Uint32
	transport *http.Transport
	clock     func() time.Time
}

func newPool(s Settings, authorities *x509.CertPool, clock func() time.Time, standard bool) *Pool {
	p := &Pool{settings: s, clock: clock}
	for _, u := range s.Servers {
		p.servers = append(p.servers, newServer(u, s.MaxConnections, p.plainClient(u, standard)))
	}
	p.transport = &http.Transport{
		Proxy:                  nil, // HTTP_PROXY in the environment is for clients, and could be a request's (httpoxy)
		DialContext:            p.dial,
		TLSClientConfig:        &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    s.ConnectTimeout,
		DisableCompression:     true, // the client's Accept-Encoding is the client's
		MaxIdleConnsPerHost:    s.MaxIdle,
		IdleConnTimeout:        idleExpiry,
		ResponseHeaderTimeout:  s.ResponseTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: headLimit,
		Protocols:              new(http.Protocols),
	}
	p.transport.Protocols.SetHTTP1(true)
	return p
}

func (p *Pool) close() {
	p.transport.CloseIdleConnections()
	for _, s := range p.servers {
		if s.client != nil {
			s.client.Close()
		}
	}
}

// RoundTrip sends r to a server of the pool; it fills in r.URL's scheme and host, so r must be the caller's own.
// Errors are refusals.
func (p *Pool) RoundTrip(r *http.Request) (*http.Response, error) {
	original := r.Body
	if original != nil {
		defer closeUnlessTaken(&original)
		// A server that cannot be reached must not cost the next one the body.
		r.Body = shielded{original}
	}
	boundHints(r.Context())
	neverTwice(r.Header)
	var response *http.Response
	err := p.try(r.Context(), func(s *server) (err error) {
		r.URL.Scheme, r.URL.Host = s.url.Scheme, s.url.Host
		response, err = p.roundTrip(s, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	original = nil
	return response, nil
}

// try asks the servers in turn until one can be reached. It holds a place at the one that was asked when there is no error.
func (p *Pool) try(ctx context.Context, ask func(*server) error) error {
	start := int(p.turn.Add(1))
	for tried := 0; ; tried++ {
		s := p.choose(start + tried)
		err := p.once(ctx, s, ask)
		if err == nil {
			return nil
		}
		var d *h1.DialError
		if !errors.As(err, &d) {
			return classify(ctx, s, err)
		}
		if ctx.Err() == nil {
			s.eject(p.clock().Add(ejection))
		}
		if tried+1 >= len(p.servers) || ctx.Err() != nil {
			return classify(ctx, s, err)
		}
	}
}

// once asks one server, when a connection to it may be used.
func (p *Pool) once(ctx context.Context, s *server, ask func(*server) error) error {
	if err := s.acquire(ctx, p.settings.ConnectTimeout); err != nil {
		return err
	}
	if err := ask(s); err != nil {
		s.release()
		return err
	}
	return nil
}

// roundTrip sends r by the client that speaks what it asks for.
func (p *Pool) roundTrip(s *server, r *http.Request) (*http.Response, error) {
	var (
		response *http.Response
		err      error
		stall    = p.settings.StallTimeout
	)
	if s.client != nil && r.Header["Upgrade"] == nil {
		response, err = s.client.RoundTrip(r)
		stall = 0 // it looks after that itself
	} else {
		response, err = p.transport.RoundTrip(r)
	}
	if err != nil {
		return nil, err
	}
	response.Body = answerBody(s, response, stall)
	return response, nil
}

// neverTwice keeps the transport from sending again what is not idempotent by its method: it would take an Idempotency-Key
// header for a permission, which a client could give itself against an app that does not know the header. It looks for
// the canonical spelling alone, and names of fields are the same in any case (RFC 9110 §5.1), so another one is sent.
func neverTwice(h http.Header) {
	for _, name := range [...]string{"Idempotency-Key", "X-Idempotency-Key"} {
		if values, ok := h[name]; ok {
			delete(h, name)
			h[strings.ToLower(name)] = values
		}
	}
}

// choose is the server whose turn it is, one that can be reached if there is one.
func (p *Pool) choose(turn int) *server {
	now := p.clock()
	for i := range p.servers {
		if s := p.servers[(turn+i)%len(p.servers)]; s.up(now) {
			return s
		}
	}
	return p.servers[turn%len(p.servers)]
}

func (p *Pool) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: p.settings.ConnectTimeout, KeepAlive: 30 * time.Second}
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, &h1.DialError{Err: err}
	}
	if p.settings.StallTimeout <= 0 {
		return c, nil
	}
	return &conn{Conn: c, stall: p.settings.StallTimeout}, nil
}

// shielded is a request body that outlives the attempt to send it.
type shielded struct{ io.Reader }

func (shielded) Close() error { return nil }

func closeUnlessTaken(body *io.ReadCloser) {
	if *body != nil {
		(*body).Close()
	}
}
