package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/server"
)

func checkCommand() command {
	return command{
		name: "check", usage: "[--config FILE]", brief: "tell every fault of a config, with its line", run: check,
		help: `Loads and compiles the config as serve does, and runs its tests, without serving and without making any file. Every
fault and every test that fails is told on standard error as file:line:column: yaml.path: what is wrong, what to do; it
then ends with 3.

  jotgate check --config config.yaml
`,
	}
}

func check(p *Process, c *call) error {
	fromFlag := configFlag(c.FlagSet)
	if err := c.parse(0); err != nil {
		return err
	}
	file, err := p.configFile(*fromFlag)
	if err != nil {
		return err
	}
	settings, err := checked(file)
	if err != nil {
		return err
	}
	for _, w := range settings.Warnings {
		fmt.Fprintf(p.Stderr, "warning: %v\n", w)
	}
	clients := 0
	if settings.Issuer != nil {
		clients = len(settings.Issuer.Clients)
	}
	tests := ""
	if n := len(settings.Tests); n > 0 {
		tests = ", " + count(n, "test") + " passed"
	}
	_, err = fmt.Fprintf(p.Stdout, "%s is fine: %s, %s, %s%s\n", file,
		count(len(settings.Listeners), "listener"), count(clients, "client"), count(len(settings.Routes), "route"), tests)
	return err
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// checked is a config without faults, whose own tests pass.
func checked(file string) (*config.Config, error) {
	settings, err := config.Check(file)
	if err != nil {
		return nil, err
	}
	judge, err := server.NewJudge(settings, time.Now)
	if err != nil {
		return nil, err
	}
	return settings, errors.Join(judge.Policy(), judge.Close())
}
