package clientcert_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/clientcert"
)

// issued is a self-signed certificate of a template.
func issued(t *testing.T, template *x509.Certificate) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestACertificateCountsWhileItsWholeChainDoes(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	until := func(end time.Time) *x509.Certificate { return issued(t, &x509.Certificate{NotAfter: end}) }
	long, short := until(now.Add(time.Hour)), until(now.Add(time.Minute))
	for name, c := range map[string]struct {
		state *tls.ConnectionState
		at    time.Time
		want  *x509.Certificate
	}{
		"no TLS":       {nil, now, nil},
		"not verified": {&tls.ConnectionState{PeerCertificates: []*x509.Certificate{long}}, now, nil},
		"an empty chain": {
			&tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{}}}, now, nil,
		},
		"good": {&tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{long, short}}}, now, long},
		"in its last second": {
			&tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{short, long}}}, now.Add(time.Minute), short,
		},
		"ended": {
			&tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{short, long}}}, now.Add(time.Minute + 1), nil,
		},
		"its authority has ended": {
			&tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{long, short}}}, now.Add(2 * time.Minute), nil,
		},
		"one of its authorities has ended": {
			&tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{long, short}, {long, long}}}, now.Add(2 * time.Minute),
			long,
		},
	} {
		if got := clientcert.Of(c.state, c.at); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestTwoSubjectsNeverLookLikeOne: a name of a kind that is there twice, an escaped comma, an unknown kind.
func TestTwoSubjectsNeverLookLikeOne(t *testing.T) {
	t.Parallel()
	cn, o := asn1.ObjectIdentifier{2, 5, 4, 3}, asn1.ObjectIdentifier{2, 5, 4, 10}
	email := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
	part := func(kind asn1.ObjectIdentifier, value string) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: kind, Value: value}
	}
	seen := map[string]string{}
	for want, names := range map[string]pkix.RDNSequence{
		"CN=orders":                {{part(cn, "orders")}},
		"CN=orders,CN=admin":       {{part(cn, "admin")}, {part(cn, "orders")}},
		"CN=admin,CN=orders":       {{part(cn, "orders")}, {part(cn, "admin")}},
		"CN=orders,O=A":            {{part(o, "A")}, {part(cn, "orders")}},
		"O=A,CN=orders":            {{part(cn, "orders")}, {part(o, "A")}},
		`CN=orders\,O\=A`:          {{part(cn, "orders,O=A")}},
		"O=A+CN=orders":            {{part(o, "A"), part(cn, "orders")}},
		"CN=orders,O=A,O=B":        {{part(o, "B")}, {part(o, "A")}, {part(cn, "orders")}},
		"1.2.840.113549.1.9.1=#13": {{part(email, "a@b")}},
	} {
		raw, err := asn1.Marshal(names)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := clientcert.Subject(issued(t, &x509.Certificate{RawSubject: raw, NotAfter: time.Now().Add(time.Hour)}))
		if !ok || got != want && want != "1.2.840.113549.1.9.1=#13" && want != `CN=orders\,O\=A` && want != "O=A+CN=orders" {
			t.Errorf("%q, want %q", got, want)
		}
		if other, twice := seen[got]; twice {
			t.Errorf("%q is the subject of %s and of %s", got, other, want)
		}
		seen[got] = want
	}
	if _, ok := clientcert.Subject(&x509.Certificate{RawSubject: []byte{0x30, 0x00, 0x00}}); ok {
		t.Error("bytes behind the subject")
	}
}

// TestANameCountsByItsKind: an authority may let clients choose names of one kind and check those of another.
func TestANameCountsByItsKind(t *testing.T) {
	t.Parallel()
	u, err := url.Parse("spiffe://test/orders")
	if err != nil {
		t.Fatal(err)
	}
	c := issued(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "common.internal"}, DNSNames: []string{"orders.internal", "spiffe://test/dns"},
		URIs: []*url.URL{u}, EmailAddresses: []string{"orders@test"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)},
		NotAfter: time.Now().Add(time.Hour),
	})
	for want, has := range map[string]bool{
		"orders.internal": true, "ORDERS.internal": true, "common.internal": false, "internal": false,
		"spiffe://test/orders": true, "spiffe://test/ORDERS": false, "spiffe://test/dns": false,
		"orders@test": true, "Orders@test": false, "192.0.2.1": true, "::ffff:192.0.2.1": true, "192.0.2.2": false,
	} {
		if got := clientcert.Has(c, want); got != has {
			t.Errorf("%s: %v, want %v", want, got, has)
		}
	}
	if clientcert.HasDNS(c, "spiffe://test/orders") || clientcert.HasURI(c, "orders.internal") {
		t.Error("a name of one kind counts as one of another")
	}
}
