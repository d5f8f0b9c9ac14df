package cli

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jotgate/jotgate/internal/template"
)

//go:embed init.*.yaml.tmpl
var initialConfigs embed.FS

// profiles are what init can write; the first is the default.
var profiles = []string{"sidecar", "edge", "issuer", "decision"}

// The user of the container image, who must be able to read what init --docker writes.
const imageUser = 65532

func initCommand() command {
	return command{
		name: "init", usage: "[FOLDER] [--profile PROFILE] [--docker] [--url URL] [--upstream URL] [--issuer URL|@FILE]",
		brief: "write a commented config and its keys", run: initialize,
		words: map[string][]string{"profile": profiles},
		help: `Writes a first config into FOLDER (default: the current folder) and prints the next two commands:

  config.yaml      commented; what it is for is chosen by --profile:
                   sidecar   one app behind the gate, one backend that asks for codes
                   edge      TLS in front, with a self-signed certificate in tls/ to be replaced
                   issuer    tokens alone, no app
                   decision  another proxy (nginx, Traefik, Caddy, HAProxy, Envoy) asks the gate and forwards itself
  keys/main.pem    the key that signs tokens, ES256, mode 0600
  keys/web.secret  the backend's secret, mode 0600
  .gitignore       keeps keys and state out of a repository

With --issuer the gate issues nothing: it accepts the tokens of another issuer (docs/issuers.md), for example
--issuer https://kc.example.com/realms/shop --audience shop-api. The issuer's metadata is fetched once (OpenID Connect
Discovery), or read from a file: --issuer @openid-configuration.json. No keys are written then.

Existing files are never changed. With --docker the gate listens on all addresses of its container, reaches an app on
the host, and the printed commands run the image.

  jotgate init gate --url https://gate.example.com --upstream http://127.0.0.1:3000
  jotgate init gate --profile edge
  jotgate init gate --docker
`,
	}
}

// initial is what the templates fill in.
type initial struct {
	Profile, URL, Upstream string
	Docker                 bool
	Listen, Redirect       string
}

func initialize(p *Process, c *call) error {
	var o initial
	c.StringVar(&o.Profile, "profile", profiles[0], "`PROFILE` is one of "+strings.Join(profiles, ", "))
	c.BoolVar(&o.Docker, "docker", false, "write addresses and permissions that work in a container")
	c.StringVar(&o.URL, "url", "", "`URL` of the gate as its clients see it; the iss of its tokens "+
		"(default http://localhost:8080; edge: https://localhost:8443)")
	c.StringVar(&o.Upstream, "upstream", "", "`URL` of the app (default http://127.0.0.1:3000; "+
		"--docker: http://host.docker.internal:3000; decision has none)")
	var trusted, audience string
	c.StringVar(&trusted, "issuer", "", "accept the tokens of the issuer at this `URL`, or whose metadata @FILE holds")
	c.StringVar(&audience, "audience", "", "`VALUE` that its tokens have in aud for this API (default api)")
	if err := c.parse(1); err != nil {
		return err
	}
	switch {
	case trusted == "" && c.given("audience"):
		return usagef("--audience has no effect without --issuer")
	case trusted != "" && (c.given("profile") || c.given("url")):
		return usagef("--issuer conflicts with --profile and --url: the gate issues nothing then")
	}
	if !slices.Contains(profiles, o.Profile) {
		return usagef("--profile %q is not one of %s", o.Profile, strings.Join(profiles, ", "))
	}
	o.fill()
	for _, u := range []struct{ flag, value string }{{"url", o.URL}, {"upstream", o.Upstream}} {
		if err := checkURL(u.value); err != nil {
			return usagef("--%s %q: %v", u.flag, u.value, err)
		}
	}
	if (o.Profile == "issuer" || o.Profile == "decision") && c.given("upstream") {
		return usagef("--upstream has no effect with --profile %s: no app is behind it", o.Profile)
	}
	folder := c.operand(".")
	files, err := initialFiles(o)
	if trusted != "" {
		files, err = trustedFiles(context.Background(), o, trusted, audience)
	}
	if err != nil {
		return err
	}
	if err := writeNew(folder, files); err != nil {
		return err
	}
	if o.Docker && os.Geteuid() == 0 {
		if err := giveToImage(folder, files); err != nil {
			return err
		}
	}
	for _, f := range files {
		fmt.Fprintf(p.Stdout, "wrote %s\n", filepath.Join(folder, f.name))
	}
	check, serve := o.next(folder, files[0].name)
	_, err = fmt.Fprintf(p.Stdout, "\nNext:\n\n  %s\n  %s\n", check, serve)
	return err
}

// fill sets what the flags leave open.
func (o *initial) fill() {
	o.Listen, o.Redirect = "127.0.0.1:8080", "127.0.0.1:8080"
	url := "http://localhost:8080"
	upstream := "http://127.0.0.1:3000"
	if o.Profile == "edge" {
		o.Listen, url = "127.0.0.1:8443", "https://localhost:8443"
	}
	if o.Docker {
		o.Listen, o.Redirect = o.Listen[len("127.0.0.1"):], ":8080"
		upstream = "http://host.docker.internal:3000"
	}
	if o.URL == "" {
		o.URL = url
	}
	if o.Upstream == "" {
		o.Upstream = upstream
	}
}

// next returns the commands that check and serve what was written.
func (o *initial) next(folder, file string) (check, serve string) {
	if !o.Docker {
		name := filepath.Join(folder, file)
		return "jotgate check --config " + name, "jotgate serve --config " + name
	}
	absolute, err := filepath.Abs(folder)
	if err != nil {
		absolute = folder
	}
	run := fmt.Sprintf("docker run --rm -v %q:/etc/jotgate:ro", absolute)
	if uid := os.Geteuid(); uid != 0 {
		run += fmt.Sprintf(" --user %d:%d", uid, os.Getegid()) // who owns the keys
	}
	ports := " -p 8080:8080"
	if o.Profile == "edge" {
		ports = " -p 8443:8443 -p 8080:8080"
	}
	return run + " jotgate check", run + " --add-host host.docker.internal:host-gateway" + ports + " jotgate"
}

// giveToImage makes the image's user the owner of what its group could not read otherwise.
func giveToImage(folder string, files []newFile) error {
	for _, f := range files {
		if f.mode.Perm()&0o044 != 0 {
			continue
		}
		name := filepath.Join(folder, f.name)
		if err := errors.Join(os.Chown(filepath.Dir(name), imageUser, imageUser),
			os.Chown(name, imageUser, imageUser)); err != nil {
			return err
		}
	}
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

const ignored = `# Keys, secrets and state of the gate.
keys/
tls/
revoked*
`

func initialFiles(o initial) ([]newFile, error) {
	key, err := newKey("ES256")
	if err != nil {
		return nil, err
	}
	text, err := initialConfig(o.Profile, o)
	if err != nil {
		return nil, err
	}
	files := []newFile{
		{"config.yaml", 0o644, text},
		{"keys/main.pem", 0o600, key},
		{"keys/web.secret", 0o600, []byte(newSecret() + "\n")},
		{".gitignore", 0o644, []byte(ignored)},
	}
	if o.Profile != "edge" {
		return files, nil
	}
	cert, private, err := selfSigned(o.URL)
	if err != nil {
		return nil, err
	}
	return append(files, newFile{"tls/cert.pem", 0o644, cert}, newFile{"tls/key.pem", 0o600, private}), nil
}

// initialConfig fills in the template of a profile.
func initialConfig(profile string, values any) ([]byte, error) {
	text, err := initialConfigs.ReadFile("init." + profile + ".yaml.tmpl")
	if err != nil {
		return nil, err
	}
	t, err := template.Text(string(text), "<<", ">>", nil)
	if err != nil {
		return nil, err
	}
	var config bytes.Buffer
	err = t.Execute(&config, values)
	return config.Bytes(), err
}

// selfSigned makes a certificate for the host of a URL, to begin with.
func selfSigned(site string) (cert, private []byte, err error) {
	u, err := url.Parse(site)
	if err != nil {
		return nil, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: u.Hostname()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 90),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, DNSNames: []string{u.Hostname()},
	}
	if ip := net.ParseIP(u.Hostname()); ip != nil {
		t.DNSNames, t.IPAddresses = nil, []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// writeNew writes the files, or none of them if one exists.
func writeNew(folder string, files []newFile) error {
	for _, f := range files {
		if _, err := os.Lstat(filepath.Join(folder, f.name)); err == nil {
			return fmt.Errorf("%s exists already; nothing was written", filepath.Join(folder, f.name))
		}
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		if inner := filepath.Dir(f.name); inner != "." {
			if err := os.MkdirAll(filepath.Join(folder, inner), 0o700); err != nil {
				return err
			}
		}
		if err := writeFile(filepath.Join(folder, f.name), f.mode, f.text); err != nil {
			return err
		}
	}
	return nil
}

// writeFile makes a file that must not exist: O_EXCL follows no link that someone else left there.
func writeFile(name string, mode fs.FileMode, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
