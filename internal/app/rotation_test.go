package app_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/app"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/keyfile"
	"github.com/jotgate/jotgate/internal/telemetry"
)

// TestRotationsUnderLoad: while keys come, sign, retire and go, by real reloads of the file, no good token is refused
// here, and no verifier elsewhere that looks at the key set every five minutes meets a key that it does not know.
func TestRotationsUnderLoad(t *testing.T) {
	t.Parallel()
	g := &gate{t: t, file: filepath.Join(t.TempDir(), "gate.yaml"), log: new(lines), app: newApp(t)}
	const client = "may: [issue_codes], permissions: [{tenant: acme, actions: [READ]}]"
	write := func(keys string) {
		g.write("may: [issue_codes]", client, "  keys: [{file: main.pem, create: true}]",
			"  token_ttl: 30m\n  max_token_ttl: 30m\n  keys: ["+keys+"]")
	}
	name := func(n int, state string) string {
		return fmt.Sprintf("{file: k%d.pem, create: true, state: %s}", n, state)
	}
	write(name(0, "current"))
	l := startLoad(g)
	reload := func(keys ...string) {
		write(strings.Join(keys, ", "))
		if err := g.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 6 {
		l.settle(2 * time.Minute)
		if n%2 == 0 { // as it should be: publish, then sign
			reload(name(n, "current"), name(n+1, "next"))
			l.settle(5 * time.Minute)
			l.look()
		} // else in one step, which the gate makes two of
		reload(name(n, "retired"), name(n+1, "current"))
		l.settle(4 * time.Minute)
		l.look()
		l.settle(6 * time.Minute)
		l.look()
		l.settle(31 * time.Minute) // the longest life
		reload(name(n+1, "current"))
	}
	l.settle(time.Minute)
	l.end(7)
}

// TestARefusedReloadPublishesNothing: a key that only a refused configuration has was never published, however long ago
// that was, and does not sign at once.
func TestARefusedReloadPublishesNothing(t *testing.T) {
	t.Parallel()
	g := &gate{t: t, file: filepath.Join(t.TempDir(), "gate.yaml"), log: new(lines), app: newApp(t)}
	put(t, g.path("new.pem"), newPEM(t))
	const rotated = "keys: [{file: main.pem, state: retired}, {file: new.pem}]"
	edits := []string{
		"may: [issue_codes]", "may: [issue_codes], permissions: [{tenant: acme, actions: [READ]}]",
		"keys: [{file: main.pem, create: true}]",
	}
	g.write(append(edits, "keys: [{file: main.pem, create: true}]")...)
	l := startLoad(g)
	defer l.halt()
	g.write(append(edits, rotated, "watch: false",
		"watch: false\ntests: [{request: \"GET http://a/open/\", expect: refuse}]")...)
	if err := g.Reload(); err == nil || !strings.Contains(err.Error(), "expected refuse") {
		t.Fatalf("a failing test: %v", err)
	}
	l.settle(time.Hour)
	g.write(append(edits, rotated)...)
	must(t, g.Reload())
	l.look()
	l.settle(4 * time.Minute)
	l.end(1) // the old key alone, for another minute
}

// TestAFolderRotatedUnderLoad does the same with keys in a folder, by moving files, and with only the watch to
// reload.
func TestAFolderRotatedUnderLoad(t *testing.T) {
	t.Parallel()
	g := &gate{t: t, file: filepath.Join(t.TempDir(), "gate.yaml"), log: new(lines), app: newApp(t)}
	put(t, g.path("keys/0.pem"), newPEM(t))
	g.edit("may: [issue_codes]", "may: [issue_codes], permissions: [{tenant: acme, actions: [READ]}]",
		"  keys: [{file: main.pem, create: true}]", "  token_ttl: 30m\n  max_token_ttl: 30m\n  keys: [{dir: keys/}]")
	l := startLoad(g)
	reloads := 0
	reloaded := func() {
		t.Helper()
		reloads++
		g.counts(reloads, byItself)
	}
	path := func(n int, state string) string { return g.path(fmt.Sprintf("keys/%d%s.pem", n, state)) }
	for n := range 3 {
		put(t, g.path("made.pem"), newPEM(t))
		must(t, os.Rename(g.path("made.pem"), path(n+1, ".next")))
		reloaded()
		l.settle(5 * time.Minute)
		l.look()
		must(t, os.Rename(path(n+1, ".next"), path(n+1, "")), os.Rename(path(n, ""), path(n, ".retired")))
		reloaded()
		l.settle(4 * time.Minute)
		l.look()
		l.settle(37 * time.Minute) // more than the longest life
		must(t, os.Remove(path(n, ".retired")))
		reloaded()
	}
	l.settle(time.Minute)
	l.end(4)
	if log := g.log.String(); strings.Contains(log, refused) {
		t.Errorf("a reload was refused: %s", log)
	}
}

// startLoad runs a gate whose clock can be set ahead, and workers against it.
func startLoad(g *gate) *load {
	t := g.t
	t.Helper()
	c, err := keyfile.Load(g.file)
	if err != nil {
		t.Fatal(err)
	}
	log, err := telemetry.NewLog(g.log, c.Log.Level, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	l := &load{gate: g, progress: make(chan struct{}), stop: make(chan struct{})}
	l.clock = func() time.Time { return time.Now().Add(time.Duration(l.ahead.Load())) }
	if g.Gate, err = app.New(app.Options{Config: c, ConfigPath: g.file, Log: log, Clock: l.clock}); err != nil {
		t.Fatal(err)
	}
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	t.Cleanup(l.tr.CloseIdleConnections)
	l.halt = sync.OnceFunc(func() {
		close(l.stop)
		l.workers.Wait()
	})
	t.Cleanup(l.halt)
	l.look()
	for range 4 {
		l.workers.Go(l.work)
	}
	return l
}

func (l *load) work() {
	for {
		select {
		case <-l.stop:
			return
		default:
		}
		l.once()
		select {
		case l.progress <- struct{}{}:
		default: // nothing waits
		}
	}
}

// settle lets time pass while the workers work.
func (l *load) settle(d time.Duration) {
	for range 4 {
		l.ahead.Add(int64(d / 4))
		for range 8 {
			<-l.progress
		}
	}
}

// end stops the workers and says what went wrong; so many keys should have signed.
func (l *load) end(keys int) {
	l.t.Helper()
	l.halt()
	if failed := l.failed.Load(); failed != nil {
		l.t.Fatal(*failed)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.signedBy) != keys {
		l.t.Errorf("%d keys signed, of %d, in %d requests", len(l.signedBy), keys, l.done.Load())
	}
}

// A load mints tokens, and keeps using those that it has until they end.
type load struct {
	*gate
	clock    func() time.Time
	ahead    atomic.Int64 // of the real clock
	tr       http.Transport
	progress chan struct{} // one for each round of a worker, if somebody waits
	stop     chan struct{}
	workers  sync.WaitGroup
	halt     func() // the workers
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
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {"web"},
		"client_secret": {"0123456789abcdefghijkl"},
	}
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
