package upstream

import (
	"context"
	"net"
	"net/url"

	"github.com/jotgate/jotgate/internal/upstream/h1"
)

// plainClient is our own client for a plain-HTTP server; nil for another.
func (p *Pool) plainClient(u *url.URL, standard bool) *h1.Client {
	if u.Scheme != "http" || standard {
		return nil
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	s := &p.settings
	return h1.New(h1.Settings{
		Address: net.JoinHostPort(u.Hostname(), port), ConnectTimeout: s.ConnectTimeout, ResponseTimeout: s.ResponseTimeout,
		StallTimeout: s.StallTimeout, IdleTimeout: idleExpiry, MaxIdle: s.MaxIdle,
	})
}

// Plain tells that every server of the pool can be asked by Do.
func (p *Pool) Plain() bool {
	for _, s := range p.servers {
		if s.client == nil {
			return false
		}
	}
	return true
}

// An Answer is one of a plain-HTTP server. It holds a place at its server until it is closed.
type Answer struct {
	h1.Answer
	From string // the server's host and port

	server *server
}

// Close gives up what was not read of the answer. It may be called more than once.
func (a *Answer) Close() error {
	err := a.Answer.Close()
	if s := a.server; s != nil {
		a.server = nil
		s.release()
	}
	return err
}

// Do is RoundTrip without net/http's types, for a pool that is Plain. Errors are refusals; a need not be closed then. q's body
// is not closed where no server could be asked.
func (p *Pool) Do(ctx context.Context, q *h1.Request, a *Answer) error {
	hostless := q.Host == "" // HTTP/1.0
	return p.try(ctx, func(s *server) error {
		a.From = s.url.Host
		if hostless {
			q.Host = s.url.Host
		}
		if err := s.client.Do(ctx, q, &a.Answer); err != nil {
			return err
		}
		a.server = s
		return nil
	})
}
