package cli

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/app"
	"github.com/jotgate/jotgate/internal/telemetry"
)

// TestEachProfileServes: what init writes is a gate that starts, refuses without a token and does with one what its
// profile is for. Nothing but addresses is changed, since those of this machine may be taken.
func TestEachProfileServes(t *testing.T) {
	t.Parallel()
	theirs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "app for "+r.Header.Get("X-Jotgate-Tenant"))
	}))
	t.Cleanup(theirs.Close)
	for _, profile := range []struct {
		name string
		// asked are requests: METHOD, the listener's name, path, "token" or "-", and what is answered.
		asked []string
	}{
		{"sidecar", []string{
			"GET main /t/acme/1 - 401", "GET main /t/acme/1 token 200 app for acme", "GET main /t/other/1 token 403",
			"GET main /.well-known/jwks.json - 200",
		}},
		{"edge", []string{
			"GET main /t/acme/1 - 401", "GET main /t/acme/1 token 200 app for acme", "GET main /assets/x - 200 app for ",
			"GET redirect /t/acme/1 - 308",
		}},
		{"issuer", []string{"GET main /.well-known/jwks.json - 200", "GET main /t/acme/1 token 404"}},
		{"decision", []string{
			"GET decision /nginx - 401", "GET decision /nginx token 200", "GET main /t/acme/1 token 404",
		}},
	} {
		t.Run(profile.name, func(t *testing.T) {
			t.Parallel()
			folder := filepath.Join(t.TempDir(), "gate")
			file := filepath.Join(folder, "config.yaml")
			told := func(args ...string) string {
				t.Helper()
				var out, errs bytes.Buffer
				p := &Process{Args: args, Stdout: &out, Stderr: &errs, LookupEnv: func(string) (string, bool) { return "", false }}
				if code := Run(p); code != 0 {
					t.Fatalf("%v: exit code %d: %s", args, code, errs.String())
				}
				return strings.TrimSpace(out.String())
			}
			init := []string{"init", folder, "--profile", profile.name}
			if profile.name == "sidecar" || profile.name == "edge" {
				init = append(init, "--upstream", theirs.URL)
			}
			told(init...)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			addresses := regexp.MustCompile(`(listen: |address: )"?127\.0\.0\.1:\d+"?`)
			if err := os.WriteFile(file, addresses.ReplaceAll(text, []byte(`$1"127.0.0.1:0"`)), 0o600); err != nil {
				t.Fatal(err)
			}
			settings, err := config.Load(file)
			if err != nil {
				t.Fatal(err)
			}
			log, err := telemetry.NewLog(io.Discard, "error", false)
			if err != nil {
				t.Fatal(err)
			}
			g, err := app.New(app.Options{Config: settings, ConfigPath: file, Log: log, Version: "test"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = g.Close() })
			if err := g.Start(); err != nil {
				t.Fatal(err)
			}
			token := told("mint", "--config", file, "--client", "web", "--role", "reader", "--tenant", "acme",
				"--sub", "alice")
			client := visitor(t, filepath.Join(folder, "tls", "cert.pem"))
			for _, asked := range profile.asked {
				field := strings.SplitN(asked, " ", 6)
				scheme := "http"
				if profile.name == "edge" && field[1] == "main" {
					scheme = "https"
				}
				r, err := http.NewRequest(field[0], scheme+"://"+g.Addr(field[1]).String()+field[2], nil)
				if err != nil {
					t.Fatal(err)
				}
				if field[3] == "token" {
					r.Header.Set("Authorization", "Bearer "+token)
				}
				if field[1] == "decision" {
					r.Header.Set("X-Original-Method", "GET")
					r.Header.Set("X-Original-URL", "http://shop/t/acme/1")
				}
				answer, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(answer.Body)
				answer.Body.Close()
				if fmt.Sprint(answer.StatusCode) != field[4] || len(field) > 5 && string(body) != field[5] {
					t.Errorf("%s: answered %d %s", asked, answer.StatusCode, body)
				}
			}
		})
	}
}

// visitor trusts a certificate, if there is one, and follows no redirect.
func visitor(t *testing.T, certificate string) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if text, err := os.ReadFile(certificate); err == nil && !roots.AppendCertsFromPEM(text) {
		t.Fatal("the certificate cannot be read")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost"}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport: transport, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
