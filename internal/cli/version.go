package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

func versionCommand() command {
	return command{
		name: "version", brief: "print the version of this binary", run: printVersion,
		help: `Prints the version, the Go release that built it and what it runs on, on one line.

  jotgate version
`,
	}
}

func printVersion(p *Process, c *call) error {
	if err := c.parse(0); err != nil {
		return err
	}
	_, err := fmt.Fprintf(p.Stdout, "jotgate %s %s %s/%s\n", p.version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// version is what the linker was told or, in a binary that was built from a module or a checkout, what Go stamped on it.
func (p *Process) version() string {
	if p.Version != "" {
		return p.Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
