package h2

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// However the bytes come, and by whichever method they are read, they are the same; and where a frame is waited for
// above TLS, no memory is held.
func TestIntake(t *testing.T) {
	t.Parallel()
	text := make([]byte, 5*readSize)
	for i := range text {
		text[i] = byte(i * 7 / 3)
	}
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole":          func(r io.Reader) io.Reader { return r },
		"byte by byte":   iotest.OneByteReader,
		"in halves":      iotest.HalfReader,
		"with the error": iotest.DataErrReader,
	} {
		for _, lean := range []bool{false, true} {
			in := &intake{lean: lean}
			in.from = readerFunc(wrap(bytes.NewReader(text)).Read, func(room int) {
				if lean && room == 1 && in.ahead != nil {
					t.Errorf("%s: it waits with memory", name)
				}
			})
			got, err := readAll(in)
			if !errors.Is(err, io.EOF) || !bytes.Equal(got, text) {
				t.Errorf("%s, lean %t: %d bytes of %d, %v", name, lean, len(got), len(text), err)
			}
			if err := in.rest(); lean && (!errors.Is(err, io.EOF) || in.ahead != nil) {
				t.Errorf("%s: at rest: %v, memory %t", name, err, in.ahead != nil)
			}
		}
	}
}

// readAll reads as frames are read: a head, then a part of a payload by each method.
func readAll(in *intake) (got []byte, err error) {
	for {
		if err := in.rest(); err != nil {
			return got, err
		}
		head := make([]byte, frameHead)
		n, err := io.ReadFull(in, head)
		if got = append(got, head[:n]...); err != nil {
			return got, io.EOF
		}
		b, err := in.ReadByte()
		if err != nil {
			return got, err
		}
		p, err := in.some(100)
		if got = append(got, b); err != nil {
			return got, err
		}
		got = append(got, p...)
		if err := in.discard(len(p)); err != nil {
			return got, err
		}
		long := make([]byte, readSize) // as long as memory: straight into it
		n, err = in.Read(long)
		if got = append(got, long[:n]...); err != nil {
			return got, err
		}
	}
}

type reader struct {
	read func([]byte) (int, error)
	see  func(room int)
}

func readerFunc(read func([]byte) (int, error), see func(room int)) reader { return reader{read, see} }

func (r reader) Read(p []byte) (int, error) {
	r.see(len(p))
	return r.read(p)
}
