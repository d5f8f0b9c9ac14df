package httpserver

import "time"

// Limits bound what one connection may ask for. Zero sizes and times take the defaults of DefaultLimits.
type Limits struct {
	HeaderBytes   int           // the whole head, from the method to the empty line
	URIBytes      int           // the request target
	Fields        int           // header fields
	HeaderTimeout time.Duration // from a head's first byte to its last; negative: no limit
	BodyStall     time.Duration // how long a body may stand still; negative: no limit
	BodyRate      int           // bytes a second that a body must reach in the long run; negative: any
}

// DefaultLimits is what a connection gets when its limits are not set.
//
// A body earns waiting time with each byte (1/BodyRate s) up to BodyStall, and spends it only while the reader waits
// for the client. 128 B/s is a tenth of the slowest modem; a slower client only holds a connection.
func DefaultLimits() Limits {
	return Limits{
		HeaderBytes: 32 << 10, URIBytes: 16 << 10, Fields: 200,
		HeaderTimeout: 10 * time.Second, BodyStall: 30 * time.Second, BodyRate: 128,
	}
}

// WithDefaults fills what is zero.
func (l Limits) WithDefaults() Limits {
	d := DefaultLimits()
	fill(&l.HeaderBytes, d.HeaderBytes)
	fill(&l.URIBytes, d.URIBytes)
	fill(&l.Fields, d.Fields)
	fill(&l.HeaderTimeout, d.HeaderTimeout)
	fill(&l.BodyStall, d.BodyStall)
	fill(&l.BodyRate, d.BodyRate)
	return l
}

func fill[T int | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}
