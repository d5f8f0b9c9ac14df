package h2

import (
	"io"
	"sync"
)

// An intake reads ahead. Above TLS its memory comes from a pool, and goes back where a connection waits for a frame, so
// that one at rest holds none.
type intake struct {
	from  io.Reader
	lean  bool // a read of one byte is cheap: TLS has the rest of its record
	ahead *[readSize]byte
	r, w  int
	first [1]byte
}

var intakes = sync.Pool{New: func() any { return new([readSize]byte) }}

// rest waits for a frame, if none has begun to come, without holding memory.
func (in *intake) rest() error {
	if in.Buffered() > 0 || !in.lean {
		return nil
	}
	if in.ahead != nil {
		intakes.Put(in.ahead)
		in.ahead = nil
	}
	for {
		if n, err := in.from.Read(in.first[:]); n > 0 {
			in.memory()[0] = in.first[0]
			in.r, in.w = 0, 1
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (in *intake) memory() *[readSize]byte {
	if in.ahead == nil {
		in.ahead = intakes.Get().(*[readSize]byte)
	}
	return in.ahead
}

// fill reads once, if there is nothing.
func (in *intake) fill() error {
	if in.Buffered() > 0 {
		return nil
	}
	in.r, in.w = 0, 0
	for {
		if n, err := in.from.Read(in.memory()[:]); n > 0 {
			in.w = n // the next read says what came with it
			return nil
		} else if err != nil {
			return err
		}
	}
}

// Buffered is how many bytes are here.
func (in *intake) Buffered() int { return in.w - in.r }

// Read returns what is here, or reads once.
func (in *intake) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if in.Buffered() == 0 && len(p) >= readSize {
		return in.from.Read(p)
	}
	if err := in.fill(); err != nil {
		return 0, err
	}
	n := copy(p, in.ahead[in.r:in.w])
	in.r += n
	return n, nil
}

// ReadByte implements io.ByteReader.
func (in *intake) ReadByte() (byte, error) {
	if err := in.fill(); err != nil {
		return 0, err
	}
	in.r++
	return in.ahead[in.r-1], nil
}

// some returns up to so many bytes, at least one, which stay here until they are discarded.
func (in *intake) some(most int) ([]byte, error) {
	if err := in.fill(); err != nil {
		return nil, err
	}
	return in.ahead[in.r:min(in.w, in.r+most)], nil
}

// discard goes past n bytes.
func (in *intake) discard(n int) error {
	for n > 0 {
		p, err := in.some(n)
		if err != nil {
			return err
		}
		in.r += len(p)
		n -= len(p)
	}
	return nil
}
