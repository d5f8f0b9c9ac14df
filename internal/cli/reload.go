package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/admin"
)

// reloadDeadline bounds how long a running gate may take to build its next configuration.
const reloadDeadline = 30 * time.Second

func reloadCommand() command {
	return command{
		name: "reload", usage: "[--allow-widening] [--config FILE] [--json]", brief: "reload the config of the running gate",
		run: askToReload,
		help: `Asks the running gate, through its admin listener (admin.token), to reload its config, and waits for the outcome. The
config is checked here first; with faults or failed tests the exit code is 3 and the gate is not asked. SIGHUP does the
same without waiting; the log has the outcome then. --json prints one object: whether the config is in force, and if not,
why.

With reload.deny_widening the running gate refuses a config that opens what it keeps closed; jotgate diff shows what that
is, and --allow-widening allows it for this reload.

  jotgate reload --config config.yaml
  jotgate reload --config config.yaml --json
`,
	}
}

func askToReload(p *Process, c *call) error {
	fromFlag := configFlag(c.FlagSet)
	asJSON := jsonFlag(c.FlagSet)
	widening := c.Bool("allow-widening", false, "let the config open what the running one keeps closed")
	if err := c.parse(0); err != nil {
		return err
	}
	file, err := p.configFile(*fromFlag)
	if err != nil {
		return err
	}
	err = reloadGate(file, *widening)
	if *asJSON {
		return printReload(p.Stdout, err)
	}
	return err
}

func reloadGate(file string, widening bool) error {
	settings, err := checked(file)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), reloadDeadline)
	defer cancel()
	var body []byte
	if widening {
		body = []byte(`{"allow_widening": true}`)
	}
	status, text, err := post(ctx, settings, admin.ReloadPath, body)
	switch {
	case err != nil:
		return err
	case status != http.StatusNoContent:
		return fmt.Errorf("the running gate answered %d: %s", status, text)
	}
	return nil
}

// post asks the running gate's admin listener, as the config says where it is and what its token is.
func post(ctx context.Context, settings *config.Config, path string, body []byte) (status int, text string, err error) {
	return send(ctx, settings, http.MethodPost, path, body)
}

// send is post with another method.
func send(
	ctx context.Context, settings *config.Config, method, path string, body []byte,
) (status int, text string, err error) {
	if settings.Admin.Token == "" || settings.Admin.Listen == "" {
		return 0, "", errors.New("no way to reach the running gate: set admin.listen and admin.token, or send it SIGHUP")
	}
	address, err := reachable(settings.Admin.Listen)
	if err != nil {
		return 0, "", err
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+settings.Admin.Token.Reveal())
	answer, err := direct().Do(r)
	if err != nil {
		return 0, "", fmt.Errorf("ask the running gate: %w", err)
	}
	defer answer.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<10)) // what came is better than nothing
	return answer.StatusCode, string(bytes.TrimSpace(said)), nil
}
