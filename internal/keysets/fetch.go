package keysets

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/strictjson"
)

const (
	mostRedirects   = 3
	mostHeaderBytes = 64 << 10
	mostBearerBytes = 16 << 10
)

// A fetcher asks one issuer's servers.
type fetcher struct {
	settings Settings
	issuer   *url.URL
	client   *http.Client

	origins []string // where credentials go
	headers [][2]string
}

// fetched is what a fetch brought.
type fetched struct {
	set     *jose.KeySet
	skipped []error
	from    string // its address, without a query, which may hold a credential
}

func newFetcher(s Settings) (*fetcher, error) {
	f := &fetcher{settings: s}
	var err error
	if f.issuer, err = url.Parse(s.Issuer); err != nil && s.URL != "" {
		f.issuer = &url.URL{} // it need not be a URL: nothing is asked of it
	} else if err != nil {
		return nil, fmt.Errorf("issuer %q: not a URL", s.Issuer)
	}
	if s.URL != "" {
		_, err = f.allowed(s.URL)
	} else {
		_, err = f.allowed(s.Issuer)
	}
	if err != nil {
		return nil, fmt.Errorf("issuer %s: %w", s.Issuer, err)
	}
	for _, address := range []string{s.Issuer, s.URL} {
		if u, err := url.Parse(address); err == nil && u.Scheme == "https" {
			f.origins = append(f.origins, u.Scheme+"://"+strings.ToLower(u.Host))
		}
	}
	for line := range strings.Lines(s.Headers.Reveal()) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		f.headers = append(f.headers, [2]string{name, value})
	}
	var authorities *x509.CertPool
	if s.Authorities != "" {
		authorities = x509.NewCertPool()
		if !authorities.AppendCertsFromPEM([]byte(s.Authorities)) {
			return nil, fmt.Errorf("issuer %s: its authorities hold no PEM certificate", s.Issuer)
		}
	}
	f.client = &http.Client{
		CheckRedirect: f.redirected,
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: s.Timeout}).DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: authorities},
			TLSHandshakeTimeout:    s.Timeout,
			MaxResponseHeaderBytes: mostHeaderBytes,
			DisableKeepAlives:      true, // the next fetch is minutes away
			DisableCompression:     true, // so that a limit in bytes is one
		},
	}
	return f, nil
}

// authenticate adds the credentials to a request, where they may go.
func (f *fetcher) authenticate(r *http.Request) error {
	if r.URL.Scheme != "https" || !slices.Contains(f.origins, "https://"+strings.ToLower(r.URL.Host)) {
		return nil
	}
	bearer := f.settings.Bearer.Reveal()
	if path := f.settings.BearerFile; path != "" {
		text, err := readBearer(path)
		if err != nil {
			return fmt.Errorf("fetch.bearer: %w", err)
		}
		bearer = text
	}
	if bearer = strings.TrimSpace(bearer); bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	for _, h := range f.headers {
		r.Header.Set(h[0], h[1])
	}
	return nil
}

// readBearer reads a token that others replace (a projected service account token lives an hour).
func readBearer(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, mostBearerBytes+1))
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if token == "" || len(text) > mostBearerBytes ||
		strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", fmt.Errorf("%s holds no bearer token", path)
	}
	return token, nil
}

// redirected follows redirects within a server, without the credentials.
func (f *fetcher) redirected(r *http.Request, before []*http.Request) error {
	r.Header.Del("Authorization")
	for _, h := range f.headers {
		r.Header.Del(h[0])
	}
	return sameOrigin(r, before)
}

func (f *fetcher) close() { f.client.CloseIdleConnections() }

// sameOrigin follows a redirect within a server, as one that adds a slash: the server that is trusted for the keys
// must not hand that trust to another, nor lead us to addresses that only we can reach.
func sameOrigin(r *http.Request, before []*http.Request) error {
	first := before[0].URL
	if r.URL.Scheme != first.Scheme || r.URL.Host != first.Host || r.URL.User != nil {
		return fmt.Errorf("it redirects to another server, %s://%s", r.URL.Scheme, r.URL.Host)
	}
	if len(before) > mostRedirects {
		return fmt.Errorf("it redirects more than %d times", mostRedirects)
	}
	return nil
}

// allowed reads an address that keys or metadata may come from. What is fetched decides whose tokens count, so it comes
// over TLS; but for this machine's own addresses, and where the operator says otherwise.
func (f *fetcher) allowed(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("%.200q is no address of a server", address)
	}
	switch u.Scheme {
	case "https":
		return u, nil
	case "http":
		if f.settings.InsecureHTTP || loopback(u.Hostname()) {
			return u, nil
		}
		return nil, fmt.Errorf("%s://%s is not https; insecure_http: true would allow it", u.Scheme, u.Host)
	}
	return nil, fmt.Errorf("%.200q is not https", address)
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback() || strings.EqualFold(host, "localhost")
}

// fetch finds the key set and reads it.
func (f *fetcher) fetch(ctx context.Context) (*fetched, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, f.settings.Timeout,
		fmt.Errorf("no whole answer within %v", f.settings.Timeout))
	defer cancel()
	address := f.settings.URL
	if address == "" {
		var err error
		if address, err = f.discover(ctx); err != nil {
			return nil, fmt.Errorf("discovery: %w", err)
		}
	}
	at, err := f.allowed(address)
	if err != nil {
		return nil, err
	}
	text, err := f.get(ctx, at)
	if err != nil {
		return nil, err
	}
	set, skipped, err := jose.ParseRemoteKeySet(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shown(at), err)
	}
	return &fetched{set, skipped, shown(at)}, nil
}

// discover asks the issuer where its keys are: the place of OpenID Connect first, which most have, then RFC 8414's.
func (f *fetcher) discover(ctx context.Context) (jwksURI string, err error) {
	places := f.places()
	text, err := f.get(ctx, places[0])
	var status statusError
	if errors.As(err, &status) {
		first := err
		if text, err = f.get(ctx, places[1]); err != nil {
			return "", errors.Join(first, err)
		}
	}
	if err != nil {
		return "", err
	}
	return f.metadata(text)
}

// places are where an issuer's metadata can be: after its path (OpenID Connect Discovery 1.0 §4.1), or between host and
// path (RFC 8414 §3.1). Either way a slash at the issuer's end is not counted.
func (f *fetcher) places() [2]*url.URL {
	path := strings.TrimSuffix(f.issuer.EscapedPath(), "/")
	root := f.issuer.Scheme + "://" + f.issuer.Host
	var places [2]*url.URL
	for i, text := range [2]string{
		root + path + "/.well-known/openid-configuration",
		root + "/.well-known/oauth-authorization-server" + path,
	} {
		u, err := url.Parse(text)
		if err != nil { // not with parts of a parsed URL
			u = f.issuer
		}
		places[i] = u
	}
	return places
}

// Metadata are what an issuer says of itself (OpenID Connect Discovery 1.0 §3, RFC 8414 §2).
type Metadata struct{ Issuer, JWKSURI string }

// ParseMetadata reads the document that an issuer publishes.
func ParseMetadata(text []byte) (m Metadata, err error) {
	err = strictjson.Document(strictjson.TrimBOM(text), func(r *strictjson.Reader, name string) (err error) {
		switch name {
		case "issuer":
			m.Issuer, err = r.String()
		case "jwks_uri":
			m.JWKSURI, err = r.String()
		default:
			err = r.Skip()
		}
		return err
	})
	if err != nil {
		return Metadata{}, fmt.Errorf("the metadata is not JSON as it must be: %w", err)
	}
	return m, nil
}

// Discover fetches an issuer's metadata once. They may name another issuer, as Microsoft Entra's common endpoints do.
func Discover(ctx context.Context, issuer string) (Metadata, error) {
	f, err := newFetcher(Settings{Issuer: issuer, Timeout: time.Minute})
	if err != nil {
		return Metadata{}, err
	}
	defer f.close()
	var first error
	for _, place := range f.places() {
		text, err := f.get(ctx, place)
		if err == nil {
			return ParseMetadata(text)
		}
		first = cmp.Or(first, err)
	}
	return Metadata{}, first
}

// metadata reads jwks_uri from a document that says whose it is. It must be this issuer's, byte by byte (RFC 8414
// §3.3): otherwise one tenant of a server could pass its keys off as another's.
func (f *fetcher) metadata(text []byte) (jwksURI string, err error) {
	m, err := ParseMetadata(text)
	if err != nil {
		return "", err
	}
	jwksURI = m.JWKSURI
	if m.Issuer != f.settings.Issuer {
		return "", fmt.Errorf("the metadata is of issuer %.200q", m.Issuer)
	}
	u, err := f.allowed(jwksURI)
	if err != nil {
		return "", fmt.Errorf("jwks_uri: %w", err)
	}
	if u.Scheme == "http" && f.issuer.Scheme == "https" && !f.settings.InsecureHTTP {
		return "", fmt.Errorf("jwks_uri: %s://%s is not https, as its issuer is", u.Scheme, u.Host)
	}
	return jwksURI, nil
}

// A statusError is an answer that is there, and is not the document.
type statusError struct {
	place  string
	status int
}

func (e statusError) Error() string { return fmt.Sprintf("%s answers %d", e.place, e.status) }

// get reads a whole document.
func (f *fetcher) get(ctx context.Context, at *url.URL) ([]byte, error) {
	text, err := f.read(ctx, at)
	if err == nil {
		return text, nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return nil, fmt.Errorf("%s: %w", shown(at), cause)
	}
	var status statusError
	if errors.As(err, &status) {
		return nil, status
	}
	var outer *url.Error // it repeats the address, with the query
	if errors.As(err, &outer) {
		err = outer.Err
	}
	return nil, fmt.Errorf("%s: %w", shown(at), err)
}

func (f *fetcher) read(ctx context.Context, at *url.URL) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json, application/jwk-set+json")
	r.Header.Set("User-Agent", "jotgate")
	if err := f.authenticate(r); err != nil {
		return nil, err
	}
	a, err := f.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return nil, statusError{shown(at), a.StatusCode}
	}
	text, err := io.ReadAll(io.LimitReader(a.Body, jose.MaxKeySetBytes+1))
	if err == nil && len(text) > jose.MaxKeySetBytes {
		err = fmt.Errorf("more than %d bytes", jose.MaxKeySetBytes)
	}
	return text, err
}

// shown is an address as a log may have it.
func shown(u *url.URL) string { return u.Scheme + "://" + u.Host + u.EscapedPath() }
