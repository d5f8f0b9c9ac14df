package proxy

import (
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
)

// What a route changes on the way to its upstream: the path's beginning, and header fields. The path that is judged is
// the client's; the one that is sent is that path without one literal prefix and with another, byte by byte.

// edits are the fields that a route sets and removes.
type edits struct {
	drop *names // those that are set too
	set  []config.HeaderValue
}

// newEdits returns nil for edits that change nothing.
func newEdits(e *config.HeaderEdits) *edits {
	if len(e.Set) == 0 && len(e.Remove) == 0 {
		return nil
	}
	compiled := &edits{drop: newNames(), set: e.Set}
	for _, v := range e.Set {
		compiled.drop.add(v.Name)
	}
	for _, name := range e.Remove {
		compiled.drop.add(name)
	}
	return compiled
}

// drops reports whether a field stays behind; e may be nil.
func (e *edits) drops(name string) bool {
	if e == nil || !e.drop.could(name) {
		return false
	}
	var room [maxFold]byte
	return e.drop.has(fold(room[:0], name))
}

// rewrite finds the target that is sent, where the route has prefixes. The prefix must be there as the configuration
// has it, since the upstream gets what is left of the bytes that were sent: with "%6f" for "o", another reader's border
// could be elsewhere. What is left begins with one slash, since two would be an authority to some readers.
func (p *inbound) rewrite(h *config.Hop) error {
	t := &p.x.Target
	rest, ok := strings.CutPrefix(t.Path, h.StripPrefix)
	switch {
	case !ok || rest != "" && rest[0] != '/':
		return refusal.Because(refusal.PathAmbiguous, "path: begins with another spelling of strip_prefix")
	case strings.HasPrefix(rest, "//"):
		return refusal.Because(refusal.PathAmbiguous, "path: begins with // without strip_prefix")
	case rest == "" && h.AddPrefix == "":
		rest = "/"
	}
	p.x.SentPath = h.AddPrefix + rest
	return nil
}

// target is what stands in the request line to the upstream.
func (p *inbound) target() string {
	if p.x.SentPath == "" {
		return p.r.RequestURI
	}
	return p.x.SentPath + p.r.RequestURI[len(p.x.Target.Path):]
}
