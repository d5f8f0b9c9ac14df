package upstream

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// standardClient is the variable that has all tests of this package run on http.Transport alone.
const standardClient = "JOTGATE_TEST_STANDARD_CLIENT"

func newPools(clock func() time.Time) *Pools {
	p := NewPools(clock)
	p.Standard = os.Getenv(standardClient) != ""
	return p
}

// TestAllOnTheStandardClient runs every test of this package once more, with the other client.
func TestAllOnTheStandardClient(t *testing.T) {
	t.Parallel()
	if os.Getenv(standardClient) != "" {
		return // this is that run
	}
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.timeout=5m")
	again.Env = append(os.Environ(), standardClient+"=1")
	if out, err := again.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
