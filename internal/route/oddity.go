package route

import (
	"fmt"
	"strings"
)

// An Oddity is a set of spellings that two readers of a path could take differently and that a route may tolerate
// (`insecure_allow`). The zero Oddity is none.
type Oddity uint8

const (
	EncodedSlash   Oddity = 1 << iota // %2f: data to one reader, a border between segments to another
	Semicolon                         // ; or %3b: data to one reader, the start of a path parameter to another
	DoubleSlash                       // //: an empty segment to one reader, nothing to another
	DoubleEncoding                    // %25 that makes a second escape: text to one reader, an escape to another
)

const everyOddity = EncodedSlash | Semicolon | DoubleSlash | DoubleEncoding

// String lists the words of `insecure_allow`, separated by commas; "none" for the empty set.
func (o Oddity) String() string {
	var words []string
	for bit := EncodedSlash; bit <= DoubleEncoding; bit <<= 1 {
		if o&bit != 0 {
			words = append(words, bit.word())
		}
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

func (o Oddity) word() string {
	switch o {
	case EncodedSlash:
		return "encoded_slash"
	case Semicolon:
		return "semicolon"
	case DoubleSlash:
		return "double_slash"
	case DoubleEncoding:
		return "double_encoding"
	}
	return ""
}

// ParseOddity reads one word of `insecure_allow`.
func ParseOddity(word string) (Oddity, error) {
	for bit := EncodedSlash; bit <= DoubleEncoding; bit <<= 1 {
		if bit.word() == word {
			return bit, nil
		}
	}
	return 0, fmt.Errorf("%q is no oddity that a route can tolerate: write one of %s", word, everyOddity)
}
