package h1

import "sync"

// early holds bytes that came and were not used yet. Its memory comes from a pool, and goes back as soon as it is
// empty, so that an idle connection holds none.
type early struct {
	buf  *[]byte
	r, w int
}

const earlySize = 4 << 10

var earlyPool = sync.Pool{New: func() any { b := make([]byte, earlySize); return &b }}

func (e *early) len() int { return e.w - e.r }

func (e *early) bytes() []byte {
	if e.buf == nil {
		return nil
	}
	return (*e.buf)[e.r:e.w]
}

// room makes place for n more bytes, and puts what is there to the start.
func (e *early) room(n int) {
	if e.buf == nil {
		e.buf = earlyPool.Get().(*[]byte)
	}
	if len(*e.buf)-e.w >= n {
		return
	}
	old := *e.buf
	if e.len()+n > len(old) {
		bigger := make([]byte, max(2*len(old), e.len()+n))
		e.w = copy(bigger, old[e.r:e.w])
		e.free()
		e.buf = &bigger
	} else {
		e.w = copy(old, old[e.r:e.w])
	}
	e.r = 0
}

// fill reads once into free space. Data that came with an error comes without it; the next read says it again.
func (e *early) fill(read func([]byte) (int, error)) (int, error) {
	e.room(earlySize / 4)
	n, err := read((*e.buf)[e.w:])
	if n > 0 {
		e.w += n
		return n, nil
	}
	if e.len() == 0 {
		e.drop(0)
	}
	return 0, err
}

func (e *early) take(p []byte) int {
	n := copy(p, e.bytes())
	e.drop(n)
	return n
}

func (e *early) drop(n int) {
	if e.r += n; e.r == e.w {
		e.r, e.w = 0, 0
		e.free()
	}
}

func (e *early) free() {
	if e.buf != nil && len(*e.buf) == earlySize {
		earlyPool.Put(e.buf)
	}
	e.buf = nil
}
