package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

func versionCommand() command {
	return command{
		name: "version", usage: "[--json]", brief: "print the version of this binary", run: printVersion,
		help: `Prints the version, the Go release, the platform, the commit and its time, on one line.

  jotgate version
  jotgate version --json
`,
	}
}

type versionReport struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
	Revision string `json:"revision,omitempty"` // the commit, with +dirty for a tree that had changes
	Built    string `json:"built,omitempty"`    // the commit's time: a build of one commit is the same on every day
}

func printVersion(p *Process, c *call) error {
	asJSON := jsonFlag(c.FlagSet)
	if err := c.parse(0); err != nil {
		return err
	}
	v := versionReport{Version: p.version(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	v.Revision, v.Built = p.build()
	if *asJSON {
		return printJSON(p.Stdout, v)
	}
	line := fmt.Sprintf("jotgate %s %s %s/%s", v.Version, v.Go, v.OS, v.Arch)
	if v.Revision != "" {
		line += " revision " + v.Revision
	}
	if v.Built != "" {
		line += " built " + v.Built
	}
	_, err := fmt.Fprintln(p.Stdout, line)
	return err
}

// version returns what the linker set or, in a binary built from a module or a checkout, Go's own stamp.
func (p *Process) version() string {
	if p.Version != "" {
		return p.Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// build returns the commit and its time, as the linker set them or as Go stamped them; empty where neither did.
func (p *Process) build() (revision, built string) {
	if p.Revision != "" || p.Built != "" {
		return p.Revision, p.Built
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", ""
	}
	return stamp(info.Settings)
}

func stamp(settings []debug.BuildSetting) (revision, built string) {
	dirty := ""
	for _, s := range settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.time":
			built = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "+dirty"
			}
		}
	}
	if revision != "" {
		revision += dirty
	}
	return strings.TrimSpace(revision), built
}
