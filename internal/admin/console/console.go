// Package console serves the operator's pages on the admin listener: what is refused, why, for whom and since when;
// what opens each route; the state of keys, upstreams, codes and revocations; the configuration in force.
//
// Pages are rendered here (internal/template) with one stylesheet and one script of our own, which are embedded; charts
// are inline SVG. Everything works without the script but for what is live. The pages read what a gate knows of itself
// by the functions of [Options], when they are asked for: requests pay nothing for them.
//
// # Who may see it
//
// The admin token signs in (signin.go, attempts.go): the session is a sealed cookie that scripts cannot read and other
// sites cannot send (session.go). A cookie ignores ports, so that a page of another port on this host is an attacker,
// too: every form holds a token of its session, and the browser's word on where a request comes from is heeded
// (guard.go). A strict Content-Security-Policy keeps what a client of the gate has chosen, such as a path or a subject,
// from acting on a page, should it ever escape the templates.
package console

import (
	"net/http"
	"time"

	"github.com/jotgate/jotgate/internal/admin"
	"github.com/jotgate/jotgate/internal/telemetry"
)

// Options are what a console reads and does. All are required but Revocations.
type Options struct {
	Token func() string // the present admin.token
	Clock func() time.Time
	Done  <-chan struct{} // closed when the process drains: streams of events end

	// Audit is told of each sign-in, of one that was refused or put off, and of each sign-out.
	Audit func(r *http.Request, event, outcome string)

	Overview func() Overview
	Traffic  func() telemetry.Reading
	Load     func() Load

	Refusals func(admin.RefusalQuery) admin.RefusalPage
	Recent   func(since time.Time) []Recent             // refusals, the latest first
	Explain  func(admin.Question) (any, error)          // a trace, which is read as JSON
	Reasons  func() []string                            // for which requests are refused
	Routes   func() []Route                             // in the file's order
	Holders  func() []string                            // roles, clients, users and issuers, for Matrix
	Matrix   func(holders []string) (m Matrix, ok bool) // what they open; ok is false for one that is not there

	Issuers   func() Issuers
	Upstreams func() []Server
	Memories  func() Memories
	Config    func() Config

	Revocations      admin.Revocations // nil: nothing can be revoked
	RevocationStatus func() RevocationStatus
	// AuditRevocation is told of each revocation and undoing, and of those that failed.
	AuditRevocation func(r *http.Request, w admin.Revocation, err error)
}

// A Console serves the pages.
type Console struct {
	Options
	mux      http.Handler
	sessions *sessions
	attempts *attempts
	sampler  *sampler
	streams  chan struct{} // one for each stream of events
}

// mostStreams bounds the pages that are live at a time.
const mostStreams = 8

// New makes a console. Its sessions end with the process.
func New(o Options) *Console {
	c := &Console{
		Options: o, sessions: newSessions(o.Token, o.Clock), attempts: newAttempts(o.Clock),
		sampler: &sampler{read: o.Traffic, clock: o.Clock}, streams: make(chan struct{}, mostStreams),
	}
	c.mux = c.routes()
	return c
}

// TokenChanged ends every session if the admin token is another than it was.
func (c *Console) TokenChanged() { c.sessions.tokenChanged() }

// ServeHTTP serves / and what is below /console/.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	harden(w.Header())
	c.mux.ServeHTTP(w, r)
}

// The paths of the console. The overview is at /, which shows the sign-in page to whom it does not know.
const (
	overviewPath = "/"
	basePath     = "/console/"
	signInPath   = basePath + "sign-in"
	signOutPath  = basePath + "sign-out"
	eventsPath   = basePath + "events"
)

// A page is shown to who has signed in. An action is a form that was posted.
type (
	page   func(c *Console, r *http.Request, s *session) (view, error)
	action func(c *Console, w http.ResponseWriter, r *http.Request, s *session) error
)

// pages lists every page, in the order of the navigation.
var pages = []struct {
	path, name string
	show       page
	hidden     bool // it is not a part of the navigation
}{
	{path: overviewPath, name: "Overview", show: (*Console).overview},
	{path: basePath + "refusals", name: "Refusals", show: (*Console).refusals},
	{path: basePath + "refusals/{id}", name: "Refusals", show: (*Console).refusal, hidden: true},
	{path: basePath + "routes", name: "Routes", show: (*Console).routesPage},
	{path: basePath + "issuers", name: "Issuers", show: (*Console).issuers},
	{path: basePath + "upstreams", name: "Upstreams", show: (*Console).upstreams},
	{path: basePath + "codes", name: "Codes", show: (*Console).codes},
	{path: basePath + "revocations", name: "Revocations", show: (*Console).revocations},
	{path: basePath + "config", name: "Config", show: (*Console).config},
	{path: basePath + "inspect", name: "Inspect", show: (*Console).inspector},
}

func (c *Console) routes() http.Handler {
	mux := http.NewServeMux()
	posts := map[string]action{
		basePath + "revocations":      (*Console).revoke,
		basePath + "revocations/undo": (*Console).undo,
		basePath + "inspect":          (*Console).inspect,
		signOutPath:                   (*Console).signOut,
	}
	for _, p := range pages {
		methods := map[string]http.HandlerFunc{http.MethodGet: c.signedIn(p.name, p.show)}
		if post := posts[p.path]; post != nil {
			methods[http.MethodPost] = c.posted(post)
			delete(posts, p.path)
		}
		pattern := p.path
		if pattern == overviewPath {
			pattern = "/{$}"
		}
		mux.HandleFunc(pattern, c.byMethod(methods))
	}
	for path, post := range posts {
		mux.HandleFunc(path, c.byMethod(map[string]http.HandlerFunc{http.MethodPost: c.posted(post)}))
	}
	mux.HandleFunc(signInPath, c.byMethod(map[string]http.HandlerFunc{http.MethodPost: c.signIn}))
	mux.HandleFunc(eventsPath, c.byMethod(map[string]http.HandlerFunc{http.MethodGet: c.events}))
	for name, asset := range assets {
		mux.HandleFunc(basePath+name, c.byMethod(map[string]http.HandlerFunc{http.MethodGet: asset.serve}))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		c.fail(w, r, c.sessions.of(r), http.StatusNotFound, "There is no such page.")
	})
	return mux
}
