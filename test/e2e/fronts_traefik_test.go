package e2e_test

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// A traefik asks as Traefik 3.7 does with trustForwardHeader: false, step by step (its forwardedheaders at the entry
// point, then its ForwardAuth), by the settings of examples/fronts/traefik.
type traefik struct {
	t       *testing.T
	ask     string   // the address of the question
	copied  []string // authResponseHeaders
	client  *http.Client
	app     *httputil.ReverseProxy
	gate    *httputil.ReverseProxy
	ofGates []string // prefixes of the paths that the router has for the gate itself
}

// hopByHop are the fields that it takes out of the question.
var hopByHop = []string{"Connection", "Keep-Alive", "Te", "Trailers", "Transfer-Encoding", "Upgrade"}

// forwardedFields are those that it does not take from a client.
var forwardedFields = []string{
	"X-Forwarded-Proto", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Server",
	"X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Prefix", "X-Forwarded-Tls-Client-Cert",
	"X-Forwarded-Tls-Client-Cert-Info", "X-Real-Ip",
}

func (f *traefik) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if slices.ContainsFunc(f.ofGates, func(prefix string) bool { return strings.HasPrefix(r.URL.Path, prefix) }) {
		f.gate.ServeHTTP(w, r)
		return
	}
	// The entry point applies Connection to what the client sent, and keeps nothing of it but an upgrade.
	upgrade := false
	for _, line := range r.Header["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			upgrade = upgrade || name == "Upgrade"
			if name != "Upgrade" && !slices.Contains(forwardedFields, name) {
				r.Header.Del(name)
			}
		}
	}
	if r.Header.Del("Connection"); upgrade {
		r.Header.Set("Connection", "Upgrade")
	}
	q, err := http.NewRequestWithContext(r.Context(), http.MethodGet, f.ask, nil)
	if err != nil {
		f.t.Error(err)
		return
	}
	q.Header = r.Header.Clone()
	for _, name := range append(slices.Clone(hopByHop), forwardedFields...) {
		q.Header.Del(name)
	}
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		f.t.Error(err)
	}
	for name, value := range map[string]string{
		"X-Forwarded-For": address, "X-Forwarded-Method": r.Method, "X-Forwarded-Proto": "http", "X-Forwarded-Port": "80",
		"X-Forwarded-Host": r.Host, "X-Forwarded-Uri": r.URL.RequestURI(),
	} {
		q.Header.Set(name, value)
	}
	answer, err := f.client.Do(q)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	defer answer.Body.Close()
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		for name, values := range answer.Header {
			if !slices.Contains(hopByHop, name) {
				w.Header()[name] = values
			}
		}
		w.WriteHeader(answer.StatusCode)
		_, _ = io.Copy(w, answer.Body) // the client may have gone
		return
	}
	for _, name := range f.copied {
		name = http.CanonicalHeaderKey(name)
		r.Header.Del(name)
		if values := answer.Header[name]; len(values) > 0 {
			r.Header[name] = values
		}
	}
	f.app.ServeHTTP(w, r)
}

// openTraefik starts one in front of an app.
func openTraefik(t *testing.T, edit *strings.Replacer) *frontHouse {
	t.Helper()
	h, ports := gateBesideFront(t, edit)
	var settings struct {
		HTTP struct {
			Middlewares struct {
				Jotgate struct {
					ForwardAuth struct {
						Address string
						Copied  []string `yaml:"authResponseHeaders"`
					} `yaml:"forwardAuth"`
				}
			}
			Routers  struct{ Own struct{ Rule string } }
			Services struct {
				App, Jotgate struct {
					LoadBalancer struct{ Servers []struct{ URL string } } `yaml:"loadBalancer"`
				}
			}
		}
	}
	text := ports.Replace(readFile(t, "examples/fronts/traefik/dynamic.yaml"))
	if err := yaml.Unmarshal([]byte(text), &settings); err != nil {
		t.Fatal(err)
	}
	forward := settings.HTTP.Middlewares.Jotgate.ForwardAuth
	f := &traefik{
		t: t, ask: forward.Address, copied: forward.Copied,
		client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	f.client.Transport = &http.Transport{MaxIdleConnsPerHost: 8}
	t.Cleanup(f.client.CloseIdleConnections)
	for part := range strings.SplitSeq(settings.HTTP.Routers.Own.Rule, "||") {
		prefix, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(part), "PathPrefix(`"), "`")
		f.ofGates = append(f.ofGates, prefix)
	}
	to := func(server string) *httputil.ReverseProxy {
		base, err := url.Parse(server)
		if err != nil {
			t.Fatal(err)
		}
		return &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = base.Scheme, base.Host
			p.Out.URL.RawQuery = strings.ReplaceAll(p.In.URL.RawQuery, ";", "&") // as it does to what it forwards
			p.Out.Host = p.In.Host
		}}
	}
	f.app = to(settings.HTTP.Services.App.LoadBalancer.Servers[0].URL)
	f.gate = to(settings.HTTP.Services.Jotgate.LoadBalancer.Servers[0].URL)
	l, err := net.Listen("tcp", h.front)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: f, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Shutdown(context.Background())
		<-done
	})
	return h
}

// TestTraefikAsks: with the exact questions of Traefik, what it does with the answers, and what it changes behind them:
// it puts an "&" in the place of each ";" of a query. No tenant may be found behind that which was not judged.
func TestTraefikAsks(t *testing.T) {
	t.Parallel()
	h := openTraefik(t, strings.NewReplacer())
	h.play(t)
	h.ownEndpoints(t)
	bearer := "Authorization: Bearer " + h.token
	for target, want := range map[string]int{
		"/search?tenant=acme;tenant=globex":     400,
		"/search?tenant=acme&x=1;tenant=globex": 400,
		"/search?tenant=acme&x=1;y=2":           200,
	} {
		h.app.take()
		status, _ := h.ask(t, "GET", target, bearer)
		if seen := h.app.take(); status != want || (len(seen) == 1) != (want == 200) {
			t.Errorf("%s: %d, want %d; the app saw %v", target, status, want, seen)
		}
	}
}
