package jose

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jotgate/jotgate/internal/strictjson"
)

// A Path names a claim: the names of the members that lead to it.
type Path []string

// maxPath bounds how deep a path leads.
const maxPath = 8

// ParsePath reads a path as a configuration writes it: names that are joined by dots, or a list of names in JSON, like
// ["a.b", "c"], for names that have dots. A name that is a URL ("https://shop.example.com/roles") ends at the first dot
// behind its last slash, so it needs no list; nor does "kubernetes.io".
func ParsePath(text string) (Path, error) {
	if strings.HasPrefix(text, "[") {
		r := strictjson.NewString(text)
		names, err := r.Strings()
		if err == nil {
			err = r.End()
		}
		if err != nil {
			return nil, fmt.Errorf("it is no list of names: %w", err)
		}
		return Path(names), Path(names).check()
	}
	var p Path
	rest := text
	switch scheme, behind, isURL := strings.Cut(text, "://"); {
	case isURL:
		// The authority's dots are no separators, nor are those of a path's segments but the last.
		end := len(text)
		if slash := strings.LastIndexByte(behind, '/'); slash >= 0 {
			if dot := strings.IndexByte(behind[slash:], '.'); dot >= 0 {
				end = len(scheme) + len("://") + slash + dot
			}
		}
		p, rest = append(p, text[:end]), strings.TrimPrefix(text[end:], ".")
		if end == len(text) {
			return p, p.check()
		}
	case text == "kubernetes.io":
		return Path{text}, nil
	case strings.HasPrefix(text, "kubernetes.io."):
		p, rest = append(p, "kubernetes.io"), strings.TrimPrefix(text, "kubernetes.io.")
	}
	p = append(p, strings.Split(rest, ".")...)
	return p, p.check()
}

func (p Path) check() error {
	switch {
	case len(p) == 0:
		return errors.New("it names no claim")
	case len(p) > maxPath:
		return fmt.Errorf("it leads through %d members, the limit is %d", len(p), maxPath)
	}
	for _, name := range p {
		if name == "" || len(name) > maxName {
			return fmt.Errorf("each name has 1 to %d bytes", maxName)
		}
	}
	return nil
}

// String spells the path for a message.
func (p Path) String() string { return strings.Join(p, ".") }

// A wanted tree finds, in one walk over a claims set, the values at many paths.
type wanted struct {
	next map[string]*wanted
	at   []int // the numbers of the paths that end here
}

// want adds a path under a number.
func (w *wanted) want(p Path, number int) {
	for _, name := range p {
		if w.next == nil {
			w.next = make(map[string]*wanted)
		}
		if w.next[name] == nil {
			w.next[name] = &wanted{}
		}
		w = w.next[name]
	}
	w.at = append(w.at, number)
}

// collect puts the text of each value that is there, and not null, under its path's number.
func (w *wanted) collect(r *strictjson.Reader, values []Value) error {
	return r.Object(func(name string) error {
		below := w.next[name]
		switch {
		case below == nil:
			return r.Skip()
		case len(below.at) == 0 && r.Kind() == strictjson.KindObject:
			return below.collect(r, values)
		case len(below.at) == 0:
			return r.Skip()
		}
		text, err := r.Raw()
		if err != nil || text == "null" {
			return err
		}
		for _, number := range below.at {
			values[number] = Value(text)
		}
		if len(below.next) > 0 && text[0] == '{' {
			return below.collect(strictjson.NewString(text), values)
		}
		return nil
	})
}
