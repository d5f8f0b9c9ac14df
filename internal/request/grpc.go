package request

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/jotgate/jotgate/internal/refusal"
)

// IsGRPC reports whether r is a gRPC request, whose client reads a refusal's code and text from grpc-status and
// grpc-message alone: a POST over HTTP/2 with gRPC's content type. gRPC-Web, whose clients read the status of HTTP, is
// none.
func IsGRPC(r *http.Request) bool {
	if r.ProtoMajor < 2 || r.Method != http.MethodPost {
		return false
	}
	kind := r.Header["Content-Type"]
	if len(kind) != 1 || !strings.HasPrefix(kind[0], "application/grpc") {
		return false
	}
	rest := kind[0][len("application/grpc"):]
	return rest == "" || rest[0] == '+' || rest[0] == ';'
}

// grpcStatus is the code of gRPC for a status of HTTP.
func grpcStatus(status int) int {
	switch status {
	case http.StatusUnauthorized:
		return 16 // UNAUTHENTICATED
	case http.StatusForbidden:
		return 7 // PERMISSION_DENIED
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return 12 // UNIMPLEMENTED
	case http.StatusTooManyRequests, http.StatusRequestEntityTooLarge, http.StatusRequestHeaderFieldsTooLarge:
		return 8 // RESOURCE_EXHAUSTED
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return 14 // UNAVAILABLE
	case statusClientClosed:
		return 1 // CANCELLED
	case http.StatusRequestTimeout:
		return 4 // DEADLINE_EXCEEDED
	case http.StatusInternalServerError:
		return 13 // INTERNAL
	}
	return 3 // INVALID_ARGUMENT
}

// statusClientClosed is what the log says of a client that left.
const statusClientClosed = 499

// EndGRPC ends an answer whose head was sent with a status of gRPC, in trailers.
func (x *Exchange) EndGRPC(reason refusal.Reason) {
	h := x.Header()
	h[http.TrailerPrefix+"Grpc-Status"] = []string{strconv.Itoa(grpcStatus(reason.Status()))}
	h[http.TrailerPrefix+"Grpc-Message"] = []string{
		grpcMessage(http.StatusText(reason.Status()) + ", request_id " + x.ID),
	}
}

// refuseGRPC answers with a status of gRPC, in a head that is also the end of the answer.
func (x *Exchange) refuseGRPC(reason refusal.Reason) {
	status := reason.Status()
	text := http.StatusText(status)
	if text == "" {
		text = "Client Closed Request"
	}
	h := x.Header()
	h["Content-Type"] = []string{"application/grpc"}
	h["Cache-Control"] = []string{"no-store"}
	delete(h, "Content-Length")
	h["Grpc-Status"] = []string{strconv.Itoa(grpcStatus(status))}
	h["Grpc-Message"] = []string{grpcMessage(text + ", request_id " + x.ID)}
	x.WriteHeader(http.StatusOK)
}

// grpcMessage percent-encodes what is not printable ASCII.
func grpcMessage(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= ' ' && c < 0x7f && c != '%' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
