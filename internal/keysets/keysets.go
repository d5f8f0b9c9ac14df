// Package keysets keeps the keys of issuers that publish them over HTTP: JWK sets (RFC 7517 §5) at an address that the
// configuration names, or that the issuer's own metadata names (OpenID Connect Discovery 1.0 §4, RFC 8414 §3).
//
// A [Source] is one issuer. It fetches in the background, at its first use and then periodically, with jitter, so that
// many gates do not ask in the same second. What was fetched is the last word: a key that is no longer in the set is
// gone with the next request, also for tokens that were verified before, since the cache that remembers those compares
// key sets by their address, and a set is replaced only when it differs.
//
// A fetch that fails changes nothing, but for an age limit: a set that was not confirmed for so long no longer counts,
// and the issuer's tokens are refused until it answers again. It is tried again soon, then more and more seldom.
//
// A request can cause a fetch in one way only, through [Source.Seek], when its token is good but for a key that is not
// at hand; that happens at most once per cooldown, whatever is sent, and the address never comes from a token. While
// the cooldown lasts, a key that no fetch was made for is not known to be missing: its token is refused as unavailable,
// not as unauthentic. The request waits a bounded moment, and is told honestly whether its key is unknown or the issuer
// did not answer.
//
// [Sources] outlive a reload: settings that did not change keep their source with all that it knows, and a source of
// other settings for the same address starts from the old one's keys.
package keysets

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/jotgate/jotgate/config"
)

// Settings say where one issuer's keys are and how they are kept. All times are required.
type Settings struct {
	Issuer       string // its iss
	URL          string // of its JWK set; "": discovery
	InsecureHTTP bool   // plain http to other hosts than this one is allowed
	Authorities  string // PEM of the authorities that https servers are checked with; "": the system's

	// What is sent along, to the origins of Issuer and URL over https alone, and never through a redirect. BearerFile is
	// read for each fetch. Headers is what EncodeHeaders makes of them, as
	// settings are compared.
	Bearer     Secret
	BearerFile string
	Headers    Secret

	Refresh  time.Duration // between two fetches, less up to a tenth of jitter
	MaxAge   time.Duration // a set that was not confirmed for so long no longer counts
	Cooldown time.Duration // between two fetches that requests ask for
	Wait     time.Duration // how long a request waits for one
	Timeout  time.Duration // for a whole fetch, all documents and redirects of it
}

// Secret is text that is never printed.
type Secret = config.Secret

// EncodeHeaders writes headers as Settings have them.
func EncodeHeaders(headers map[string]Secret) Secret {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		b.WriteString(name + ":" + headers[name].Reveal() + "\n")
	}
	return Secret(b.String())
}

// from is where the keys come from: settings that agree in it give the same keys.
func (s Settings) from() Settings {
	return Settings{
		Issuer: s.Issuer, URL: s.URL, InsecureHTTP: s.InsecureHTTP, Authorities: s.Authorities,
		Bearer: s.Bearer, BearerFile: s.BearerFile, Headers: s.Headers,
	}
}

// Sources holds every source that some configuration in use names.
type Sources struct {
	log     *zap.Logger
	clock   func() time.Time
	mu      sync.Mutex
	open    map[Settings]*shared
	closed  bool
	running sync.WaitGroup
}

type shared struct {
	source *Source
	users  int
	end    context.CancelFunc
}

// New starts without any source. nil for log logs nothing, nil for clock is time.Now.
func New(log *zap.Logger, clock func() time.Time) *Sources {
	if log == nil {
		log = zap.NewNop()
	}
	if clock == nil {
		clock = time.Now
	}
	return &Sources{log: log, clock: clock, open: make(map[Settings]*shared)}
}

// Open gives the source of these settings, the one in use if there is one; a new one begins to fetch at once. Its
// release must be called once, when the caller asks it no more.
func (s *Sources) Open(settings Settings) (source *Source, release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.open[settings]
	if in == nil {
		if in, err = s.start(settings); err != nil {
			return nil, nil, err
		}
		s.open[settings] = in
	}
	in.users++
	return in.source, sync.OnceFunc(func() { s.release(settings) }), nil
}

func (s *Sources) start(settings Settings) (*shared, error) {
	if s.closed {
		return nil, errors.New("no more keys are fetched, as the process is ending")
	}
	source, err := newSource(settings, s.log, s.clock)
	if err != nil {
		return nil, err
	}
	for other, in := range s.open {
		if other.from() == settings.from() {
			source.held.Store(in.source.held.Load())
		}
	}
	ctx, end := context.WithCancel(context.Background())
	s.running.Go(func() { source.run(ctx) })
	return &shared{source: source, end: end}, nil
}

func (s *Sources) release(settings Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.open[settings]
	if in.users--; in.users == 0 {
		delete(s.open, settings)
		in.end()
	}
}

// Close ends every source, cutting short what it fetches, and returns when they have ended. None can be opened then.
func (s *Sources) Close() {
	s.mu.Lock()
	s.closed = true
	for _, in := range s.open {
		in.end()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// Stats tells how each source is doing, in the order of their issuers.
func (s *Sources) Stats() []Stats {
	s.mu.Lock()
	all := make([]Stats, 0, len(s.open))
	for _, in := range s.open {
		all = append(all, in.source.Stats())
	}
	s.mu.Unlock()
	sort.SliceStable(all, func(i, j int) bool { return all[i].Issuer < all[j].Issuer })
	return all
}
