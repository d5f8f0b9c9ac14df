package h2

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"runtime"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Frames are appended to one buffer, whole and in the order that they have on the wire. Who has appended some sees to
// it that they are written: himself, or the one who is at it, who goes on until nothing is left. So eight answers that
// become ready together are one TLS record and one system call.

// A buffer is memory for frames, or for a part of an answer.
type buffer struct{ b []byte }

const bufferSize = 4 << 10

var buffers = sync.Pool{New: func() any { return &buffer{make([]byte, 0, bufferSize)} }}

func newBuffer() *buffer { return buffers.Get().(*buffer) }

func (b *buffer) free() {
	if b != nil && cap(b.b) <= 2*pendingMost {
		b.b = b.b[:0]
		buffers.Put(b)
	}
}

// flushRounds is how often somebody writes for others before a goroutine of its own does: his own stream has to go on.
const flushRounds = 4

// flush writes what has gathered, unless somebody is at it. c.mu is held, but not while it writes.
func (c *Conn) flush() {
	if c.flushing || c.out == nil {
		return
	}
	c.flushing = true
	c.mu.Unlock()
	runtime.Gosched() // those who are about to say something do it now
	c.mu.Lock()
	for rounds := 0; c.out != nil; rounds++ {
		if rounds == flushRounds && !c.closed {
			c.workers.Go(c.flushOn)
			return
		}
		c.writeOut()
	}
	c.flushing = false
	c.flushed.Broadcast()
}

// flushOn goes on for somebody who has written enough for others.
func (c *Conn) flushOn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.out != nil {
		c.writeOut()
	}
	c.flushing = false
	c.flushed.Broadcast()
}

// writeOut writes what there is now; meanwhile others append to the next buffer.
func (c *Conn) writeOut() {
	out := c.out
	c.out, c.control = nil, 0
	if c.failed == nil {
		c.mu.Unlock()
		_, err := c.socket.Write(out.b)
		if err != nil {
			c.shut() // the counter of open connections hears of it, and may be asking one of them something
		}
		c.mu.Lock()
		if err != nil {
			c.failed = err
		}
	}
	out.free()
	c.unblock()
}

// shut closes a socket that cannot be written, without a word: the reader hears of it.
func (c *Conn) shut() {
	under := c.socket
	if session, ok := under.(*tls.Conn); ok {
		under = session.NetConn()
	}
	_ = under.Close()
}

// kick has written what others than handlers have appended: they do not wait for it.
func (c *Conn) kick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out != nil && !c.flushing && !c.closed {
		c.flushing = true
		c.workers.Go(c.flushOn)
	}
}

// pending is how much waits to be written. c.mu is held, here and below.
func (c *Conn) pending() int {
	if c.out == nil {
		return 0
	}
	return len(c.out.b)
}

const frameHead = 9

// appendFrame begins a frame (RFC 9113 section 4.1) and gives the buffer that its payload goes to.
func (c *Conn) appendFrame(length int, kind http2.FrameType, flags http2.Flags, stream uint32) *buffer {
	if c.out == nil {
		c.out = newBuffer()
	}
	b := append(c.out.b, byte(length>>16), byte(length>>8), byte(length), byte(kind), byte(flags))
	c.out.b = binary.BigEndian.AppendUint32(b, stream)
	return c.out
}

func (c *Conn) appendNumber(n uint32) { c.out.b = binary.BigEndian.AppendUint32(c.out.b, n) }

func (c *Conn) appendReset(stream uint32, code http2.ErrCode) {
	c.appendFrame(4, http2.FrameRSTStream, 0, stream)
	c.appendNumber(uint32(code))
	c.control++
}

func (c *Conn) appendWindowUpdate(stream uint32, n int64) {
	c.appendFrame(4, http2.FrameWindowUpdate, 0, stream)
	c.appendNumber(uint32(n))
}

func (c *Conn) appendPing(ack bool, data [8]byte) {
	flags := http2.Flags(0)
	if ack {
		flags = http2.FlagPingAck
	}
	out := c.appendFrame(8, http2.FramePing, flags, 0)
	out.b = append(out.b, data[:]...)
	if ack {
		c.control++
	}
}

// appendProbe sends a PING whose answer shows that all that was written before has reached the client. c.mu is held.
func (c *Conn) appendProbe() {
	c.probed++
	c.probedAt = time.Now()
	c.appendPing(false, probe(c.probed))
}

// probe is the payload of the PING of that number.
func probe(n uint64) (data [8]byte) {
	binary.BigEndian.PutUint64(data[:], n)
	data[0] = 'p'
	return data
}

func (c *Conn) appendGoAway(last uint32, code http2.ErrCode) {
	c.appendFrame(8, http2.FrameGoAway, 0, 0)
	c.appendNumber(last)
	c.appendNumber(uint32(code))
}

func (c *Conn) appendSettingsAck() {
	c.appendFrame(0, http2.FrameSettings, http2.FlagSettingsAck, 0)
	c.control++
}

// appendSettings says what we take. The list's size is told as section 6.5.2 counts it, 32 bytes beside each field's
// own; the limit counts what HTTP/1.1 would write, 4. A list over this is over one of the limits in any case.
func (c *Conn) appendSettings() {
	limits := c.server.Limits
	settings := []http2.Setting{
		{ID: http2.SettingMaxConcurrentStreams, Val: c.server.Streams},
		{ID: http2.SettingInitialWindowSize, Val: streamWindow},
		{ID: http2.SettingEnableConnectProtocol, Val: 1}, // RFC 8441 section 3
		{ID: http2.SettingMaxHeaderListSize, Val: uint32(limits.HeaderBytes + 28*limits.Fields)},
	}
	c.appendFrame(6*len(settings), http2.FrameSettings, 0, 0)
	for _, s := range settings {
		c.out.b = binary.BigEndian.AppendUint16(c.out.b, uint16(s.ID))
		c.appendNumber(s.Val)
	}
	c.appendWindowUpdate(0, windowSize-65535)
}

// appendData writes a part of a body that the windows have room for.
func (c *Conn) appendData(st *stream, p []byte, last bool) {
	flags := http2.Flags(0)
	if last {
		flags = http2.FlagDataEndStream
	}
	out := c.appendFrame(len(p), http2.FrameData, flags, st.id)
	out.b = append(out.b, p...)
	c.spend(st, len(p))
}

// appendHeaders writes a header block, in as many frames as it takes.
func (c *Conn) appendHeaders(st *stream, fields []hpack.HeaderField, last bool) {
	c.block.Reset()
	for _, f := range fields {
		_ = c.encoder.WriteField(f) // a bytes.Buffer does not fail
	}
	kind, flags := http2.FrameHeaders, http2.Flags(0)
	if last {
		flags = http2.FlagHeadersEndStream
	}
	for first := true; first || c.block.Len() > 0; first = false {
		part := c.block.Next(frameSize)
		if c.block.Len() == 0 {
			flags |= http2.FlagHeadersEndHeaders
		}
		out := c.appendFrame(len(part), kind, flags, st.id)
		out.b = append(out.b, part...)
		kind, flags = http2.FrameContinuation, 0
	}
	if c.block.Cap() > bufferSize { // a connection at rest should hold little
		c.block = *bytes.NewBuffer(nil)
	}
}
