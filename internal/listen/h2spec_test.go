package listen_test

import (
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

// h2spec finds no fault. It opens a connection for each case, and tells at its end how many were passed.
func TestH2Spec(t *testing.T) {
	t.Parallel()
	o, _ := secure(t, listen.Limits{})
	ls := start(t, o, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // what is wrong in it is the client's affair
		_, _ = io.WriteString(w, "whole")
	}))
	host, port, err := net.SplitHostPort(ls.Addr("main").String())
	if err != nil {
		t.Fatal(err)
	}
	tool := exec.Command("go", "run", h2spec, "--strict", "--tls", "--insecure", "--host", host, "--port", port)
	tool.Dir = t.TempDir()
	out, err := tool.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "\n146 tests, 146 passed, 0 skipped, 0 failed") {
		t.Errorf("%v\n%s", err, out)
	}
}
