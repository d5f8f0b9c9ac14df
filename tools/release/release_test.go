package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"debug/buildinfo"
	"debug/pe"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	testedVersion = "0.1.0"
	patience      = 60 * time.Second
)

var folder string // of all tests

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if folder, err = os.MkdirTemp("", "jotgate-release-test-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(folder)
		os.Unsetenv("SOURCE_DATE_EPOCH")
		return m.Run()
	}())
}

// commit is what all tests are about: the repository may move on while they run.
var commit = sync.OnceValues(func() (string, error) {
	text, err := exec.Command("git", "-C", "../..", "rev-parse", "HEAD").Output()
	return strings.TrimSpace(string(text)), err
})

// build makes a release for this machine and Windows twice, from clones of different names; the second begins when
// the clock says something else.
var build = sync.OnceValues(func() (outs [2]string, err error) {
	at, err := commit()
	if err != nil {
		return outs, err
	}
	for i, name := range []string{"one", "another-folder"} {
		clone := filepath.Join(folder, name)
		outs[i] = filepath.Join(folder, "dist"+strconv.Itoa(i))
		if text, err := exec.Command("git", "clone", "-q", "../..", clone).CombinedOutput(); err != nil {
			return outs, fmt.Errorf("git clone: %w\n%s", err, text)
		}
		if text, err := exec.Command("git", "-C", clone, "checkout", "-q", "--detach", at).CombinedOutput(); err != nil {
			return outs, fmt.Errorf("git checkout: %w\n%s", err, text)
		}
		if err := run(context.Background(), []string{
			"-source", clone, "-out", outs[i], "-version", testedVersion, "-platforms",
			"linux/" + runtime.GOARCH + ",windows/amd64",
		}); err != nil {
			return outs, err
		}
	}
	return outs, nil
})

func built(t *testing.T) (first, second string) {
	t.Helper()
	outs, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return outs[0], outs[1]
}

func names(t *testing.T, folder string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTwoBuildsOfOneCommitAreTheSameBytes(t *testing.T) {
	first, second := built(t)
	files := names(t, first)
	if len(files) != 8 || !slices.Equal(files, names(t, second)) {
		t.Fatalf("the releases have %v and %v", files, names(t, second))
	}
	for _, name := range files {
		if !bytes.Equal(read(t, filepath.Join(first, name)), read(t, filepath.Join(second, name))) {
			t.Errorf("%s differs", name)
		}
	}
	tool(t, first, nil, "sha256sum", "--check", "--strict", "SHA256SUMS")
	if n := strings.Count(string(read(t, filepath.Join(first, "SHA256SUMS"))), "\n"); n != len(files)-1 {
		t.Errorf("SHA256SUMS has %d lines for %d files", n, len(files)-1)
	}
}

// artefact returns a file of the first release.
func artefact(t *testing.T, name string) string {
	t.Helper()
	first, _ := built(t)
	return filepath.Join(first, strings.NewReplacer("V", testedVersion, "ARCH", runtime.GOARCH).Replace(name))
}

// tool runs a program to its end.
func tool(t *testing.T, folder string, attributes *syscall.SysProcAttr, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.SysProcAttr = folder, attributes
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// unpack writes the entries of a tar below a folder, with their modes.
func unpack(t *testing.T, text io.Reader, folder string) {
	t.Helper()
	for r := tar.NewReader(text); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		if !filepath.IsLocal(filepath.Clean(h.Name)) || h.Uid != 0 || h.Gid != 0 {
			t.Fatalf("the entry %q belongs to %d:%d", h.Name, h.Uid, h.Gid)
		}
		name := filepath.Join(folder, h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			if err := os.MkdirAll(name, h.FileInfo().Mode().Perm()); err != nil {
				t.Fatal(err)
			}
		case tar.TypeReg:
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, data, h.FileInfo().Mode().Perm()); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("the entry %q is of type %c", h.Name, h.Typeflag)
		}
	}
}

func TestTheArchiveHasABinaryThatSaysItsCommit(t *testing.T) {
	z, err := gzip.NewReader(bytes.NewReader(read(t, artefact(t, "jotgate_V_linux_ARCH.tar.gz"))))
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	unpack(t, z, folder)
	inside := filepath.Join(folder, "jotgate_"+testedVersion+"_linux_"+runtime.GOARCH)
	revision, err := commit()
	if err != nil {
		t.Fatal(err)
	}
	if line := tool(t, inside, nil, "./jotgate", "version"); !strings.HasPrefix(line, "jotgate "+testedVersion+" go") ||
		!strings.Contains(line, " revision "+revision+" built 20") {
		t.Errorf("version prints %q, want version %s and revision %s", line, testedVersion, revision)
	}
	tool(t, inside, nil, "./jotgate", "check", "--config", "config.example.yaml")
	page := string(read(t, filepath.Join(inside, "man/jotgate.1")))
	for _, verb := range []string{"serve", "check", "explain", "mint", "revoke", "init", "version"} {
		if !strings.Contains(page, ".SS "+verb+"\n") {
			t.Errorf("the man page lacks %s", verb)
		}
	}
	if !strings.HasPrefix(page, ".TH JOTGATE 1 ") || strings.Contains(page, "\x1b") {
		t.Errorf("the man page begins %.60q", page)
	}
	for shell, script := range map[string]string{
		"bash": "completions/jotgate.bash", "zsh": "completions/_jotgate",
		"fish": "completions/jotgate.fish",
	} {
		tool(t, inside, nil, shell, "-n", script)
	}
}

// The binary for Windows is built, and has the form of one; it is not run here.
func TestTheArchiveForWindowsIsAZip(t *testing.T) {
	z, err := zip.OpenReader(artefact(t, "jotgate_V_windows_amd64.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	inside, names := "jotgate_"+testedVersion+"_windows_amd64/", map[string]bool{}
	for _, f := range z.File {
		names[strings.TrimPrefix(f.Name, inside)] = true
	}
	for _, name := range []string{"jotgate.exe", "LICENSE", "README.md", "config.example.yaml"} {
		if !names[name] {
			t.Errorf("%s is missing among %v", name, names)
		}
	}
	f, err := z.Open(inside + "jotgate.exe")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	if binary, err := pe.NewFile(bytes.NewReader(text)); err != nil || binary.Machine != pe.IMAGE_FILE_MACHINE_AMD64 {
		t.Errorf("jotgate.exe: %v", err)
	}
	if info, err := buildinfo.Read(bytes.NewReader(text)); err != nil || info.Main.Path != "github.com/jotgate/jotgate" {
		t.Errorf("what it was built from: %v %v", info, err)
	}
}

// The deb, installed below a folder by dpkg itself: files, user, and a gate that starts there as that user.
func TestTheDebInstallsAndServes(t *testing.T) {
	root := t.TempDir()
	for _, folder := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "etc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"var/lib/dpkg/status", "etc/passwd", "etc/group"} {
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	package_ := artefact(t, "jotgate_V_ARCH.deb")
	install := []string{"dpkg", "--root=" + root, "--force-script-chrootless", "--log=/dev/null", "-i", package_}
	tool(t, root, nil, install...)
	serves(t, root)

	// A config that was changed survives an update.
	config := filepath.Join(root, "etc/jotgate/config.yaml")
	changed := append(read(t, config), "# changed\n"...)
	if err := os.WriteFile(config, changed, 0o644); err != nil {
		t.Fatal(err)
	}
	tool(t, root, nil, install...)
	if !bytes.Equal(read(t, config), changed) {
		t.Error("an update replaced the config")
	}
	tool(t, root, nil, "dpkg", "--root="+root, "--force-script-chrootless", "--log=/dev/null", "-r", "jotgate")
	if _, err := os.Stat(filepath.Join(root, "usr/bin/jotgate")); !os.IsNotExist(err) {
		t.Errorf("the binary is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(root, "var/lib/jotgate/main.pem")); err != nil {
		t.Errorf("the key went with the package: %v", err)
	}
}

func TestTheRPMInstallsAndServes(t *testing.T) {
	root := t.TempDir()
	package_ := artefact(t, "jotgate_V_ARCH.rpm")
	if about := tool(t, root, nil, "rpm", "-qip", package_); !strings.Contains(about, "License     : Apache-2.0") ||
		!strings.Contains(about, "Build Host  : localhost") {
		t.Errorf("rpm -qi says\n%s", about)
	}
	if list := tool(t, root, nil, "rpm", "-qcp", package_); strings.TrimSpace(list) != "/etc/jotgate/config.yaml" {
		t.Errorf("its configuration files are %q", list)
	}
	// The scripts want a shell, which is not below this folder; they are run as rpm would, beside it.
	tool(t, root, nil, "rpm", "--root", root, "--dbpath", "/var/lib/rpm", "--nodeps", "--noscripts", "--ignorearch",
		"-i",
		package_)
	for _, name := range []string{"etc/passwd", "etc/group"} {
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	scripts := tool(t, root, nil, "rpm", "-qp", "--scripts", package_)
	_, script, found := strings.Cut(scripts, "postinstall scriptlet (using /bin/sh):\n")
	script, _, _ = strings.Cut(script, "\npreuninstall scriptlet")
	if !found {
		t.Fatalf("the scripts are %s", scripts)
	}
	tool(t, root, nil, "env", "DPKG_ROOT="+root, "sh", "-c", script)
	serves(t, root)
}

// serves checks what a package installed, and starts the gate in a chroot as the package's user.
func serves(t *testing.T, root string) {
	t.Helper()
	for name, mode := range map[string]os.FileMode{
		"usr/bin/jotgate": 0o755, "etc/jotgate/config.yaml": 0o644, "usr/lib/systemd/system/jotgate.service": 0o644,
		"usr/lib/systemd/system/jotgate.socket": 0o644, "usr/share/man/man1/jotgate.1.gz": 0o644,
		"usr/share/bash-completion/completions/jotgate": 0o644, "usr/share/zsh/vendor-completions/_jotgate": 0o644,
		"usr/share/fish/vendor_completions.d/jotgate.fish": 0o644, "usr/lib/sysusers.d/jotgate.conf": 0o644,
	} {
		if info, err := os.Stat(filepath.Join(root, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v, want mode %o", name, info, err, mode)
		}
	}
	m := regexp.MustCompile(`(?m)^jotgate:[^:]*:(\d+):(\d+):[^:]*:/var/lib/jotgate:/usr/sbin/nologin$`).
		FindSubmatch(read(t, filepath.Join(root, "etc/passwd")))
	if m == nil {
		t.Fatalf("there is no user jotgate in %s", read(t, filepath.Join(root, "etc/passwd")))
	}
	uid, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.Atoi(string(m[2]))
	if err != nil {
		t.Fatal(err)
	}
	// What systemd makes by StateDirectory.
	state := filepath.Join(root, "var/lib/jotgate")
	if err := errors.Join(os.MkdirAll(state, 0o700), os.Chown(state, uid, gid)); err != nil {
		t.Fatal(err)
	}
	unit := string(read(t, filepath.Join(root, "usr/lib/systemd/system/jotgate.service")))
	start := regexp.MustCompile(`(?m)^ExecStart=(.*)$`).FindStringSubmatch(unit)
	if start == nil {
		t.Fatal("the unit starts nothing")
	}
	original := read(t, filepath.Join(root, "etc/jotgate/config.yaml"))
	gate, admin := ports(t, filepath.Join(root, "etc/jotgate/config.yaml"))
	open(t, root)
	asUser := &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	answers(t, asUser, strings.Fields(start[1]), gate, admin)
	if err := os.WriteFile(filepath.Join(root, "etc/jotgate/config.yaml"), original, 0o644); err != nil {
		t.Fatal(err)
	}
}

// open lets another user walk into a folder of this test.
func open(t *testing.T, folder string) {
	t.Helper()
	for ; folder != os.TempDir() && folder != "/"; folder = filepath.Dir(folder) {
		if err := os.Chmod(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// ports writes free ones into a config.
func ports(t *testing.T, config string) (gate, admin string) {
	t.Helper()
	gate, admin = free(t), free(t)
	text := string(read(t, config))
	for _, change := range [][2]string{
		{"127.0.0.1:8080", gate},
		{`":8080"`, strconv.Quote(gate)},
		{"127.0.0.1:9090", admin},
	} {
		text = strings.ReplaceAll(text, change[0], change[1])
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return gate, admin
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// answers starts a gate, waits until it is ready, asks it as a client does, and ends it by SIGTERM.
func answers(t *testing.T, attributes *syscall.SysProcAttr, args []string, gate, admin string) {
	t.Helper()
	var log bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.SysProcAttr, cmd.Stdout, cmd.Stderr = "/", attributes, &log, &log
	cmd.Env = []string{"JOTGATE_CONFIG=/etc/jotgate/config.yaml"}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer cmd.Process.Kill()
	client := &http.Client{Timeout: patience}
	status := func(url string) int {
		answer, err := client.Get(url)
		if err != nil {
			return 0
		}
		defer answer.Body.Close()
		return answer.StatusCode
	}
	for deadline := time.Now().Add(patience); status("http://"+admin+"/readyz") != 200; time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-ended:
			t.Fatalf("%v ended: %v\n%s", args, err, &log)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v is not ready", args)
		}
	}
	for path, want := range map[string]int{"/.well-known/jwks.json": 200, "/t/acme/orders": 401, "/elsewhere": 404} {
		if got := status("http://" + gate + path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("%v ended: %v\n%s", args, err, &log)
		}
	case <-time.After(patience):
		t.Errorf("%v does not end", args)
	}
}

type imageConfig struct {
	Architecture, OS string
	Config           struct {
		User       string
		Entrypoint []string
		Env        []string
		Labels     map[string]string
	}
}

// The image, unpacked as an engine does: its entry point serves as user 65532 on a read-only root, with the folder that
// `init --docker` writes at /etc/jotgate.
func TestTheImageServesOnAReadOnlyRoot(t *testing.T) {
	layout := t.TempDir()
	unpack(t, bytes.NewReader(read(t, artefact(t, "jotgate_V_image_linux_ARCH.tar"))), layout)
	decode := func(name string, into any) {
		t.Helper()
		if err := json.Unmarshal(read(t, filepath.Join(layout, name)), into); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	type descriptor struct{ Digest string }
	var index struct{ Manifests []descriptor }
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	var config imageConfig
	blob := func(d descriptor) string { return "blobs/" + strings.Replace(d.Digest, ":", "/", 1) }
	decode("index.json", &index)
	decode(blob(index.Manifests[0]), &manifest)
	decode(blob(manifest.Config), &config)
	if config.Config.User != user || config.OS != "linux" || config.Architecture != runtime.GOARCH ||
		config.Config.Labels["org.opencontainers.image.version"] != testedVersion ||
		len(config.Config.Labels["org.opencontainers.image.revision"]) != 40 {
		t.Errorf("the image is configured as %+v", config)
	}
	// Engines without support for OCI layouts read the same blobs from manifest.json.
	var docker []struct {
		Config string
		Layers []string
	}
	decode("manifest.json", &docker)
	if len(docker) != 1 || docker[0].Config != blob(manifest.Config) ||
		!slices.Equal(docker[0].Layers, []string{blob(manifest.Layers[0])}) {
		t.Errorf("manifest.json says %+v", docker)
	}

	root := t.TempDir()
	for _, l := range manifest.Layers {
		z, err := gzip.NewReader(bytes.NewReader(read(t, filepath.Join(layout, blob(l)))))
		if err != nil {
			t.Fatal(err)
		}
		unpack(t, z, root)
	}
	if n := strings.Count(string(read(t, filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"))),
		"BEGIN CERT"); n < 80 {
		t.Errorf("it has %d root certificates", n)
	}
	folder := filepath.Join(t.TempDir(), "gate")
	tool(t, "/", nil, filepath.Join(root, "jotgate"), "init", folder, "--docker")
	gate, admin := ports(t, filepath.Join(folder, "config.yaml"))
	open(t, root)
	open(t, folder)
	// A mount namespace of its own makes the root read-only, as `docker run --read-only` does.
	script := `mount --bind "$0" "$0" && mount --bind "$1" "$0/etc/jotgate" && mount -o remount,ro,bind "$0" &&
mount -o remount,ro,bind "$0/etc/jotgate" && shift && exec chroot --userspec=` + user + ` "$0" "$@"`
	args := append([]string{"unshare", "--mount", "sh", "-c", script, root, folder}, config.Config.Entrypoint...)
	answers(t, nil, args, gate, admin)
	// The image's health check, once nothing serves, fails.
	check := exec.Command(args[0], append(args[1:], "healthcheck")...)
	check.Env = append(os.Environ(), config.Config.Env...)
	if out, err := check.CombinedOutput(); err == nil || !strings.Contains(string(out), "healthcheck: ") {
		t.Errorf("the health check of a gate that is gone: %v %s", err, out)
	}
}

func TestTheImageOfAllPlatformsIsOneIndex(t *testing.T) {
	layout := t.TempDir()
	unpack(t, bytes.NewReader(read(t, artefact(t, "jotgate_V_image.tar"))), layout)
	var index struct {
		MediaType string
		Manifests []struct {
			MediaType, Digest string
			Annotations       map[string]string
			Platform          struct{ OS, Architecture string }
		}
	}
	if !json.Valid(read(t, filepath.Join(layout, "oci-layout"))) {
		t.Error("oci-layout is no JSON")
	}
	const kind = "application/vnd.oci.image.index.v1+json"
	if err := json.Unmarshal(read(t, filepath.Join(layout, "index.json")), &index); err != nil || index.MediaType != kind {
		t.Errorf("index.json: %v, media type %q, want %q", err, index.MediaType, kind)
	}
	if len(index.Manifests) != 1 || index.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != testedVersion {
		t.Fatalf("index.json says %+v", index)
	}
	inner := read(t, filepath.Join(layout, "blobs", strings.Replace(index.Manifests[0].Digest, ":", "/", 1)))
	if err := json.Unmarshal(inner, &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Manifests) != 1 || index.Manifests[0].Platform.Architecture != runtime.GOARCH {
		t.Errorf("the platforms are %+v", index.Manifests)
	}
}

// The bill of materials has each module of go.mod that is linked, with its checksum, and no other.
func TestTheBillOfMaterialsNamesWhatIsLinked(t *testing.T) {
	var b bom
	d := json.NewDecoder(bytes.NewReader(read(t, artefact(t, "jotgate_V.cdx.json"))))
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil {
		t.Fatal(err)
	}
	refs := map[string]bool{}
	for _, c := range b.Components {
		if refs[c.BOMRef] || c.PURL == "" || c.Name != "std" && len(c.Hashes) == 0 {
			t.Errorf("component %+v", c)
		}
		refs[c.BOMRef] = true
	}
	for _, d := range b.Dependencies[0].DependsOn {
		if !refs[d] {
			t.Errorf("%s is no component", d)
		}
	}
	listed := tool(t, "../..", nil, "go", "list", "-deps", "-f",
		"{{with .Module}}{{if not .Main}}{{.Path}}@{{.Version}}{{end}}{{end}}", ".")
	modules := map[string]bool{}
	for m := range strings.FieldsSeq(listed) {
		modules[m] = true
		if !refs["pkg:golang/"+m] {
			t.Errorf("%s is linked and not listed", m)
		}
	}
	if len(b.Components) != len(modules)+3 { // std, and the two binaries themselves
		t.Errorf("%d components for %d modules", len(b.Components), len(modules))
	}
}

func TestUnfitArgumentsAreRefused(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-platforms plan9/mips", `platform "plan9/mips" is not one of`},
		{"-version 1 -out OUT", `version "1" is not a semantic version`},
		{"-version 0.1.0 -out .", "is not empty"},
		{"now", `unexpected argument "now"`},
	} {
		args := strings.Fields(strings.ReplaceAll(c.args, "OUT", filepath.Join(t.TempDir(), "out")))
		if err := run(context.Background(), args); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		}
	}
}

func TestTheNextVersionComesAfterTheTags(t *testing.T) {
	folder := t.TempDir()
	r := &release{source: folder, revision: strings.Repeat("ab", 20), at: time.Unix(1e9, 0).UTC()}
	git := func(args ...string) {
		t.Helper()
		tool(t, folder, nil, append([]string{"git", "-c", "user.name=a", "-c", "user.email=a@example.com"}, args...)...)
	}
	changelog := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, "CHANGELOG.md"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	next := func(want string) {
		t.Helper()
		if got, err := r.nextVersion(t.Context()); err != nil || got != want {
			t.Errorf("%s (%v), want %s", got, err, want)
		}
	}
	const suffix = "-dev.20010909014640.gabababababab"
	git("init", "-q")
	changelog("## [Unreleased]\n")
	git("commit", "-q", "--allow-empty", "-m", "a")
	next("0.1.0" + suffix)
	changelog("## [Unreleased]\n\n## [0.2.9] - 2026-01-02\n")
	next("0.2.9" + suffix)
	git("tag", "v0.2.9")
	next("0.2.9")
	git("commit", "-q", "--allow-empty", "-m", "b")
	next("0.2.10" + suffix)
}
