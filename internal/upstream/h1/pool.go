package h1

import (
	"context"
	"slices"
	"time"
)

// sweepEvery is how often connections at rest are looked at: one that the server closed holds a descriptor until then.
const sweepEvery = 5 * time.Second

// take gives a connection at rest, the one used last, or a new one.
func (c *Client) take(ctx context.Context) (k *conn, kept bool, err error) {
	for k := c.pop(); k != nil; k = c.pop() {
		if k.alive() {
			return k, true, nil
		}
		k.Close()
	}
	k, err = c.dial(ctx)
	return k, false, err
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
	d, err := c.dialer.DialContext(ctx, "tcp", c.settings.Address)
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

// keep takes back a connection on which everything was said.
func (c *Client) keep(k *conn) {
	now := time.Now()
	k.rest(now)
	c.mu.Lock()
	if c.closed || len(c.idle) >= c.settings.MaxIdle {
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
		if k.since.After(oldest) && k.alive() {
			return false
		}
		k.Close()
		return true
	})
	if c.armed = len(c.idle) > 0; c.armed {
		c.schedule()
	}
}

// Close closes the connections at rest; those in use are closed when their answers are over. A closed client can still ask,
// but keeps nothing.
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
