//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
)

const (
	closedConsole = "jotgate, console closed"
	operatorToken = "bench-operator-0123456789abcdef"
)

func (o *gateOf) signsIn() string {
	if o.operator == "" {
		return ""
	}
	return fmt.Sprintf(", token: %q", o.operator)
}

// consoleOpen measures known tokens at a gate whose console is open, beside one of the same config whose console is
// not.
func consoleOpen(ctx context.Context, b *bench, r *Case) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	file, err := b.requests("good-ES256", "GET", []string{goodPath}, b.tokens.good["ES256"])
	if err != nil {
		return err
	}
	var all []*contestant
	var page *console
	for _, name := range []string{closedConsole, gateName} {
		admin, err := freeAddress()
		if err != nil {
			return err
		}
		s, err := b.jotgate(ctx, gateOf{name: name, binary: b.gate, admin: admin, operator: operatorToken})
		if err != nil {
			return err
		}
		if name == gateName {
			if page, err = openConsole(ctx, "http://"+admin); err != nil {
				return fmt.Errorf("console: %w", err)
			}
		}
		all = append(all, b.onWrk(name, s, load{file: file, many: b.connections}))
	}
	if err := b.compete(ctx, r, all, []pair{{gateName, closedConsole, 1.05}}); err != nil {
		return err
	}
	return page.stillOpen()
}

// A console is a signed-in browser that reads the stream of events.
type console struct {
	events atomic.Int64
	ended  chan error
}

var csrfField = regexp.MustCompile(`name="csrf" value="([A-Za-z0-9_.-]+)"`)

// openConsole signs in and reads events until the context ends.
func openConsole(ctx context.Context, base string) (*console, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Jar: jar}
	ask := func(method, path, body string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, method, base+path, strings.NewReader(body))
		if err != nil {
			return nil, err
		}
		if method == http.MethodPost {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Origin", base)
		}
		answer, err := client.Do(r)
		if err == nil && answer.StatusCode != http.StatusOK {
			answer.Body.Close()
			return nil, fmt.Errorf("%s %s: %s", method, path, answer.Status)
		}
		return answer, err
	}
	front, err := ask(http.MethodGet, "/", "")
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(front.Body)
	front.Body.Close()
	if err != nil {
		return nil, err
	}
	csrf := csrfField.FindSubmatch(text)
	if csrf == nil {
		return nil, errors.New("the page to sign in has no form")
	}
	in, err := ask(http.MethodPost, "/console/sign-in", url.Values{
		"csrf": {string(csrf[1])}, "token": {operatorToken},
	}.Encode())
	if err != nil {
		return nil, err
	}
	in.Body.Close()
	stream, err := ask(http.MethodGet, "/console/events", "")
	if err != nil {
		return nil, err
	}
	c := &console{ended: make(chan error, 1)}
	go func() {
		defer stream.Body.Close()
		lines := bufio.NewScanner(stream.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "data: ") {
				c.events.Add(1)
			}
		}
		c.ended <- lines.Err()
	}()
	return c, nil
}

// stillOpen is an error if no event came, or the stream has ended.
func (c *console) stillOpen() error {
	select {
	case err := <-c.ended:
		return fmt.Errorf("console: the stream of events ended: %w", errors.Join(io.ErrUnexpectedEOF, err))
	default:
	}
	if c.events.Load() == 0 {
		return errors.New("console: no event came")
	}
	return nil
}
