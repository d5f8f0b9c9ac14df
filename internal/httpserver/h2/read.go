package h2

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/net/http2"
)

// read does what the client's frames say until one of them ends the connection, or nothing more is to come.
func (c *Conn) read() error {
	if err := c.greet(); err != nil {
		return err
	}
	for {
		if err := c.frame(); err != nil {
			if err = c.explain(err); err != nil {
				return err
			}
		}
	}
}

// greet exchanges prefaces (RFC 9113 section 3.4). The client's must come in the time of a head.
func (c *Conn) greet() error {
	if c.tls != nil && !adequate(c.tls) {
		return http2.ConnectionError(http2.ErrCodeInadequateSecurity)
	}
	c.hurry()
	defer c.unhurry()
	for i := range len(http2.ClientPreface) {
		switch b, err := c.in.ReadByte(); {
		case err != nil:
			return errGone
		case b != http2.ClientPreface[i]:
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
	}
	h, err := c.framer.ReadFrameHeader()
	if err == nil && h.Type != http2.FrameSettings {
		err = http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if err == nil {
		err = c.other(h)
	}
	if err != nil {
		return c.explain(err)
	}
	return nil
}

// adequate knows the suites of TLS 1.2 that section 9.2.2 does not prohibit: those with a key of its own for each
// connection, and an AEAD. All of TLS 1.3 are.
func adequate(s *tls.ConnectionState) bool {
	switch s.CipherSuite {
	case tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:
		return true
	}
	return s.Version >= tls.VersionTLS13
}

// explain makes of a fault what it costs: nothing, a stream, or the connection.
func (c *Conn) explain(err error) error {
	var stream http2.StreamError
	var connection http2.ConnectionError
	switch {
	case errors.As(err, &stream):
		return c.reset(stream)
	case errors.As(err, &connection):
		return err
	case errors.Is(err, http2.ErrFrameTooLarge):
		return fmt.Errorf("%w: %w", err, http2.ConnectionError(http2.ErrCodeFrameSize))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSilent
	}
	return errGone
}

// frame reads one frame. DATA goes straight into its stream's memory; for the rest, the library knows the grammar.
func (c *Conn) frame() error {
	if err := c.in.rest(); err != nil {
		return err
	}
	h, err := c.framer.ReadFrameHeader()
	if err != nil {
		return err
	}
	if err := c.calm(); err != nil {
		return err
	}
	if h.Type == http2.FrameData {
		return c.data(h)
	}
	return c.other(h)
}

// other reads the rest of a frame, within the time of a head if it begins a header block. Most blocks are here already,
// and cost no look at the clock.
func (c *Conn) other(h http2.FrameHeader) error {
	if h.Type != http2.FrameHeaders {
		c.traffic.vain += frameHead + int64(h.Length)
		return c.obey(h)
	}
	if h.Flags.Has(http2.FlagHeadersEndHeaders) && c.in.Buffered() >= int(h.Length) {
		return c.obey(h)
	}
	c.hurry()
	defer c.unhurry()
	err := c.obey(h)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errTooSlow
	}
	return err
}

// obey does what a frame says.
func (c *Conn) obey(h http2.FrameHeader) error {
	f, err := c.framer.ReadFrameForHeader(h)
	if err != nil {
		if stream := (http2.StreamError{}); h.Type == http2.FrameHeaders && errors.As(err, &stream) {
			// the block was not decoded: the tables would differ from now on (section 4.3)
			return http2.ConnectionError(stream.Code)
		}
		return err
	}
	switch f := f.(type) {
	case *http2.HeadersFrame:
		return c.headers(f)
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.WindowUpdateFrame:
		return c.windowUpdate(f)
	case *http2.PingFrame:
		return c.ping(f)
	case *http2.RSTStreamFrame:
		return c.rstStream(f)
	case *http2.PriorityFrame:
		if f.StreamDep == f.StreamID { // RFC 7540 section 5.3.1; priorities mean nothing here
			return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol}
		}
	case *http2.GoAwayFrame: // it takes no more pushes, of which there are none, and will soon be gone
		c.mu.Lock()
		c.nameLast()
		c.mu.Unlock()
	case *http2.PushPromiseFrame: // only servers push (section 8.4)
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return nil
}

// hurry gives what is coming the time of a head.
func (c *Conn) hurry() {
	if limit := c.server.Limits.HeaderTimeout; limit > 0 {
		now := time.Now()
		c.mu.Lock()
		c.headDue = now.Add(limit)
		c.await(now)
		c.mu.Unlock()
	}
}

func (c *Conn) unhurry() {
	c.mu.Lock()
	c.headDue = time.Time{}
	c.await(time.Now())
	c.mu.Unlock()
}
