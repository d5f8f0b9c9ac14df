package proxy

import (
	"os"
	"os/exec"
	"testing"
)

// standardClient is the variable that has all tests of this package run with ReverseProxy over http.Transport.
const standardClient = "JOTGATE_TEST_STANDARD_CLIENT"

// TestAllOnTheStandardClient runs every test of this package once more, with the other forwarder and the other client.
func TestAllOnTheStandardClient(t *testing.T) {
	if os.Getenv(standardClient) != "" {
		return // this is that run
	}
	// The model judges without an upstream.
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.timeout=5m", "-test.skip=Model")
	again.Env = append(os.Environ(), standardClient+"=1")
	if out, err := again.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
