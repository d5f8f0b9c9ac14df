package e2e_test

import (
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// instructions are a Dockerfile's, each on one line, by their keyword.
func instructions(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for line := range strings.SplitSeq(strings.ReplaceAll(string(text), "\\\n", ""), "\n") {
		if keyword, rest, ok := strings.Cut(strings.TrimSpace(line), " "); ok && keyword != "#" {
			found[keyword] = append(found[keyword], strings.TrimSpace(rest))
		}
	}
	return found
}

// No container engine is needed for this: what the image holds is built as the Dockerfile says, and looked at.
func TestTheImageIsOneStaticBinaryThatRunsUnprivileged(t *testing.T) {
	t.Parallel()
	docker := instructions(t)
	for _, want := range []struct{ keyword, last string }{
		{"USER", "65532:65532"},
		{"ENTRYPOINT", `["/jotgate"]`},
		{"ENV", "JOTGATE_CONFIG=/etc/jotgate/config.yaml"},
	} {
		if got := docker[want.keyword]; len(got) != 1 || got[0] != want.last {
			t.Errorf("%s %q, want %q once", want.keyword, got, want.last)
		}
	}
	from := docker["FROM"]
	if len(from) != 2 || !regexp.MustCompile(`^golang:\d+\.\d+\.\d+-\w+ AS build$`).MatchString(from[0]) ||
		from[1] != "scratch" {
		t.Errorf("FROM %q, want a pinned golang, then scratch", from)
	}
	if health := docker["HEALTHCHECK"]; len(health) != 1 ||
		!strings.HasSuffix(health[0], `CMD ["/jotgate", "healthcheck"]`) {
		t.Errorf("HEALTHCHECK %q, want the binary's own", health)
	}

	build := regexp.MustCompile(`CGO_ENABLED=0 go build (.*) -o /out/jotgate \.`).FindStringSubmatch(
		strings.Join(docker["RUN"], "\n"))
	if build == nil {
		t.Fatalf("RUN %q does not build a static binary", docker["RUN"])
	}
	static := filepath.Join(t.TempDir(), "jotgate")
	cmd := exec.Command("sh", "-c", "go build "+build[1]+` -o "$0" .`, static)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH, "VERSION=1.2.3")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	file, err := elf.Open(static)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if libraries, err := file.ImportedLibraries(); err != nil || len(libraries) != 0 {
		t.Errorf("it needs the libraries %q (%v), want none", libraries, err)
	}
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("it asks for a dynamic loader, which an empty image does not have")
		}
	}
	out, err := exec.Command(static, "version").Output()
	if err != nil || !strings.HasPrefix(string(out), "jotgate 1.2.3 go") {
		t.Errorf("version prints %q (%v), want 1.2.3", out, err)
	}
	servesWhatInitWrites(t, static)
}

// servesWhatInitWrites lays out the image's root, and has its user run the image's command in it with the folder that
// `init --docker` wrote. It needs root, as a container engine does.
func servesWhatInitWrites(t *testing.T, static string) {
	t.Helper()
	root, err := os.MkdirTemp("", "jotgate-image-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	if err := errors.Join(os.Chmod(root, 0o755), os.MkdirAll(filepath.Join(root, "etc"), 0o755)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(static)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "jotgate"), text, 0o755); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(root, "etc/jotgate")
	if out := run(t, root, nil, "init", folder, "--docker"); !strings.Contains(out, "docker run --rm -v ") {
		t.Errorf("init --docker prints %s", out)
	}
	file := filepath.Join(folder, "config.yaml")
	gate, admin := freeAddress(t), freeAddress(t)
	writeFile(t, file, []byte(replaceAll(t, "config.yaml", readFile(t, file),
		change{`":8080"`, strconv.Quote(gate)}, change{"127.0.0.1:9090", admin})))
	p := &process{
		Cmd: exec.Command("/jotgate"), stdout: newTranscript(), stderr: newTranscript(),
		exited: make(chan struct{}),
	}
	p.Dir, p.Env = "/", []string{"JOTGATE_CONFIG=/etc/jotgate/config.yaml"}
	p.Stdout, p.Stderr = p.stdout, p.stderr
	p.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	p.begin(t)
	p.until(t, p.stderr, `"msg":"listening"`)
	if status, _, body := ask(t, "GET", "http://"+gate+"/t/acme/orders", "", ""); status != 401 {
		t.Errorf("without a token: %d %s, want 401", status, body)
	}
	health := exec.Command("/jotgate", "healthcheck")
	health.Dir, health.Env, health.SysProcAttr = "/", p.Env, p.SysProcAttr
	if out, err := health.CombinedOutput(); err != nil {
		t.Errorf("the image's health check: %v\n%s", err, out)
	}
}

// What the builder needs is what .dockerignore lets through: every folder with Go files that the binary is made of.
func TestTheBuilderGetsEveryPackageOfTheBinary(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(".dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		place, found := strings.CutPrefix(pkg, module+"/")
		if !found {
			continue
		}
		top, _, _ := strings.Cut(place, "/")
		if !strings.Contains(string(text), "\n!"+top+"\n") {
			t.Errorf(".dockerignore keeps %s from the builder", place)
		}
	}
}
