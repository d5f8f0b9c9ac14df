package e2e_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Starting and reloading take work in proportion to the clients and routes of a config. The work is counted, not timed:
// how often each statement of ours runs, with so many of them and with twice as many.
func TestWorkGrowsWithTheConfig(t *testing.T) {
	folder := t.TempDir()
	instrumented := filepath.Join(folder, "jotgate")
	build := exec.Command("go", "build", "-cover", "-covermode=atomic", "-coverpkg=./...", "-o", instrumented, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const few = 300
	once, twice := workOf(t, instrumented, few), workOf(t, instrumented, 2*few)
	var bent []string
	for place, n := range twice {
		// A sort does a little more than twice the work for twice as many. What does not depend on their number stays below
		// the floor.
		if before := once[place]; n > 20*few && n > 3*before {
			bent = append(bent, fmt.Sprintf("%s: %d, then %d", place, before, n))
		}
	}
	slices.Sort(bent)
	if len(bent) > 0 {
		t.Errorf("twice the clients and routes, more than three times the work:\n%s", strings.Join(bent, "\n"))
	}
	if once[mostOfRoutes] < 2*few { // a start and a reload
		t.Errorf("no statement of config/routes.go ran more than %d times: nothing was counted", once[mostOfRoutes])
	}
}

// mostOfRoutes is how often the busiest statement of config/routes.go ran, which looks at each route once.
const mostOfRoutes = "config/routes.go"

// workOf starts the binary with n clients and as many routes, each with its own rewritten paths, reloads and ends it.
// It returns how often each block of statements ran.
func workOf(t *testing.T, program string, n int) map[string]int {
	t.Helper()
	folder, counts := t.TempDir(), t.TempDir()
	var text strings.Builder
	fmt.Fprintf(&text, `version: 1
listen: 127.0.0.1:0
watch: false
admin: {listen: ""}
drain: {delay: 0s}
issuer:
  url: http://127.0.0.1
  keys: [{file: key.pem, create: true}]
  clients:
`)
	for i := range n {
		fmt.Fprintf(&text, "    - {id: client-%d, secret_sha256: %x, delegate: [{tenant: t-%d, actions: [READ]}]}\n", i,
			sha256.Sum256([]byte(strconv.Itoa(i))), i)
	}
	text.WriteString("upstreams: {app: {servers: [\"http://127.0.0.1:1\"]}}\nroutes:\n")
	for i := range n {
		require := "require: authenticated"
		if i%2 == 0 {
			require = "require: {action: READ, tenant: t-0}"
		}
		fmt.Fprintf(&text, "  - {path: /r-%d/, upstream: app, %s, strip_prefix: /r-%d, add_prefix: /s/%d}\n", i, require,
			i, i)
	}
	file := filepath.Join(folder, "config.yaml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{
		Cmd: exec.Command(program, "serve", "--config", file), stdout: newTranscript(), stderr: newTranscript(),
		exited: make(chan struct{}),
	}
	p.Dir, p.Env, p.Stdout, p.Stderr = folder, append(os.Environ(), "GOCOVERDIR="+counts), p.stdout, p.stderr
	p.begin(t)
	p.until(t, p.stderr, `"msg":"listening"`)
	p.signal(t, syscall.SIGHUP)
	p.until(t, p.stderr, `"reloaded"`)
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	profile := filepath.Join(folder, "profile")
	convert := exec.Command("go", "tool", "covdata", "textfmt", "-i", counts, "-o", profile)
	if out, err := convert.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(profile)
	if err != nil {
		t.Fatal(err)
	}
	work := map[string]int{}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line) // place, statements, how often
		if len(fields) != 3 {
			continue
		}
		count, err := strconv.Atoi(fields[2])
		if err != nil {
			t.Fatal(err)
		}
		work[fields[0]] += count
		if strings.Contains(fields[0], "/config/routes.go:") {
			work[mostOfRoutes] = max(work[mostOfRoutes], count)
		}
	}
	return work
}
