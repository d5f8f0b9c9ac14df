package h2

import (
	"golang.org/x/net/http2"

	"github.com/jotgate/jotgate/internal/refusal"
)

// data takes the payload of a DATA frame (RFC 9113 section 6.1). It counts, whatever becomes of the stream (section
// 6.9).
func (c *Conn) data(h http2.FrameHeader) error {
	padding, err := c.padding(h)
	if err != nil {
		return err
	}
	size := int(h.Length)
	payload := size - padding
	c.traffic.vain += frameHead + int64(padding)
	c.traffic.useful += int64(payload)
	c.mu.Lock()
	st, err := c.stream(h.StreamID)
	if err == nil && int64(size) > c.recvWindow {
		err = http2.ConnectionError(http2.ErrCodeFlowControl)
	}
	if err != nil {
		c.mu.Unlock()
		return err
	}
	c.recvWindow -= int64(size)
	c.received += int64(payload)
	c.accept(size)
	ended := h.Flags.Has(http2.FlagDataEndStream)
	var fault error
	switch {
	case st != nil:
		fault = st.admit(size, payload, ended)
	case !c.past(h.StreamID):
		fault = http2.StreamError{StreamID: h.StreamID, Code: http2.ErrCodeStreamClosed}
	}
	if st == nil || fault != nil {
		c.restore(size)
	}
	c.mu.Unlock()
	if st == nil || fault != nil {
		if err := c.in.discard(size - padByte(h)); err != nil {
			return err
		}
		return fault
	}
	return c.fill(st, h, payload, ended)
}

// past records that what the client says on the stream is no fault, although it is dropped. c.mu is held.
func (c *Conn) past(id uint32) bool { return id > c.cut.newest || c.cut.has(id) }

// padByte is the length of the field that tells the padding's.
func padByte(h http2.FrameHeader) int {
	if h.Flags.Has(http2.FlagDataPadded) {
		return 1
	}
	return 0
}

// padding reads how much of the frame is none of the body, with that number itself.
func (c *Conn) padding(h http2.FrameHeader) (int, error) {
	if h.StreamID == 0 {
		return 0, http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if !h.Flags.Has(http2.FlagDataPadded) {
		return 0, nil
	}
	if h.Length == 0 {
		return 0, http2.ConnectionError(http2.ErrCodeFrameSize)
	}
	n, err := c.in.ReadByte()
	if err == nil && uint32(n) >= h.Length {
		err = http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return int(n) + 1, err
}

// admit holds a frame to the stream's state, its window and the body's length. Conn.mu is held.
func (st *stream) admit(size, payload int, ended bool) error {
	b := &st.body
	switch {
	case st.heard:
		return http2.StreamError{StreamID: st.id, Code: http2.ErrCodeStreamClosed}
	case int64(size) > st.recvWindow:
		return http2.StreamError{StreamID: st.id, Code: http2.ErrCodeFlowControl}
	case b.left >= 0 && (int64(payload) > b.left || ended && int64(payload) < b.left): // section 8.1.1
		b.breakOff(&refusal.Error{Reason: refusal.BodyMalformed, Detail: "DATA and Content-Length differ"})
		return http2.StreamError{StreamID: st.id, Code: http2.ErrCodeProtocol}
	}
	st.recvWindow -= int64(size)
	if b.left >= 0 {
		b.left -= int64(payload)
	}
	return nil
}

// fill reads a payload as it comes into the body's memory.
func (c *Conn) fill(st *stream, h http2.FrameHeader, payload int, ended bool) error {
	for left := payload; left > 0; {
		p, err := c.in.some(left)
		if err != nil {
			return err
		}
		c.mu.Lock()
		st.body.append(p)
		c.mu.Unlock()
		if err := c.in.discard(len(p)); err != nil {
			return err
		}
		left -= len(p)
	}
	rest := int(h.Length) - payload
	if err := c.in.discard(rest - padByte(h)); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if rest > 0 {
		c.restore(rest)
		st.credit(rest)
	}
	if ended {
		st.hear()
	}
	return nil
}

// trailers end a body (section 8.1).
func (c *Conn) trailers(st *stream, ended bool) error {
	h := &c.head
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case st.heard:
		return http2.StreamError{StreamID: st.id, Code: http2.ErrCodeStreamClosed}
	case h.large && !h.bad && ended:
		st.body.breakOff(&refusal.Error{Reason: refusal.HeaderTooLarge, Detail: "trailers over the limit"})
		return http2.StreamError{StreamID: st.id, Code: http2.ErrCodeEnhanceYourCalm}
	case h.bad, !ended, st.body.left > 0:
		st.body.breakOff(&refusal.Error{
			Reason: refusal.BodyMalformed,
			Detail: "malformed trailers, or before the body's end",
		})
		return http2.StreamError{StreamID: st.id, Code: http2.ErrCodeProtocol}
	}
	for _, f := range h.fields {
		if _, announced := st.body.trailer[f.name]; announced {
			st.body.trailing = append(st.body.trailing, f)
		}
	}
	st.hear()
	return nil
}
