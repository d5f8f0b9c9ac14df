package upstream

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

// addressesAtMost bounds the servers that one name makes.
const addressesAtMost = 256

// hasNames reports whether a server's URL has a name that can stand for several addresses.
func (p *Pool) hasNames() bool {
	return slices.ContainsFunc(p.settings.Servers, func(s Server) bool { return lookedUp(&s) != "" })
}

// lookedUp is the name of a server that is looked up; "" for an address, for a socket in the file system, and for
// localhost, whose two addresses are one server.
func lookedUp(s *Server) string {
	host := s.URL.Hostname()
	if _, err := netip.ParseAddr(host); err == nil || strings.EqualFold(host, "localhost") {
		return ""
	}
	return host
}

// resolve looks all names up again and again. Until a name was found the first time it is dialed as it is; when a
// lookup fails, the addresses of the last one stay.
func (p *Pool) resolve() {
	ticker := time.NewTicker(p.settings.Resolve)
	defer ticker.Stop()
	found := make([][]netip.Addr, len(p.settings.Servers))
	failing := make([]bool, len(found))
	for first := true; ; first = false {
		for i := range p.settings.Servers {
			entry := &p.settings.Servers[i]
			host := lookedUp(entry)
			if host == "" {
				continue
			}
			addrs, err := p.lookup(host)
			if p.over.Err() != nil {
				return
			}
			if failing[i] != (err != nil) {
				failing[i] = err != nil
				p.logLookup(host, err)
			}
			if err == nil {
				found[i] = addrs
			}
		}
		p.follow(found, first)
		select {
		case <-ticker.C:
		case <-p.over.Done():
			return
		}
	}
}

func (p *Pool) logLookup(host string, err error) {
	log := p.pools.Log.With(zap.String("upstream", p.settings.Name), zap.String("host", host))
	if err != nil {
		log.Warn("upstream name cannot be looked up; its last addresses stay", zap.Error(err))
	} else {
		log.Info("upstream name can be looked up again")
	}
}

// lookup finds the addresses of a name: those of IPv4 if it has any, else those of IPv6, as a host often has an address
// of a version that does not lead to it. They are in order, so that equal answers are equal.
func (p *Pool) lookup(host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(p.over, max(p.settings.ConnectTimeout, time.Second))
	defer cancel()
	all, err := p.pools.Lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	var four, six []netip.Addr
	for _, a := range all {
		if a = a.Unmap(); a.Is4() {
			four = append(four, a)
		} else {
			six = append(six, a)
		}
	}
	if len(four) == 0 {
		four = six
	}
	slices.SortFunc(four, netip.Addr.Compare)
	four = slices.Compact(four)
	if len(four) == 0 {
		return nil, &net.DNSError{Err: "no addresses", Name: host, IsNotFound: true}
	}
	return four[:min(len(four), addressesAtMost)], nil
}

// follow makes the servers those that the names were found to be. Servers that stay keep their connections and all that
// is known of them.
func (p *Pool) follow(found [][]netip.Addr, first bool) {
	before := p.members.Load().all
	var after []*server
	changed := false
	take := func(entry *Server, address string) {
		for _, s := range before {
			if s.entry == entry && (s.name == address || address == "" && s.name == name(entry.URL)) {
				after = append(after, s)
				return
			}
		}
		s := p.newServer(entry, address)
		if changed = true; !first {
			s.warm(p.clock())
		}
		after = append(after, s)
	}
	for i := range p.settings.Servers {
		entry := &p.settings.Servers[i]
		if len(found[i]) == 0 {
			take(entry, "")
		}
		for _, a := range found[i] {
			_, port, _ := net.SplitHostPort(hostPort(entry.URL))
			n, _ := strconv.ParseUint(port, 10, 16)
			take(entry, netip.AddrPortFrom(a, uint16(n)).String())
		}
	}
	if !changed && len(after) == len(before) {
		return
	}
	p.replace(after)
	names := make([]string, len(after))
	for i, s := range after {
		names[i] = s.name
	}
	p.pools.Log.Info("upstream servers changed", zap.String("upstream", p.settings.Name), zap.Strings("servers", names))
	for _, s := range before {
		if !slices.Contains(after, s) {
			s.close()
		}
	}
}

func (p *Pool) replace(all []*server) { p.members.Store(newMembers(all)) }
