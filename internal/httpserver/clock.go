package httpserver

import (
	"net/http"
	"sync/atomic"
	"time"
)

// A Clock gives the value of Date (RFC 9110 section 6.6.1), formatted once a second.
type Clock struct{ now atomic.Pointer[dateLine] }

type dateLine struct {
	second int64
	text   string
}

// Date returns the present as a Date field has it.
func (c *Clock) Date() string {
	now := time.Now()
	if d := c.now.Load(); d != nil && d.second == now.Unix() {
		return d.text
	}
	d := &dateLine{now.Unix(), now.UTC().Format(http.TimeFormat)}
	c.now.Store(d)
	return d.text
}
