package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the messages of testdata/bad as they are now")

// hermetic reads nothing but what the tests lay out.
var hermetic = Options{Env: environment, ReadFile: laidOut}

// TestBadFiles holds each file of testdata/bad to the exact message beside it. A file is named after its fault.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 30 {
		t.Fatalf("found %d bad files (%v), want at least 30", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Parse(filepath.Base(file), data, hermetic)
			if err == nil || c != nil {
				t.Fatalf("accepted as %+v (%v)", c, err)
			}
			if !errors.As(err, new(Faults)) {
				t.Errorf("the error is a %T, want Faults", err)
			}
			got := err.Error() + "\n"
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
			for _, credential := range []string{webSecret, "hunter2"} {
				if strings.Contains(got, credential) {
					t.Errorf("the message shows the credential %q", credential)
				}
			}
		})
	}
}
