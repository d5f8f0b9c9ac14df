package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestPeekNeedsNoPrivateKeyAndMakesNone(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "gate.yaml")
	text := "version: 1\nissuer: {url: http://shop, keys: [{file: a.pem}, {file: b.pem, create: true}]}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil {
		t.Error("check takes a key file that is not there")
	}
	c, err := Peek(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Issuer.Keys) != 2 {
		t.Errorf("%d keys stand in, want 2", len(c.Issuer.Keys))
	}
	for _, name := range []string{"a.pem", "b.pem"} {
		if _, err := os.Stat(filepath.Join(folder, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was made (%v)", name, err)
		}
	}
}
