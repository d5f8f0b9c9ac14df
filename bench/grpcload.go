//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// calls drives an address with unary calls for a turn, on a few connections with several streams each, as gRPC's
// clients do.
func (b *bench) calls(ctx context.Context, address string) (tally, error) {
	connections := max(1, b.connections/grpcStreams)
	end := time.Now().Add(b.turn)
	tallies, failed := make([]tally, connections), make([]error, connections)
	var all sync.WaitGroup
	for i := range connections {
		all.Go(func() {
			token := b.tokens.good["ES256"][i%len(b.tokens.good["ES256"])]
			c, err := newCaller(ctx, address, token, grpcMessage)
			if err != nil {
				failed[i] = err
				return
			}
			defer c.close()
			tallies[i], failed[i] = c.play(end, grpcStreams)
		})
	}
	all.Wait()
	var sum tally
	for i, t := range tallies {
		if failed[i] != nil {
			return tally{}, fmt.Errorf("gRPC: %w", failed[i])
		}
		sum.requests, sum.wrong = sum.requests+t.requests, sum.wrong+t.wrong
	}
	return sum, nil
}

// callOnce makes one call and compares its status: grpc-status, or that of HTTP where it is not 200.
func callOnce(ctx context.Context, address, token, status string) error {
	c, err := newCaller(ctx, address, token, grpcMessage)
	if err != nil {
		return err
	}
	defer c.close()
	c.want = status
	t, err := c.play(time.Time{}, 1)
	if err == nil && t.wrong > 0 {
		err = fmt.Errorf("status %s, want %s", c.last, status)
	}
	return err
}

// A caller is one connection of a gRPC client. It writes its calls ahead of what it reads, in as few writes as it can.
type caller struct {
	conn    net.Conn
	stop    func() bool
	in      *bufio.Reader
	out     *bufio.Writer
	frames  *http2.Framer
	encoder *hpack.Encoder
	block   bytes.Buffer
	fields  []hpack.HeaderField
	message []byte

	want, last string // statuses
	next       uint32 // stream
	window     int    // of the connection, for what we send
	unread     int    // bytes whose window was not given back
	open       map[uint32]*call
}

// A call is one that is under way.
type call struct {
	message bytes.Buffer
	status  string
}

func newCaller(ctx context.Context, address, token string, size int) (*caller, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &caller{
		conn: conn, in: bufio.NewReaderSize(conn, 64<<10), out: bufio.NewWriterSize(conn, 64<<10), want: "0", next: 1,
		window: 65535, open: map[uint32]*call{}, message: make([]byte, 5+size),
	}
	c.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	c.message[4] = byte(size)
	copy(c.message[5:], bytes.Repeat([]byte("x"), size))
	c.frames = http2.NewFramer(c.out, c.in)
	c.frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.frames.SetReuseFrames()
	c.encoder = hpack.NewEncoder(&c.block)
	for _, f := range [][2]string{
		{":method", "POST"},
		{":scheme", "http"},
		{":path", grpcUnary},
		{":authority", address},
		{"content-type", "application/grpc"},
		{"user-agent", "grpc-go/1.80.0"},
		{"te", "trailers"},
		{"authorization", "Bearer " + token},
	} {
		if token != "" || f[0] != "authorization" {
			c.fields = append(c.fields, hpack.HeaderField{Name: f[0], Value: f[1]})
		}
	}
	_, _ = io.WriteString(c.out, http2.ClientPreface) // what fails is said by flush
	return c, c.frames.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0})
}

func (c *caller) close() {
	c.stop()
	_ = c.conn.Close()
}

// play keeps so many calls under way until the time is over, and then takes the answers of those that are.
func (c *caller) play(end time.Time, streams int) (t tally, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(patience + max(0, time.Until(end)))); err != nil {
		return t, err
	}
	for more := true; more || len(c.open) > 0; {
		for more && len(c.open) < streams && c.window >= len(c.message) {
			if err := c.begin(); err != nil {
				return t, err
			}
			more = time.Now().Before(end)
		}
		if c.in.Buffered() == 0 {
			if err := c.out.Flush(); err != nil {
				return t, err
			}
		}
		done, err := c.read()
		if err != nil {
			return t, err
		}
		if done == nil {
			continue
		}
		t.requests++
		whole := c.want != "0" || bytes.Equal(done.message.Bytes(), c.message)
		if c.last = done.status; c.last != c.want || !whole {
			t.wrong++
		}
	}
	return t, nil
}

func (c *caller) begin() error {
	c.block.Reset()
	for _, f := range c.fields {
		if err := c.encoder.WriteField(f); err != nil {
			return err
		}
	}
	id := c.next
	c.next += 2
	c.open[id] = &call{}
	c.window -= len(c.message)
	if err := c.frames.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: c.block.Bytes(), EndHeaders: true,
	}); err != nil {
		return err
	}
	return c.frames.WriteData(id, true, c.message)
}

// read takes one frame, and returns the call that it ends, if it ends one.
func (c *caller) read() (*call, error) {
	frame, err := c.frames.ReadFrame()
	if err != nil {
		return nil, err
	}
	id := frame.Header().StreamID
	under := c.open[id]
	ended := false
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if f.IsAck() {
			return nil, nil
		}
		if size, has := f.Value(http2.SettingHeaderTableSize); has {
			c.encoder.SetMaxDynamicTableSizeLimit(size)
		}
		return nil, c.frames.WriteSettingsAck()
	case *http2.PingFrame:
		if f.IsAck() {
			return nil, nil
		}
		return nil, c.frames.WritePing(true, f.Data)
	case *http2.WindowUpdateFrame:
		if id == 0 {
			c.window += int(f.Increment)
		}
		return nil, nil
	case *http2.GoAwayFrame:
		return nil, fmt.Errorf("GOAWAY with %v", f.ErrCode)
	case *http2.RSTStreamFrame:
		return nil, fmt.Errorf("a call was reset with %v", f.ErrCode)
	case *http2.MetaHeadersFrame:
		if under == nil {
			return nil, fmt.Errorf("HEADERS on stream %d", id)
		}
		under.head(f)
		ended = f.StreamEnded()
	case *http2.DataFrame:
		if under == nil {
			return nil, fmt.Errorf("DATA on stream %d", id)
		}
		under.message.Write(f.Data())
		if c.unread += len(f.Data()); c.unread >= 32<<10 {
			if err := c.frames.WriteWindowUpdate(0, uint32(c.unread)); err != nil {
				return nil, err
			}
			c.unread = 0
		}
		ended = f.StreamEnded()
	}
	if !ended {
		return nil, nil
	}
	delete(c.open, id)
	return under, nil
}

func (c *call) head(f *http2.MetaHeadersFrame) {
	for _, field := range f.Fields {
		switch {
		case field.Name == "grpc-status", field.Name == ":status" && field.Value != "200":
			c.status = field.Value
		}
	}
}
