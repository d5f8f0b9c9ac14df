package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

func (r *release) buildAll(ctx context.Context) error {
	for _, p := range r.platforms {
		binary, err := r.build(ctx, p)
		if err != nil {
			return err
		}
		r.binaries[p] = binary
	}
	return nil
}

// build makes one static, stripped binary. Nothing of this machine goes into it: no paths, no time, no environment.
func (r *release) build(ctx context.Context, p platform) (string, error) {
	binary := filepath.Join(r.work, p.os+"_"+p.arch, p.binary())
	flags := fmt.Sprintf("-s -w -buildid= -X main.version=%s -X main.revision=%s -X main.built=%s",
		r.version, r.revision, r.at.Format(time.RFC3339))
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", binary, ".")
	cmd.Dir = r.source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.os, "GOARCH="+p.arch, "GOFLAGS=", "GOAMD64=v1",
		"GOARM64=v8.0", "GOEXPERIMENT=", "GOWORK=off")
	_, err := output(cmd)
	return binary, err
}

// own returns a binary that runs here, to ask it for its help.
func (r *release) own(ctx context.Context) (string, error) {
	here := platform{runtime.GOOS, runtime.GOARCH}
	if binary, ok := r.binaries[here]; ok {
		return binary, nil
	}
	return r.build(ctx, here)
}

// A file is one entry of an archive or a package.
type file struct {
	name string // within the archive
	mode int64
	text []byte
}

// describe has the binary write its man page and completions, and gathers the documents.
func (r *release) describe(ctx context.Context) error {
	binary, err := r.own(ctx)
	if err != nil {
		return err
	}
	ask := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, binary, args...)
		cmd.Env = []string{"NO_COLOR=1"}
		out, err := output(cmd)
		return out + "\n", err
	}
	manual, err := r.manual(ask)
	if err != nil {
		return err
	}
	r.shared = append(r.shared, file{"man/jotgate.1", 0o644, []byte(manual)})
	for shell, name := range map[string]string{"bash": "jotgate.bash", "fish": "jotgate.fish", "zsh": "_jotgate"} {
		script, err := ask("completion", shell)
		if err != nil {
			return err
		}
		r.shared = append(r.shared, file{"completions/" + name, 0o644, []byte(script)})
	}
	for _, name := range []string{
		"LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md", "config.example.yaml",
		"config.schema.json",
	} {
		text, err := os.ReadFile(filepath.Join(r.source, name))
		if err != nil {
			return err
		}
		r.shared = append(r.shared, file{name, 0o644, text})
	}
	slices.SortFunc(r.shared, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return nil
}

func (r *release) sharedFile(name string) []byte {
	for _, f := range r.shared {
		if f.name == name {
			return f.text
		}
	}
	return nil
}

var command = regexp.MustCompile(`(?m)^  ([a-z]+) {2,}(\S.*)$`)

// manual is the man page: what --help prints, for all commands.
func (r *release) manual(ask func(args ...string) (string, error)) (string, error) {
	overview, err := ask("--help")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, ".TH JOTGATE 1 %q %q\n", r.at.Format("2006-01-02"), "jotgate "+r.version)
	b.WriteString(".SH NAME\njotgate \\- hand out short-lived JWTs and guard HTTP apps with them\n")
	b.WriteString(".SH SYNOPSIS\n.B jotgate\n[COMMAND] [FLAGS]\n.SH COMMANDS\n")
	names := command.FindAllStringSubmatch(overview, -1)
	if len(names) < 10 {
		return "", fmt.Errorf("jotgate --help lists %d commands", len(names))
	}
	for _, m := range names {
		page, err := ask("help", m[1])
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, ".SS %s\n%s.\n.PP\n.nf\n%s.fi\n", m[1], roff(m[2]), roff(page))
	}
	b.WriteString(".SH EXIT STATUS\n0 fine, 1 failed while running, 2 usage, 3 bad config, 4 refused\n")
	b.WriteString(".SH FILES\n.I /etc/jotgate/config.yaml\n")
	b.WriteString(".SH ENVIRONMENT\n.B JOTGATE_CONFIG\nnames the config where \\-\\-config does not.\n")
	return b.String(), nil
}

// roff escapes text for a man page.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	return regexp.MustCompile(`(?m)^([.'])`).ReplaceAllString(s, `\&$1`)
}

func (r *release) checksums(context.Context) error {
	entries, err := os.ReadDir(r.out)
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(r.out, e.Name()))
		if err != nil {
			return err
		}
		sum := sha256.Sum256(text)
		fmt.Fprintf(&sums, "%s  %s\n", hex.EncodeToString(sum[:]), e.Name())
	}
	return os.WriteFile(filepath.Join(r.out, "SHA256SUMS"), []byte(sums.String()), 0o644)
}
