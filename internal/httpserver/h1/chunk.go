package h1

import (
	"github.com/jotgate/jotgate/internal/grammar"
	"github.com/jotgate/jotgate/internal/refusal"
)

// chunks reads the framing of a chunked body (RFC 9112 section 7.1). Trailers are bounded, and dropped: an app could
// take them for fields of the head, where ours are (RFC 9110 section 6.5.1).
type chunks struct {
	at      chunkPlace
	left    int64 // of the chunk's data
	digits  int   // of the chunk's size
	trailer int   // bytes of the trailer section
}

type chunkPlace uint8

const (
	chunkSize chunkPlace = iota
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	trailerStart
	trailerName
	trailerValue
	trailerLF
	lastLF
	bodyDone
)

const (
	maxChunkDigits  = 16
	maxTrailerBytes = 2 << 10
)

// decode takes from b, and puts what is data into p, until one of both is used up, or the body is done or broken.
func (k *chunks) decode(p, b []byte) (data, used int, err *refusal.Error) {
	for used < len(b) && k.at != bodyDone {
		if k.at == chunkData {
			if data == len(p) {
				return data, used, nil
			}
			n := copy(p[data:], b[used:used+int(min(k.left, int64(len(b)-used)))])
			data, used = data+n, used+n
			k.took(n)
			continue
		}
		if fault := k.step(b[used]); fault != "" {
			return data, used, &refusal.Error{Reason: refusal.BodyMalformed, Detail: fault}
		}
		used++
	}
	return data, used, nil
}

// endsIn reports whether the body ends within b.
func (k chunks) endsIn(b []byte) bool {
	for len(b) > 0 && k.at != bodyDone {
		n := 1
		if k.at == chunkData {
			n = int(min(k.left, int64(len(b))))
			k.took(n)
		} else if k.step(b[0]) != "" {
			return false
		}
		b = b[n:]
	}
	return k.at == bodyDone
}

// took books n bytes of a chunk's data.
func (k *chunks) took(n int) {
	if k.left -= int64(n); k.left == 0 {
		k.at = chunkDataCR
	}
}

func (k *chunks) step(c byte) (fault string) {
	switch k.at {
	case chunkSize:
		return k.size(c)
	case chunkSizeLF:
		k.at = chunkData
		if k.left == 0 {
			k.at = trailerStart
		}
		return expect(c, '\n', "bare CR behind a chunk size")
	case chunkDataCR:
		k.at = chunkDataLF
		return expect(c, '\r', "chunk data does not end where its size says")
	case chunkDataLF:
		k.at, k.digits = chunkSize, 0
		return expect(c, '\n', "chunk data does not end in CRLF")
	case lastLF:
		k.at = bodyDone
		return expect(c, '\n', "last chunk does not end in CRLF")
	}
	return k.trailers(c)
}

func (k *chunks) size(c byte) (fault string) {
	switch {
	case grammar.IsHex(c):
		if k.digits++; k.digits > maxChunkDigits || k.left>>58 != 0 {
			return "chunk size too large"
		}
		k.left = k.left<<4 | int64(grammar.Unhex(c))
		return ""
	case c == '\r' && k.digits > 0:
		k.at = chunkSizeLF
		return ""
	case c == ';':
		return "chunk extension"
	}
	return "chunk size is not a hexadecimal number"
}

// trailers checks the shape of trailer fields. They are bounded, and never become header fields.
func (k *chunks) trailers(c byte) (fault string) {
	if k.trailer++; k.trailer > maxTrailerBytes {
		return "trailer section too large"
	}
	switch {
	case k.at == trailerStart && c == '\r':
		k.at = lastLF
	case k.at == trailerStart && grammar.IsTokenByte(c):
		k.at = trailerName
	case k.at == trailerName && c == ':':
		k.at = trailerValue
	case k.at == trailerName && grammar.IsTokenByte(c):
	case k.at == trailerValue && c == '\r':
		k.at = trailerLF
	case k.at == trailerValue && grammar.IsFieldByte(c):
	case k.at == trailerLF && c == '\n':
		k.at = trailerStart
	default:
		return "malformed trailer field"
	}
	return ""
}

func expect(got, want byte, fault string) string {
	if got == want {
		return ""
	}
	return fault
}
