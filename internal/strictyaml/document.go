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

// MostBytes is the size of a file beyond which it is not parsed.
const MostBytes = 64 * MiB

const mostDepth = 24 // the deepest key of version 1 has ten levels

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
		r.Fault(Place{Line: second.Line, Column: second.Column}, "a second YAML document begins here",
			"remove it and the --- before it: one file holds one configuration")
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
	if len(data) > MostBytes {
		r.Fault(Place{}, fmt.Sprintf("the file has %d bytes", len(data)), "keep it within 64MiB")
		return false
	}
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		switch {
		case c == utf8.RuneError && size <= 1:
			r.Fault(placeOf(data, i), "the file is not valid UTF-8 here", "save the file as UTF-8")
			return false
		case c < ' ' && c != '\t' && c != '\n' && c != '\r', c == 0x7f:
			r.Fault(placeOf(data, i), fmt.Sprintf("the file has the control character %U here", c), "remove it")
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
		r.Fault(v.At(), "is nested too deeply", "check the indentation: no key is nested so deeply")
		return
	case n.Kind == yaml.AliasNode:
		r.Fault(v.At(), "is a YAML alias, which is not supported", unquotedStar)
		return
	case n.Anchor != "":
		r.Fault(
			v.At(),
			"has a YAML anchor, which is not supported",
			"repeat the value where it is needed, or quote a value that begins with &",
		)
	case n.Style&yaml.TaggedStyle != 0:
		r.Fault(v.At(), "has a YAML tag, which is not supported", "remove it, or quote a value that begins with !")
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
				r.Fault(
					Value{node: name, path: v.path}.At(),
					"has a key that is not a plain name",
					"write each key as a word; merge keys (<<) are not supported",
				)
				continue
			}
			r.inspect(v.member(name.Value, n.Content[i+1]), depth+1)
		}
	}
}

const (
	unquotedStar   = `quote the wildcard: "*"`
	unquotedBraces = `inside {…} and […], quote values that contain braces, brackets, commas or colons: "/t/{tenant}/"`
)

// remedies explains what the YAML library says, which is terse; the first that fits is used.
var remedies = []struct{ says, problem, remedy string }{
	{"alphabetic or numeric character", "an unquoted * or & begins a value", unquotedStar},
	{"unknown anchor", "an unquoted * begins a value", unquotedStar},
	{
		"cannot start any token",
		"a value begins with a character that YAML reserves",
		"indent with spaces, not tabs, and quote values that begin with @, ` or %",
	},
	{"tab character", "a tab is used for indentation", "indent with spaces"},
	{"did not find expected ',' or '}'", "a {…} is not closed", unquotedBraces},
	{"did not find expected ',' or ']'", "a […] is not closed", unquotedBraces},
	{
		"did not find expected key",
		"the indentation does not match the lines above",
		"indent the keys of a mapping alike, close quotes, and quote values that contain quotes, braces or a colon",
	},
	{
		"did not find expected '-' indicator",
		"the indentation does not match the list above",
		"begin each item with - in the same column",
	},
	{"could not find expected ':'", "a key has no colon", "write key: value"},
	{
		"mapping values are not allowed",
		"a value contains an unquoted colon",
		"quote values that contain a colon and a space",
	},
	{"unexpected end of stream", "a quoted string is not closed", "close the quotes"},
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
	problem, remedy := "YAML says: "+says, "correct the syntax"
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
	if wrong, key := r.lacksColon(lines, at.Line, says); wrong > 0 {
		text = lines[wrong-1]
		problem, remedy = "a key has no colon", "write key: value"
		if key != "" {
			problem, remedy = "the key "+key+" has no colon", "write "+key+": and its value"
		}
		r.Fault(Place{Line: wrong, Column: 1 + len(text) - len(strings.TrimLeft(text, " "))}, problem, remedy)
		return
	}
	switch {
	case remedy == unquotedStar:
		at = find(lines, at, bareStar)
	case strings.Contains(says, "cannot start any token"):
		at = find(lines, at, leadTab)
	}
	r.Fault(at, problem, remedy)
}

var (
	bareKey = regexp.MustCompile(`^ *(?:- +)?([A-Za-z_][A-Za-z0-9_-]*)(?: +[^ #].*)?$`)
	colon   = regexp.MustCompile(`:(?: |$)`)
)

// lacksColon returns the line of a key without a colon, if that is what the library complains about, with the key if it
// is one of the file's. The library goes on reading such a line with the next one, and complains there.
func (r *Reader) lacksColon(lines []string, line int, says string) (wrong int, key string) {
	known := false // … must the key be: a line without a colon can be right, and something else wrong
	switch {
	case strings.Contains(says, "could not find expected ':'"):
	case strings.Contains(says, "did not find expected key"):
		line, known = line-1, true
	case strings.Contains(says, "mapping values are not allowed"), strings.Contains(says, "expected <document start>"):
		line--
	default:
		return 0, ""
	}
	for ; line > 0; line-- {
		text := strings.TrimRight(lines[line-1], " \r")
		if trimmed := strings.TrimLeft(text, " "); trimmed == "" || strings.HasPrefix(trimmed, "#") {
			continue
		}
		m := bareKey.FindStringSubmatch(text)
		if m == nil || colon.MatchString(text) {
			return 0, ""
		}
		if len(r.source.Root.places(m[1], "")) > 0 {
			key = m[1]
		}
		if key == "" && (known || strings.HasPrefix(strings.TrimLeft(text, " "), "-")) {
			return 0, ""
		}
		return line, key
	}
	return 0, ""
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
