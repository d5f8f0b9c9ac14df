package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/jotgate/jotgate/config"
)

func healthcheckCommand() command {
	return command{
		name: "healthcheck", usage: "[--config FILE | --url URL]", brief: "ask a running gate whether it is ready",
		run: healthcheck,
		help: `Asks the gate on this machine for readiness (GET /readyz on its admin listener) and exits with 0 or 1. Meant for container
engines whose image has no HTTP client. The address comes from the config.
In a Dockerfile: HEALTHCHECK CMD ["/jotgate", "healthcheck"]

  jotgate healthcheck --config config.yaml
  jotgate healthcheck --url http://127.0.0.1:9090/readyz --timeout 500ms
`,
	}
}

func healthcheck(p *Process, c *call) error {
	file := configFlag(c.FlagSet)
	at := c.String("url", "", "`URL` to ask, instead of the config's")
	wait := c.Duration("timeout", 2*time.Second, "`DURATION` to wait for the answer")
	if err := c.parse(0); err != nil {
		return err
	}
	if *at == "" {
		address, err := p.healthAddress(*file)
		if err != nil {
			return err
		}
		*at = "http://" + address + "/readyz"
	}
	ctx, cancel := context.WithTimeout(context.Background(), *wait)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, *at, nil)
	if err != nil {
		return usagef("--url: %v", err)
	}
	answer, err := direct().Do(request)
	if err != nil {
		return fmt.Errorf("not healthy: %w", err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("not healthy: %s answered %s", *at, answer.Status)
	}
	return nil
}

// healthAddress is where the config puts health, as it is reached from this machine.
func (p *Process) healthAddress(fromFlag string) (string, error) {
	file, err := p.configFile(fromFlag)
	if err != nil {
		return "", err
	}
	settings, err := config.Load(file)
	if err != nil {
		return "", err
	}
	address := settings.Admin.Listen
	if address == "" {
		address = settings.Admin.HealthListen
	}
	if address == "" {
		return "", errors.New("the config has neither admin.listen nor admin.health_listen, so there is no address to ask; " +
			"set one, or use --url")
	}
	return reachable(address)
}

// reachable is a listener's address as it is reached from this machine.
func reachable(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port), nil
}

// direct is a client that asks the address itself, through no proxy that the environment names, and follows nothing.
func direct() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{Proxy: nil, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
