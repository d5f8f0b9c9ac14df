package listen

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// v2 makes a header of version 2.
func v2(command, family byte, addresses string, tlvs ...string) string {
	rest := addresses + strings.Join(tlvs, "")
	return proxySignature + string([]byte{command, family, byte(len(rest) >> 8), byte(len(rest))}) + rest
}

func tlv(kind byte, value string) string {
	return string([]byte{kind, byte(len(value) >> 8), byte(len(value))}) + value
}

// summed puts a checksum at the end of a header.
func summed(command, family byte, addresses string) string {
	h := []byte(v2(command, family, addresses, tlv(tlvCRC32C, "\x00\x00\x00\x00")))
	binary.BigEndian.PutUint32(h[len(h)-4:], crc32.Checksum(h, crc32.MakeTable(crc32.Castagnoli)))
	return string(h)
}

const (
	inet  = "\x0a\x00\x00\x01\x0a\x00\x00\x02\x30\x39\x01\xbb"
	inet6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x30\x39\x01\xbb"
	itself = "the proxy itself"
)

var proxyHeaders = []struct{ name, header, peer string }{ // peer "": refused
	{"v1 TCP4", "PROXY TCP4 10.0.0.1 10.0.0.2 12345 443\r\n", "10.0.0.1:12345"},
	{"v1 TCP6", "PROXY TCP6 2001:db8::7 2001:db8::8 12345 443\r\n", "[2001:db8::7]:12345"},
	{"v1 unknown", "PROXY UNKNOWN\r\n", UnknownPeer},
	{"v1 unknown with words", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", UnknownPeer},
	{"v1 longest", "PROXY UNKNOWN " + strings.Repeat("f", 91) + "\r\n", UnknownPeer},
	{"v1 one byte too long", "PROXY UNKNOWN " + strings.Repeat("f", 92) + "\r\n", ""},
	{"v1 without an end", "PROXY TCP4 10.0.0.1 10.0.0.2 12345 443", ""},
	{"v1 with LF alone", "PROXY TCP4 10.0.0.1 10.0.0.2 12345 443\n", ""},
	{"v1 lower case", "proxy TCP4 10.0.0.1 10.0.0.2 12345 443\r\n", ""},
	{"v1 two spaces", "PROXY TCP4  10.0.0.1 10.0.0.2 12345 443\r\n", ""},
	{"v1 a space at the end", "PROXY TCP4 10.0.0.1 10.0.0.2 12345 443 \r\n", ""},
	{"v1 a tab", "PROXY TCP4\t10.0.0.1 10.0.0.2 12345 443\r\n", ""},
	{"v1 IPv6 in TCP4", "PROXY TCP4 ::1 ::1 1 2\r\n", ""},
	{"v1 IPv4 in TCP6", "PROXY TCP6 10.0.0.1 10.0.0.2 1 2\r\n", ""},
	{"v1 a zone", "PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n", ""},
	{"v1 a name", "PROXY TCP4 localhost localhost 1 2\r\n", ""},
	{"v1 leading zeros in the address", "PROXY TCP4 010.0.0.1 10.0.0.2 1 2\r\n", ""},
	{"v1 leading zeros in the port", "PROXY TCP4 10.0.0.1 10.0.0.2 01 2\r\n", ""},
	{"v1 a port too large", "PROXY TCP4 10.0.0.1 10.0.0.2 65536 2\r\n", ""},
	{"v1 a negative port", "PROXY TCP4 10.0.0.1 10.0.0.2 -1 2\r\n", ""},
	{"v1 UDP", "PROXY UDP4 10.0.0.1 10.0.0.2 1 2\r\n", ""},
	{"v1 UNKNOWNS", "PROXY UNKNOWNS\r\n", ""},
	{"v2 TCP4", v2(0x21, 0x11, inet), "10.0.0.1:12345"},
	{"v2 TCP6", v2(0x21, 0x21, inet6), "[2001:db8::7]:12345"},
	{"v2 TLVs", v2(0x21, 0x11, inet, tlv(0x02, "gate.test"), tlv(0xea, "")), "10.0.0.1:12345"},
	{"v2 checksum", summed(0x21, 0x11, inet), "10.0.0.1:12345"},
	{"v2 wrong checksum", v2(0x21, 0x11, inet, tlv(tlvCRC32C, "abcd")), ""},
	{"v2 short checksum", v2(0x21, 0x11, inet, tlv(tlvCRC32C, "abc")), ""},
	{"v2 local", v2(0x20, 0x00, ""), itself},
	{"v2 local with addresses", v2(0x20, 0x11, inet), itself},
	{"v2 unspecified", v2(0x21, 0x00, ""), UnknownPeer},
	{"v2 unix", v2(0x21, 0x31, strings.Repeat("\x00", 216)), UnknownPeer},
	{"v2 UDP", v2(0x21, 0x12, inet), UnknownPeer},
	{"v2 short addresses", v2(0x21, 0x11, inet[:11]), ""},
	{"v2 short unix", v2(0x21, 0x31, inet), ""},
	{"v2 a TLV that is cut off", v2(0x21, 0x11, inet, "\x02\x00\x05abcd"), ""},
	{"v2 half a TLV head", v2(0x21, 0x11, inet, "\x02\x00"), ""},
	{"v2 cut off", v2(0x21, 0x11, inet)[:20], ""},
	{"v2 another version", v2(0x11, 0x11, inet), ""},
	{"v2 another command", v2(0x22, 0x11, inet), ""},
	{"v2 another family", v2(0x21, 0x41, inet), ""},
	{"v2 longest", v2(0x21, 0x11, inet, tlv(4, strings.Repeat("x", proxyV2Most-len(inet)-3))), "10.0.0.1:12345"},
	{"v2 too long", v2(0x21, 0x11, inet, tlv(4, strings.Repeat("x", proxyV2Most-len(inet)-2))), ""},
	{"none", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""},
	{"nothing", "", ""},
}

// A good header names the peer, and what follows is not touched. Anything else is refused.
func TestPROXYHeaders(t *testing.T) {
	t.Parallel()
	for _, row := range proxyHeaders {
		behind := "GET / HTTP/1.1\r\n"
		if row.peer == "" {
			behind = ""
		}
		in := strings.NewReader(row.header + behind)
		peer, err := proxyHeader(in)
		got := ""
		switch {
		case err != nil:
		case peer == nil:
			got = itself
		default:
			got = peer.String()
		}
		if got != row.peer {
			t.Errorf("%s: %q, %v, want %q", row.name, got, err, row.peer)
		}
		if rest, _ := io.ReadAll(in); err == nil && string(rest) != behind {
			t.Errorf("%s: %q is left", row.name, rest)
		}
	}
}

// An accepted header says what it says in one way: what it announces, written again, is the same bytes.
func FuzzPROXYHeader(f *testing.F) {
	for _, row := range proxyHeaders {
		f.Add([]byte(row.header))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.NewReader(b)
		peer, err := proxyHeader(in)
		if err != nil || peer == nil {
			return
		}
		header := b[:len(b)-in.Len()]
		address, is := peer.(*net.TCPAddr)
		switch {
		case !is && peer.String() != UnknownPeer:
			t.Fatalf("%q announces %q", header, peer)
		case !is:
		case header[0] == 'P':
			a, err := netip.ParseAddrPort(address.String())
			words := strings.Fields(string(header))
			if err != nil || len(words) != 6 || netip.MustParseAddr(words[2]).Unmap() != a.Addr().Unmap() {
				t.Fatalf("%q announces %q", header, peer)
			}
		case !bytes.Contains(header, address.IP.To4()) && !bytes.Contains(header, address.IP.To16()):
			t.Fatalf("%q announces %q", header, peer)
		}
	})
}
