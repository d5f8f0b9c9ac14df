package h2

import "golang.org/x/net/http2"

// settings takes the client's (section 6.5).
func (c *Conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := f.ForeachSetting(c.set); err != nil {
		return err
	}
	c.appendSettingsAck()
	return c.tooMany()
}

func (c *Conn) set(s http2.Setting) error {
	if err := s.Valid(); err != nil {
		return err
	}
	switch s.ID {
	case http2.SettingHeaderTableSize:
		c.encoder.SetMaxDynamicTableSize(min(s.Val, tableSize))
	case http2.SettingInitialWindowSize:
		more := int64(s.Val) - c.initialWindow
		c.initialWindow = int64(s.Val)
		for _, st := range c.streams {
			if st.sendWindow += more; st.sendWindow > windowMost {
				return http2.ConnectionError(http2.ErrCodeFlowControl)
			}
			st.writable.ring()
		}
	}
	return nil
}

// ping answers one (section 6.7). The answer to ours says that the client has read the first GOAWAY.
func (c *Conn) ping(f *http2.PingFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.IsAck() {
		if c.going == warned && f.Data == lastPing {
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
