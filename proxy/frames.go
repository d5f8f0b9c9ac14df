package proxy

import "encoding/binary"

// Codes of WebSocket close frames (RFC 6455 §7.4.1).
const (
	goingAway       = 1001
	policyViolation = 1008
)

const opClose = 8

// closeFrame is a server's close frame (RFC 6455 §5.5.1).
func closeFrame(code uint16, why string) []byte {
	frame := []byte{0x80 | opClose, byte(2 + len(why))}
	frame = binary.BigEndian.AppendUint16(frame, code)
	return append(frame, why...)
}

// frames follows a stream of WebSocket frames (RFC 6455 §5.2) only as far as to know where one ends, so that a frame of
// ours can be put between two of theirs.
type frames struct {
	head    [10]byte // of the frame that is being read; a mask is skipped with the payload
	got     int
	payload uint64 // bytes of the frame still to come
	closed  bool   // a close frame went by; nothing may follow it
}

// between reports whether no frame is under way.
func (f *frames) between() bool { return f.got == 0 && f.payload == 0 }

// advance follows p to its end, or to the first place between two frames if it is asked to stop there; it tells how far
// it came.
func (f *frames) advance(p []byte, stop bool) int {
	n := 0
	for n < len(p) {
		if f.payload > 0 {
			step := min(f.payload, uint64(len(p)-n))
			f.payload -= step
			n += int(step)
		} else {
			f.head[f.got] = p[n]
			f.got++
			n++
			f.readHead()
		}
		if stop && f.between() {
			break
		}
	}
	return n
}

// readHead reads the length when all of it is there.
func (f *frames) readHead() {
	if f.got < 2 {
		return
	}
	length := uint64(f.head[1] & 0x7f)
	switch {
	case length == 126 && f.got < 4, length == 127 && f.got < 10:
		return
	case length == 126:
		length = uint64(binary.BigEndian.Uint16(f.head[2:]))
	case length == 127:
		length = binary.BigEndian.Uint64(f.head[2:])
	}
	if f.head[1]&0x80 != 0 {
		length += 4 // the mask
	}
	f.closed = f.closed || f.head[0]&0xf == opClose
	f.got, f.payload = 0, length
}
