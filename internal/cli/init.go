package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"text/template"

	_ "embed"
)

//go:embed init.yaml.tmpl
var initialConfig string

func initCommand() command {
	return command{
		name: "init", usage: "[FOLDER] [--url URL] [--upstream URL]", brief: "write a commented config and its keys",
		run: initialize,
		help: `Writes into FOLDER (default: this one) what a first gate needs, and prints the two commands that come next:

  config.yaml      commented, for one app behind the gate and one backend that asks for codes
  keys/main.pem    the key that signs tokens, ES256, mode 0600
  keys/web.secret  the backend's secret, mode 0600

Nothing that is there already is touched.

  jotgate init gate --url https://gate.example.com --upstream http://127.0.0.1:3000
`,
	}
}

type initial struct{ URL, Upstream string }

func initialize(p *Process, c *call) error {
	var o initial
	c.StringVar(&o.URL, "url", "http://localhost:8080",
		"the gate's own `URL`, as its clients see it; the iss of its tokens")
	c.StringVar(&o.Upstream, "upstream", "http://127.0.0.1:3000", "the app's `URL`")
	if err := c.parse(1); err != nil {
		return err
	}
	for _, u := range []struct{ flag, value string }{{"url", o.URL}, {"upstream", o.Upstream}} {
		if err := checkURL(u.value); err != nil {
			return usagef("--%s %q: %v", u.flag, u.value, err)
		}
	}
	folder := c.operand(".")
	files, err := initialFiles(o)
	if err != nil {
		return err
	}
	if err := writeNew(folder, files); err != nil {
		return err
	}
	for _, f := range files {
		fmt.Fprintf(p.Stdout, "wrote %s\n", filepath.Join(folder, f.name))
	}
	name := filepath.Join(folder, files[0].name)
	fmt.Fprintf(p.Stdout, "\nNext:\n\n  jotgate check --config %[1]s\n  jotgate serve --config %[1]s\n", name)
	return nil
}

func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return errors.Unwrap(err)
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.User != nil, u.Path != "", u.RawQuery != "",
		u.Fragment != "":
		return errors.New("want http://HOST[:PORT] or https://HOST[:PORT], and nothing after it")
	}
	return nil
}

type newFile struct {
	name string
	mode fs.FileMode
	text []byte
}

func initialFiles(o initial) ([]newFile, error) {
	key, err := newKey("ES256")
	if err != nil {
		return nil, err
	}
	t, err := template.New("config").Delims("<<", ">>").Parse(initialConfig)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, o); err != nil {
		return nil, err
	}
	return []newFile{
		{"config.yaml", 0o644, text.Bytes()},
		{"keys/main.pem", 0o600, key},
		{"keys/web.secret", 0o600, []byte(newSecret() + "\n")},
	}, nil
}

// writeNew writes the files, or none of them if one is there.
func writeNew(folder string, files []newFile) error {
	for _, f := range files {
		if _, err := os.Lstat(filepath.Join(folder, f.name)); err == nil {
			return fmt.Errorf("%s is there already; nothing was written", filepath.Join(folder, f.name))
		}
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(folder, "keys"), 0o700); err != nil {
		return err
	}
	for _, f := range files {
		if err := writeFile(filepath.Join(folder, f.name), f.mode, f.text); err != nil {
			return err
		}
	}
	return nil
}

// writeFile makes a file that must not exist: O_EXCL follows no link that somebody else left there.
func writeFile(name string, mode fs.FileMode, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
