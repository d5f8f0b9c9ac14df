package route

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/jotgate/jotgate/internal/refusal"
)

// A Host is a pattern for canonical hosts: a name or an address, or a name in which {name} stands for one whole label.
// A placeholder never matches a part of an IP address. The zero Host matches any host.
type Host struct {
	text   string
	labels []part // nil when there is no placeholder
}

// ParseHost reads a host pattern; "" is any host. Letters are lowered and a trailing dot is dropped, as in
// CanonicalHost; an IPv6 address may stand without its brackets; there is no port.
func ParseHost(pattern string) (Host, error) {
	switch {
	case pattern == "":
		return Host{}, nil
	case strings.ContainsAny(pattern, "{}"):
		return parseHostPattern(pattern)
	case strings.Contains(pattern, "*"):
		return Host{}, fmt.Errorf("host %q: no wildcard: write {name} for one label, or leave the host out for any", pattern)
	}
	literal := pattern
	if address, err := netip.ParseAddr(pattern); err == nil && address.Is6() {
		literal = "[" + pattern + "]"
	}
	name, port, err := splitPort(literal)
	if err == nil && port {
		return Host{}, fmt.Errorf("host %q: a port: hosts are compared without one, so leave it out", pattern)
	}
	if err == nil {
		name, err = canonicalName(name)
	}
	if err != nil {
		return Host{}, fmt.Errorf("host %q: %w", pattern, err)
	}
	return Host{text: name}, nil
}

func parseHostPattern(pattern string) (Host, error) {
	h := Host{text: lower(strings.TrimSuffix(pattern, "."))}
	for word := range strings.SplitSeq(strings.TrimSuffix(pattern, "."), ".") {
		label := part{literal: lower(word)}
		var err error
		if strings.ContainsAny(word, "{}") {
			label.literal = ""
			label.name, err = parsePlaceholder(word)
		} else {
			err = judgeLabel(label.literal)
		}
		if err != nil {
			return Host{}, fmt.Errorf("host %q: %w", pattern, err)
		}
		if placed(h.labels, label.name) >= 0 {
			return Host{}, fmt.Errorf("host %q: {%s} is there twice: give each placeholder its own name", pattern, label.name)
		}
		h.labels = append(h.labels, label)
	}
	if isNumber(h.labels[len(h.labels)-1].literal) {
		return Host{}, fmt.Errorf("host %q: ends in a number, as only an address does: no placeholder matches a part of one",
			pattern)
	}
	if h.shortest() > maxHost {
		return Host{}, fmt.Errorf("host %q: no host name of at most %d bytes can match", pattern, maxHost)
	}
	return h, nil
}

// shortest is the length of the shortest name that h matches.
func (h Host) shortest() int {
	n := len(h.labels) - 1
	for _, l := range h.labels {
		n += max(1, len(l.literal))
	}
	return n
}

// String is the pattern in lower case; "" for any host.
func (h Host) String() string { return h.text }

// Params lists the names of the placeholders, from the left.
func (h Host) Params() []string { return names(h.labels) }

// Place returns the index of the label that {name} stands for, or -1.
func (h Host) Place(name string) int { return placed(h.labels, name) }

// Covers reports whether h matches every host that q matches.
func (h Host) Covers(q Host) bool {
	switch {
	case h.text == "":
		return true
	case q.text == "":
		return false
	case q.labels == nil:
		return h.matches(q.text)
	case len(h.labels) != len(q.labels):
		return false
	}
	for i, l := range h.labels {
		if !l.covers(q.labels[i]) {
			return false
		}
	}
	return true
}

// overlaps reports whether some host is matched by both; h and q have placeholders.
func (h Host) overlaps(q Host) bool {
	if len(h.labels) != len(q.labels) {
		return false
	}
	for i, l := range h.labels {
		if !l.overlaps(q.labels[i]) {
			return false
		}
	}
	return true
}

// rank orders hosts by how specific they are: any host, a pattern by its literal labels, an exact host.
func (h Host) rank() int {
	switch {
	case h.text == "":
		return -1
	case h.labels == nil:
		return maxHost
	}
	return len(h.labels) - len(h.Params())
}

// compare orders the more specific host first (negative).
func (h Host) compare(q Host) int { return cmp.Compare(q.rank(), h.rank()) }

// matches is the plain reading of the contract; see Path.matches.
func (h Host) matches(host string) bool {
	if h.labels == nil {
		return h.text == "" || h.text == host
	}
	words := strings.Split(host, ".")
	if len(words) != len(h.labels) || isAddress(host) {
		return false
	}
	for i, l := range h.labels {
		if !l.matches(words[i]) {
			return false
		}
	}
	return true
}

// lower leaves all but ASCII alone: strings.ToLower makes a "k" of U+212A, which is another host's letter.
func lower(s string) string {
	first := strings.IndexFunc(s, func(c rune) bool { return 'A' <= c && c <= 'Z' })
	if first < 0 {
		return s
	}
	b := []byte(s)
	for i := first; i < len(b); i++ {
		if 'A' <= b[i] && b[i] <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}

// RFC 1035 §2.3.4, without the length bytes.
const (
	maxHost  = 253
	maxLabel = 63
)

// CanonicalHost is the host of a Host header as tables compare it: lower case, without port and trailing dot, an IPv6
// address in brackets and as RFC 5952 writes it. What is not a host name (RFC 1123 §2.1, and "_", which container
// names have) or an address is refused with refusal.HostMalformed: user information, escapes, zones, numbers such as
// "127.1" that only some readers take for addresses. A host that is canonical already costs no allocation.
func CanonicalHost(host string) (string, error) {
	name, _, err := splitPort(host)
	if err == nil {
		name, err = canonicalName(name)
	}
	if err != nil {
		return "", refusal.Because(refusal.HostMalformed, "host: %v", err)
	}
	return name, nil
}

var (
	errHostEmpty   = errors.New("empty")
	errHostLong    = errors.New("longer than 253 bytes")
	errHostNumber  = errors.New("ends in a number, but is no dotted IPv4 address")
	errHostIPv6    = errors.New("brackets without an IPv6 address in them")
	errHostPort    = errors.New("a port that is no number up to 65535")
	errLabelLength = errors.New("a label of no or more than 63 bytes")
	errLabelByte   = errors.New("a label with bytes other than letters, digits, hyphens and underscores")
	errLabelHyphen = errors.New("a label that starts or ends with a hyphen")
)

// splitPort cuts the port off; RFC 3986 §3.2.3 lets it be empty.
func splitPort(host string) (name string, found bool, err error) {
	colon := strings.IndexByte(host, ':')
	if strings.HasPrefix(host, "[") {
		colon = strings.IndexByte(host, ']') + 1
		if colon == 0 || colon == len(host) {
			return host, false, nil
		}
	}
	if colon < 0 {
		return host, false, nil
	}
	if host[colon] != ':' || !isPort(host[colon+1:]) {
		return "", false, errHostPort
	}
	return host[:colon], true, nil
}

func isPort(digits string) bool {
	port := 0
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return false
		}
		if port = port*10 + int(digits[i]-'0'); port > 65535 {
			return false
		}
	}
	return len(digits) <= 5
}

func canonicalName(name string) (string, error) {
	if strings.HasPrefix(name, "[") {
		return canonicalIPv6(name)
	}
	name = strings.TrimSuffix(name, ".")
	if name == "" {
		return "", errHostEmpty
	}
	if len(name) > maxHost {
		return "", errHostLong
	}
	name = lower(name)
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		if err := judgeLabel(label); err != nil {
			return "", err
		}
		last = label
	}
	if isNumber(last) {
		if address, err := netip.ParseAddr(name); err != nil || !address.Is4() {
			return "", errHostNumber
		}
	}
	return name, nil
}

func canonicalIPv6(name string) (string, error) {
	inner, closed := strings.CutSuffix(name[1:], "]")
	address, err := netip.ParseAddr(inner)
	if !closed || err != nil || !address.Is6() || address.Zone() != "" {
		return "", errHostIPv6
	}
	var room [64]byte
	text := append(address.AppendTo(append(room[:0], '[')), ']')
	if string(text) == name {
		return name, nil
	}
	return string(text), nil
}

// judgeLabel judges a label in lower case.
func judgeLabel(label string) error {
	if label == "" || len(label) > maxLabel {
		return errLabelLength
	}
	for i := range len(label) {
		c := label[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return errLabelByte
		}
	}
	if label[0] == '-' || label[len(label)-1] == '-' {
		return errLabelHyphen
	}
	return nil
}

// isNumber reports whether a last label makes lenient readers take the host for an IPv4 address: digits, or hex digits
// after 0x.
func isNumber(label string) bool {
	if label == "" || label[0] < '0' || label[0] > '9' {
		return false
	}
	digits, hex := strings.CutPrefix(label, "0x")
	if hex {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// isAddress reports whether a canonical host is an IP address.
func isAddress(host string) bool {
	return strings.HasPrefix(host, "[") || isNumber(host[strings.LastIndexByte(host, '.')+1:])
}
