// Package browser_test plays Debian's Chromium against a gate. Each test starts one headless browser from a script of
// Node.js, which playwright-core drives.
package browser_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/app"
	"github.com/jotgate/jotgate/internal/keyfile"
	"github.com/jotgate/jotgate/internal/telemetry"
)

// patience is for one script with its browser, on a machine that has much else to do.
const patience = 5 * time.Minute

// installed runs npm ci once, with the versions and digests of package-lock.json.
var installed = sync.OnceValue(func() error {
	if _, err := exec.LookPath("chromium"); err != nil {
		return fmt.Errorf("scripts/deps installs it: %w", err)
	}
	if lock, err := os.Stat("package-lock.json"); err == nil {
		if done, err := os.Stat("node_modules/.package-lock.json"); err == nil && !done.ModTime().Before(lock.ModTime()) {
			return nil
		}
	}
	out, err := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund").CombinedOutput()
	if err != nil {
		return fmt.Errorf("npm ci (scripts/deps installs npm): %w\n%s", err, out)
	}
	return nil
})

// play runs a script with what it is given, as JSON. The script passes if it ends well and has printed a line "ok STEP"
// for each of these steps, in this order.
func play(t *testing.T, script string, given any, steps ...string) {
	t.Helper()
	if err := installed(); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "node", script, string(text))
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) } // the script closes its browser
	c.WaitDelay = 10 * time.Second
	timer := time.AfterFunc(patience, func() { _ = c.Cancel() })
	defer timer.Stop()
	err = c.Run()
	var done []string
	for line := range strings.Lines(out.String()) {
		if step, ok := strings.CutPrefix(strings.TrimSpace(line), "ok "); ok {
			done = append(done, step)
		}
	}
	if err != nil || !slices.Equal(done, steps) {
		t.Fatalf("%v\nsteps that passed: %q\nsteps that should: %q\n%s", err, done, steps, out.String())
	}
}

// A gate is one that runs from a file gate.yaml in its folder.
type gate struct {
	*app.Gate
	folder string
	log    *transcript // of every level, with access lines
}

// start runs a gate by the text of its configuration, in a folder where files may be already.
func start(t *testing.T, folder, settings string) *gate {
	t.Helper()
	file := filepath.Join(folder, "gate.yaml")
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := keyfile.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	said := new(transcript)
	log, err := telemetry.NewLog(said, "debug", true)
	if err != nil {
		t.Fatal(err)
	}
	g, err := app.New(app.Options{Config: c, ConfigPath: file, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close(); _ = log.Close() })
	return &gate{g, folder, said}
}

// A transcript is a log that is read while it is written.
type transcript struct {
	mu  sync.Mutex
	out bytes.Buffer
}

// Write implements io.Writer.
func (l *transcript) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

// String is all that was written.
func (l *transcript) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

// port is that of the gate's main listener.
func (g *gate) port() string {
	_, port, _ := strings.Cut(g.Addr("main").String(), ":")
	return port
}
