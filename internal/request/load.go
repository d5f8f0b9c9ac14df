package request

import "sync/atomic"

// A Load counts the requests that a process serves at a time, so that they can be bounded. A request is in flight until
// it has been answered. An answer of unknown length, such as an event stream, and an upgraded connection are streams
// from their head on: they may live for hours, and must not use up the room for ordinary requests.
type Load struct{ inFlight, streams atomic.Int64 }

// LoadLimits bound a Load.
type LoadLimits struct{ InFlight, Streams int }

// InFlight returns the number of requests in flight, without streams.
func (l *Load) InFlight() int { return int(l.inFlight.Load()) }

// Streams returns the number of streams.
func (l *Load) Streams() int { return int(l.streams.Load()) }

// place is where a request is counted.
type place uint8

const (
	uncounted place = iota
	inFlight
	streaming
)

// Enter counts the exchange as a request in flight, and reports whether there was room for it.
func (x *Exchange) Enter(l *Load, limits LoadLimits) bool {
	if l.inFlight.Add(1) > int64(limits.InFlight) {
		l.inFlight.Add(-1)
		return false
	}
	x.load, x.mostStreams, x.place = l, int64(limits.Streams), inFlight
	return true
}

// Stream counts the exchange as a stream, and reports whether there was room for it. If not, it stays in flight.
func (x *Exchange) Stream() bool {
	switch {
	case x.load == nil || x.place == streaming:
		return true
	case x.load.streams.Add(1) > x.mostStreams:
		x.load.streams.Add(-1)
		return false
	}
	x.load.inFlight.Add(-1)
	x.place = streaming
	return true
}

// StreamRoom reports whether there is room for another stream.
func (x *Exchange) StreamRoom() bool { return x.load == nil || x.load.streams.Load() < x.mostStreams }

// Leave ends the counting of the exchange.
func (x *Exchange) Leave() {
	switch x.place {
	case inFlight:
		x.load.inFlight.Add(-1)
	case streaming:
		x.load.streams.Add(-1)
	}
	x.place = uncounted
}

// streams counts an answer of unknown length as a stream. Without room it stays in flight: its upstream has answered
// already.
func (x *Exchange) streams(status int, length int64) {
	if length < 0 && status >= 200 && status != 204 && status != 304 && x.place == inFlight {
		x.Stream()
	}
}

// lengthOf returns 0 if the answer's length is known, and -1 if it is not.
func (x *Exchange) lengthOf() int64 {
	if x.place != inFlight || len(x.Header()["Content-Length"]) > 0 {
		return 0
	}
	return -1
}
