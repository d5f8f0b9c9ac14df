package keysets

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jotgate/jotgate/internal/jose"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A publisher is an issuer's server, whose answers can be changed while it runs.
type publisher struct {
	*httptest.Server
	answer atomic.Pointer[http.HandlerFunc]
	seen   atomic.Int64
	hits   chan string // paths, if somebody listens
}

func publish(t *testing.T, answer http.HandlerFunc) *publisher {
	t.Helper()
	p := &publisher{hits: make(chan string)}
	p.become(answer)
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *publisher) become(answer http.HandlerFunc) { p.answer.Store(&answer) }

func (p *publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.seen.Add(1)
	(*p.answer.Load())(w, r)
	select {
	case p.hits <- r.URL.Path:
	default:
	}
}

// says answers every request with a text.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, text) }
}

// newKey is a key whose kid is its thumbprint.
func newKey(t *testing.T) *jose.PrivateKey {
	t.Helper()
	key, err := jose.Generate("EdDSA")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// jwks is a set of keys as it is published.
func jwks(t *testing.T, keys ...*jose.PrivateKey) string {
	t.Helper()
	var public []*jose.PublicKey
	for _, key := range keys {
		public = append(public, key.Public())
	}
	set, err := jose.NewKeySet(public...)
	if err != nil {
		t.Fatal(err)
	}
	return string(set.JWKS())
}

// A clock goes when it is told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// usual settings have times that no test reaches by itself.
func usual(url string) Settings {
	return Settings{
		Issuer: "https://idp.example", URL: url, Refresh: time.Hour, MaxAge: 24 * time.Hour, Cooldown: 30 * time.Second,
		Wait: time.Minute, Timeout: time.Minute,
	}
}

// A bench is one source on a clock of the test's, and what it logged.
type bench struct {
	*Source
	t     *testing.T
	all   *Sources
	clock *clock
	log   *observer.ObservedLogs
}

func open(t *testing.T, settings Settings) *bench {
	t.Helper()
	core, log := observer.New(zapcore.DebugLevel)
	b := &bench{t: t, clock: newClock(), log: log}
	b.all = New(zap.New(core), b.clock.Now)
	t.Cleanup(b.all.Close)
	source, release, err := b.all.Open(settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	b.Source = source
	return b
}

// settled waits for the fetch that is under way, if there is one.
func (b *bench) settled() {
	b.mu.Lock()
	flight := b.flight
	b.mu.Unlock()
	if flight != nil {
		<-flight
	}
}

// refetch makes the source fetch now, as a token with an unknown key does, and waits for the end of it.
func (b *bench) refetch() {
	b.t.Helper()
	b.settled()
	b.clock.step(b.settings.Cooldown)
	_, _ = b.Seek("no one has this key") // a fetch that joins in began after the last one
}

// ready waits for the first fetch.
func (b *bench) ready() {
	b.t.Helper()
	if _, err := b.Seek(""); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) logged() string {
	var all strings.Builder
	for _, line := range b.log.All() {
		fmt.Fprintln(&all, line.Level, line.Message, line.ContextMap())
	}
	return all.String()
}

// quiet is for servers whose clients turn away, which is what the test wants.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
