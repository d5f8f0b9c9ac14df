// A client in Go, by the standard library alone. GATE is the gate's URL, SHOP_SECRET the client's secret.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

type client struct {
	gate, secret string
	http         *http.Client
}

func main() {
	c := &client{gate: os.Getenv("GATE"), secret: os.Getenv("SHOP_SECRET"), http: &http.Client{Timeout: 10 * time.Second}}
	if err := c.story(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func (c *client) story(ctx context.Context) error {
	// The service itself.
	own, err := c.token(ctx, "")
	if err != nil {
		return err
	}
	if err := c.ask(ctx, "shop, for acme", "acme", own); err != nil {
		return err
	}

	// A user of its: it asks for a code, which the user's side exchanges.
	manage, err := c.token(ctx, "issue_codes")
	if err != nil {
		return err
	}
	code, err := c.post(ctx, "/api/v1/authorization-codes", "authorization_code", manage,
		map[string]string{"subject": "alice", "role": "reader", "tenant": "acme"})
	if err != nil {
		return err
	}
	alice, err := c.post(ctx, "/api/v1/tokens", "access_token", "", map[string]string{"authorization_code": code})
	if err != nil {
		return err
	}
	if err := c.ask(ctx, "alice, for acme", "acme", alice); err != nil {
		return err
	}
	return c.ask(ctx, "alice, for globex", "globex", alice)
}

// token is the client's own (no scope), or a management token (RFC 6749 §4.4).
func (c *client) token(ctx context.Context, scope string) (string, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if scope != "" {
		form.Set("scope", scope)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.gate+"/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(url.QueryEscape("shop"), url.QueryEscape(c.secret)) // form-encoded first: §2.3.1
	return c.member(r, "access_token")
}

// post sends JSON and gives one member of the answer.
func (c *client) post(ctx context.Context, path, member, bearer string, body any) (string, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.gate+path, strings.NewReader(string(text)))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	return c.member(r, member)
}

func (c *client) member(r *http.Request, name string) (string, error) {
	answer, err := c.http.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", err
	}
	if answer.StatusCode/100 != 2 {
		return "", fmt.Errorf("%s: %s: %s", r.URL, answer.Status, text)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		return "", fmt.Errorf("%s: %w", r.URL, err)
	}
	value, _ := members[name].(string)
	return value, nil
}

func (c *client) ask(ctx context.Context, name, tenant, bearer string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.gate+"/t/"+tenant+"/orders", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+bearer)
	answer, err := c.http.Do(r)
	if err != nil {
		return err
	}
	answer.Body.Close()
	_, err = fmt.Printf("%s: %d\n", name, answer.StatusCode)
	return err
}
