package h2

import (
	"time"

	"golang.org/x/net/http2"
)

// settings takes the client's (section 6.5).
func (c *Conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if excessive(f) {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := f.ForeachSetting(c.set); err != nil {
		return err
	}
	c.unblock()
	c.appendSettingsAck()
	return c.tooMany()
}

// settingsMost is how many settings a frame may have.
const settingsMost = 100

// excessive reports whether a frame has more settings than there are, or says the same ones again. One may be there
// twice: the values are applied in their order (section 6.5.3).
func excessive(f *http2.SettingsFrame) bool {
	if f.NumSettings() > settingsMost {
		return true
	}
	again := 0
	for i := range f.NumSettings() {
		for j := range i {
			if f.Setting(i).ID == f.Setting(j).ID {
				again++
			}
		}
	}
	return again > 1
}

func (c *Conn) set(s http2.Setting) error {
	if err := s.Valid(); err != nil {
		return err
	}
	switch s.ID {
	case http2.SettingHeaderTableSize:
		c.encoder.SetMaxDynamicTableSize(min(s.Val, tableSize))
	case http2.SettingInitialWindowSize:
		c.initialWindow = int64(s.Val)
		if c.initialWindow+c.mostGranted > windowMost {
			return c.checkWindows()
		}
	}
	return nil
}

// checkWindows holds each stream's window to its bound, and learns the largest anew.
func (c *Conn) checkWindows() error {
	c.mostGranted = 0
	for _, st := range c.streams {
		if st.window() > windowMost {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		c.mostGranted = max(c.mostGranted, st.granted)
	}
	return nil
}

// ping answers one (section 6.7). The answer to ours says that the client has read the first GOAWAY.
func (c *Conn) ping(f *http2.PingFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.IsAck() {
		switch {
		case f.Data == probe(c.probed):
			c.answered, c.roundTrip = c.probed, time.Since(c.probedAt)
			c.unblock()
		case c.going == warned && f.Data == lastPing:
			c.nameLast()
		}
		return nil
	}
	c.appendPing(true, f.Data)
	return c.tooMany()
}

// tooMany ends a connection whose client asks and does not read what it is answered. c.mu is held.
func (c *Conn) tooMany() error {
	if c.control > controlMost {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	return nil
}
