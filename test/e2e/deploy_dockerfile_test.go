package e2e_test

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
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
func TestTheImageIsOneStaticBinaryThatRunsAsNobody(t *testing.T) {
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
