package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// mostBytes is the size that docs/decisions/0013-what-a-build-holds.md promises.
const mostBytes = 20_000_000

// TestAReleasedBinaryIsSmall builds as releases are built. What makes it grow at once is most likely a package that
// looks methods up by name, or a library that brings much with it: the decision tells how to find it.
func TestAReleasedBinaryIsSmall(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "jotgate")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, module)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > mostBytes {
		t.Errorf("%d bytes, at most %d are promised", info.Size(), mostBytes)
	}
}
