package listen_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/jotgate/jotgate/internal/listen"
)

// h2spec is others' test of what RFC 9113 and RFC 7541 say; it is no part of go.mod.
const h2spec = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"

// h2spec finds no fault in our server, and in net/http's those that are known. It opens a connection for each case, and
// tells at its end how many were passed.
func TestH2Spec(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		limit listen.HTTP2
		h2c   bool
		known []string // faults
	}{
		{"own", listen.HTTP2Own, false, nil},
		{"own without TLS", listen.HTTP2Own, true, []string{"Sends invalid connection preface"}}, // answered as HTTP/1.1
		{"standard", listen.HTTP2Standard, false, []string{
			"Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE",                    // it takes duplicates for a flood
			"Sends a HEADERS frame that contains the connection-specific header field", // answered 400
			"Sends a HEADERS frame that contains the TE header field",                  // the same
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			o, _ := secure(t, listen.Limits{HTTP2: row.limit})
			if row.h2c {
				o.Listeners[0].TLS, o.Listeners[0].H2C = nil, true
			}
			ls := start(t, o, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // what is wrong in it is the client's affair
				_, _ = io.WriteString(w, "whole")
			}))
			host, port, err := net.SplitHostPort(ls.Addr("main").String())
			if err != nil {
				t.Fatal(err)
			}
			args := []string{"run", h2spec, "--strict", "--host", host, "--port", port}
			if !row.h2c {
				args = append(args, "--tls", "--insecure")
			}
			tool := exec.Command("go", args...)
			tool.Dir = t.TempDir()
			out, err := tool.CombinedOutput()
			passed := fmt.Sprintf("\n146 tests, %d passed, 0 skipped, %d failed", 146-len(row.known), len(row.known))
			if err != nil && len(row.known) == 0 || !strings.Contains(string(out), passed) {
				t.Errorf("%v\n%s", err, out)
			}
			for _, fault := range row.known {
				if !strings.Contains(string(out), fault) {
					t.Errorf("no longer found: %s", fault)
				}
			}
		})
	}
}
