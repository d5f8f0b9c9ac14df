package app_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/listen/listentest"
)

// patiently waits until something holds.
func patiently(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// counts waits until the log says something n times.
func (g *gate) counts(n int, text string) {
	g.t.Helper()
	patiently(g.t, text+" is not there often enough", func() bool { return strings.Count(g.log.String(), text) >= n })
	if got := strings.Count(g.log.String(), text); got != n {
		g.t.Fatalf("%s: %d times, want %d, in %s", text, got, n, g.log)
	}
}

const (
	byItself = `"msg":"reloaded","by":"watch"`
	refused  = `"msg":"reload refused: the configuration in force stays","by":"watch"`
	asItWas  = `"msg":"files were looked at, and are as they were"`
)

// watched starts a gate that watches, and waits until it does.
func watched(t *testing.T, edits ...string) *gate {
	t.Helper()
	g := startGate(t, append(edits, watching...)...)
	g.counts(1, asItWas)
	return g
}

var watching = []string{"watch: false", "watch: true\nlog: {level: debug}"}

func (g *gate) edit(edits ...string) { g.t.Helper(); g.write(append(edits, watching...)...) }

func (g *gate) path(name string) string { return filepath.Join(filepath.Dir(g.file), name) }

func put(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func newPEM(t testing.TB) string {
	t.Helper()
	key, err := jose.Generate("ES256")
	must(t, err)
	text, err := key.MarshalPEM()
	must(t, err)
	return string(text)
}

// TestWatchSeesEveryWayToChangeAFile: whatever an editor, a mount or a deployment does to a file.
func TestWatchSeesEveryWayToChangeAFile(t *testing.T) {
	t.Parallel()
	text := func(g *gate, route string) string {
		g.edit("/open/", route)
		data, err := os.ReadFile(g.file)
		must(t, err)
		return string(data)
	}
	for name, c := range map[string]struct {
		lay    func(t *testing.T, g *gate, old string)  // before the gate starts: where g.file is
		change func(t *testing.T, g *gate, next string) // while it runs
	}{
		"written in place": {
			func(*testing.T, *gate, string) {},
			func(t *testing.T, g *gate, next string) { put(t, g.file, next) },
		},
		"replaced by a rename": {
			func(*testing.T, *gate, string) {},
			func(t *testing.T, g *gate, next string) {
				put(t, g.file+".new", next)
				must(t, os.Rename(g.file+".new", g.file))
			},
		},
		"moved away, then written anew": {
			func(*testing.T, *gate, string) {},
			func(t *testing.T, g *gate, next string) {
				must(t, os.Rename(g.file, g.file+"~"))
				put(t, g.file, next)
				must(t, os.Remove(g.file+"~"))
			},
		},
		"a link swapped for a folder, as Kubernetes does": {
			func(t *testing.T, g *gate, old string) {
				put(t, g.path("..2026_01/gate.yaml"), old)
				must(t, os.Symlink("..2026_01", g.path("..data")), os.Remove(g.file), os.Symlink("..data/gate.yaml", g.file))
			},
			func(t *testing.T, g *gate, next string) {
				put(t, g.path("..2026_02/gate.yaml"), next)
				must(t, os.Symlink("..2026_02", g.path("..data_tmp")), os.Rename(g.path("..data_tmp"), g.path("..data")),
					os.RemoveAll(g.path("..2026_01")))
			},
		},
		"what a link leads to elsewhere is written": {
			func(t *testing.T, g *gate, old string) {
				put(t, g.path("far/away/gate.yaml"), old)
				must(t, os.Remove(g.file), os.Symlink(g.path("far/away/gate.yaml"), g.file))
			},
			func(t *testing.T, g *gate, next string) { put(t, g.path("far/away/gate.yaml"), next) },
		},
		"its folder is moved away for another": {
			func(t *testing.T, g *gate, old string) {
				put(t, g.path("live/gate.yaml"), old)
				must(t, os.Remove(g.file))
				g.file = g.path("live/gate.yaml")
			},
			func(t *testing.T, g *gate, next string) {
				copyFile(t, g.path("main.pem"), g.path("../next/main.pem"))
				put(t, g.path("../next/gate.yaml"), next)
				live, root := g.path(""), g.path("..")
				must(t, os.Rename(live, root+"/old"), os.Rename(root+"/next", live))
			},
		},
		"a release that a link points to": {
			func(t *testing.T, g *gate, old string) {
				put(t, g.path("releases/1/gate.yaml"), old)
				must(t, os.Symlink("releases/1", g.path("current")), os.Remove(g.file))
				g.file = g.path("current/gate.yaml")
			},
			func(t *testing.T, g *gate, next string) {
				root := filepath.Dir(g.path(""))
				copyFile(t, filepath.Join(root, "releases/1/main.pem"), filepath.Join(root, "releases/2/main.pem"))
				put(t, filepath.Join(root, "releases/2/gate.yaml"), next)
				must(t, os.Symlink("releases/2", filepath.Join(root, "next")),
					os.Rename(filepath.Join(root, "next"), filepath.Join(root, "current")))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := laidOut(t, c.lay)
			if status, _, _ := g.get("/opened/"); status != 404 {
				t.Fatalf("before: %d", status)
			}
			other := &gate{t: t, file: filepath.Join(t.TempDir(), "gate.yaml"), app: g.app}
			c.change(t, g, text(other, "/opened/"))
			g.counts(1, byItself)
			if status, _, _ := g.get("/opened/"); status != 200 {
				t.Errorf("after: %d", status)
			}
			if got := strings.Count(g.log.String(), refused); got > 0 {
				t.Errorf("%d reloads were refused in between: %s", got, g.log)
			}
		})
	}
}

// laidOut starts a watching gate whose file lies where lay puts it.
func laidOut(t *testing.T, lay func(t *testing.T, g *gate, text string)) *gate {
	t.Helper()
	g := &gate{t: t, file: filepath.Join(t.TempDir(), "gate.yaml"), log: new(lines), app: newApp(t)}
	g.edit()
	text, err := os.ReadFile(g.file)
	must(t, err)
	lay(t, g, string(text))
	g.run()
	g.counts(1, asItWas)
	return g
}

// TestWatchSeesEveryFileThatTheConfigNames changes one after the other.
func TestWatchSeesEveryFileThatTheConfigNames(t *testing.T) {
	t.Parallel()
	g := &gate{t: t, file: filepath.Join(t.TempDir(), "gate.yaml"), log: new(lines), app: newApp(t)}
	public := func() string {
		key, err := jose.Generate("ES256")
		must(t, err)
		set, err := jose.NewKeySet(key.Public())
		must(t, err)
		return string(set.JWKS())
	}
	old := listentest.WritePair(t, "old.test")
	for name, text := range map[string]string{
		"token": "the-first-admin-token-of-all\n", "keys/theirs.json": public(), "keys/client.json": public(),
		"keys/main.pem": newPEM(t),
	} {
		put(t, g.path(name), text)
	}
	copyFile(t, old.Cert, g.path("tls/cert.pem"))
	copyFile(t, old.Key, g.path("tls/key.pem"))
	g.edit("admin: {listen: \"127.0.0.1:0\", token: an-admin-token-of-the-test}",
		"admin: {listen: \"127.0.0.1:0\", token: \"${file:token}\"}",
		"listen: 127.0.0.1:0\n", "listeners: [{name: main, address: \"127.0.0.1:0\", tls: {certificates: [{cert: "+
			"tls/cert.pem, key: tls/key.pem}]}}]\n",
		"{file: main.pem, create: true}", "{file: keys/main.pem}", "secret: 0123456789abcdefghijkl",
		"secret: 0123456789abcdefghijkl, keys: [{file: keys/client.json}]",
		"routes:", "trusted_issuers: [{issuer: https://theirs.test, keys: [{file: keys/theirs.json}], audiences: [us], "+
			"permissions: [{tenant: acme, actions: [READ]}]}]\nroutes:")
	g.run()
	g.counts(1, asItWas)
	next := listentest.WritePair(t, "next.test")
	for i, c := range []struct {
		file   string
		change func()
	}{
		{"token", func() { put(t, g.path("token"), "the-second-admin-token-of-all\n") }},
		{"theirs.json", func() { put(t, g.path("keys/theirs.json"), public()) }},
		{"client.json", func() { put(t, g.path("keys/client.json"), public()) }},
		{"main.pem", func() { put(t, g.path("keys/main.pem"), newPEM(t)) }},
		{"cert.pem", func() {
			copyFile(t, next.Cert, g.path("tls/next-cert.pem"))
			copyFile(t, next.Key, g.path("tls/next-key.pem"))
			must(t, os.Rename(g.path("tls/next-key.pem"), g.path("tls/key.pem")),
				os.Rename(g.path("tls/next-cert.pem"), g.path("tls/cert.pem")))
		}},
	} {
		c.change()
		g.counts(i+1, byItself)
		if !strings.Contains(g.log.String(), c.file) {
			t.Errorf("the log does not say that %s has changed: %s", c.file, g.log)
		}
	}
	if status, body := g.operate("GET", "/reload", "the-second-admin-token-of-all", ""); status != 200 ||
		!strings.Contains(body, `"outcome":"done"`) || !strings.Contains(body, `"by":"watch"`) {
		t.Errorf("admin: %d %s", status, body)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	must(t, err)
	put(t, to, string(data))
}

// TestWatchAsksForTheContents: what only looks like a change is none.
func TestWatchAsksForTheContents(t *testing.T) {
	t.Parallel()
	g := watched(t)
	data, err := os.ReadFile(g.file)
	must(t, err)
	looks := 1
	for _, change := range []func(){
		func() { must(t, os.Chtimes(g.file, time.Now(), time.Now())) },
		func() { put(t, g.file, string(data)) },
		func() { put(t, g.file+".new", string(data)); must(t, os.Rename(g.file+".new", g.file)) },
		func() { must(t, os.Chmod(g.path("main.pem"), 0o400)) },
	} {
		change()
		looks++
		patiently(t, "the watch did not look", func() bool { return strings.Count(g.log.String(), asItWas) >= looks })
		looks = strings.Count(g.log.String(), asItWas)
	}
	put(t, g.path("unrelated"), "x")
	if log := g.log.String(); strings.Contains(log, "reload") {
		t.Errorf("it reloaded: %s", log)
	}
	if status, body := g.operate("GET", "/reload", operatorToken, ""); status != 200 ||
		body != "{\"outcome\":\"none\"}\n" {
		t.Errorf("admin: %d %s", status, body)
	}
}

// TestWatchTellsABadFileOnce, and takes the good one that comes after it, without anybody's help.
func TestWatchTellsABadFileOnce(t *testing.T) {
	t.Parallel()
	g := watched(t)
	g.edit("/open/", "/opened/")
	data, err := os.ReadFile(g.file)
	must(t, err)
	f, err := os.Create(g.file)
	must(t, err)
	defer f.Close()
	half := len(data) / 2
	_, err = f.Write(data[:half])
	must(t, err)
	g.counts(1, refused)
	must(t, os.Chtimes(g.file, time.Now(), time.Now())) // it is looked at again, and not told again
	if log := g.log.String(); !strings.Contains(log, "gate.yaml:") ||
		!strings.Contains(log, `"outcome":"refused","by":"watch"`) {
		t.Errorf("the fault is not told: %s", log)
	}
	if status, body := g.operate("GET", "/reload", operatorToken, ""); status != 200 ||
		!strings.Contains(body, `"outcome":"refused"`) || !strings.Contains(body, "gate.yaml:") {
		t.Errorf("admin: %d %s", status, body)
	}
	if _, body := g.operate("GET", "/readyz", "", ""); !strings.Contains(body, "warning: the reload of ") {
		t.Errorf("readiness: %s", body)
	}
	if _, body := g.operate("GET", "/metrics", "", ""); !strings.Contains(body,
		`jotgate_reloads_total{result="refused"} 1`) {
		t.Error("the metric does not count one refused reload")
	}
	if status, _, _ := g.get("/open/"); status != 200 {
		t.Errorf("the configuration in force: %d", status)
	}
	_, err = f.Write(data[half:])
	must(t, err)
	g.counts(1, byItself)
	g.counts(1, refused)
	if status, _, _ := g.get("/opened/"); status != 200 {
		t.Errorf("after the second half: %d", status)
	}
	if _, body := g.operate("GET", "/readyz", "", ""); body != "ready\n" {
		t.Errorf("readiness: %s", body)
	}
}

// TestWatchMakesNoKey: a key file that is moved away is missed, and not made anew.
func TestWatchMakesNoKey(t *testing.T) {
	t.Parallel()
	g := watched(t)
	token := g.token("acme")
	must(t, os.Rename(g.path("main.pem"), g.path("away.pem")))
	g.counts(1, refused)
	g.eventually("was in use and no longer exists")
	if status, _, _ := g.get("/t/acme/", "Authorization", "Bearer "+token); status != 200 {
		t.Errorf("with the key gone: %d", status)
	}
	must(t, os.Rename(g.path("away.pem"), g.path("main.pem")))
	g.counts(1, byItself)
	if status, _, _ := g.get("/t/acme/", "Authorization", "Bearer "+token); status != 200 {
		t.Errorf("with the key back: %d", status)
	}
	g.edit("{file: main.pem, create: true}", "{file: main.pem}, {file: keys/new.pem, create: true, state: next}")
	g.counts(2, byItself)
	if _, err := os.Stat(g.path("keys/new.pem")); err != nil {
		t.Errorf("a key that no one had is not made: %v", err)
	}
}

// TestWatchHearsOfOtherReloads: it watches what they read, and does not reload after them.
func TestWatchHearsOfOtherReloads(t *testing.T) {
	t.Parallel()
	g := startGate(t)
	put(t, g.path("secrets/token"), "the-first-admin-token-of-all")
	g.edit("token: an-admin-token-of-the-test", `token: "${file:secrets/token}"`)
	must(t, g.Reload()) // which turns the watch on
	g.eventually(asItWas)
	put(t, g.path("secrets/token"), "the-second-admin-token-of-all")
	g.counts(1, byItself)
	g.write()
	must(t, g.Reload()) // and off
	if status, body := g.operate("GET", "/metrics", operatorToken, ""); status != 200 ||
		!strings.Contains(body, "jotgate_reloads_total{result=\"done\"} 3") {
		t.Errorf("metrics: %d %s", status, body)
	}
	patiently(t, "it still watches", func() bool {
		_, body := g.operate("GET", "/metrics", operatorToken, "")
		return strings.Contains(body, "jotgate_watched_files 0")
	})
}

// TestWatchIsOneWayToReload, SIGHUP's another: a file is loaded once, whichever comes first.
func TestWatchIsOneWayToReload(t *testing.T) {
	t.Parallel()
	g := watched(t)
	for i := range 5 {
		g.edit("/open/", "/open"+strings.Repeat("x", i)+"/")
		must(t, g.Reload())
		reloads, looks := strings.Count(g.log.String(), `"msg":"reloaded"`), strings.Count(g.log.String(), asItWas)
		patiently(t, "the watch did not look", func() bool { return strings.Count(g.log.String(), asItWas) > looks })
		if got := strings.Count(g.log.String(), `"msg":"reloaded"`); got != reloads {
			t.Errorf("%d reloads, then %d: %s", reloads, got, g.log)
		}
	}
}

// TestWatchLeavesNothingBehind is not parallel: it counts goroutines.
func TestWatchLeavesNothingBehind(t *testing.T) {
	before := goleak.IgnoreCurrent()
	g := watched(t)
	g.edit("/open/", "/opened/")
	g.counts(1, byItself)
	must(t, g.Drain(context.Background()))
	g.app.Close()
	if err := goleak.Find(before,
		goleak.IgnoreAnyFunction("go.uber.org/zap/zapcore.(*BufferedWriteSyncer).flushLoop")); err != nil {
		t.Error(err)
	}
}
