package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Where the audit line cannot be written, no one gets the token.
func TestNoTokenWithoutItsAuditLine(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(exampleConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for full, want := range map[bool]int{false: exitFine, true: exitFailed} {
		var out, errs strings.Builder
		p := &Process{
			Args: []string{"mint", "--config", file, "--client", "web"}, Stdin: strings.NewReader(""), Stdout: &out,
			Stderr:    &errs,
			LookupEnv: func(string) (string, bool) { return "", false },
		}
		if full {
			p.Stderr = fullDisk{}
		}
		if code := Run(p); code != want || (out.Len() > 0) == full {
			t.Errorf("standard error is full: %t: exit code %d, want %d; it printed %d bytes", full, code, want, out.Len())
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }
