package app_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/app"
	"github.com/jotgate/jotgate/internal/keyfile"
)

// pageConfig writes the one config that a page of the documents shows into a folder, with what it names.
func pageConfig(t *testing.T, page string) (file string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + page)
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```yaml\n(# [a-z]+.yaml\n.*?)^```$").FindAllSubmatch(text, -1)
	if len(blocks) != 1 {
		t.Fatalf("%s has %d configs", page, len(blocks))
	}
	folder := t.TempDir()
	authority, _ := issuedBy(t, "authority")
	file = filepath.Join(folder, "gate.yaml")
	for name, data := range map[string][]byte{"gate.yaml": blocks[0][1], "ca.crt": authority, "token": []byte("a-token")} {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// The pages' configs are fine, without a warning.
func TestPagesOfWorkloadsAndMCP(t *testing.T) {
	t.Parallel()
	for _, page := range []string{"workloads.md", "mcp.md"} {
		c, err := keyfile.Load(pageConfig(t, page))
		if err != nil {
			t.Error(err)
			continue
		}
		if len(c.Warnings) > 0 {
			t.Errorf("%s: warnings: %v", page, c.Warnings)
		}
		if _, err := app.NewJudge(c, time.Now); err != nil {
			t.Errorf("%s: %v", page, err)
		}
	}
}
