package decision

import (
	"encoding/binary"
	"io"
	"net/http"
	"net/netip"
	"net/textproto"
	"sort"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/jotgate/jotgate/internal/refusal"
)

// checkMethod is the path of envoy.service.auth.v3.Authorization.Check: a unary call, so one message each way (gRPC
// over HTTP/2, "Length-Prefixed-Message").
const checkMethod = "/envoy.service.auth.v3.Authorization/Check"

// maxCheck bounds a CheckRequest: the client's head, and what Envoy may be told to add of the body.
const maxCheck = 1 << 20

// check answers one call.
func (h handler) check(w http.ResponseWriter, r *http.Request) {
	code, message := 0, ""
	switch {
	case r.ProtoMajor < 2 || r.Method != http.MethodPost ||
		!strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc"):
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusUnsupportedMediaType)
		return
	case !h.From(r.RemoteAddr):
		code, message = grpcPermissionDenied, "this peer is not in decision.from"
	}
	v := &verdict{header: http.Header{}}
	q := &Question{Front: "envoy", Request: r, Scheme: "http", allow: v.allow}
	if code != 0 {
		h.Decide(v, q, refusal.Because(refusal.FrontForbidden, "%s is not in decision.from", r.RemoteAddr))
		endCall(w, code, message)
		return
	}
	raw, code, message := readMessage(r.Body)
	if code != 0 {
		endCall(w, code, message)
		return
	}
	h.Decide(v, q, q.readCheck(raw))
	answer := v.encode()
	head := w.Header()
	head.Set("Content-Type", "application/grpc")
	head.Set("Trailer", "Grpc-Status")
	w.WriteHeader(http.StatusOK)
	prefix := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(answer)))
	if _, err := w.Write(append(prefix, answer...)); err != nil {
		return // the front is gone
	}
	head.Set("Grpc-Status", "0")
}

// endCall ends a call without a message ("Trailers-Only").
func endCall(w http.ResponseWriter, code int, message string) {
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("Grpc-Status", strconv.Itoa(code))
	h.Set("Grpc-Message", message)
	w.WriteHeader(http.StatusOK)
}

// The gRPC status codes that are used here.
const (
	grpcInvalidArgument   = 3
	grpcPermissionDenied  = 7
	grpcResourceExhausted = 8
	grpcUnimplemented     = 12
	grpcUnavailable       = 14
	grpcUnauthenticated   = 16
)

func readMessage(body io.Reader) (message []byte, code int, why string) {
	var prefix [5]byte
	if _, err := io.ReadFull(body, prefix[:]); err != nil {
		return nil, grpcInvalidArgument, "no whole message"
	}
	length := binary.BigEndian.Uint32(prefix[1:])
	switch {
	case prefix[0] != 0:
		return nil, grpcUnimplemented, "messages must not be compressed"
	case length > maxCheck:
		return nil, grpcResourceExhausted, "the message is over 1 MiB"
	}
	message = make([]byte, length)
	if _, err := io.ReadFull(body, message); err != nil {
		return nil, grpcInvalidArgument, "no whole message"
	}
	if n, _ := io.ReadFull(body, prefix[:1]); n != 0 {
		return nil, grpcInvalidArgument, "a unary call has one message"
	}
	return message, 0, ""
}

// Fields of the messages, by the names of their .proto files (envoy/service/auth/v3, envoy/config/core/v3, google/rpc).
const (
	checkRequestAttributes = 1

	attributesSource  = 1
	attributesRequest = 4

	peerAddress     = 1
	peerCertificate = 5

	addressSocket        = 1
	socketAddressAddress = 2

	requestHTTP = 2

	httpMethod    = 2
	httpHeaders   = 3
	httpPath      = 4
	httpHost      = 5
	httpScheme    = 6
	httpQuery     = 7
	httpHeaderMap = 13

	mapKey   = 1
	mapValue = 2

	headerMapHeaders = 1

	headerValueKey   = 1
	headerValueValue = 2
	headerValueRaw   = 3
)

// readCheck reads a CheckRequest: of its attributes the HTTP request, and the address and certificate of the
// peer. Envoy joins the values of
// a repeated field with commas, so that two credentials are one malformed one; with encode_raw_headers it does not.
func (q *Question) readCheck(message []byte) error {
	var c checkRequest
	if !c.read(message) {
		return malformed("the CheckRequest cannot be read")
	}
	if c.seen[httpMethod] != 1 || c.seen[httpPath] != 1 || c.seen[httpHost] != 1 || c.query != "" {
		return malformed("attributes.request.http must have method, path and host, each once, and the query in path")
	}
	scheme := schemes[c.scheme]
	if scheme == "" {
		scheme = protoOf(c.fields)
	}
	if c.source != "" {
		q.Source, _ = netip.ParseAddr(c.source) // an address that is none is as good as none
	}
	q.Certificate = c.certificate
	return q.about(c.fields, c.method, scheme, c.host, c.path)
}

type checkRequest struct {
	method, path, host, scheme, query string
	source, certificate               string
	fields                            http.Header
	seen                              map[protowire.Number]int
}

func (c *checkRequest) read(message []byte) bool {
	c.fields, c.seen = http.Header{}, map[protowire.Number]int{}
	return within(message, checkRequestAttributes, func(attributes []byte) bool {
		return within(attributes, attributesRequest, func(b []byte) bool { return within(b, requestHTTP, c.readHTTP) }) &&
			within(attributes, attributesSource, c.readPeer)
	})
}

func (c *checkRequest) readPeer(message []byte) bool {
	return each(message, func(n protowire.Number, value []byte) bool {
		switch n {
		case peerAddress:
			return within(value, addressSocket, func(b []byte) bool {
				return within(b, socketAddressAddress, func(b []byte) bool { c.source = string(b); return true })
			})
		case peerCertificate:
			c.certificate = string(value)
		}
		return true
	})
}

func (c *checkRequest) readHTTP(message []byte) bool {
	raw := false
	return each(message, func(n protowire.Number, value []byte) bool {
		c.seen[n]++
		switch n {
		case httpMethod:
			c.method = string(value)
		case httpPath:
			c.path = string(value)
		case httpHost:
			c.host = string(value)
		case httpScheme:
			c.scheme = string(value)
		case httpQuery:
			c.query = string(value)
		case httpHeaders:
			return !raw && c.readField(value, mapKey, mapValue, mapValue)
		case httpHeaderMap: // in the place of headers, not beside it
			raw = true
			clear(c.fields)
			return within(value, headerMapHeaders, func(b []byte) bool {
				return c.readField(b, headerValueKey, headerValueValue, headerValueRaw)
			})
		}
		return true
	})
}

// readField reads one header field; the value stands in either of two places.
func (c *checkRequest) readField(message []byte, key, value, raw protowire.Number) bool {
	var name, content string
	ok := each(message, func(n protowire.Number, b []byte) bool {
		switch n {
		case key:
			name = string(b)
		case value, raw:
			if len(b) > 0 {
				content = string(b)
			}
		}
		return true
	})
	if ok && name != "" && name[0] != ':' { // pseudo-header fields are said again by attributes of their own
		name = textproto.CanonicalMIMEHeaderKey(name)
		c.fields[name] = append(c.fields[name], content)
	}
	return ok
}

// each calls visit for every field of a message; the value of one that is not length-delimited is nil.
func each(message []byte, visit func(protowire.Number, []byte) bool) bool {
	for len(message) > 0 {
		n, kind, length := protowire.ConsumeTag(message)
		if length < 0 {
			return false
		}
		message = message[length:]
		var value []byte
		if kind == protowire.BytesType {
			value, length = protowire.ConsumeBytes(message)
		} else {
			length = protowire.ConsumeFieldValue(n, kind, message)
		}
		if length < 0 || kind == protowire.BytesType && !visit(n, value) {
			return false
		}
		message = message[length:]
	}
	return true
}

// within calls visit for every value of the field n.
func within(message []byte, n protowire.Number, visit func([]byte) bool) bool {
	return each(message, func(m protowire.Number, value []byte) bool { return m != n || visit(value) })
}

// A verdict gathers what the call will be answered.
type verdict struct {
	header http.Header
	status int
	body   []byte
	open   bool
	fields []Field
	remove []string
}

func (v *verdict) Header() http.Header { return v.header }

func (v *verdict) WriteHeader(status int) {
	if v.status == 0 && status >= 200 {
		v.status = status
	}
}

func (v *verdict) Write(p []byte) (int, error) {
	v.WriteHeader(http.StatusOK)
	v.body = append(v.body, p...)
	return len(p), nil
}

func (v *verdict) allow(fields []Field, remove []string) {
	v.open, v.fields, v.remove = true, fields, remove
}

// More fields of the messages.
const (
	checkResponseStatus          = 1
	checkResponseDenied          = 2
	checkResponseOK              = 3
	checkResponseDynamicMetadata = 4

	rpcStatusCode = 1

	deniedStatus  = 1
	deniedHeaders = 2
	deniedBody    = 3

	okHeaders         = 2
	okHeadersToRemove = 5
	okResponseHeaders = 6

	httpStatusCode = 1

	headerOptionHeader       = 1
	headerOptionAppendAction = 3
	overwriteOrAdd           = 2

	structFields = 1
	valueString  = 3
)

// encode writes the CheckResponse.
func (v *verdict) encode() []byte {
	if !v.open || v.status != http.StatusOK {
		return v.encodeDenied()
	}
	var ok, metadata []byte
	remove := append([]string(nil), v.remove...)
	for _, f := range v.fields {
		if f.Value == "" {
			remove = append(remove, f.Name)
			continue
		}
		ok = appendMessage(ok, okHeaders, headerOption(f.Name, f.Value))
		value := appendText(nil, valueString, f.Value)
		metadata = appendMessage(metadata, structFields, appendMessage(appendText(nil, mapKey, strings.ToLower(f.Name)),
			mapValue, value))
	}
	for _, name := range remove {
		ok = appendText(ok, okHeadersToRemove, strings.ToLower(name))
	}
	for _, name := range sortedNames(v.header) {
		for _, value := range v.header[name] {
			ok = appendMessage(ok, okResponseHeaders, headerOption(name, value))
		}
	}
	b := appendMessage(nil, checkResponseStatus, nil)
	b = appendMessage(b, checkResponseOK, ok)
	return appendMessage(b, checkResponseDynamicMetadata, metadata)
}

func (v *verdict) encodeDenied() []byte {
	status := neverOpen(v.status)
	denied := appendMessage(nil, deniedStatus, appendNumber(nil, httpStatusCode, uint64(status)))
	for _, name := range sortedNames(v.header) {
		for _, value := range v.header[name] {
			denied = appendMessage(denied, deniedHeaders, headerOption(name, value))
		}
	}
	denied = appendText(denied, deniedBody, string(v.body))
	b := appendMessage(nil, checkResponseStatus, appendNumber(nil, rpcStatusCode, uint64(grpcCode(status))))
	return appendMessage(b, checkResponseDenied, denied)
}

// grpcCode is the google.rpc.Status of a refusal. Envoy takes anything but 0 for a no.
func grpcCode(status int) int {
	switch {
	case status == http.StatusUnauthorized:
		return grpcUnauthenticated
	case status == http.StatusTooManyRequests:
		return grpcResourceExhausted
	case status == http.StatusBadRequest:
		return grpcInvalidArgument
	case status >= 500:
		return grpcUnavailable
	}
	return grpcPermissionDenied
}

func sortedNames(h http.Header) []string {
	names := make([]string, 0, len(h))
	for name := range h {
		if name != "Content-Length" && name != "Trailer" {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

func headerOption(name, value string) []byte {
	header := appendText(appendText(nil, headerValueKey, strings.ToLower(name)), headerValueValue, value)
	return appendNumber(appendMessage(nil, headerOptionHeader, header), headerOptionAppendAction, overwriteOrAdd)
}

func appendMessage(to []byte, n protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, n, protowire.BytesType), message)
}

func appendText(to []byte, n protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(to, n, protowire.BytesType), text)
}

func appendNumber(to []byte, n protowire.Number, value uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(to, n, protowire.VarintType), value)
}
