package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

const webSecret = "0123456789abcdefghijkl"

func environment(name string) (string, bool) {
	value, ok := map[string]string{
		"WEB_SECRET":  webSecret,
		"SHOP_SECRET": "shop-secret-shop-secret",
		"SHORT":       "hunter2",
	}[name]
	return value, ok
}

// copyOf puts a good file into a folder of its own.
func copyOf(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "good", name))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSidecarCreatesItsKeyOnceAndKeepsIt(t *testing.T) {
	t.Setenv("WEB_SECRET", webSecret)
	path := copyOf(t, "sidecar.yaml")
	keyPath := filepath.Join(filepath.Dir(path), "keys", "main.pem")

	if _, err := Check(path); err != nil {
		t.Fatalf("check: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(keyPath)); !os.IsNotExist(err) {
		t.Fatalf("check made the key's folder: %v", err)
	}

	first, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	wantMode(t, filepath.Dir(keyPath), fs.ModeDir|0o700)
	wantMode(t, keyPath, 0o600)
	entries, err := os.ReadDir(filepath.Dir(keyPath))
	if err != nil || len(entries) != 1 {
		t.Errorf("the key's folder holds %v (%v), want the key alone", entries, err)
	}

	second, err := Load(path)
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
