package app_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/pem"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// encodedAsEnvoyDoes is PEM in which what URLs reserve is percent-encoded.
func encodedAsEnvoyDoes(certs ...tls.Certificate) string {
	var b strings.Builder
	for _, c := range certs {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}))
	}
	return strings.NewReplacer("\n", "%0A", " ", "%20", "+", "%2B", "/", "%2F", "=", "%3D").Replace(b.String())
}

// checkOf is a CheckRequest of GET path (envoy/service/auth/v3) from a client with this certificate.
func checkOf(path, certificate string, fields ...string) []byte {
	message := func(to []byte, n protowire.Number, value []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(to, n, protowire.BytesType), value)
	}
	var request []byte
	for n, value := range map[protowire.Number]string{2: "GET", 4: path, 5: "app.test", 6: "https"} {
		request = message(request, n, []byte(value))
	}
	for i := 0; i < len(fields); i += 2 {
		request = message(request, 3, message(message(nil, 1, []byte(fields[i])), 2, []byte(fields[i+1])))
	}
	var peer []byte
	if certificate != "" {
		peer = message(peer, 5, []byte(certificate))
	}
	attributes := message(message(nil, 1, peer), 4, message(nil, 2, request))
	check := message(nil, 1, attributes)
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(check))), check...)
}

// TestEnvoyPassesOnTheClientsCertificate: it counts as one of our own handshakes does, once decision.client_ca has
// verified it, and nothing else that a client can send does.
func TestEnvoyPassesOnTheClientsCertificate(t *testing.T) {
	authority, orders, others := issuedWithNames(t)
	_, foreign, _ := issuedWithNames(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, authority, 0o600); err != nil {
		t.Fatal(err)
	}
	routes := "  - {path: /internal/, require: {client_cert: {san: [orders.internal]}}, upstream: none}\n"
	with := startGate(t, "drain:", "decision: {listen: \"127.0.0.1:0\", client_ca: "+ca+"}\ndrain:",
		"routes:\n", "routes:\n"+routes)
	without := startGate(t, "drain:", "decision: {listen: \"127.0.0.1:0\"}\ndrain:",
		"routes:\n", "routes:\n"+routes)
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	// ask reports whether the answer's google.rpc.Status has no code, which is Envoy's yes, and the whole answer.
	ask := func(g *gate, question []byte) (bool, string) {
		t.Helper()
		url := "http://" + g.DecisionAddr().String() + "/envoy.service.auth.v3.Authorization/Check"
		r, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(question))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/grpc")
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil || len(body) < 7 {
			t.Fatalf("%v, %d bytes: %v", answer.Header, len(body), err)
		}
		return bytes.Equal(body[5:7], []byte{0x0a, 0x00}), string(body)
	}
	thumbprint, hexadecimal := digestOf(orders)
	bound := []string{"authorization", "Bearer " + with.boundTo(thumbprint)}
	token := []string{"authorization", "Bearer " + with.token("acme")}
	xfcc := []string{"x-forwarded-client-cert", "Cert=" + encodedAsEnvoyDoes(orders)}
	mine := encodedAsEnvoyDoes(orders)
	for name, c := range map[string]struct {
		g                 *gate
		path, certificate string
		fields            []string
		want              bool
	}{
		"bound token, its certificate":      {with, "/t/acme/x", mine, bound, true},
		"bound token, with the authority":   {with, "/t/acme/x", encodedAsEnvoyDoes(orders, orders), bound, true},
		"bound token, another certificate":  {with, "/t/acme/x", encodedAsEnvoyDoes(others), bound, false},
		"bound token, none":                 {with, "/t/acme/x", "", bound, false},
		"bound token, a stranger's field":   {with, "/t/acme/x", "", append(xfcc, bound...), false},
		"bound token, no PEM":               {with, "/t/acme/x", "%7Bnone%7D", bound, false},
		"bound token, no percent-encoding":  {with, "/t/acme/x", "%zz", bound, false},
		"route, a certificate with its san": {with, "/internal/x", mine, token, true},
		"route, another name":               {with, "/internal/x", encodedAsEnvoyDoes(others), token, false},
		"route, another authority":          {with, "/internal/x", encodedAsEnvoyDoes(foreign), token, false},
		"route, a stranger's field":         {with, "/internal/x", "", append(xfcc, token...), false},
		"no client_ca, bound token":         {without, "/t/acme/x", mine, bound, false},
		"no client_ca, route":               {without, "/internal/x", mine, token, false},
	} {
		open, answer := ask(c.g, checkOf(c.path, c.certificate, c.fields...))
		if open != c.want {
			t.Errorf("%s: opened: %v, want %v: %q", name, open, c.want, answer)
		}
		if c.want && !strings.Contains(answer, hexadecimal) {
			t.Errorf("%s: the app is not told of the certificate: %q", name, answer)
		}
	}
}
