//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program builds the command, as it is used: the race detector would only slow the load down. The tests below have it.
func program(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "bench")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// toolsAreThere is false where nginx, HAProxy, wrk or h2load is missing; in CI, which installs them, that is a failure.
func toolsAreThere(t *testing.T) bool {
	t.Helper()
	_, missing := findTools()
	if len(missing) == 0 {
		return true
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("missing: %v; scripts/deps installs them", missing)
	}
	t.Logf("not tried, for want of %v; scripts/deps installs them", missing)
	return false
}

func TestAQuickRunMeasuresEveryCaseAndLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	if !toolsAreThere(t) {
		return
	}
	folder, results := t.TempDir(), t.TempDir()
	cmd := exec.CommandContext(t.Context(), program(t), "-quick", "-results", results)
	cmd.Env = append(os.Environ(), "TMPDIR="+folder)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	nothingLeft(t, folder)

	r := onlyResults(t, results)
	var names []string
	for _, c := range r.Cases {
		names = append(names, c.Name)
		if len(c.Figures) == 0 {
			t.Errorf("%s: no figures", c.Name)
		}
		for _, f := range c.Figures {
			if f.Median < 0 || f.Low > f.Median || f.Median > f.High || len(f.Samples) == 0 {
				t.Errorf("%s: %s: %v of %v", c.Name, f.Name, f.Spread, f.Samples)
			}
		}
		for _, q := range c.Ratios {
			if q.Median <= 0 {
				t.Errorf("%s: %s : %s is %v", c.Name, q.Of, q.By, q.Spread)
			}
		}
	}
	if !slices.Equal(names, caseNames()) {
		t.Errorf("cases %v, want %v", names, caseNames())
	}
	for _, name := range []string{"go", "nginx", "haproxy", "redis", "wrk", "h2load"} {
		if r.Versions[name] == "" {
			t.Errorf("no version of %s", name)
		}
	}
	if !r.Quick || r.Date.IsZero() || r.Conditions.Processor == "" || r.Conditions.Kernel == "" ||
		!strings.Contains(r.Command, "-quick") {
		t.Errorf("circumstances: %+v", r)
	}
	if bars := r.bars(); len(bars) != 9 {
		t.Errorf("%d bars in the picture, want 9: %v", len(bars), bars)
	}
}

// onlyResults reads the one results file of a folder, beside which its table and its picture must be.
func onlyResults(t *testing.T, folder string) *Results {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("results %v, %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var r Results
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	stem := strings.TrimSuffix(files[0], ".json")
	for _, made := range []string{stem + ".md", stem + ".svg"} {
		if info, err := os.Stat(made); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", made, err)
		}
	}
	return &r
}

// nothingLeft looks for files in a run's folder, and for processes that were given a path in it.
func nothingLeft(t *testing.T, folder string) {
	t.Helper()
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range lines {
		text, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(text), folder) {
			t.Errorf("still running: %s: %s", file, strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
}

func TestAnInterruptEndsWhatWasStarted(t *testing.T) {
	t.Parallel()
	if !toolsAreThere(t) {
		return
	}
	folder, results := t.TempDir(), t.TempDir()
	// The turn is long enough to be in the midst of it, with everything running.
	cmd := exec.CommandContext(t.Context(), program(t), "-cases", "cached", "-turn", "1h", "-tokens", "2", "-results",
		results)
	cmd.Env = append(os.Environ(), "TMPDIR="+folder)
	reader, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, reader, "cached: ")
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, reader)
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%v, want exit code 1\n%s", err, &stderr)
	}
	nothingLeft(t, folder)
}

func until(t *testing.T, r io.Reader, text string) {
	t.Helper()
	var seen []byte
	for b := make([]byte, 1); !bytes.Contains(seen, []byte(text)); {
		if _, err := r.Read(b); err != nil {
			t.Fatalf("no %q in %q: %v", text, seen, err)
		}
		seen = append(seen, b...)
	}
}

func TestWrongFlagsAreToldAndNothingStarts(t *testing.T) {
	t.Parallel()
	for _, x := range []struct{ args, want string }{
		{"-cases speed", `usage: there is no case "speed", only cached, fields, clients, calm, tracing, ` +
			`console, assertion, proof, missed, refused, mint, store, decisions, routes, bodies, tls, h2c, grpc, ` +
			`handshakes, latency, idle, secure, streams, growth, soak, start`},
		{"-rounds 0", "usage: -rounds is too small to measure anything with"},
		{"-rounds 5 -tries 4", "usage: -tries is too small to measure anything with"},
		{"-idle 10,x", `usage: -idle: "x" is no number of one or more`},
		{"-routes 0", `usage: -routes: "0" is no number of one or more`},
		{"cached", `usage: "cached" is no flag; the cases are named with -cases`},
	} {
		_, err := parse(strings.Fields(x.args), io.Discard)
		if err == nil || err.Error() != x.want || !errors.Is(err, errUsage) {
			t.Errorf("%s: %v, want %s", x.args, err, x.want)
		}
	}
	s, err := parse([]string{"-quick", "-rounds", "3"}, io.Discard)
	if err != nil || s.rounds != 3 || s.tokens != 100 {
		t.Errorf("-quick -rounds 3: %+v, %v: what was asked for must stay", s, err)
	}
}

// idler is a process with nothing to do, and a bench around it.
func idler(t *testing.T) (*bench, *process) {
	t.Helper()
	cores, err := usableCores()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		settings: &settings{rounds: 2, tries: 5, foreign: 1e9, quick: true}, running: newProcesses(),
		out: io.Discard,
	}
	t.Cleanup(b.running.endAll)
	b.meter = newMeter(cores[0], cores[len(cores)-1], b.running)
	b.meter.cores = cores[:1]
	p, err := b.running.start("sleep", cores[0], filepath.Join(t.TempDir(), "log"), "sleep", "1h")
	if err != nil {
		t.Fatal(err)
	}
	return b, p
}

func TestARoundWithAWrongAnswerDoesNotCountAndTheOrderTurnsRound(t *testing.T) {
	t.Parallel()
	b, p := idler(t)
	var order []string
	player := func(name string, wrongIn int) *contestant {
		played := 0
		return &contestant{name: name, process: p, turn: func(context.Context) (tally, error) {
			order = append(order, name)
			played++
			if played == wrongIn {
				return tally{requests: 10, wrong: 1}, nil
			}
			return tally{requests: 10}, nil
		}}
	}
	rounds, thrown, err := b.play(t.Context(), []*contestant{player("a", 2), player("b", 0)})
	if err != nil || len(rounds) != 2 || thrown != (Thrown{Wrong: 1}) {
		t.Errorf("%d rounds, %+v, %v", len(rounds), thrown, err)
	}
	// The second round goes backwards, and a's wrong answer ends it.
	if want := []string{"a", "b", "b", "a", "a", "b"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

// Not in parallel: what other tests of this process start and wait for would be our own time.
func TestForeignLoadIsSeenAndThrowsARoundAway(t *testing.T) {
	b, p := idler(t)
	b.foreign = 0.05
	stranger := exec.Command("sh", "-c", "while :; do :; done") // not one that we started, as far as b knows
	if err := b.running.launch(stranger, b.meter.cores[0]); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stranger.Process.Kill()
		_ = stranger.Wait()
	}()
	c := &contestant{name: "idle", process: p, turn: func(ctx context.Context) (tally, error) {
		return tally{requests: 1}, pause(ctx, 500*time.Millisecond)
	}}
	rounds, thrown, err := b.play(t.Context(), []*contestant{c})
	if err == nil || len(rounds) != 0 || thrown != (Thrown{Foreign: b.tries}) {
		t.Errorf("%d rounds, %+v, %v", len(rounds), thrown, err)
	}
}

func TestTheCPUClockHasWhatAProcessAndItsChildrenUsed(t *testing.T) {
	t.Parallel()
	b, _ := idler(t)
	p, err := b.running.start("busy", b.meter.cores[0], filepath.Join(t.TempDir(), "log"), "sh", "-c",
		"(while :; do :; done) & wait")
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; {
		used, err := cpuOf(p)
		if err != nil {
			t.Fatal(err)
		}
		if alone, err := cpuClock(p.pid()); err != nil || used > alone+200*time.Millisecond {
			if err != nil || alone > used/2 {
				t.Errorf("the shell used %v of %v, %v: it only waits", alone, used, err)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("only %v in %v", used, patience)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestProcStat(t *testing.T) {
	t.Parallel()
	text := "42 (a (b) c) S 1 40 40 0 -1 4194304 100 0 0 0 7 8 9 10 20 0 1 0 100 0 0"
	if s, err := readStat(text); err != nil || s != (procStat{group: 40, endedChildren: 190 * time.Millisecond}) {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []string{"", "42 a S 1 40", "42 (a) S 1"} {
		if _, err := readStat(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	const stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 3 1000 1000 4 5 6 50 50\ncpu1 10 0 0 7 7 0 0 0 0 0\nintr 1\n"
	for _, x := range []struct {
		cores []int
		apart bool
		want  time.Duration
	}{{[]int{0}, false, 21 * tick}, {[]int{0}, true, 12 * tick}, {[]int{0, 1}, false, 31 * tick}} {
		if got, err := busyTime(stat, x.cores, x.apart); err != nil || got != x.want {
			t.Errorf("%v: %v, %v, want %v", x, got, err, x.want)
		}
	}
	if _, err := busyTime(stat, []int{0, 2}, false); err == nil {
		t.Error("a core that is not there was read")
	}
}

func TestTheOutputOfLoads(t *testing.T) {
	t.Parallel()
	const wrk = "Running 1h test\n\ntally 100 7 1\n"
	if got, err := readWrk(wrk, false); err != nil || got.requests != 100 || got.wrong != 8 {
		t.Errorf("wrk: %+v, %v", got, err)
	}
	if got, err := readWrk(wrk, true); err != nil || got.wrong != 94 {
		t.Errorf("wrk, where each is to be refused: %+v, %v", got, err)
	}
	if _, err := readWrk("unable to connect\n", false); err == nil {
		t.Error("wrk: no tally was read")
	}
	h2 := "Application protocol: h2\nrequests: 0 total, 164 started, 100 done, 97 succeeded, 3 failed, 3 errored, 0 " +
		"timeout\nstatus codes: 95 2xx, 0 3xx, 2 4xx, 0 5xx\n"
	if got, err := readH2load(h2); err != nil || got.requests != 100 || got.wrong != 2 {
		t.Errorf("h2load: %+v, %v", got, err)
	}
	if _, err := readH2load(strings.Replace(h2, "h2", "http/1.1", 1)); err == nil {
		t.Error("h2load: HTTP/1.1 was taken for HTTP/2")
	}
}

func TestSpreadsAndPairedRatios(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		values []float64
		want   Spread
	}{
		{nil, Spread{}},
		{[]float64{3}, Spread{3, 3, 3}},
		{[]float64{4, 1, 3, 2}, Spread{1.75, 2.5, 3.25}},
		{[]float64{5, 1, 4, 2, 3}, Spread{2, 3, 4}},
	} {
		if got := spreadOf(x.values); got != x.want {
			t.Errorf("%v: %v, want %v", x.values, got, x.want)
		}
	}
	// In each round the one is twice the other; the rounds themselves differ tenfold.
	if got := paired([]float64{2, 20, 200}, []float64{1, 10, 100}); got != (Spread{2, 2, 2}) {
		t.Errorf("paired: %v", got)
	}
}

func TestTheTableAndThePictureSayWhatTheResultsSay(t *testing.T) {
	t.Parallel()
	c := &Case{Name: "cached", Title: "a token that is known", Unit: perRequest, Rounds: 2, Figures: []Figure{
		{Name: nginxName, Samples: []float64{20, 30}, Rate: 1000},
		{Name: gateName, Samples: []float64{40, 60}},
		{Name: "haproxy ES256", Samples: []float64{100, 150}},
	}}
	c.conclude([]pair{{gateName, nginxName, 2}, {"haproxy ES256", gateName, 1}, {gateName, baseName, 0}})
	r := &Results{
		Date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Command: "go run ./bench -cases cached",
		Cases: []*Case{c},
	}
	folder := t.TempDir()
	if err := r.write(folder, io.Discard); err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile(filepath.Join(folder, "20260102-030405.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| nginx | 25.0 (22.5–27.5) | 1000 |  |\n", "| jotgate : nginx | 2.00 (2.00–2.00) | ≤ 2: met |\n",
		"| haproxy ES256 : jotgate | 2.50 (2.50–2.50) | ≤ 1: missed |\n", "    go run ./bench -cases cached\n",
	} {
		if !strings.Contains(string(table), line) {
			t.Errorf("no %q in\n%s", line, table)
		}
	}
	if strings.Contains(string(table), baseName) {
		t.Error("who did not take part is in the table")
	}
	picture, err := os.ReadFile(filepath.Join(folder, "20260102-030405.svg"))
	if err != nil {
		t.Fatal(err)
	}
	if bars := strings.Count(string(picture), "<rect"); bars != 2 || !strings.Contains(string(picture), ">2.00</text>") {
		t.Errorf("%d bars:\n%s", bars, picture)
	}
	for d := xml.NewDecoder(bytes.NewReader(picture)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("the picture is no XML: %v", err)
		}
	}
}

// A server that answers slowly is asked at the same rate, and its slowness shows: nothing waits to be asked.
func TestAnOpenLoopMeasuresFromTheMomentTheRequestWasDue(t *testing.T) {
	t.Parallel()
	const slow = 30 * time.Millisecond
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(slow) // what is measured
		if r.Header.Get("Authorization") != "Bearer good" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer s.Close()
	address := s.Listener.Addr().String()
	heads := [][]byte{getHead(address, "good"), getHead(address, "bad")}
	// One connection, and a request due every 10 ms: each waits for all before it.
	took, wrong, err := openLoop(t.Context(), address, heads, 10, 10*time.Millisecond, 1)
	if err != nil || wrong != 5 {
		t.Errorf("%d wrong, %v, want 5", wrong, err)
	}
	for i, d := range took {
		if least := slow + time.Duration(i)*(slow-10*time.Millisecond); d < least {
			t.Errorf("request %d took %v, at least %v had passed since it was due", i, d, least)
		}
	}
	if q := quantiles([]time.Duration{1000, 2000, 3000, 4000}); !slices.Equal(q, []float64{2, 4, 4}) {
		t.Errorf("quantiles %v", q)
	}
}

func TestEachBodyIsPostedOnce(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) == "c" {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = w.Write(append([]byte(r.Header.Get("Authorization")+" "), body...))
	}))
	defer s.Close()
	answers := make([]string, 4)
	bodies := [][]byte{[]byte("a"), []byte("b"), []byte("c"), []byte("d")}
	seen, err := post(t.Context(), s.Listener.Addr().String(), "/", "me", 3, bodies, http.StatusOK,
		func(i int, answer []byte) {
			answers[i] = string(answer)
		})
	if err != nil || seen.requests != 4 || seen.wrong != 1 {
		t.Errorf("%+v, %v", seen, err)
	}
	if want := []string{"Bearer me a", "Bearer me b", "", "Bearer me d"}; !slices.Equal(answers, want) {
		t.Errorf("answers %q, want %q", answers, want)
	}
}
