package route

import (
	"fmt"
	"strings"
)

// An Oddity is a set of spellings that two readers of a path could take differently and that a route may allow
// (`insecure_allow`). The zero Oddity is none.
type Oddity uint16

const (
	EncodedSlash   Oddity = 1 << iota // %2f: data to one reader, a border between segments to another
	Semicolon                         // ; or %3b: data to one reader, the start of a path parameter to another
	DoubleSlash                       // //: an empty segment to one reader, nothing to another
	DoubleEncoding                    // %25 that makes a second escape: text to one reader, an escape to another
	EncodedDot                        // %2e inside a segment: a dot to one reader, an escape to another
	NotUTF8                           // bytes that are not UTF-8: dropped, replaced or kept, as the reader likes
	LetterCase                        // letters in another case than a route's: the same to some readers
	TrailingSlash                     // a last slash more or less than a route has: the same to some readers
	Rewritten                         // prefixes that bring a path to a stricter route's place at the upstream
	lastOddity     = Rewritten

	// spellings are the oddities that every path may have; whether one has them depends on the routes beside its own.
	spellings = LetterCase | TrailingSlash
	// everyOddity has those that Target.Parse finds.
	everyOddity = EncodedSlash | Semicolon | DoubleSlash | DoubleEncoding | EncodedDot | NotUTF8
)

var oddityWords = map[Oddity]string{
	EncodedSlash: "encoded_slash", Semicolon: "semicolon", DoubleSlash: "double_slash", DoubleEncoding: "double_encoding",
	EncodedDot: "encoded_dot", NotUTF8: "not_utf8", LetterCase: "letter_case", TrailingSlash: "trailing_slash",
	Rewritten: "rewritten",
}

// String lists the words of `insecure_allow`, separated by commas; "none" for the empty set.
func (o Oddity) String() string {
	var words []string
	for bit := EncodedSlash; bit <= lastOddity; bit <<= 1 {
		if o&bit != 0 {
			words = append(words, oddityWords[bit])
		}
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

// OddityWords returns the words of `insecure_allow`.
func OddityWords() []string {
	return strings.Split((everyOddity | spellings | Rewritten).String(), ", ")
}

// ParseOddity reads one word of `insecure_allow`.
func ParseOddity(word string) (Oddity, error) {
	for bit, w := range oddityWords {
		if w == word {
			return bit, nil
		}
	}
	return 0, fmt.Errorf("%q is no oddity that a route can allow: write one of %s", word, everyOddity|spellings|Rewritten)
}
