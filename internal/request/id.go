package request

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"sync"
	"time"
)

// randomness is read ahead from the system's source, since asking it for each request costs a system call. No byte is
// used twice.
type randomness struct {
	bytes [512]byte
	used  int
}

const randomOfID = 8 // bytes of it in a request id

var sources = sync.Pool{New: func() any {
	r := new(randomness)
	r.used = len(r.bytes)
	return r
}}

// NewID makes a request id: a UUID version 7 (RFC 9562 §5.7), so that ids sort by time.
func NewID() string { return newID(time.Now()) }

// newID has the milliseconds of the time, the 12 bits below them as §6.2 has it (method 3), and 62 random bits.
func newID(now time.Time) string {
	var id [16]byte
	ms, below := now.UnixMilli(), now.Nanosecond()%int(time.Millisecond)
	binary.BigEndian.PutUint64(id[:], uint64(ms)<<16|0x7000|uint64(below)*4096/uint64(time.Millisecond))
	r := sources.Get().(*randomness)
	if r.used+randomOfID > len(r.bytes) {
		_, _ = rand.Read(r.bytes[:]) // it never fails: the process would end
		r.used = 0
	}
	r.used += copy(id[8:], r.bytes[r.used:r.used+randomOfID])
	sources.Put(r)
	id[8] = id[8]&0x3f | 0x80
	var text [36]byte
	hex.Encode(text[:8], id[:4])
	hex.Encode(text[9:13], id[4:6])
	hex.Encode(text[14:18], id[6:8])
	hex.Encode(text[19:23], id[8:10])
	hex.Encode(text[24:], id[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}
