package cli

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A demoApp is the app behind the demo's gate: it answers with what it was told about the caller.
type demoApp struct {
	requests atomic.Int64

	listener net.Listener
	server   *http.Server
	ended    chan struct{}
}

func startDemoApp() (*demoApp, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a := &demoApp{listener: l, ended: make(chan struct{})}
	a.server = &http.Server{Handler: a, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(a.ended)
		_ = a.server.Serve(l) // ends by close
	}()
	return a, nil
}

func (a *demoApp) url() string { return "http://" + a.listener.Addr().String() }

func (a *demoApp) close() {
	_ = a.server.Close()
	<-a.ended
}

func (a *demoApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.requests.Add(1)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(struct { // a client that is gone cannot be told
		Path          string `json:"path"`
		Subject       string `json:"X-Jotgate-Subject"`
		Tenant        string `json:"X-Jotgate-Tenant"`
		Actions       string `json:"X-Jotgate-Actions"`
		Authorization string `json:"Authorization"`
	}{
		r.URL.Path, r.Header.Get("X-Jotgate-Subject"), r.Header.Get("X-Jotgate-Tenant"),
		r.Header.Get("X-Jotgate-Actions"), r.Header.Get("Authorization"),
	})
}

// A heldWriter keeps what is written until release, which writes it through, or discard, which drops it and what
// follows: the gate's log must not interrupt the story.
type heldWriter struct {
	mu    sync.Mutex
	w     io.Writer
	held  []byte
	state heldState
}

type heldState int

const (
	holding heldState = iota
	released
	discarded
)

func (h *heldWriter) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch h.state {
	case released:
		return h.w.Write(p)
	case holding:
		h.held = append(h.held, p...)
	}
	return len(p), nil
}

func (h *heldWriter) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, _ = h.w.Write(h.held) // like any log line, it is lost where it cannot be written
	h.held, h.state = nil, released
}

func (h *heldWriter) discard() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held, h.state = nil, discarded
}
