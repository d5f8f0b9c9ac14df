// Package request is one request and its answer on their way through Jotgate: the request id, where it came from, what
// was decided and why. The chain in internal/app begins it, the issuer and the gate fill it in, and the access log
// and the metrics read it when the answer is out.
//
// An Exchange is the http.ResponseWriter that handlers get, so that it needs no place in a context. Refusals are
// answered here, as problem documents (RFC 9457) with bearer challenges (RFC 6750 §3): the client sees a status and
// fixed text; the reason stays with us.
package request

import (
	"cmp"
	"errors"
	"iter"
	"maps"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/jotgate/jotgate/internal/cors"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/otel"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/route"
	"github.com/jotgate/jotgate/internal/strictjson"
	"github.com/jotgate/jotgate/internal/token"
)

// RequestIDHeader carries the request id to the upstream and back to the client.
const RequestIDHeader = "X-Request-Id"

// An Exchange is valid until its handler returns. It is not safe for concurrent use, but for Write, which the server's
// own rules govern.
type Exchange struct {
	http.ResponseWriter

	ID      string     // request id, a UUIDv7 (RFC 9562 §5.7), always our own
	ProxyID string     // the id that a trusted proxy gave the request, which the app gets; "": none
	Start   time.Time  // when the head had been read
	Peer    netip.Addr // who is connected to us
	Client  netip.Addr // who is behind trusted proxies; the peer if there are none
	Trusted bool       // the peer is one of trusted_proxies
	Scheme  string     // http or https, as the client used it
	Host    string     // canonical: lower case, without port and trailing dot
	Target  route.Target

	// LogPath stands for the path in every log. It is the raw path without its query, unless the path holds a credential.
	LogPath string

	Listener string // that it came in on; "" is the first one

	Front string // the proxy that asks about the request and forwards it itself; "": it came to us
	// SentPath is the path that the upstream gets, where the route has prefixes; "": the one that came.
	SentPath string

	Route  string // name of the chosen route, or of our own endpoint
	Place  int    // of the chosen route in the configuration, from 1; 0: none, or an endpoint of ours
	Reason refusal.Reason
	Detail string // the cause, for the log

	// Shadow is why the request would have been refused if its route were not in shadow; "" for no such reason.
	Shadow       refusal.Reason
	ShadowDetail string

	Issuer    string // of the bearer that was accepted
	Subject   string
	ClientID  string
	Tenant    string
	TokenID   string
	Entry     *token.TenantPermission // of the token's permissions, that decided; nil: none did
	Upstream  string                  // address that was asked
	Waited    time.Duration           // from asking the upstream to the head of its answer
	BodyError error                   // the first error of reading the client's body, other than io.EOF

	ResourceMetadata string   // URL of the metadata that a bearer challenge tells (RFC 9728 §5.1); "": none
	Scopes           []string // that a challenge asks for (RFC 6750 §3), of the resource and the route; nil: none
	GRPC             bool     // refusals are answered in gRPC's words
	DPoP             bool     // the credential is of the scheme DPoP (RFC 9449 §7.1), and so is the challenge

	// Visit is the request, where a person may see a refusal of it; nil: refusals are problem documents.
	Visit *http.Request

	CORS cors.Answer // what the answer says to scripts of other origins; zero: nothing, and an app's own fields pass

	Ticket TicketUse // what became of a one-time ticket, for the metrics

	// Story is what explain would tell of the refusal, where KeepStory asks for it; nil: nothing beside the reason.
	Story     any
	KeepStory bool

	Pattern string        // of the chosen route's path, or of our own endpoint's
	Trace   *otel.Request // nil: there are no traces

	status int
	bytes  int64
	head   time.Time

	load        *Load // nil: it is not counted
	mostStreams int64
	place       place
	released    bool
}

// A TicketUse is what a request did with a one-time ticket.
type TicketUse int

// The uses of a ticket. The zero value is none.
const (
	TicketIssued TicketUse = 1 + iota
	TicketRedeemed
	TicketRefused
)

// Begin starts an exchange on w; the caller fills in what it knows of the peer.
func (x *Exchange) Begin(w http.ResponseWriter, start time.Time) {
	*x = Exchange{} // by itself: a literal with fields is made on the stack first, which a stream keeps
	x.ResponseWriter, x.Start = w, start
}

// Release says that nothing will hold on to the exchange, to the request or to anything of either but strings, when the
// handler has returned: the chain and the server may use their memory again. Handlers that leave a goroutine behind, or
// do not know, must not call it.
func (x *Exchange) Release() {
	x.released = true
	if w, ok := x.ResponseWriter.(releaser); ok {
		w.Release()
	}
}

// Released reports whether Release was called.
func (x *Exchange) Released() bool { return x.released }

type releaser interface{ Release() }

// From gives the exchange that w is, or begins one for a w that is none (a handler called without the chain).
func From(w http.ResponseWriter) *Exchange {
	if x, ok := w.(*Exchange); ok {
		return x
	}
	x := new(Exchange)
	x.Begin(w, time.Now())
	x.ID = NewID()
	return x
}

// WriteHeader sends the head of the answer. Informational heads (1xx) pass and do not count as the answer.
func (x *Exchange) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		if x.status != 0 {
			return
		}
		x.status, x.head = status, time.Now()
		x.streams(status, x.lengthOf())
		x.CORS.Apply(x.Header())
	}
	x.ResponseWriter.WriteHeader(status)
}

// Answer sends the head of an answer that has more fields than Header: those of the sequence, by their canonical names
// and none twice with Header. The length is that of the body; below zero it is unknown, and the body is streamed. A
// writer that knows how is spared a map.
func (x *Exchange) Answer(status int, length int64, fields iter.Seq2[string, string]) {
	if w, ok := x.ResponseWriter.(answerer); ok && x.status == 0 {
		x.status, x.head = status, time.Now()
		x.streams(status, length)
		w.Answer(status, length, x.CORS.Replace(fields))
		return
	}
	h, more := x.Header(), http.Header{}
	for name, value := range fields {
		more[name] = append(more[name], value)
	}
	maps.Copy(h, more)
	if length < 0 {
		// for an HTTP/1.1 server of net/http, which would find a length of its own for a short one
		h["Transfer-Encoding"] = []string{"chunked"}
	}
	if _, typed := h["Content-Type"]; !typed {
		h["Content-Type"] = nil // net/http would guess one
	}
	x.WriteHeader(status)
}

type answerer interface {
	Answer(status int, length int64, fields iter.Seq2[string, string])
}

func (x *Exchange) Write(p []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	n, err := x.ResponseWriter.Write(p)
	x.bytes += int64(n)
	if err != nil && x.Reason == "" {
		if e := (*refusal.Error)(nil); errors.As(err, &e) { // the server gave the client up, and says why
			x.Note(e)
		}
	}
	return n, err
}

// Unwrap lets http.ResponseController reach the server's own writer.
func (x *Exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// Flush sends what was written so far.
func (x *Exchange) Flush() {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	// A writer that cannot flush has nothing buffered that we could send.
	_ = http.NewResponseController(x.ResponseWriter).Flush()
}

// Switched records that the connection left HTTP with 101 (Switching Protocols): the code that takes it over writes
// that head past this writer.
func (x *Exchange) Switched() { x.status = http.StatusSwitchingProtocols }

// Status is the status that was sent, or 0.
func (x *Exchange) Status() int { return x.status }

// Head is when the head of the answer was written, by the process's own clock; zero if it was not, or past this writer.
func (x *Exchange) Head() time.Time { return x.head }

// Bytes is the length of the answer's body so far.
func (x *Exchange) Bytes() int64 { return x.bytes }

// Preflight answers a CORS preflight by x.CORS, which speaks; methods are those that the path takes. The answer depends
// on more than the origin, which caches between the browser and us must know.
func (x *Exchange) Preflight(methods []string) {
	x.CORS = x.CORS.Preflight(methods)
	h := x.Header()
	h[RequestIDHeader] = []string{x.ID}
	h["Vary"] = []string{"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"}
	x.WriteHeader(http.StatusNoContent)
}

// Note records why the request is refused, without answering it.
func (x *Exchange) Note(err error) refusal.Reason {
	x.Reason = refusal.Of(err)
	var e *refusal.Error
	if errors.As(err, &e) {
		x.Detail = e.Detail
	} else if err != nil {
		x.Detail = err.Error()
	}
	return x.Reason
}

// Spare records why the request would have been refused, were its route not in shadow. The first reason stays: it is
// the one that a client would have been told.
func (x *Exchange) Spare(err error) {
	if x.Shadow != "" {
		return
	}
	x.Shadow, x.ShadowDetail = refusal.Of(err), err.Error()
	var e *refusal.Error
	if errors.As(err, &e) {
		x.ShadowDetail = e.Detail
	}
}

// Refuse answers with the problem document of err's reason and records it. If an answer is already on its way, the
// connection is broken off instead (http.ErrAbortHandler), so that nothing half-sent looks whole.
func (x *Exchange) Refuse(err error) {
	reason := x.Note(err)
	if x.status != 0 {
		panic(http.ErrAbortHandler)
	}
	Problem(x, reason, x.ID)
}

// Problem writes the problem document of a reason, or the page that a person sees instead.
func Problem(w http.ResponseWriter, reason refusal.Reason, requestID string) {
	status := reason.Status()
	h := w.Header()
	x, ok := w.(*Exchange)
	if !ok {
		x = new(Exchange)
	}
	if c := x.Challenge(reason); c != "" && h.Get("WWW-Authenticate") == "" {
		if x.ResourceMetadata != "" {
			c += `, resource_metadata="` + x.ResourceMetadata + `"`
		}
		if len(x.Scopes) > 0 && !strings.Contains(c, ", scope=") {
			c += `, scope="` + strings.Join(x.Scopes, " ") + `"`
		}
		h.Set("WWW-Authenticate", c)
	}
	if x.GRPC {
		setRequestID(h, requestID)
		x.refuseGRPC(reason)
		return
	}
	title := http.StatusText(status)
	if title == "" {
		title = "Client Closed Request"
	}
	var body []byte
	if x.Visit != nil && Navigates(x.Visit) {
		body = page(h, reason, title, requestID)
	} else {
		h.Set("Content-Type", "application/problem+json")
		body = problem(status, title, requestID)
	}
	setRequestID(h, requestID)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		if h.Get("Retry-After") == "" {
			h.Set("Retry-After", "1")
		}
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone cannot be told
}

// setRequestID names a refusal by our own id, whatever id a proxy gave the request.
func setRequestID(h http.Header, id string) {
	if now := h[RequestIDHeader]; id != "" && (len(now) != 1 || now[0] != id) {
		h[RequestIDHeader] = []string{id}
	}
}

// AppID is the request id for the app, and for the answer that comes from it.
func (x *Exchange) AppID() string { return cmp.Or(x.ProxyID, x.ID) }

// problem is the document of RFC 9457.
func problem(status int, title, requestID string) []byte {
	body := make([]byte, 0, 160)
	body = append(body, `{"type":"about:blank","title":"`...)
	body = append(body, title...)
	body = append(body, `","status":`...)
	body = strconv.AppendInt(body, int64(status), 10)
	body = append(body, `,"request_id":`...)
	body = strictjson.AppendString(body, requestID)
	return append(body, "}\n"...)
}

// Challenge is the WWW-Authenticate value of a reason: of the scheme that the request used, or that it should have
// used.
func (x *Exchange) Challenge(reason refusal.Reason) string {
	if code := proofError(reason); x.DPoP || code != "" {
		return dpopChallenge(reason, code)
	}
	return bearerChallenge(reason)
}

// proofError is the error code of what only the scheme DPoP knows; "" for the rest.
func proofError(reason refusal.Reason) string {
	switch reason {
	case refusal.ProofNonce:
		return "use_dpop_nonce"
	case refusal.ProofMissing, refusal.ProofMalformed, refusal.ProofMismatch, refusal.ProofKeyMismatch, refusal.ProofStale,
		refusal.ProofSignatureInvalid, refusal.ProofUsed:
		return "invalid_dpop_proof"
	case refusal.TokenBound, refusal.TokenUnbound:
		return "invalid_token"
	}
	return ""
}

// dpopChallenge is RFC 9449 §7.1's, with the algorithms that a proof may be signed with.
func dpopChallenge(reason refusal.Reason, code string) string {
	status := reason.Status()
	switch {
	case code != "":
	case reason == refusal.CredentialsMultiple:
		code = "invalid_request"
	case status == http.StatusUnauthorized:
		code = "invalid_token"
	case status == http.StatusForbidden:
		code = "insufficient_scope"
	default:
		return ""
	}
	return `DPoP realm="jotgate", error="` + code + `", algs="` + strings.Join(jose.ProofAlgorithms(), " ") + `"`
}

// bearerChallenge is RFC 6750 §3's: without an error code where no bearer came,
// invalid_token for 401, insufficient_scope for 403, invalid_request for two credentials; "" for the rest.
func bearerChallenge(reason refusal.Reason) string {
	switch reason {
	case refusal.TokenMissing, refusal.TokenSchemeUnsupported, refusal.TokenInQuery:
		return `Bearer realm="jotgate"`
	case refusal.CredentialsMultiple:
		return `Bearer realm="jotgate", error="invalid_request"`
	case refusal.AddressDenied, refusal.CrossSite, refusal.ClientCertDenied: // no token would help
		return ""
	}
	switch reason.Status() {
	case http.StatusUnauthorized:
		return `Bearer realm="jotgate", error="invalid_token"`
	case http.StatusForbidden:
		return `Bearer realm="jotgate", error="insufficient_scope"`
	}
	return ""
}
