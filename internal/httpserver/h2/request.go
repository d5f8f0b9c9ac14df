package h2

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/jotgate/jotgate/internal/grammar"
	"github.com/jotgate/jotgate/internal/httpserver"
	"github.com/jotgate/jotgate/internal/refusal"
)

// request makes a request of the head that was decoded; it is net/http's, but that a host is held to package h1's rule.
func (st *stream) request(h *head) (*http.Request, *refusal.Error) {
	c := st.conn
	if h.large || h.count > c.server.Limits.Fields {
		return st.refused(), &refusal.Error{Reason: refusal.HeaderTooLarge, Detail: "header section over the limit"}
	}
	if len(h.pseudo[path]) > c.server.Limits.URIBytes {
		return st.refused(), &refusal.Error{Reason: refusal.URITooLong, Detail: "request target over the limit"}
	}
	if h.has[protocol] && !strings.EqualFold(h.pseudo[protocol], "websocket") {
		return st.refused(), &refusal.Error{Reason: refusal.UpgradeNotAllowed, Detail: ":protocol is not websocket"}
	}
	r := st.bare()
	r.Method, r.RequestURI = h.pseudo[method], h.pseudo[path]
	st.fields(r, h)
	if h.has[protocol] {
		st.upgrade(r)
	}
	if !h.agrees(r) || !grammar.ValidHost(r.Host) {
		return st.refused(), &refusal.Error{
			Reason: refusal.HostMalformed,
			Detail: ":authority and Host are not one host name",
		}
	}
	if err := st.target(r); err != nil {
		return st.refused(), &refusal.Error{Reason: refusal.RequestMalformed, Detail: "request target: " + err.Error()}
	}
	if st.tunnel != nil {
		return r, nil
	}
	if r.ContentLength = h.length; st.heard {
		r.ContentLength = 0
		r.Body = http.NoBody
	}
	return r, nil
}

// bare is a request without a head.
func (st *stream) bare() *http.Request {
	r := (&http.Request{}).WithContext(&st.lifetime)
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
	r.URL, r.Body = &st.url, &st.body
	r.RemoteAddr, r.TLS = st.conn.remote, st.conn.tls
	return r
}

// refused is a request in place of one that cannot be believed.
func (st *stream) refused() *http.Request {
	r := st.bare()
	st.url = url.URL{Path: "/"}
	r.Method, r.RequestURI, r.Body = http.MethodGet, "/", http.NoBody
	r.Header = httpserver.RefusedHeader(st.conn.head.origins())
	return r
}

// origins are the Origin fields that were read.
func (h *head) origins() (all []string) {
	for _, f := range h.fields {
		if f.name == "Origin" {
			all = append(all, f.value)
		}
	}
	return all
}

// fields makes a map of the fields.
func (st *stream) fields(r *http.Request, h *head) {
	r.Header = make(http.Header, h.count) // in which a cookie's pieces are one
	r.Host = h.pseudo[authority]
	values := make([]string, 0, h.count)
	for _, f := range h.fields {
		switch f.name {
		case "Host":
			if r.Host == "" {
				r.Host = f.value
			}
			continue
		case "Trailer":
			st.body.announce(f.value)
			continue
		case "Cookie":
			if h.cookies > 1 {
				continue
			}
		}
		if before, there := r.Header[f.name]; there {
			r.Header[f.name] = append(before, f.value)
			continue
		}
		values = append(values, f.value)
		r.Header[f.name] = values[len(values)-1 : len(values) : len(values)]
	}
	r.Trailer = st.body.trailer
	if h.cookies > 1 {
		r.Header["Cookie"] = []string{h.cookie()}
	}
}

// cookie joins what may have come in pieces (RFC 9113 section 8.2.3).
func (h *head) cookie() string {
	crumbs := make([]string, 0, h.cookies)
	for _, f := range h.fields {
		if f.name == "Cookie" {
			crumbs = append(crumbs, f.value)
		}
	}
	return strings.Join(crumbs, "; ")
}

// agrees reports whether at most one Host field came, and says what :authority does (RFC 9113 section 8.3.1).
func (h *head) agrees(r *http.Request) bool {
	if h.hosts == 0 {
		return true
	}
	for _, f := range h.fields {
		if f.name == "Host" && !strings.EqualFold(f.value, r.Host) {
			return false
		}
	}
	return h.hosts == 1
}

// target fills in the URL, as package h1 does.
func (st *stream) target(r *http.Request) error {
	if r.Method == http.MethodConnect {
		st.url.Host, r.RequestURI = r.Host, r.Host
		return nil
	}
	u, err := httpserver.ParseTarget(&st.url, r.RequestURI)
	if err == nil {
		r.URL = u
	}
	return err
}
