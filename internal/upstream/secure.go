package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/jotgate/jotgate/internal/upstream/h1"
)

// A secureClient speaks with an https server by the version of HTTP that the server chooses in the handshake. The last
// choice is assumed of the next connection, and a different one is followed. Upgrades are HTTP/1.1's.
type secureClient struct {
	*dialer
	first   *h1.Client
	second  *http2Client
	upgrade *h1.Client // its connections offer HTTP/1.1 alone, and none is kept

	speaksHTTP2 atomic.Bool
	spare       atomic.Pointer[spare] // made for the first client, chosen to be HTTP/2
}

// A spare is for the request that made it, which asks for it at once. Later the server may have closed it.
type spare struct {
	*tls.Conn
	made time.Time
}

const spareFor = time.Second

// errOtherProtocol means that the server chose another version of HTTP than the client that dialed speaks.
var errOtherProtocol = errors.New("the server changed its version of HTTP")

func newSecureClient(s *Settings, d *dialer, unasked func()) *secureClient {
	c := &secureClient{dialer: d}
	c.first = h1.New(http1Settings(s, c.dialFirst, unasked))
	c.second = newHTTP2Client(s, d.address, true, c.dialSecond)
	once := http1Settings(s, func(ctx context.Context) (net.Conn, error) { return d.secure(ctx, alpnHTTP1) }, nil)
	once.MaxIdle = 0
	c.upgrade = h1.New(once)
	return c
}

func (c *secureClient) do(ctx context.Context, q *h1.Request, a *Answer) error {
	if q.Upgrade != "" {
		return c.upgrade.Do(ctx, q, &a.Answer)
	}
	err := c.doOnce(ctx, q, a)
	if errors.Is(err, errOtherProtocol) {
		err = c.doOnce(ctx, q, a) // nothing was sent
		c.closeSpare()            // another connection served the request: this one could be dead when it is wanted
	}
	return err
}

func (c *secureClient) doOnce(ctx context.Context, q *h1.Request, a *Answer) error {
	if c.speaksHTTP2.Load() {
		return c.second.do(ctx, q, a)
	}
	return c.first.Do(ctx, q, &a.Answer)
}

func (c *secureClient) dialFirst(ctx context.Context) (net.Conn, error) {
	conn, err := c.secure(ctx, alpnHTTP2, alpnHTTP1)
	if err != nil {
		return nil, err
	}
	if conn.ConnectionState().NegotiatedProtocol != alpnHTTP2 {
		return conn, nil
	}
	made := &spare{conn, time.Now()}
	if other := c.spare.Swap(made); other != nil {
		other.Close()
	}
	time.AfterFunc(spareFor, func() {
		if c.spare.CompareAndSwap(made, nil) {
			made.Close()
		}
	})
	c.speaksHTTP2.Store(true)
	return nil, errOtherProtocol
}

func (c *secureClient) dialSecond(ctx context.Context) (net.Conn, error) {
	if s := c.spare.Swap(nil); s != nil {
		if time.Since(s.made) < spareFor {
			return s.Conn, nil
		}
		s.Close()
	}
	conn, err := c.secure(ctx, alpnHTTP2, alpnHTTP1)
	if err != nil {
		return nil, err
	}
	if conn.ConnectionState().NegotiatedProtocol == alpnHTTP2 {
		return conn, nil
	}
	conn.Close()
	c.speaksHTTP2.Store(false)
	return nil, errOtherProtocol
}

func (c *secureClient) close() {
	c.first.Close()
	c.second.close()
	c.upgrade.Close()
	c.closeSpare()
}

func (c *secureClient) closeSpare() {
	if s := c.spare.Swap(nil); s != nil {
		s.Close()
	}
}
