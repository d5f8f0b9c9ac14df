package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"time"

	"github.com/jotgate/jotgate/internal/upstream/h1"
)

const (
	alpnHTTP1 = "http/1.1"
	alpnHTTP2 = "h2"

	tcpProbes = 30 * time.Second
)

// A dialer opens connections to one address.
type dialer struct {
	net     net.Dialer
	network string // tcp, unix
	address string
	tls     *tls.Config // nil: plain
}

// newDialer reads a server's URL: http, h2c and https name a host, unix and unix+h2c a path. address is where the host
// was found to be; "" has each connection look it up.
func newDialer(u *url.URL, address string, s *Settings, base *tls.Config) *dialer {
	d := &dialer{net: net.Dialer{Timeout: s.ConnectTimeout, KeepAlive: tcpProbes}, network: "tcp", address: hostPort(u)}
	if address != "" {
		d.address = address
	}
	switch u.Scheme {
	case "https":
		d.tls = base.Clone()
		if d.tls.ServerName == "" {
			d.tls.ServerName = u.Hostname()
		}
	case "unix", "unix+h2c":
		d.network, d.address = "unix", socketPath(u)
	}
	return d
}

func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// socketPath is the path of unix:/run/app.sock, or of unix:app.sock.
func socketPath(u *url.URL) string {
	if u.Opaque != "" {
		return u.Opaque
	}
	return u.Path
}

// name is how logs and metrics call a server.
func name(u *url.URL) string {
	if u.Host == "" {
		return "unix:" + socketPath(u)
	}
	return u.Host
}

func (d *dialer) plain(ctx context.Context) (net.Conn, error) {
	return d.net.DialContext(ctx, d.network, d.address)
}

// secure shakes hands, and offers these protocols (RFC 7301).
func (d *dialer) secure(ctx context.Context, protocols ...string) (*tls.Conn, error) {
	if d.net.Timeout > 0 {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, d.net.Timeout)
		defer cancel()
	}
	plain, err := d.plain(ctx)
	if err != nil {
		return nil, err
	}
	config := d.tls.Clone()
	config.NextProtos = protocols
	c := tls.Client(plain, config)
	if err := c.HandshakeContext(ctx); err != nil {
		plain.Close()
		return nil, err
	}
	return c, nil
}

// newClient returns the client for a server, by its URL's scheme.
func newClient(u *url.URL, address string, s *Settings, base *tls.Config, unasked func()) client {
	d := newDialer(u, address, s, base)
	switch u.Scheme {
	case "https":
		return newSecureClient(s, d, unasked)
	case "h2c", "unix+h2c":
		return newHTTP2Client(s, d.address, false, d.plain)
	}
	return plainClient{h1.New(http1Settings(s, d.plain, unasked))}
}

func http1Settings(s *Settings, dial func(context.Context) (net.Conn, error), unasked func()) h1.Settings {
	return h1.Settings{
		Dial: dial, ConnectTimeout: s.ConnectTimeout, ResponseTimeout: s.ResponseTimeout, StallTimeout: s.StallTimeout,
		IdleTimeout: idleExpiry, MaxIdle: s.MaxIdle, Unasked: unasked,
	}
}
