package decision

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"github.com/jotgate/jotgate/internal/refusal"
)

const envoyPrefix = "/envoy"

// carriers are the fields that say what is asked about. They are the front's own words, not the client's.
var carriers = []string{
	"X-Original-Method", "X-Original-Url", "X-Original-Uri",
	"X-Forwarded-Method", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Uri",
}

// readOriginal reads a question of nginx or ingress-nginx. nginx passes on whichever of X-Original-URL and
// X-Original-URI its own config does not set, so that one of them can be the client's: both together must say the same.
func readOriginal(q *Question, r *http.Request) error {
	method, err := once(r.Header, "X-Original-Method")
	if err != nil {
		return err
	}
	scheme, host := protoOf(r.Header), r.Host
	target, err := once(r.Header, "X-Original-Uri")
	if _, whole := r.Header["X-Original-Url"]; whole {
		address, fault := once(r.Header, "X-Original-Url")
		if fault != nil {
			return fault
		}
		urlScheme, urlHost, urlTarget, fault := split(address)
		if fault != nil {
			return fault
		}
		if _, both := r.Header["X-Original-Uri"]; both && (err != nil || urlTarget != target || urlHost != host) {
			return malformed("X-Original-URL and X-Original-URI with Host say two different URLs; let the front set one and " +
				"remove the other")
		}
		scheme, host, target, err = urlScheme, urlHost, urlTarget, nil
	}
	if err != nil {
		return err
	}
	return q.about(r.Header, method, scheme, host, target)
}

// readForwarded reads a question of Traefik, of Caddy, or of HAProxy's script.
func readForwarded(q *Question, r *http.Request) error {
	var said [4]string
	for i, name := range []string{"X-Forwarded-Method", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Uri"} {
		var err error
		if said[i], err = once(r.Header, name); err != nil {
			return err
		}
	}
	scheme, known := schemes[said[1]]
	if !known {
		return malformed("X-Forwarded-Proto %.16q: want http or https", said[1])
	}
	return q.about(r.Header, said[0], scheme, said[2], said[3])
}

// schemes are the values of X-Forwarded-Proto; Traefik says ws and wss of a WebSocket.
var schemes = map[string]string{"http": "http", "https": "https", "ws": "http", "wss": "https"}

// readEnvoy reads a question of Envoy's HTTP service, which is the request itself without its body, with path_prefix in
// front of its target.
func readEnvoy(q *Question, r *http.Request) error {
	return q.about(r.Header, r.Method, protoOf(r.Header), r.Host, strings.TrimPrefix(r.RequestURI, envoyPrefix))
}

// about makes the request that is asked about.
func (q *Question) about(h http.Header, method, scheme, host, target string) error {
	if method == "" || !strings.HasPrefix(target, "/") {
		return malformed("method %.16q, target %.64q: want a method and an absolute path", method, target)
	}
	address, err := url.ParseRequestURI(target)
	if err != nil {
		return malformed("the target is no URL path")
	}
	fields := h.Clone()
	for _, name := range carriers {
		delete(fields, name)
	}
	q.Scheme = scheme
	ctx := q.Request.Context()
	q.Request = (&http.Request{
		Method: method, URL: address, RequestURI: target, Host: host, Header: fields,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody, RemoteAddr: q.Request.RemoteAddr,
	}).WithContext(ctx)
	return nil
}

// once returns the one value of a field.
func once(h http.Header, name string) (string, error) {
	values := h[textproto.CanonicalMIMEHeaderKey(name)]
	if len(values) != 1 || values[0] == "" {
		return "", malformed("%s is there %d times, it must be there once, with a value", name, len(values))
	}
	return values[0], nil
}

// protoOf returns the scheme that X-Forwarded-Proto says, http if it does not say one.
func protoOf(h http.Header) string {
	if values := h["X-Forwarded-Proto"]; len(values) == 1 && schemes[values[0]] != "" {
		return schemes[values[0]]
	}
	return "http"
}

// split takes an absolute URL apart, without a change to any byte of its target.
func split(address string) (scheme, host, target string, err error) {
	scheme, rest, ok := strings.Cut(address, "://")
	end := strings.IndexByte(rest, '/')
	if !ok || schemes[scheme] == "" || end <= 0 || strings.ContainsAny(rest[:end], "@?#\\ ") {
		return "", "", "", malformed("X-Original-URL: want http://HOST/PATH or https://HOST/PATH")
	}
	return schemes[scheme], rest[:end], rest[end:], nil
}

func malformed(format string, args ...any) error {
	return refusal.Because(refusal.QuestionMalformed, format, args...)
}
