package code_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A mutant is a fault that the property tests must find: in one file, each old text, which is there exactly once,
// becomes the new one.
type mutant struct {
	name  string
	file  string // from the module's root
	swaps []string
	tests string // the package whose property tests must find it

	shared bool // it is one of the store that replicas share
}

const (
	setFile    = "internal/replay/set.go"
	memoryFile = "internal/replay/memory.go"
	sealerFile = "issuer/code/sealer.go"
	redisFile  = "internal/replay/redis.go"
	epochFile  = "internal/redisstore/epoch.go"
)

var mutants = []mutant{
	{name: "no floor", file: setFile, swaps: []string{
		"if expiry <= s.floor {", "if false {",
	}},
	{name: "floor only for live entries", file: setFile, swaps: []string{
		"s.used.RemoveOldest()", "floor := s.floor; s.used.RemoveOldest(); s.floor = floor",
	}},
	{name: "floor raised outside the lock", file: memoryFile, tests: "internal/replay", swaps: []string{
		"return s.consume(u.Nonce, u.Expiry, now), s.floor",
		"before := s.floor; r := s.consume(u.Nonce, u.Expiry, now); after := s.floor; s.floor = before; m.mu.Unlock(); " +
			"m.mu.Lock(); s.raise(after); return r, s.floor",
	}},
	{name: "identity by spelling", file: sealerFile, swaps: []string{
		"raw, err := decode(code)", `spelling := sha256.Sum256([]byte(code)); code = strings.NewReplacer("\n", "", "\r", ` +
			`"", "=", "", "+", "-", "/", "_").Replace(code); raw, err := decode(code)`,
		"Nonce: [nonceSize]byte(nonce)", "Nonce: [nonceSize]byte(spelling[:])",
		"import (", "import (\n\"strings\"",
	}},
	{name: "boot time instead of a random epoch", file: memoryFile, swaps: []string{
		"m.epoch = newEpoch()", `m.epoch = []byte(m.clock().Format("20060102150405.000000000 a time of start"))`,
	}},
	{name: "< for <=", file: setFile, swaps: []string{
		"if expiry <= s.floor {", "if expiry < s.floor {",
	}},
	{name: "floor falls", file: setFile, swaps: []string{
		"s.floor = max(s.floor, expiry)", "s.floor = expiry",
	}},
	{name: "resize forgets the floor", file: setFile, swaps: []string{
		"s.used.Resize(capacity)", "floor := s.floor; s.used.Resize(capacity); s.floor = floor",
	}},
	{name: "eviction forgets the floor", file: setFile, swaps: []string{
		"s.used.Add(nonce, expiry)", "floor := s.floor; s.used.Add(nonce, expiry); s.floor = floor",
	}},
	{name: "dropped client leaves nothing", file: memoryFile, swaps: []string{
		"m.floor = max(m.floor, s.legacy())", "_ = s",
	}},
	{name: "dropped client leaves its floor alone", file: setFile, swaps: []string{
		"return max(s.floor, s.highest)", "return s.floor",
	}},
	{name: "dropped client leaves its last expiry", file: setFile, swaps: []string{
		"s.highest = max(s.highest, expiry)", "s.highest = expiry",
	}},
	{name: "added client starts without a floor", file: memoryFile, swaps: []string{
		"added.raise(m.floor)", "",
	}},
	{name: "reload forgets who stays", file: memoryFile, swaps: []string{
		"s.resize(each)\n\t\t\tcontinue", "s.resize(each)",
	}},
	{name: "used is not remembered", file: setFile, swaps: []string{
		"return refusal.CodeUsed", `return ""`,
	}},
	{name: "living entries are pruned", file: setFile, swaps: []string{
		"if !ok || expiry > now {", "if _ = expiry; !ok {",
	}},
	{name: "floor by the clock", file: setFile, swaps: []string{
		"if expiry <= s.floor {", "if expiry <= now {",
	}},
	{name: "a mark is set over another", shared: true, file: redisFile, swaps: []string{
		"ARGV[4], 'NX', 'PX', life", "ARGV[4], 'PX', life",
	}},
	{name: "every mark is one's own", shared: true, file: redisFile, swaps: []string{
		"if redis.call('GET', KEYS[2]) == ARGV[4] then", "if true then",
	}},
	{name: "an epoch that is over will do", shared: true, file: redisFile, swaps: []string{
		"if ARGV[1] ~= '' and record[1] ~= ARGV[1] then", "if false then",
	}},
	{name: "a restart goes unnoticed", shared: true, file: epochFile, swaps: []string{
		"or string.sub(record[1], -#server) ~= server then", "then",
	}},
	{name: "a new epoch has the old sentinel", shared: true, file: epochFile, swaps: []string{
		"record = {ARGV[1] .. server, ms}", "record = {'sentinel' .. server, ms}",
	}},
	{name: "epoch is not authenticated", file: sealerFile, swaps: []string{
		"writeField(h, string(o.Epoch))", "",
	}},
}

// Each mutant compiles, and the property tests fail on it. What they do on the true source is the control.
func TestMutantsDie(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, tests := range []string{"issuer/code", "internal/replay"} {
		control := mutant{name: "control", file: setFile, tests: tests}
		if out, err := control.run(t, root); err != nil {
			t.Fatalf("the property tests of %s fail without a mutant: %v\n%s", tests, err, out)
		}
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			out, err := m.run(t, root)
			switch {
			case err == nil:
				t.Errorf("the mutant lives:\n%s", out)
			case !bytes.Contains(out, []byte("--- FAIL: TestProperty")):
				t.Errorf("the mutant died of something else: %v\n%s", err, out)
			default:
				t.Logf("killed: %s", firstLineWith(out, "accepted", "refused", "redemption: <nil>"))
			}
		})
	}
}

// run compiles the package's tests with the mutant laid over its file, which must succeed, and answers what they say.
func (m mutant) run(t *testing.T, root string) ([]byte, error) {
	t.Helper()
	if m.tests == "" {
		m.tests = "issuer/code"
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "mutant.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-ldflags=-s -w",
		"-overlay", m.overlay(t, root, dir), "-o", binary, "./"+m.tests)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the mutant does not compile: %v\n%s", err, out)
	}
	args := []string{"-test.run", "^TestProperty.*[^d]$", "-test.timeout", "60s"} // but not TestPropertyOnceShared
	if m.shared {
		args = []string{
			"-test.run", "^TestPropertyOnceShared$", "-test.timeout", "120s", "-rapid.seed", "1", "-rapid.checks",
			"300", "-rapid.shrinktime", "0s", "-rapid.nofailfile",
		}
	} else if m.tests == "internal/replay" {
		args = append(args, "-test.count", "10", "-test.failfast") // a race is lost by chance, many times in each run
	} else {
		// The seed is fixed, so that a mutant that dies today dies tomorrow.
		args = append(args, "-rapid.seed", "1", "-rapid.checks", "1000", "-rapid.shrinktime", "0s", "-rapid.nofailfile")
	}
	run := exec.CommandContext(t.Context(), binary, args...)
	run.Dir = dir
	return run.CombinedOutput()
}

// overlay writes the mutated file and the JSON that lays it over the true one (go help build).
func (m mutant) overlay(t *testing.T, root, dir string) string {
	t.Helper()
	original := filepath.Join(root, filepath.FromSlash(m.file))
	source, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	text := string(source)
	for i := 0; i < len(m.swaps); i += 2 {
		if n := strings.Count(text, m.swaps[i]); n != 1 {
			t.Fatalf("%s has %q %d times: the mutant must follow the source", m.file, m.swaps[i], n)
		}
		text = strings.Replace(text, m.swaps[i], m.swaps[i+1], 1)
	}
	mutated := filepath.Join(dir, "mutated.go")
	over, err := json.Marshal(map[string]any{"Replace": map[string]string{original: mutated}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	for name, data := range map[string][]byte{mutated: []byte(text), file: over} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

func firstLineWith(out []byte, words ...string) string {
	for line := range strings.Lines(string(out)) {
		for _, w := range words {
			if strings.Contains(line, w) {
				return strings.TrimSpace(line)
			}
		}
	}
	return ""
}
