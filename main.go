// Jotgate hands out short-lived JWTs and lets through to an app only those requests whose token carries the tenant
// permission that the route asks for.
//
// `jotgate --help` lists the commands, `jotgate COMMAND --help` teaches one of them with an example.
package main

import (
	"os"

	"github.com/jotgate/jotgate/internal/cli"
)

// version is set by the linker for a release (-X main.version=…); otherwise the build's own stamp tells it.
var version string

func main() {
	os.Exit(cli.Run(&cli.Process{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		LookupEnv: os.LookupEnv, Version: version,
	}))
}
