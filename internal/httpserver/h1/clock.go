package h1

import (
	"net/http"
	"sync/atomic"
	"time"
)

// A Clock tells the value of Date (RFC 9110 section 6.6.1), and writes it anew once a second.
type Clock struct{ now atomic.Pointer[dateLine] }

type dateLine struct {
	second int64
	text   string
}

// Date is the present.
func (c *Clock) Date() string {
	now := time.Now()
	if d := c.now.Load(); d != nil && d.second == now.Unix() {
		return d.text
	}
	d := &dateLine{now.Unix(), now.UTC().Format(http.TimeFormat)}
	c.now.Store(d)
	return d.text
}
