package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// shellBlocks are the commands of a document: the text of its ```sh blocks, in order.
func shellBlocks(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var commands strings.Builder
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		commands.WriteString(block[1])
	}
	if commands.Len() == 0 {
		t.Fatalf("%s has no commands", file)
	}
	return commands.String()
}

var promised = regexp.MustCompile(`(?m)^.*\bcurl .* # (\d{3})$`)

// play runs commands in bash, where curl also notes the status of each answer, and compares those with the ones that
// the commands promise after a #.
func play(t *testing.T, folder string, env []string, commands string) {
	t.Helper()
	var want []string
	for _, m := range promised.FindAllStringSubmatch(commands, -1) {
		want = append(want, m[1])
	}
	if asked := strings.Count(commands, "curl "); len(want) != asked || asked == 0 {
		t.Fatalf("%d of %d curl commands promise a status", len(want), asked)
	}
	notes := filepath.Join(t.TempDir(), "statuses")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	script := fmt.Sprintf("set -eu -o pipefail\n"+
		"curl() { command curl -sS --noproxy '*' -w '%%{stderr}%%{http_code}\\n' \"$@\" 2>>%q; }\n%s\n", notes, commands)
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir, cmd.Env = folder, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("bash: %v\n%s", err, out)
	}
	noted, err := os.ReadFile(notes)
	if err != nil {
		t.Fatal(err)
	}
	// What curl says while it tries again stands there too.
	if got := regexp.MustCompile(`(?m)^\d{3}$`).FindAllString(string(noted), -1); !slices.Equal(got, want) {
		t.Errorf("statuses %v, want %v\n%s\n%s", got, want, noted, out)
	}
}

func TestTheREADMEsCommandsAnswerAsItSays(t *testing.T) {
	t.Parallel()
	demo := start(t, t.TempDir(), nil, "demo", "--listen", "127.0.0.1:0")
	told := demo.until(t, demo.stdout, "export TOKEN=")
	var env []string
	for _, m := range regexp.MustCompile(`(?m)^export ((?:GATE|MANAGE|TOKEN)=\S+)$`).FindAllStringSubmatch(told, -1) {
		env = append(env, m[1])
	}
	if len(env) != 3 {
		t.Fatalf("the demo prints %d of three variables:\n%s", len(env), told)
	}
	play(t, t.TempDir(), env, shellBlocks(t, "README.md"))

	demo.signal(t, syscall.SIGINT)
	if code := demo.exit(t); code != 0 {
		t.Errorf("exit code of the demo %d, want 0", code)
	}
}

func TestTheSidecarExampleWorksStepByStep(t *testing.T) {
	t.Parallel()
	folder, listen, upstream := t.TempDir(), freeAddress(t), freeAddress(t)
	config := sidecarConfig(t, listen, "http://"+upstream)
	if err := os.WriteFile(filepath.Join(folder, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := filepath.Abs("examples/sidecar")
	if err != nil {
		t.Fatal(err)
	}
	commands := shellBlocks(t, "examples/sidecar/README.md")
	for _, change := range []struct{ old, with string }{
		// The folder's copy is no part of the module, so the build goes on where it is.
		{"go build -o bin/ ../.. ./app\n", fmt.Sprintf("go build -C %q -o %q ../.. ./app\n", source, filepath.Join(folder, "bin")+"/")},
		{"bin/app &", "bin/app -listen " + upstream + " &"},
		{"http://127.0.0.1:8080", "http://" + listen},
		{"kill %2 %1\n", "kill %2 %1\nwait\n"},
	} {
		if !strings.Contains(commands, change.old) {
			t.Fatalf("examples/sidecar/README.md has no %q", change.old)
		}
		commands = strings.ReplaceAll(commands, change.old, change.with)
	}
	play(t, folder, nil, commands)
}

// What the documents show is one config, not three that drift apart.
func TestTheREADMEShowsTheSidecarsConfig(t *testing.T) {
	t.Parallel()
	config, err := os.ReadFile("examples/sidecar/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```yaml\n"+string(config)+"```\n") {
		t.Error("README.md does not show examples/sidecar/config.yaml")
	}
}

// Links within the repository lead somewhere.
func TestTheDocumentsLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs/architecture.md", "examples/sidecar/README.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`).FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
			}
		}
	}
}
