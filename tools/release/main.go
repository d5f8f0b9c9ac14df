// Release builds everything that a release consists of, from one commit, into one folder:
//
//	jotgate_V_OS_ARCH.tar.gz, .zip      binary, man page, completions, example config, licence; the zip for Windows
//	jotgate_V_ARCH.deb, .rpm            the same for Linux, with a systemd unit, its socket and a first config
//	jotgate_V_image.tar                 OCI image layout for linux/amd64 and linux/arm64
//	jotgate_V_image_linux_ARCH.tar      one platform, for `docker load` and `podman load`
//	jotgate_V.cdx.json                  software bill of materials (CycloneDX)
//	SHA256SUMS                          checksums of all of these
//
// Two builds of one commit are the same, byte by byte: every time in them is the commit's, or SOURCE_DATE_EPOCH. It is
// a module of its own, so that its dependencies are none of the product's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A platform is what a binary runs on.
type platform struct{ os, arch string }

func (p platform) String() string { return p.os + "/" + p.arch }

var everyPlatform = []platform{
	{"linux", "amd64"},
	{"linux", "arm64"},
	{"darwin", "amd64"},
	{"darwin", "arm64"},
	{"freebsd", "amd64"},
	{"freebsd", "arm64"},
	{"windows", "amd64"},
}

// binary is the name of the binary on the platform.
func (p platform) binary() string {
	if p.os == "windows" {
		return "jotgate.exe"
	}
	return "jotgate"
}

// A release is one run.
type release struct {
	source, out string // folders
	version     string // 0.1.0
	revision    string // the commit
	at          time.Time
	platforms   []platform

	work     string // a folder that goes in the end
	binaries map[platform]string
	shared   []file // beside each binary: man page, completions, documents
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	r := &release{binaries: map[platform]string{}}
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.StringVar(&r.source, "source", "../..", "the repository's `FOLDER`")
	flags.StringVar(&r.out, "out", "../../dist", "write into this `FOLDER`, which must be empty or absent")
	flags.StringVar(&r.version, "version", "", "the `VERSION`, as 0.1.0 (default: the tag of the commit, else the "+
		"changelog's latest release and the commit)")
	only := flags.String("platforms", "", "a comma-separated `LIST` such as linux/amd64 (default: all)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	var err error
	if r.platforms, err = choose(*only); err != nil {
		return err
	}
	if err := r.identify(ctx); err != nil {
		return err
	}
	if entries, err := os.ReadDir(r.out); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty; remove it first", r.out)
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	if r.work, err = os.MkdirTemp("", "jotgate-release-"); err != nil {
		return err
	}
	defer os.RemoveAll(r.work)
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"binaries", r.buildAll},
		{"man page and completions", r.describe},
		{"archives", r.archives},
		{"packages", r.packages},
		{"image", r.image},
		{"bill of materials", r.materials},
		{"checksums", r.checksums},
	} {
		began := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Printf("%-25s %5.1f s\n", step.name, time.Since(began).Seconds())
	}
	fmt.Printf("jotgate %s, revision %s: %s\n", r.version, r.revision, r.out)
	return nil
}

func choose(list string) ([]platform, error) {
	if list == "" {
		return everyPlatform, nil
	}
	var chosen []platform
	for name := range strings.SplitSeq(list, ",") {
		found := false
		for _, p := range everyPlatform {
			if p.String() == name {
				chosen, found = append(chosen, p), true
			}
		}
		if !found {
			return nil, fmt.Errorf("platform %q is not one of %v", name, everyPlatform)
		}
	}
	return chosen, nil
}

// identify asks Git for the commit, its time and, unless one was given, the version.
func (r *release) identify(ctx context.Context) (err error) {
	if r.source, err = filepath.Abs(r.source); err != nil {
		return err
	}
	if r.out, err = filepath.Abs(r.out); err != nil {
		return err
	}
	if r.revision, err = r.git(ctx, "rev-parse", "HEAD"); err != nil {
		return err
	}
	seconds := os.Getenv("SOURCE_DATE_EPOCH")
	if seconds == "" {
		if seconds, err = r.git(ctx, "log", "-1", "--format=%ct"); err != nil {
			return err
		}
	}
	epoch, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	r.at = time.Unix(epoch, 0).UTC()
	changed, err := r.git(ctx, "status", "--porcelain", "--untracked-files=no")
	if err != nil {
		return err
	}
	if r.version == "" {
		if r.version, err = r.nextVersion(ctx); err != nil {
			return err
		}
	}
	if changed != "" {
		r.revision += "+dirty"
	}
	if !regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`).MatchString(r.version) {
		return fmt.Errorf("version %q is not a semantic version such as 0.1.0", r.version)
	}
	return nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

var released = regexp.MustCompile(`(?m)^## \[(\d+\.\d+\.\d+)\]`)

// nextVersion is the tag of the commit or, without one, a pre-release of the version that comes next.
func (r *release) nextVersion(ctx context.Context) (string, error) {
	if tag, err := r.git(ctx, "describe", "--tags", "--exact-match", "--match", "v*"); err == nil {
		return strings.TrimPrefix(tag, "v"), nil
	}
	text, err := os.ReadFile(filepath.Join(r.source, "CHANGELOG.md"))
	if err != nil {
		return "", err
	}
	next := "0.1.0"
	if m := released.FindSubmatch(text); m != nil {
		next = string(m[1])
	}
	// A version that is tagged is out; what follows it comes after it.
	if _, err := r.git(ctx, "rev-parse", "--verify", "--quiet", "v"+next+"^{commit}"); err == nil {
		head, patch, _ := cutLast(next, ".")
		n, err := strconv.Atoi(patch)
		if err != nil {
			return "", err
		}
		next = head + "." + strconv.Itoa(n+1)
	}
	return next + "-dev." + r.at.Format("20060102150405") + ".g" + r.revision[:12], nil
}

func (r *release) git(ctx context.Context, args ...string) (string, error) {
	return output(exec.CommandContext(ctx, "git", append([]string{"-C", r.source}, args...)...))
}

func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(exit.Stderr)))
	}
	return strings.TrimSpace(string(out)), err
}
