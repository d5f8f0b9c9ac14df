package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
)

// longestLine bounds what is kept of a line that does not end.
const longestLine = 1 << 20

// Text returns a writer for a [Log] whose lines a person reads: it takes JSON lines and writes each as time, level,
// name, message and key=value pairs, and access lines as status, method and path first. What a client sent cannot steer
// the terminal: a value with anything else than printable characters is quoted.
func Text(to io.Writer) io.Writer { return &textWriter{to: to} }

type textWriter struct {
	to io.Writer

	mu   sync.Mutex
	rest []byte // the beginning of a line
}

func (w *textWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, p...)
	var out []byte
	for {
		line, rest, whole := bytes.Cut(w.rest, []byte("\n"))
		if !whole && len(w.rest) < longestLine {
			break
		}
		out = appendText(out, line)
		w.rest = rest
	}
	if w.rest = append([]byte(nil), w.rest...); len(out) == 0 {
		return len(p), nil
	}
	if _, err := w.to.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// A pair is a member of a line.
type pair struct{ key, value string }

// appendText writes one line; one that is no JSON object stays as it is, but for what cannot be printed.
func appendText(out, line []byte) []byte {
	pairs, err := members(line)
	if err != nil {
		return append(append(out, printable(string(line))...), '\n')
	}
	taken := func(key string) string {
		for i, p := range pairs {
			if p.key == key {
				pairs = append(pairs[:i:i], pairs[i+1:]...)
				return p.value
			}
		}
		return ""
	}
	at := taken("ts")
	if t, err := time.Parse(time.RFC3339Nano, at); err == nil {
		at = t.Format("15:04:05.000")
	}
	level, name, message := strings.ToUpper(taken("level")), taken("log"), taken("msg")
	words := []string{at, level + strings.Repeat(" ", max(0, 5-len(level)))}
	if name == "access" && message == "request" {
		words = append(words, name, taken("status"), taken("method"), taken("host")+taken("path"), taken("reason"),
			taken("ms")+"ms")
	} else {
		words = append(words, name, message)
	}
	for _, word := range words {
		if word != "" {
			out = append(append(out, printable(word)...), ' ')
		}
	}
	for _, p := range pairs {
		out = append(append(append(out, printable(p.key)...), '='), quoted(p.value)...)
		out = append(out, ' ')
	}
	return append(bytes.TrimRight(out, " "), '\n')
}

// members are those of a JSON object, in its order; a value that is no string is as it stands there.
func members(line []byte) (pairs []pair, err error) {
	d := json.NewDecoder(bytes.NewReader(line))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not an object")
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		text := string(value)
		if value[0] == '"' {
			if err := json.Unmarshal(value, &text); err != nil {
				return nil, err
			}
		}
		name, _ := key.(string)
		pairs = append(pairs, pair{name, text})
	}
	return pairs, nil
}

// printable is text without what a terminal could act on.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return unicode.ReplacementChar
	}, text)
}

// quoted is a value, in quotes where it would not stand for itself.
func quoted(value string) string {
	odd := func(c rune) bool {
		return c == ' ' || c == '"' || c == '=' || c == unicode.ReplacementChar || !unicode.IsPrint(c)
	}
	if value == "" || strings.ContainsFunc(value, odd) {
		return strconv.Quote(value)
	}
	return value
}
