package h1

import (
	"context"
	"slices"
	"time"
)

// sweepEvery is how often connections at rest are looked at: one that the server closed holds a descriptor until then.
const sweepEvery = 5 * time.Second

// distrustFor is how long no connection is kept to a server that sent bytes without being asked.
const distrustFor = time.Minute

// take gives a connection at rest, the one used last, or a new one.
func (c *Client) take(ctx context.Context) (k *conn, kept bool, err error) {
	for k := c.pop(); k != nil; k = c.pop() {
		if c.usable(k) {
			return k, true, nil
		}
		k.Close()
	}
	k, err = c.dial(ctx)
	return k, false, err
}

// usable reports whether an idle connection may carry another request.
func (c *Client) usable(k *conn) bool {
	switch k.look() {
	case quiet:
		now := time.Now()
		return now.UnixNano() >= c.distrust.Load() && (k.until.IsZero() || now.Before(k.until))
	case unasked:
		c.unasked()
	}
	return false
}

// unasked stops keeping connections for a while: bytes that belong to no request would be taken for the next one's
// answer if they came a moment later, so every answer of this server may be one late.
func (c *Client) unasked() {
	c.distrust.Store(time.Now().Add(distrustFor).UnixNano())
	if c.settings.Unasked != nil {
		c.settings.Unasked()
	}
}

func (c *Client) pop() *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := len(c.idle) - 1
	if last < 0 {
		return nil
	}
	k := c.idle[last]
	c.idle[last] = nil
	c.idle = c.idle[:last]
	return k
}

func (c *Client) dial(ctx context.Context) (*conn, error) {
	d, err := c.settings.Dial(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, &DialError{err}
	}
	k, err := newConn(d)
	if err != nil {
		d.Close()
		return nil, &DialError{err}
	}
	return k, nil
}

// keep takes back a connection on which everything was said. The server keeps it as long as the duration says; zero: it
// says nothing.
func (c *Client) keep(k *conn, as time.Duration) {
	now := time.Now()
	k.rest(now)
	if k.until = (time.Time{}); as > 0 {
		k.until = now.Add(as)
	}
	c.mu.Lock()
	if c.closed || len(c.idle) >= c.settings.MaxIdle || now.UnixNano() < c.distrust.Load() {
		c.mu.Unlock()
		k.Close()
		return
	}
	c.idle = append(c.idle, k)
	if !c.armed {
		c.armed = true
		c.schedule()
	}
	c.mu.Unlock()
}

// schedule has the idle connections looked at; the lock is held.
func (c *Client) schedule() {
	next := min(sweepEvery, c.settings.IdleTimeout)
	if c.sweep == nil {
		c.sweep = time.AfterFunc(next, c.clean)
	} else {
		c.sweep.Reset(next)
	}
}

// clean closes what has been at rest for too long, or was closed by the server. It runs while anything is at rest.
func (c *Client) clean() {
	oldest := time.Now().Add(-c.settings.IdleTimeout)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = slices.DeleteFunc(c.idle, func(k *conn) bool {
		if k.since.After(oldest) && c.usable(k) {
			return false
		}
		k.Close()
		return true
	})
	if c.armed = len(c.idle) > 0; c.armed {
		c.schedule()
	}
}

// Close closes the connections at rest; those in use are closed when their answers are over. A closed client can still
// ask, but keeps nothing.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed, c.armed = true, false
	if c.sweep != nil {
		c.sweep.Stop()
	}
	for _, k := range c.idle {
		k.Close()
	}
	c.idle = nil
}
