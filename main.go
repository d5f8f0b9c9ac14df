// Jotgate hands out short-lived JWTs and lets through to an app only those requests whose token carries the tenant
// permission that the route asks for.
//
// `jotgate --help` lists the commands, `jotgate COMMAND --help` shows one of them with examples.
package main

import (
	"os"

	"github.com/jotgate/jotgate/internal/cli"
)

// The linker sets these for a release (-X main.version=…); where they are empty, Go's own build stamp counts.
var version, revision, built string

func main() {
	os.Exit(cli.Run(&cli.Process{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		LookupEnv: os.LookupEnv, Version: version, Revision: revision, Built: built,
	}))
}
