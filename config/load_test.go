package config

import "testing"

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
