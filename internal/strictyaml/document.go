package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

const (
	mostBytes = 8 << 20 // a file of 10,000 routes has about one MiB
	mostDepth = 24      // the deepest key of version 1 has ten levels
)

// Document reads data as exactly one YAML document without anchors, aliases, merges and tags: what such a file says is
// what it shows, and it cannot grow when it is read.
func (r *Reader) Document(data []byte) (Value, bool) {
	if !r.acceptable(data) {
		return Value{}, false
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var first, second yaml.Node
	if err := decode(decoder, &first); errors.Is(err, io.EOF) {
		r.Fault(Place{Line: 1, Column: 1}, "the file is empty", "begin with "+r.source.Begin)
		return Value{}, false
	} else if err != nil {
		r.syntax(data, err)
		return Value{}, false
	}
	if err := decode(decoder, &second); err == nil {
		r.Fault(Place{Line: second.Line, Column: second.Column}, "a second document begins here",
			"one file holds one configuration: remove what follows ---")
		return Value{}, false
	} else if !errors.Is(err, io.EOF) {
		r.syntax(data, err)
		return Value{}, false
	}
	root := Value{node: first.Content[0]}
	r.inspect(root, 0)
	return root, len(r.faults) == 0
}

// decode keeps a panic of the YAML library from being ours: a file that breaks the library is a bad file.
func decode(d *yaml.Decoder, into *yaml.Node) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the YAML parser cannot read this")
		}
	}()
	return d.Decode(into)
}

// acceptable refuses what no YAML parser should see.
func (r *Reader) acceptable(data []byte) bool {
	if len(data) > mostBytes {
		r.Fault(Place{}, fmt.Sprintf("the file has %d bytes", len(data)), fmt.Sprintf("keep it below %d", mostBytes))
		return false
	}
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		switch {
		case c == utf8.RuneError && size <= 1:
			r.Fault(placeOf(data, i), "here are bytes that are no UTF-8", "save the file as UTF-8")
			return false
		case c < ' ' && c != '\t' && c != '\n' && c != '\r', c == 0x7f:
			r.Fault(placeOf(data, i), fmt.Sprintf("here is the control character %U", c), "remove it")
			return false
		}
		i += size
	}
	return true
}

// placeOf is the line and column of an offset.
func placeOf(data []byte, offset int) Place {
	before := data[:offset]
	start := bytes.LastIndexByte(before, '\n') + 1
	return Place{Line: 1 + bytes.Count(before, []byte{'\n'}), Column: 1 + utf8.RuneCount(before[start:])}
}

// inspect refuses anchors, aliases, merges and tags, and bounds the depth.
func (r *Reader) inspect(v Value, depth int) {
	n := v.node
	switch {
	case depth > mostDepth:
		r.Fault(v.At(), "is nested too deeply", "no key of this file needs that")
		return
	case n.Kind == yaml.AliasNode:
		r.Fault(v.At(), "is a YAML alias, which this file may not have", unquotedStar)
		return
	case n.Anchor != "":
		r.Fault(v.At(), "has a YAML anchor, which this file may not have", "write the value out where it is needed, or put a leading & in quotes")
	case n.Style&yaml.TaggedStyle != 0:
		r.Fault(v.At(), "has a YAML tag, which this file may not have", "remove it, or put a leading ! in quotes")
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for i, item := range n.Content {
			r.inspect(v.item(i, item), depth+1)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			name := n.Content[i]
			if name.Kind != yaml.ScalarNode || name.Tag == "!!merge" || name.Anchor != "" {
				r.Fault(Value{node: name, path: v.path}.At(), "has a key that is no plain name", "write each key as a word; merges (<<) are not supported")
				continue
			}
			r.inspect(v.member(name.Value, n.Content[i+1]), depth+1)
		}
	}
}

const (
	unquotedStar   = `if the * wildcard is meant, put it in quotes: "*"`
	unquotedBraces = `inside {…} and […], put a value that has braces, brackets, commas or a colon in quotes: "/t/{tenant}/"`
)

// remedies explains what the YAML library says, which is terse; the first that fits is used.
var remedies = []struct{ says, problem, remedy string }{
	{"alphabetic or numeric character", "a * or & stands here without quotes", unquotedStar},
	{"unknown anchor", "a * stands here without quotes", unquotedStar},
	{"cannot start any token", "here is a character that cannot begin a value", "indent with spaces, not tabs, and put values that begin with @, ` or % in quotes"},
	{"tab character", "here is a tab", "indent with spaces"},
	{"did not find expected ',' or '}'", "a {…} is not closed where it should be", unquotedBraces},
	{"did not find expected ',' or ']'", "a […] is not closed where it should be", unquotedBraces},
	{"did not find expected key", "this does not line up with what is above it", "indent the keys of a mapping alike, close what is quoted, and quote values that have quotes, braces or a colon"},
	{"did not find expected '-' indicator", "this does not line up with the list above it", "begin each item with - at the same column"},
	{"could not find expected ':'", "a key without a colon", "write key: value"},
	{"mapping values are not allowed", "a colon where no key can be", "put a value that has a colon and a space in quotes"},
	{"unexpected end of stream", "a quoted text is not closed", "close the quotes"},
}

var (
	parserSays = regexp.MustCompile(`did not find expected (key|node content|',' or|'-' indicator|<)`)
	saysLine   = regexp.MustCompile(`line (\d+): `)
	bareStar   = regexp.MustCompile(`(?:^|[\s\[{,:])[*&]`)
	leadTab    = regexp.MustCompile(`^ *\t`)
)

// syntax tells what the YAML library could not read. It names a line alone, and not always the right one, so the usual
// culprits are looked for near it.
func (r *Reader) syntax(data []byte, err error) {
	says := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if m := saysLine.FindStringSubmatch(says); m != nil {
		line, _ = strconv.Atoi(m[1]) // digits by the pattern; a line that is too long to count is line 0, the file
		says = strings.Replace(says, m[0], "", 1)
	}
	if parserSays.MatchString(says) { // unlike the scanner's, the parser's lines are counted from 0
		line++
	}
	problem, remedy := "YAML says: "+says, "mend the syntax"
	for _, known := range remedies {
		if strings.Contains(says, known.says) {
			problem, remedy = known.problem, known.remedy
			break
		}
	}
	lines := strings.Split(string(data), "\n")
	at := Place{Line: min(max(line, 1), len(lines))}
	text := lines[at.Line-1]
	at.Column = 1 + len(text) - len(strings.TrimLeft(text, " "))
	switch {
	case remedy == unquotedStar:
		at = find(lines, at, bareStar)
	case strings.Contains(says, "cannot start any token"):
		at = find(lines, at, leadTab)
	}
	r.Fault(at, problem, remedy)
}

// find looks for a culprit in the line that the library names, in its neighbours, then from the top.
func find(lines []string, near Place, culprit *regexp.Regexp) Place {
	order := []int{near.Line, near.Line + 1, near.Line - 1}
	for i := range lines {
		order = append(order, i+1)
	}
	for _, line := range order {
		if line < 1 || line > len(lines) {
			continue
		}
		text := lines[line-1]
		if strings.HasPrefix(strings.TrimSpace(text), "#") {
			continue
		}
		if m := culprit.FindStringIndex(text); m != nil {
			return Place{Line: line, Column: utf8.RuneCountInString(text[:m[1]])}
		}
	}
	return near
}
