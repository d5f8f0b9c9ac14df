package e2e_test

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"
)

// The weather on a link.
type weather int

const (
	fair  weather = iota // everything is passed on
	slow                 // each way takes a while
	hole                 // nothing is passed on, either way; what was held arrives when it is over, late
	deaf                 // what the gate says is passed on; the answers are lost, and their connections with them
	ended                // connections are reset, new ones too
)

// A link is the network between one gate and the store: TCP, passed on byte by byte, until a test makes it worse.
type link struct {
	address string // where the gate finds the store

	listener net.Listener
	serving  sync.WaitGroup

	mu      sync.Mutex
	to      string
	weather weather
	delay   time.Duration // of slow, each way
	changed chan struct{} // closed when any of this changes
	open    map[net.Conn]bool
	closed  bool
	lose    string // answers to requests that hold this are lost, with their connections …
	losses  int    // … so many more times
}

func newLink(t *testing.T, to string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{
		address: listener.Addr().String(), listener: listener, to: to, changed: make(chan struct{}),
		open: map[net.Conn]bool{},
	}
	l.serving.Go(l.serve)
	t.Cleanup(l.close)
	return l
}

func (l *link) serve() {
	for {
		c, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.serving.Go(func() { l.carry(c) })
	}
}

// carry joins a gate's connection with one to the store until either ends.
func (l *link) carry(gate net.Conn) {
	defer l.drop(gate)
	if !l.keep(gate) || !l.passes(false) {
		return
	}
	l.mu.Lock()
	to := l.to
	l.mu.Unlock()
	store, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer l.drop(store)
	if !l.keep(store) {
		return
	}
	p := &flow{link: l}
	var answers sync.WaitGroup
	answers.Go(func() {
		p.copy(gate, store, true)
		gate.Close()
		store.Close()
	})
	p.copy(store, gate, false)
	store.Close()
	gate.Close()
	answers.Wait()
}

// A flow is one connection's two ways.
type flow struct {
	link *link
	mu   sync.Mutex
	lost bool // the next answer
}

func (p *flow) copy(to, from net.Conn, answers bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !p.link.passes(answers) || answers && p.loses() {
				return
			}
			if !answers {
				p.look(buffer[:n])
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *flow) loses() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// look decides on the answer to a request before the request is passed on.
func (p *flow) look(request []byte) {
	l := p.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.losses > 0 && bytes.Contains(bytes.ToLower(request), []byte(l.lose)) {
		l.losses--
		p.mu.Lock()
		p.lost = true
		p.mu.Unlock()
	}
}

// passes waits until bytes may go on; false is the end of their connection.
func (l *link) passes(answers bool) bool {
	for {
		l.mu.Lock()
		now, delay, changed, closed := l.weather, l.delay, l.changed, l.closed
		l.mu.Unlock()
		switch {
		case closed || now == ended || now == deaf && answers:
			return false
		case now == hole:
			<-changed
		case now == slow:
			select {
			case <-time.After(delay):
				return true
			case <-changed:
			}
		default:
			return true
		}
	}
}

// turn changes the weather. What is held where bytes may not pass any more breaks.
func (l *link) turn(w weather, delay time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.weather, l.delay = w, delay
	close(l.changed)
	l.changed = make(chan struct{})
	if w == ended {
		l.breakAll()
	}
}

// lead makes the link end at another store; connections to the one before break.
func (l *link) lead(to string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to = to
	l.breakAll()
}

// loseAnswers loses the answers to the next n requests that hold a word, written small, after they were passed on.
func (l *link) loseAnswers(word string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose, l.losses = word, n
}

// left is how many of the answers that are to be lost are not lost yet.
func (l *link) left() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.losses
}

func (l *link) breakAll() {
	for c := range l.open {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset; without it merely an end
		}
		c.Close()
	}
}

// keep is false when the link is closed.
func (l *link) keep(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[c] = true
	return !l.closed
}

func (l *link) drop(c net.Conn) {
	c.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
}

func (l *link) close() {
	l.listener.Close()
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.changed)
		l.breakAll()
	}
	l.mu.Unlock()
	l.serving.Wait()
}
