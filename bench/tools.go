//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// tools are the programs of others, by their path.
type tools struct{ nginx, haproxy, redis, wrk, h2load string }

// install finds the tools, and takes from Debian those that are not there, if it may.
func install(ctx context.Context, out io.Writer) (tools, error) {
	t, missing := findTools()
	if len(missing) > 0 && os.Getuid() == 0 {
		if apt, err := exec.LookPath("apt-get"); err == nil {
			fmt.Fprintln(out, "installing", strings.Join(missing, " "))
			if err := aptInstall(ctx, apt, missing); err != nil {
				fmt.Fprintln(out, err)
			}
			t, missing = findTools()
		}
	}
	if len(missing) > 0 {
		return t, fmt.Errorf("these Debian packages are missing and could not be installed: %s; as root, apt-get "+
			"install them", strings.Join(missing, " "))
	}
	return t, nil
}

func findTools() (tools, []string) {
	var t tools
	var missing []string
	for _, x := range []struct {
		to                *string
		program, packaged string
	}{
		{&t.nginx, "nginx", "nginx"},
		{&t.haproxy, "haproxy", "haproxy"},
		{&t.redis, "redis-server", "redis-server"},
		{&t.wrk, "wrk", "wrk"},
		{&t.h2load, "h2load", "nghttp2-client"},
	} {
		if *x.to = find(x.program); *x.to == "" {
			missing = append(missing, x.packaged)
		}
	}
	return t, missing
}

// find looks where Debian has servers too, which is not on everyone's path.
func find(program string) string {
	if path, err := exec.LookPath(program); err == nil {
		return path
	}
	path := filepath.Join("/usr/sbin", program)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	return ""
}

func aptInstall(ctx context.Context, apt string, packages []string) error {
	for _, args := range [][]string{{"update", "-qq"}, append([]string{"install", "-y", "-qq", "--no-install-recommends"},
		packages...)} {
		cmd := exec.CommandContext(ctx, apt, args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w: %.1000s", args[0], err, text)
		}
	}
	return nil
}

var versionNumber = regexp.MustCompile(`\d+\.\d+[\w.+~-]*`)

// versions are what the tools call themselves.
func (t tools) versions(ctx context.Context) map[string]string {
	v := map[string]string{}
	for name, argv := range map[string][]string{
		"nginx": {t.nginx, "-v"}, "haproxy": {t.haproxy, "-v"}, "redis": {t.redis, "--version"}, "wrk": {t.wrk, "-v"},
		"h2load": {t.h2load, "--version"}, "go": {"go", "version"},
	} {
		text, _ := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput() // wrk -v ends with 1
		v[name] = versionNumber.FindString(string(text))
	}
	return v
}

// kernel is the release, as uname -r prints it.
func kernel() string {
	text, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(text))
}

// processor is the name and the number of the machine's cores.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	name := "processor"
	if m := regexp.MustCompile(`(?m)^model name\s*: (.+)$`).FindSubmatch(text); m != nil {
		name = string(m[1])
	}
	return fmt.Sprintf("%d × %s", strings.Count(string(text), "\nprocessor")+1, name)
}

// repository is the folder that has the go.mod.
func repository(ctx context.Context) (string, error) {
	text, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	file := strings.TrimSpace(string(text))
	if filepath.Base(file) != "go.mod" {
		return "", errors.New("run it inside the repository, where it finds the gate's sources")
	}
	return filepath.Dir(file), nil
}

// build makes the binary that a release has.
func build(ctx context.Context, source, binary string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, ".")
	cmd.Dir, cmd.Env = source, append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w: %.2000s", err, text)
	}
	return nil
}

// buildBase builds another revision, in a working tree that is there only for that.
func buildBase(ctx context.Context, root, revision, folder, binary string) (err error) {
	tree := filepath.Join(folder, "base")
	if err := git(ctx, root, "worktree", "add", "--quiet", "--detach", tree, revision); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, git(context.WithoutCancel(ctx), root, "worktree", "remove", "--force", tree))
	}()
	return build(ctx, tree, binary)
}

func git(ctx context.Context, root string, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w: %.1000s", args[0], err, text)
	}
	return nil
}

// revision names what is checked out, with a plus for what is not committed.
func revision(ctx context.Context, root, name string) string {
	hash, err := exec.CommandContext(ctx, "git", "-C", root, "rev-parse", "--short=12", name).Output()
	if err != nil {
		return "unknown"
	}
	text := strings.TrimSpace(string(hash))
	changed, err := exec.CommandContext(ctx, "git", "-C", root, "status", "--porcelain", "--untracked-files=no").Output()
	if name == "HEAD" && (err != nil || len(changed) > 0) {
		text += "+"
	}
	return text
}

// openFiles raises the number of files that this process and its children may have open as far as the system lets it.
func openFiles() (uint64, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("getrlimit: %w", err)
	}
	const wanted = 65536
	if l.Max < wanted && os.Getuid() == 0 {
		raised := syscall.Rlimit{Cur: wanted, Max: wanted}
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
			return wanted, nil
		}
	}
	l.Cur = l.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("setrlimit: %w", err)
	}
	return l.Cur, nil
}
