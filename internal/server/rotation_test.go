package server_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/server"
	"github.com/jotgate/jotgate/internal/telemetry"
)

// TestRotationsUnderLoad: while keys come, sign, retire and go, by real reloads of the file, no good token is refused here,
// and no verifier elsewhere that looks at the key set every five minutes meets a key that it does not know.
func TestRotationsUnderLoad(t *testing.T) {
	t.Parallel()
	g := &gate{t: t, file: filepath.Join(t.TempDir(), "gate.yaml"), log: new(lines), app: newApp(t)}
	const client = "may: [issue_codes], permissions: [{tenant: acme, actions: [READ]}]"
	write := func(keys string) {
		g.write("may: [issue_codes]", client, "  keys: [{file: main.pem, create: true}]", "  token_ttl: 30m\n  max_token_ttl: 30m\n  keys: ["+keys+"]")
	}
	name := func(n int, state string) string {
		return fmt.Sprintf("{file: k%d.pem, create: true, state: %s}", n, state)
	}
	write(name(0, "current"))
	c, err := config.Load(g.file)
	if err != nil {
		t.Fatal(err)
	}
	log, err := telemetry.NewLog(g.log, "info", true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	var ahead atomic.Int64 // of the real clock
	clock := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	if g.Server, err = server.New(server.Options{Config: c, ConfigPath: g.file, Log: log, Clock: clock}); err != nil {
		t.Fatal(err)
	}
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })

	l := &load{gate: g, clock: clock, progress: make(chan struct{})}
	l.tr.DisableKeepAlives = false
	t.Cleanup(l.tr.CloseIdleConnections)
	stop := make(chan struct{})
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				l.once()
				select {
				case l.progress <- struct{}{}:
				default: // nobody waits
				}
			}
		})
	}
	l.look()
	settle := func(d time.Duration) { // time passes while the workers work
		for range 4 {
			ahead.Add(int64(d / 4))
			for range 8 {
				<-l.progress
			}
		}
	}
	reload := func(keys ...string) {
		write(strings.Join(keys, ", "))
		if err := g.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 6 {
		settle(2 * time.Minute)
		if n%2 == 0 { // as it should be: publish, then sign
			reload(name(n, "current"), name(n+1, "next"))
			settle(5 * time.Minute)
			l.look()
		} // else in one step, which the gate makes two of
		reload(name(n, "retired"), name(n+1, "current"))
		settle(4 * time.Minute)
		l.look()
		settle(6 * time.Minute)
		l.look()
		settle(31 * time.Minute) // the longest life
		reload(name(n+1, "current"))
	}
	settle(time.Minute)
	close(stop)
	workers.Wait()
	if failed := l.failed.Load(); failed != nil {
		t.Fatal(*failed)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.signedBy) != 7 {
		t.Errorf("%d keys signed, of 7, in %d requests", len(l.signedBy), l.done.Load())
	}
}

// A load mints tokens, and keeps using those that it has until they end.
type load struct {
	*gate
	clock    func() time.Time
	tr       http.Transport
	progress chan struct{} // one for each round of a worker, if somebody waits
	done     atomic.Int64
	failed   atomic.Pointer[string]

	mu       sync.Mutex
	tokens   []held
	signedBy map[string]bool
	known    map[string]time.Time // the verifier elsewhere: which kids it has, and when it looked
	looked   time.Time
}

type held struct {
	compact string
	ends    time.Time
}

func (l *load) fail(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	l.failed.CompareAndSwap(nil, &s)
}

func (l *load) ask(method, path, token, form string) (int, string) {
	r, err := http.NewRequest(method, l.url(path), strings.NewReader(form))
	if err != nil {
		l.fail("%v", err)
		return 0, ""
	}
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := l.tr.RoundTrip(r)
	if err != nil {
		l.fail("%s %s: %v", method, path, err)
		return 0, ""
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		l.fail("%s %s: %v", method, path, err)
	}
	return answer.StatusCode, string(body)
}

// look fetches the key set, as a verifier elsewhere does when its copy is five minutes old.
func (l *load) look() {
	status, body := l.ask(http.MethodGet, "/.well-known/jwks.json", "", "")
	set, _, err := jose.ParseKeySet([]byte(body))
	if err != nil {
		l.fail("key set: %d %v", status, err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known = map[string]time.Time{}
	for _, k := range set.Keys() {
		l.known[k.ID()] = l.clock()
	}
	l.looked = l.clock()
}

func (l *load) once() {
	asked := l.clock()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"web"}, "client_secret": {"0123456789abcdefghijkl"}}
	status, body := l.ask(http.MethodPost, "/oauth2/token", "", form.Encode())
	if status != 200 {
		l.fail("mint: %d %s", status, body)
		return
	}
	_, rest, _ := strings.Cut(body, `"access_token":"`)
	compact, _, _ := strings.Cut(rest, `"`)
	u, err := jose.Parse(compact, 0)
	if err != nil {
		l.fail("%v", err)
		return
	}
	l.mu.Lock()
	stale := l.clock().Sub(l.looked) >= 5*time.Minute
	l.mu.Unlock()
	if stale {
		l.look()
	}
	l.mu.Lock()
	if _, known := l.known[u.Header.KeyID]; !known {
		l.fail("a verifier elsewhere does not know key %s", u.Header.KeyID)
	}
	if l.signedBy == nil {
		l.signedBy = map[string]bool{}
	}
	l.signedBy[u.Header.KeyID] = true
	l.tokens = append(l.tokens, held{compact, asked.Add(30 * time.Minute)})
	if len(l.tokens) > 200 { // the older half of them is thinned out, so that some of each age stay
		kept := l.tokens[:0:0]
		for i, t := range l.tokens {
			if i%2 == 0 || i > 150 {
				kept = append(kept, t)
			}
		}
		l.tokens = kept
	}
	some := []held{l.tokens[len(l.tokens)-1], l.tokens[int(l.done.Load())%len(l.tokens)], l.tokens[0]}
	l.mu.Unlock()
	for _, t := range some {
		status, _ := l.ask(http.MethodGet, "/t/acme/", t.compact, "")
		// It may end while it is asked about; before its end it is good.
		if status != 200 && l.clock().Before(t.ends.Add(-time.Second)) {
			l.fail("a good token was refused: %d", status)
		}
	}
	l.done.Add(1)
}
