package cli

import (
	"io"
	"os"
	"strings"

	"github.com/jotgate/jotgate/config"
)

// A style is how text looks to its reader: a person at a terminal gets colours, whatever else reads it gets the bare
// text.
type style bool

// style is that of one of the process's streams. NO_COLOR, with any value, means bare text (https://no-color.org), and
// so does a terminal that is dumb.
func (p *Process) style(w io.Writer) style {
	if none, _ := p.LookupEnv("NO_COLOR"); none != "" {
		return false
	}
	if term, _ := p.LookupEnv("TERM"); term == "dumb" {
		return false
	}
	return style(atTerminal(w))
}

// atTerminal reports whether a person reads what is written to w.
func atTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isTerminal(f)
}

// The sequences are those of ECMA-48, SGR.
func (s style) with(sequence, text string) string {
	if !s || text == "" {
		return text
	}
	return "\x1b[" + sequence + "m" + text + "\x1b[0m"
}

func (s style) bold(text string) string { return s.with("1", text) }
func (s style) good(text string) string { return s.with("32", text) }
func (s style) bad(text string) string  { return s.with("1;31", text) }
func (s style) warn(text string) string { return s.with("33", text) }
func (s style) dim(text string) string  { return s.with("2", text) }

// fault is a fault with its place set off.
func (s style) fault(f config.Fault) string {
	text := f.String()
	place, rest, ok := strings.Cut(text, ": ")
	if !ok {
		return text
	}
	return s.bold(place+":") + " " + rest
}

// A painter colours the lines of a trace by the words that they begin with.
type painter struct {
	io.Writer
	style style
}

func (p painter) Write(text []byte) (int, error) {
	if !p.style {
		return p.Writer.Write(text)
	}
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		b.WriteString(p.style.verdict(line))
	}
	if _, err := io.WriteString(p.Writer, b.String()); err != nil {
		return 0, err
	}
	return len(text), nil
}

func (s style) verdict(line string) string {
	for _, v := range [...]struct {
		begins string
		paint  func(string) string
	}{
		{"ALLOWED", s.good},
		{"  passed", s.good},
		{"REFUSED", s.bad},
		{"  refused", s.bad},
		{"UNVERIFIED", s.warn},
		{"WOULD BE REFUSED", s.warn},
		{"  LET THROUGH", s.warn},
		{"  not checked", s.warn},
		{"  needed:", s.bold},
	} {
		if rest, ok := strings.CutPrefix(line, v.begins); ok {
			return v.paint(v.begins) + rest
		}
	}
	switch strings.TrimSuffix(line, "\n") {
	case "routes", "checks", "the token says", "it opens":
		return s.bold(strings.TrimSuffix(line, "\n")) + "\n"
	}
	return line
}
