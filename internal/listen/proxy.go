package listen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// The PROXY protocol (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt) puts the address of the client in
// front of the bytes of a connection that a load balancer forwards. Both versions are read, strictly: a peer that may
// send the header chooses the peer, so a header that has two readings is refused.

// What http.Request.RemoteAddr says of a peer without an address.
const (
	UnixPeer    = "unix"    // connected to a Unix socket
	UnknownPeer = "unknown" // in front of a proxy that announced no address
)

// A Peer is who is connected to a listener.
type Peer struct {
	Addr netip.Addr // not valid: it has none
	Unix bool       // it is connected to a Unix socket
}

// PeerOf reads a RemoteAddr.
func PeerOf(remote string) Peer {
	if a, err := netip.ParseAddrPort(remote); err == nil {
		return Peer{Addr: a.Addr().Unmap()}
	}
	return Peer{Unix: remote == UnixPeer}
}

// nameless is a net.Addr of a peer without an address.
type nameless string

func (nameless) Network() string  { return "unix" }
func (n nameless) String() string { return string(n) }

const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyV1Most    = 107
	proxyV2Most    = 4096 // of addresses and TLVs; the format has room for 65535, real headers are below 1 KiB
)

var errNoProxyHeader = errors.New("the connection does not begin with a PROXY header")

// readProxyHeader reads the header, and nothing behind it. Afterwards the announced address is that of the peer.
func (s *socket) readProxyHeader(trusted func(Peer) bool) error {
	if peer := PeerOf(s.RemoteAddr().String()); !trusted(peer) {
		return fmt.Errorf("from %s, which is not a trusted proxy", s.RemoteAddr())
	}
	peer, err := proxyHeader(s)
	if peer != nil {
		s.peer = peer
	}
	return err
}

// proxyHeader returns the announced peer; nil: the proxy speaks for itself.
func proxyHeader(from io.Reader) (net.Addr, error) {
	head := make([]byte, len(proxySignature), proxyV1Most)
	if _, err := io.ReadFull(from, head); err != nil {
		return nil, errNoProxyHeader
	}
	switch {
	case string(head) == proxySignature:
		return proxyV2(from)
	case bytes.HasPrefix(head, []byte("PROXY ")):
		return proxyV1(from, head)
	}
	return nil, errNoProxyHeader
}

// proxyV1 reads the rest of a line byte by byte: what follows it belongs to the client.
func proxyV1(from io.Reader, line []byte) (net.Addr, error) {
	for next := make([]byte, 1); !bytes.HasSuffix(line, []byte("\r\n")); line = append(line, next[0]) {
		if len(line) == proxyV1Most {
			return nil, errors.New("PROXY header, version 1: longer than 107 bytes")
		}
		if _, err := io.ReadFull(from, next); err != nil {
			return nil, errNoProxyHeader
		}
	}
	text := string(line[:len(line)-len("\r\n")])
	if text == "PROXY UNKNOWN" || strings.HasPrefix(text, "PROXY UNKNOWN ") {
		return nameless(UnknownPeer), nil
	}
	words := strings.Split(text, " ")
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return nil, errors.New("PROXY header, version 1: not TCP4 or TCP6 with two addresses and two ports")
	}
	var ends [2]netip.AddrPort
	for i := range ends {
		address, err := netip.ParseAddr(words[2+i])
		port, ok := portOf(words[4+i])
		if err != nil || !ok || address.Zone() != "" || address.Is4() != (words[1] == "TCP4") {
			return nil, errors.New("PROXY header, version 1: an address or a port is malformed")
		}
		ends[i] = netip.AddrPortFrom(address, port)
	}
	return net.TCPAddrFromAddrPort(ends[0]), nil
}

// portOf reads a decimal number without leading zeros.
func portOf(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && strconv.FormatUint(n, 10) == s
}

// What the fields of a version 2 header mean.
const (
	commandLocal, commandProxy = 0, 1
	familyInet, familyInet6    = 0x1, 0x2
	overStream                 = 0x1
	tlvCRC32C                  = 0x03
)

func proxyV2(from io.Reader) (net.Addr, error) {
	fixed := make([]byte, 4)
	if _, err := io.ReadFull(from, fixed); err != nil {
		return nil, errNoProxyHeader
	}
	version, command, family, transport := fixed[0]>>4, fixed[0]&15, fixed[1]>>4, fixed[1]&15
	length := int(binary.BigEndian.Uint16(fixed[2:]))
	switch {
	case version != 2 || command > commandProxy:
		return nil, fmt.Errorf("PROXY header, version 2: version and command 0x%02x", fixed[0])
	case length > proxyV2Most:
		return nil, fmt.Errorf("PROXY header, version 2: %d bytes, more than %d", length, proxyV2Most)
	}
	rest := make([]byte, length)
	if _, err := io.ReadFull(from, rest); err != nil {
		return nil, errNoProxyHeader
	}
	size := 0
	switch family {
	case 0:
	case familyInet:
		size = 4
	case familyInet6:
		size = 16
	case 0x3: // AF_UNIX
		size = 108
	default:
		return nil, fmt.Errorf("PROXY header, version 2: address family 0x%x", family)
	}
	addresses := 2 * size
	if size == 4 || size == 16 {
		addresses += 4
	}
	if length < addresses {
		return nil, errors.New("PROXY header, version 2: shorter than its addresses")
	}
	if err := checkTLVs(fixed, rest, addresses); err != nil {
		return nil, err
	}
	switch {
	case command == commandLocal: // a health check of the proxy itself
		return nil, nil
	case transport != overStream || size != 4 && size != 16:
		return nameless(UnknownPeer), nil
	}
	address, _ := netip.AddrFromSlice(rest[:size])
	port := binary.BigEndian.Uint16(rest[2*size:])
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(address, port)), nil
}

// checkTLVs wants the fields behind the addresses to be whole, and their checksum to be right where there is one.
func checkTLVs(fixed, rest []byte, at int) error {
	for at < len(rest) {
		if len(rest)-at < 3 || len(rest)-at-3 < int(binary.BigEndian.Uint16(rest[at+1:])) {
			return errors.New("PROXY header, version 2: a TLV is cut off")
		}
		kind, value := rest[at], rest[at+3:at+3+int(binary.BigEndian.Uint16(rest[at+1:]))]
		at += 3 + len(value)
		if kind != tlvCRC32C {
			continue
		}
		if len(value) != 4 {
			return errors.New("PROXY header, version 2: a checksum of another length than 4")
		}
		want := binary.BigEndian.Uint32(value)
		copy(value, []byte{0, 0, 0, 0}) // as it was computed
		sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
		_, _ = sum.Write([]byte(proxySignature)) // a hash does not fail
		_, _ = sum.Write(fixed)
		_, _ = sum.Write(rest)
		if sum.Sum32() != want {
			return errors.New("PROXY header, version 2: the checksum is wrong")
		}
		binary.BigEndian.PutUint32(value, want)
	}
	return nil
}
