package e2e_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A newcomerApp is what a stranger has: an app that Jotgate has never seen.
type newcomerApp struct {
	mu   sync.Mutex
	seen []string // "/path subject"
}

func (a *newcomerApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = append(a.seen, strings.TrimSpace(r.URL.Path+" "+r.Header.Get("X-Jotgate-Subject")))
	fmt.Fprintln(w, "an app of their own")
}

// A newcomer with a copy of the sources, an app and nothing else does what the README says, command by command, in a
// clean folder. In the end the app is protected, and a refusal explained. Run with -v it tells the seconds of each
// step; the README has the figure of one such run.
func TestANewcomerWithTheREADMEAloneProtectsAnApp(t *testing.T) {
	t.Parallel()
	steps := markedBlocks(t, "README.md", "newcomer")
	theirs := &newcomerApp{}
	upstream := httptest.NewServer(theirs)
	defer upstream.Close()
	clone := cloned(t)
	gate, admin := freeAddress(t), freeAddress(t)
	stamps := filepath.Join(t.TempDir(), "stamps")
	stamp := fmt.Sprintf("echo $EPOCHREALTIME >> %q\n", stamps)
	script := stamp
	for _, s := range steps {
		script += s.commands + stamp
	}
	// The ports of this machine may be taken; nothing else is changed.
	out := play(t, clone, []string{"JOTGATE_CONFIG=", "GOFLAGS="}, replaceAll(t, "README.md", script,
		change{"init gate --upstream http://127.0.0.1:3000\n", "init gate --upstream " + upstream.URL + "\n" +
			"sed -i 's/127.0.0.1:8080/" + gate + "/; s/127.0.0.1:9090/" + admin + "/' gate/config.yaml\n"},
		change{"http://127.0.0.1:3000", upstream.URL},
		change{"http://localhost:8080", "http://" + gate},
		change{"kill %1\n", "kill %1\nwait\n"},
	))

	if want := []string{"/about", "/t/acme/orders alice"}; fmt.Sprint(theirs.seen) != fmt.Sprint(want) {
		t.Errorf("their app saw %q, want %q", theirs.seen, want)
	}
	explained := regexp.MustCompile("(?ms)^```text\n(.*?)^```$").FindAllStringSubmatch(readmeText(t), -1)
	if len(explained) != 1 {
		t.Fatalf("the README shows %d explanations, want 1", len(explained))
	}
	shown := strings.Replace(explained[0][1], "GET localhost ", "GET 127.0.0.1 ", 1)
	for _, want := range []string{shown, "exit code 4\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("the explanation lacks what the README shows:\n%s\nit says:\n%s", want, out)
		}
	}
	tellSteps(t, steps, stamps)
}

// tellSteps logs how long each step took, and holds the README to their number.
func tellSteps(t *testing.T, steps []block, stamps string) {
	t.Helper()
	text, err := os.ReadFile(stamps)
	if err != nil {
		t.Fatal(err)
	}
	var at []float64
	for _, s := range strings.Fields(string(text)) {
		seconds, err := strconv.ParseFloat(strings.Replace(s, ",", ".", 1), 64)
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, seconds)
	}
	if len(at) != len(steps)+1 {
		t.Fatalf("%d steps began or ended, want %d", len(at), len(steps)+1)
	}
	for i, s := range steps {
		t.Logf("%d. %-44s %6.1f s", i+1, s.title, at[i+1]-at[i])
	}
	t.Logf("%d steps, %.1f s", len(steps), at[len(steps)]-at[0])
	if told := fmt.Sprintf("%d steps", len(steps)); !strings.Contains(readmeText(t), told) {
		t.Errorf("the README does not speak of %s", told)
	}
}

func readmeText(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// cloned is a folder with these sources, as a clone has them: without what is ignored.
func cloned(t *testing.T) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "jotgate")
	ignored := map[string]bool{".git": true, "node_modules": true, "keys": true, "dist": true, "bin": true, "work": true}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && ignored[d.Name()]:
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, path), 0o755)
		case !d.Type().IsRegular(), path == "jotgate", strings.HasSuffix(path, "_test.go"):
			return nil
		}
		return copyFile(filepath.Join(to, path), path)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func copyFile(to, from string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, source); err != nil {
		target.Close()
		return err
	}
	return target.Close()
}

// From `git clone` to the demo's first line and its end, with a warm build cache and, in a campaign, with a cold one.
// Run with -v it reports the seconds; README.md has the figures.
func TestFromACloneToTheDemosFirstLine(t *testing.T) {
	t.Parallel()
	caches := map[string]string{"warm": ""}
	if os.Getenv("JOTGATE_CAMPAIGN") != "" {
		caches["cold"] = t.TempDir()
	}
	for name, cache := range caches {
		began := time.Now()
		clone := filepath.Join(t.TempDir(), "jotgate")
		if out, err := exec.Command("git", "clone", "-q", ".", clone).CombinedOutput(); err != nil {
			t.Fatalf("git clone: %v\n%s", err, out)
		}
		cmd := exec.CommandContext(t.Context(), "go", "run", ".", "demo", "--once", "--listen", "127.0.0.1:0")
		cmd.Dir = clone
		if cache != "" {
			cmd.Env = append(os.Environ(), "GOCACHE="+cache)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		first, err := lines.ReadString('\n')
		if err != nil || !strings.HasPrefix(first, "Jotgate demo: ") {
			t.Errorf("%s: the first line is %q (%v)", name, first, err)
		}
		t.Logf("%s: the first line after %.1f s", name, time.Since(began).Seconds())
		story, err := io.ReadAll(lines)
		if err := errors.Join(err, cmd.Wait()); err != nil || !strings.Contains(string(story), "403 Forbidden") {
			t.Errorf("%s: %v\n%s", name, err, story)
		}
		t.Logf("%s: the end after %.1f s", name, time.Since(began).Seconds())
	}
}
