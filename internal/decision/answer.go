package decision

import (
	"net/http"
	"strconv"
)

// StatusHeader tells the status of a refusal to a front that understands 401 and 403 alone.
const StatusHeader = "X-Jotgate-Status"

// An answer is what an HTTP front is told. A 2xx status opens the request, so only allow can send one: whatever else
// answers with it, such as a refusal in gRPC's own way or a preflight, is 403.
type answer struct {
	http.ResponseWriter
	status func(http.Header, int) int
	open   bool
	sent   bool
}

// Unwrap lets http.ResponseController reach the server's writer.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// allow lets a 2xx status pass, with all fields, those without a value too: the front then overwrites what the client
// sent.
func (a *answer) allow(fields []Field, _ []string) {
	h := a.Header()
	for _, f := range fields {
		h[f.Name] = []string{f.Value}
	}
	h["Cache-Control"], h["Content-Length"] = []string{"no-store"}, []string{"0"}
	a.open = true
}

func (a *answer) WriteHeader(status int) {
	if a.sent {
		return
	}
	if status >= 200 {
		a.sent = true
		if !a.open {
			status = a.status(a.Header(), neverOpen(status))
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.ResponseWriter.Write(p)
}

// neverOpen replaces a status that a front takes for a yes.
func neverOpen(status int) int {
	if status < 300 {
		return http.StatusForbidden
	}
	return status
}

func statusAsItIs(_ http.Header, status int) int { return status }

// statusOfNginx turns what auth_request answers with 500 into 403. A 401 passes with its challenge.
func statusOfNginx(h http.Header, status int) int {
	h[StatusHeader] = []string{strconv.Itoa(status)}
	if status == http.StatusUnauthorized {
		return status
	}
	return http.StatusForbidden
}
