// Package dnstest is a name server for tests (RFC 1035), over UDP on loopback.
package dnstest

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// A Server answers questions for addresses. It is safe for concurrent use.
type Server struct {
	socket net.PacketConn

	mu    sync.Mutex
	hosts map[string][]netip.Addr
	fails bool
}

// Start runs a server until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{socket: socket, hosts: map[string][]netip.Addr{}}
	var serving sync.WaitGroup
	serving.Go(s.serve)
	t.Cleanup(func() {
		_ = socket.Close()
		serving.Wait()
	})
	return s
}

// Set gives a name these addresses; without any, there is no such name.
func (s *Server) Set(name string, addresses ...string) {
	all := make([]netip.Addr, 0, len(addresses))
	for _, a := range addresses {
		all = append(all, netip.MustParseAddr(a))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := maps.Clone(s.hosts)
	if next[name+"."] = all; len(all) == 0 {
		delete(next, name+".")
	}
	s.hosts = next
}

// Fail has each question answered with SERVFAIL, or no longer.
func (s *Server) Fail(fails bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = fails
}

// Dial connects to the server, whatever address it is given, as a [net.Resolver] does.
func (s *Server) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "udp", s.socket.LocalAddr().String())
}

// Resolver asks the server alone.
func (s *Server) Resolver() *net.Resolver { return &net.Resolver{PreferGo: true, Dial: s.Dial} }

func (s *Server) serve() {
	room := make([]byte, 1500)
	for {
		n, from, err := s.socket.ReadFrom(room)
		if err != nil {
			return
		}
		var question dnsmessage.Message
		if question.Unpack(room[:n]) != nil || len(question.Questions) != 1 {
			continue
		}
		answer, err := s.answer(&question)
		if err == nil {
			_, _ = s.socket.WriteTo(answer, from) // who asks may be gone
		}
	}
}

func (s *Server) answer(question *dnsmessage.Message) ([]byte, error) {
	q := question.Questions[0]
	s.mu.Lock()
	addresses, known := s.hosts[q.Name.String()]
	fails := s.fails
	s.mu.Unlock()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: question.ID, Response: true, Authoritative: true},
		Questions: question.Questions,
	}
	switch {
	case fails:
		m.RCode = dnsmessage.RCodeServerFailure
	case !known:
		m.RCode = dnsmessage.RCodeNameError
	}
	if m.RCode != dnsmessage.RCodeSuccess {
		return m.Pack()
	}
	for _, a := range slices.Clone(addresses) {
		var body dnsmessage.ResourceBody
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			body = &dnsmessage.AResource{A: a.As4()}
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			body = &dnsmessage.AAAAResource{AAAA: a.As16()}
		default:
			continue
		}
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 1}, Body: body,
		})
	}
	return m.Pack()
}
