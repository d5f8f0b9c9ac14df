package keyfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/keyfile"
)

const webSecret = "0123456789abcdefghijkl"

func TestSidecarCreatesItsKeyOnceAndKeepsIt(t *testing.T) {
	t.Setenv("WEB_SECRET", webSecret)
	path := copyOf(t, "sidecar.yaml")
	keyPath := filepath.Join(filepath.Dir(path), "keys", "main.pem")

	if _, err := config.Load(path); err != nil {
		t.Fatalf("reading: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(keyPath)); !os.IsNotExist(err) {
		t.Fatalf("reading created the key's folder: %v", err)
	}

	first, err := keyfile.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	wantMode(t, filepath.Dir(keyPath), fs.ModeDir|0o700)
	wantMode(t, keyPath, 0o600)
	entries, err := os.ReadDir(filepath.Dir(keyPath))
	if err != nil || len(entries) != 1 {
		t.Errorf("the key's folder holds %v (%v), want the key alone", entries, err)
	}

	second, err := keyfile.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := first.Issuer.Keys[0].ID(), second.Issuer.Keys[0].ID(); a != b {
		t.Errorf("the second start has key %s, the first had %s", b, a)
	}
	if len(second.Warnings) > 0 {
		t.Errorf("warnings: %v", second.Warnings)
	}
}

func TestTwoStartsAtOnceAgreeOnOneKey(t *testing.T) {
	t.Setenv("WEB_SECRET", webSecret)
	path := copyOf(t, "sidecar.yaml")
	const starts = 16
	ids := make(chan string, starts)
	for range starts {
		go func() {
			c, err := keyfile.Load(path)
			if err != nil {
				ids <- err.Error()
				return
			}
			ids <- c.Issuer.Keys[0].ID()
		}()
	}
	first := <-ids
	for range starts - 1 {
		if id := <-ids; id != first {
			t.Errorf("one start has %s, another %s", first, id)
		}
	}
}

func TestFaultyFileCreatesNothing(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "gate.yaml")
	text := "version: 1\nissuer: {url: http://shop, keys: [{file: keys/main.pem, create: true}]}\nlog: {level: loud}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keyfile.Load(path); err == nil {
		t.Fatal("accepted")
	}
	if _, err := os.Stat(filepath.Join(folder, "keys")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the key's folder is there: %v", err)
	}
}

func TestKeyThatOthersCanReadIsAWarning(t *testing.T) {
	t.Setenv("WEB_SECRET", webSecret)
	path := copyOf(t, "sidecar.yaml")
	if _, err := keyfile.Load(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(filepath.Dir(path), "keys", "main.pem"), 0o640); err != nil {
		t.Fatal(err)
	}
	c, err := keyfile.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := path + ":5:17: issuer.keys[0].file: the key file \"keys/main.pem\" is readable by others (mode 0640); " +
		"chmod 600 it"
	if got := config.Faults(c.Warnings).Error(); got != want {
		t.Errorf("warnings\n got %s\nwant %s", got, want)
	}
}

func TestKeyFileThatCannotBeMade(t *testing.T) {
	t.Setenv("WEB_SECRET", webSecret)
	path := copyOf(t, "sidecar.yaml")
	if err := os.Symlink("nowhere", filepath.Join(filepath.Dir(path), "keys")); err != nil {
		t.Fatal(err)
	}
	_, err := keyfile.Load(path)
	want := path + ":5:17: issuer.keys[0].file: the key file cannot be created (file exists); " +
		"let the gateway's user write to its folder, or create the key with `jotgate keygen`"
	if err == nil || err.Error() != want {
		t.Errorf("a key through a dangling link\n got %v\nwant %s", err, want)
	}
}

// copyOf puts a good file into a folder of its own.
func copyOf(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../config/testdata/good", name))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != want {
		t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
	}
}
