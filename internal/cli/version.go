package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

func versionCommand() command {
	return command{
		name: "version", usage: "[--json]", brief: "print the version of this binary", run: printVersion,
		help: `Prints the version, the Go release that built it and what it runs on, on one line.

  jotgate version
  jotgate version --json
`,
	}
}

type versionReport struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func printVersion(p *Process, c *call) error {
	asJSON := jsonFlag(c.FlagSet)
	if err := c.parse(0); err != nil {
		return err
	}
	v := versionReport{p.version(), runtime.Version(), runtime.GOOS, runtime.GOARCH}
	if *asJSON {
		return printJSON(p.Stdout, v)
	}
	_, err := fmt.Fprintf(p.Stdout, "jotgate %s %s %s/%s\n", v.Version, v.Go, v.OS, v.Arch)
	return err
}

// version is what the linker was told or, in a binary that was built from a module or a checkout, what Go stamped on
// it.
func (p *Process) version() string {
	if p.Version != "" {
		return p.Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
