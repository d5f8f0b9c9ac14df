package h2_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Whatever bytes come behind the preface, a connection ends when its client does: no panic, no deadlock, no goroutine
// that stays, and no more calls of the handler than HEADERS frames.
func FuzzConn(f *testing.F) {
	for _, send := range []func(*http2.Framer, []byte){
		func(w *http2.Framer, block []byte) { seed(w, 1, block, true) },
		func(w *http2.Framer, block []byte) {
			seed(w, 1, block, false)
			_ = w.WriteDataPadded(1, false, []byte("hello"), make([]byte, 3))
			_ = w.WriteWindowUpdate(1, 7)
			_ = w.WriteData(1, true, []byte("hello"))
			seed(w, 3, block, true)
		},
		func(w *http2.Framer, block []byte) {
			_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:3]})
			_ = w.WriteContinuation(1, false, block[3:5])
			_ = w.WriteContinuation(1, true, block[5:])
			_ = w.WriteRSTStream(1, http2.ErrCodeCancel)
			_ = w.WritePing(false, [8]byte{})
			_ = w.WritePriority(1, http2.PriorityParam{StreamDep: 3})
			_ = w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0},
				http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
			seed(w, 5, block, false)
			seed(w, 5, nil, true)
			_ = w.WriteGoAway(0, 0, nil)
		},
	} {
		var b, block bytes.Buffer
		e := hpack.NewEncoder(&block)
		for _, field := range [][2]string{
			{":method", "POST"},
			{":scheme", "https"},
			{":authority", "x"},
			{":path", "/"},
			{"cookie", "a"},
			{"trailer", "b"},
		} {
			_ = e.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}) // a buffer does not fail
		}
		send(http2.NewFramer(&b, nil), block.Bytes())
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		var calls atomic.Int32
		s := ours(func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			_, _ = io.Copy(w, r.Body)
		})
		s.Limits.HeaderBytes, s.Limits.HeaderTimeout, s.WriteStall = 512, time.Second, time.Second
		c := &script{Reader: bytes.NewReader(append([]byte(http2.ClientPreface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
			stream...))}
		s.NewConn(c).Serve()
		if most := headersIn(stream); int(calls.Load()) > most {
			t.Fatalf("%d calls, %d HEADERS", calls.Load(), most)
		}
	})
}

func seed(w *http2.Framer, id uint32, block []byte, ended bool) {
	_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: ended, EndHeaders: true})
}

// headersIn counts the frames of a stream that say that they are HEADERS.
func headersIn(stream []byte) (n int) {
	for len(stream) >= 9 {
		if http2.FrameType(stream[3]) == http2.FrameHeaders {
			n++
		}
		length := int(stream[0])<<16 | int(stream[1])<<8 | int(stream[2])
		stream = stream[min(len(stream), 9+length):]
	}
	return n
}

// A script is a client that sends what it has, and then closes its side.
type script struct {
	net.Conn
	*bytes.Reader
}

func (s *script) Read(p []byte) (int, error)     { return s.Reader.Read(p) }
func (*script) Write(p []byte) (int, error)      { return len(p), nil }
func (*script) SetReadDeadline(time.Time) error  { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }
func (*script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*script) Close() error                     { return nil }
