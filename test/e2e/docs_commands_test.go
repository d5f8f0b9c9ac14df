package e2e_test

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

// A block is a ```sh block of a document that a comment before it marks, as in <!-- demo --> or <!-- newcomer: serve
// -->.
type block struct{ title, commands string }

var markedBlock = regexp.MustCompile("(?ms)^<!-- ([a-z]+)(?:: ([^\n]*))? -->\n\n```sh\n(.*?)^```$")

// markedBlocks are the blocks of a document with one mark, in order.
func markedBlocks(t *testing.T, file, mark string) (blocks []block) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range markedBlock.FindAllStringSubmatch(string(text), -1) {
		if m[1] == mark {
			blocks = append(blocks, block{m[2], m[3]})
		}
	}
	if len(blocks) == 0 {
		t.Fatalf("%s has no block of commands that is marked %s", file, mark)
	}
	return blocks
}

func joined(blocks []block) string {
	var all strings.Builder
	for _, b := range blocks {
		all.WriteString(b.commands)
	}
	return all.String()
}

var promised = regexp.MustCompile(`(?m)^.*\bcurl .* # (\d{3})$`)

// play runs commands in bash, where curl also notes the status of each answer, and compares those with the ones that
// the commands promise after a #. It gives what else was written.
func play(t *testing.T, folder string, env []string, commands string) string {
	t.Helper()
	var want []string
	for _, m := range promised.FindAllStringSubmatch(commands, -1) {
		want = append(want, m[1])
	}
	if asked := strings.Count(commands, "curl "); len(want) != asked {
		t.Fatalf("%d of %d curl commands promise a status", len(want), asked)
	}
	notes := filepath.Join(t.TempDir(), "statuses")
	writeFile(t, notes, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience) // a build is among the steps
	defer cancel()
	script := fmt.Sprintf("set -eu -o pipefail\n"+
		"curl() { command curl -sS --noproxy '*' -w '%%{stderr}%%{http_code}\\n' \"$@\" 2>>%q; }\n%s\n", notes, commands)
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir, cmd.Env = folder, append(os.Environ(), env...)
	cmd.WaitDelay = patience // what the commands left behind may hold their output open
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
	return string(out)
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
	play(t, t.TempDir(), env, joined(markedBlocks(t, "README.md", "demo")))

	demo.signal(t, syscall.SIGINT)
	if code := demo.exit(t); code != 0 {
		t.Errorf("exit code of the demo %d, want 0", code)
	}
	// The lines to paste are still the last of the terminal, whatever was refused meanwhile.
	if out := demo.stdout.String(); !regexp.MustCompile(`\n\nexport GATE=\S+\nexport MANAGE=\S+\nexport TOKEN=\S+\n$`).
		MatchString(out) || demo.stderr.String() != "" {
		t.Errorf("the demo's export lines do not come last and alone:\n%s\n%s", out, demo.stderr)
	}
}

func TestTheDemoPrintsItsLogWhenAsked(t *testing.T) {
	t.Parallel()
	demo := start(t, t.TempDir(), nil, "demo", "--log", "--listen", "127.0.0.1:0")
	gate := regexp.MustCompile(`(?m)^export GATE=(\S+)$`).FindStringSubmatch(demo.until(t, demo.stdout, "export TOKEN="))
	if status, _, _ := ask(t, "GET", gate[1]+"/nowhere", "", ""); status != 404 {
		t.Errorf("status %d, want 404", status)
	}
	demo.until(t, demo.stderr, `"reason":"code_used"`)       // of the story
	demo.until(t, demo.stderr, `"reason":"route_not_found"`) // of what came after it
	demo.signal(t, syscall.SIGINT)
	demo.exit(t)
}

func TestTheSidecarExampleWorksStepByStep(t *testing.T) {
	t.Parallel()
	folder, listen, upstream := t.TempDir(), freeAddress(t), freeAddress(t)
	config := sidecarConfig(t, listen, "http://"+upstream)
	if err := os.WriteFile(filepath.Join(folder, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	play(t, folder, nil, replaceAll(t, "examples/sidecar/README.md", shellBlocks(t, "examples/sidecar/README.md"),
		buildElsewhere(t, "examples/sidecar", folder),
		change{"bin/app &", "bin/app -listen " + upstream + " &"},
		change{"http://127.0.0.1:8080", "http://" + listen},
		change{"kill %2 %1\n", "kill %2 %1\nwait\n"},
	))
}

func TestTheEdgeExampleWorksStepByStep(t *testing.T) {
	t.Parallel()
	needs(t, "openssl", "openssl")
	folder, secure, plain, shop, pages := t.TempDir(), freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t)
	text, err := os.ReadFile("examples/edge/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config := replaceAll(t, "examples/edge/config.yaml", string(text),
		change{`":8443"`, fmt.Sprintf("%q", secure)}, change{`":8080"`, fmt.Sprintf("%q", plain)},
		change{"127.0.0.1:3001", shop}, change{"127.0.0.1:3002", pages}) +
		"admin: {listen: \"\"}\n" // others may have its default address
	writeFile(t, filepath.Join(folder, "config.yaml"), []byte(config))
	port := func(address string) string { return address[strings.LastIndexByte(address, ':'):] }
	play(t, folder, nil, replaceAll(t, "examples/edge/README.md", shellBlocks(t, "examples/edge/README.md"),
		buildElsewhere(t, "examples/edge", folder),
		change{":8443", port(secure)}, change{":8080", port(plain)},
		change{"127.0.0.1:3001", shop}, change{"127.0.0.1:3002", pages},
		change{"kill %1 %2\n", "kill %1 %2\nwait\n"},
	))
}

func TestTheGRPCExampleWorksStepByStep(t *testing.T) {
	t.Parallel()
	needs(t, "node", "nodejs")
	needs(t, "npm", "npm")
	const example = "examples/grpc/"
	source, err := filepath.Abs(example)
	if err != nil {
		t.Fatal(err)
	}
	folder, listen, stable, canary := t.TempDir(), freeAddress(t), freeAddress(t), freeAddress(t)
	for _, name := range []string{"app.mjs", "call.mjs", "package.json", "package-lock.json", "config.yaml"} {
		text, err := os.ReadFile(example + name)
		if err != nil {
			t.Fatal(err)
		}
		if name == "config.yaml" {
			text = []byte(replaceAll(t, example+name, string(text), change{`"127.0.0.1:8080"`, fmt.Sprintf("%q", listen)},
				change{"127.0.0.1:50051", stable}, change{"127.0.0.1:50052", canary}) + "admin: {listen: \"\"}\n")
		}
		writeFile(t, filepath.Join(folder, name), text)
	}
	out := play(t, folder, []string{"GATE=" + listen}, replaceAll(t, example+"README.md",
		shellBlocks(t, example+"README.md"),
		change{"go build -o bin/ ../..\n", fmt.Sprintf("go build -C %q -o %q ../..\n", source,
			filepath.Join(folder, "bin")+"/")},
		change{"127.0.0.1:50051", stable}, change{"127.0.0.1:50052", canary},
		change{"kill %1 %2\n", "kill %1 %2\nwait\n"},
	))
	for _, want := range []string{
		"order 7 for alice of acme, by ", "order 7 is sent", "PERMISSION_DENIED", "UNAUTHENTICATED",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestTheClientsExampleWorksStepByStep(t *testing.T) {
	t.Parallel()
	needs(t, "node", "nodejs")
	const example = "examples/clients/"
	folder, listen, upstream := t.TempDir(), freeAddress(t), freeAddress(t)
	config, err := os.ReadFile(example + "config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(folder, "config.yaml"), []byte(replaceAll(t, example+"config.yaml", string(config),
		change{"127.0.0.1:8080", listen}, change{"http://127.0.0.1:3000", "http://" + upstream})))
	for _, name := range []string{"client.sh", "client.mjs"} {
		text, err := os.ReadFile(example + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	source, err := filepath.Abs(example)
	if err != nil {
		t.Fatal(err)
	}
	out := play(t, folder, []string{"NO_PROXY=*", "no_proxy=*"},
		replaceAll(t, example+"README.md", shellBlocks(t, example+"README.md"),
			change{"go build -o bin/ ../.. ../sidecar/app\n", fmt.Sprintf("go build -C %q -o %q ../.. ../sidecar/app\n", source,
				filepath.Join(folder, "bin")+"/")},
			change{
				"go build -o bin/client ./go\n",
				fmt.Sprintf("go build -C %q -o %q ./go\n", source, filepath.Join(folder, "bin/client")),
			},
			change{"bin/app &", "bin/app -listen " + upstream + " &"},
			change{"http://127.0.0.1:8080", "http://" + listen},
			change{"kill %2 %1\n", "kill %2 %1\nwait\n"},
		))
	said := regexp.MustCompile("(?ms)^```text\n(.*?)^```$").FindStringSubmatch(readFile(t, example+"README.md"))
	if said == nil || !strings.Contains(out, strings.Repeat(said[1], 3)) {
		t.Errorf("the three clients say:\n%s\nwant three times\n%q", out, said)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

type change struct{ old, with string }

// replaceAll changes what a test must have its own of, such as ports. What is not there would be changed in vain.
func replaceAll(t *testing.T, file, text string, changes ...change) string {
	t.Helper()
	for _, c := range changes {
		if !strings.Contains(text, c.old) {
			t.Fatalf("%s has no %q", file, c.old)
		}
		text = strings.ReplaceAll(text, c.old, c.with)
	}
	return text
}

// buildElsewhere makes the build of an example go on where it is, since the folder's copy is no part of the module.
func buildElsewhere(t *testing.T, example, folder string) change {
	t.Helper()
	source, err := filepath.Abs(example)
	if err != nil {
		t.Fatal(err)
	}
	return change{"go build -o bin/ ../.. ./app\n", fmt.Sprintf("go build -C %q -o %q ../.. ./app\n", source,
		filepath.Join(folder, "bin")+"/")}
}

// Every block of commands of the README is marked, so that a test plays it.
func TestTheREADMEsCommandsAreAllPlayed(t *testing.T) {
	t.Parallel()
	all, marked := shellBlocks(t, "README.md"), 0
	for _, mark := range []string{"demo", "newcomer"} {
		marked += len(joined(markedBlocks(t, "README.md", mark)))
	}
	if marked != len(all) {
		t.Errorf("%d of %d bytes of the commands are in marked blocks", marked, len(all))
	}
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
	for _, file := range documents(t) {
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

// documents are all of ours, but for those in folders of others' work.
func documents(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{
		"*.md", "docs/*.md", "docs/*/*.md", "examples/*/*.md", "bench/*.md",
		"test/e2e/testdata/*/*.md",
	} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, files...)
	}
	if len(all) < 10 {
		t.Fatalf("there are %d documents", len(all))
	}
	return all
}
