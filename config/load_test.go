package config

import (
	"strings"
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

func TestFileThatIsNotThere(t *testing.T) {
	t.Parallel()
	_, err := Load("testdata/none.yaml")
	if want := "testdata/none.yaml: cannot be read (no such file or directory); check the path of the configuration " +
		"file"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestSizeOfTheFile: limits.config_bytes is about the file that says it.
func TestSizeOfTheFile(t *testing.T) {
	t.Parallel()
	const text = "version: 1\nlimits: {config_bytes: 64KiB}\n"
	for size, want := range map[int]string{
		64 << 10:   "issuer",
		64<<10 + 1: "big.yaml: the file has 65537 bytes; keep it within 65536, or raise limits.config_bytes",
		64<<20 + 1: "big.yaml: the file has 67108865 bytes; keep it within 64MiB",
	} {
		_, err := Parse("big.yaml", []byte(text+"#"+strings.Repeat("x", size-len(text)-1)), hermetic)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d bytes: %v, want %s", size, err, want)
		}
		if size == 64<<10 && strings.Contains(err.Error(), "bytes") {
			t.Errorf("at the limit: %v", err)
		}
	}
}
