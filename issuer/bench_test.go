package issuer

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/replay"
	"github.com/jotgate/jotgate/internal/request"
	"github.com/jotgate/jotgate/internal/token"
	"github.com/jotgate/jotgate/issuer/code"
)

// benchIssuer is an Issuer without a socket, whose audit is not written anywhere.
func benchIssuer(tb testing.TB, algorithm string) *Issuer {
	tb.Helper()
	c := settings(tb)
	c.Issuer.Keys = []*jose.PrivateKey{testKey(tb, algorithm)}
	c.Limits.IssueRate = 1 << 30
	guard, err := replay.NewMemory(replay.Options{Clients: []string{"shop"}, Capacity: 1 << 20})
	if err != nil {
		tb.Fatal(err)
	}
	i, err := New(Options{Config: c, Verifier: verifier(tb, c), Guard: guard, Audit: func(Event) {}})
	if err != nil {
		tb.Fatal(err)
	}
	return i
}

// BenchmarkMint stands beside the raw signature of the same length, in one run: the aim is a ratio of 1.3 at most.
func BenchmarkMint(b *testing.B) {
	for _, algorithm := range jose.SigningAlgorithms() {
		i := benchIssuer(b, algorithm)
		_, claims, err := i.minter.ForRole("shop", "agent", "acme", "alice", 0)
		if err != nil {
			b.Fatal(err)
		}
		payload := jose.EncodeClaims(nil, claims)
		b.Run(algorithm+"/signature", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := i.minter.sign(payload); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(algorithm+"/mint", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := i.minter.ForRole("shop", "agent", "acme", "alice", 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A poster calls an endpoint without a socket, again and again.
type poster struct {
	issuer *Issuer
	path   string
	bearer string
}

func (p poster) post(tb testing.TB, body []byte) *httptest.ResponseRecorder {
	r, err := http.NewRequest("POST", p.path, bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	r.Header["Content-Type"] = []string{"application/json"}
	if p.bearer != "" {
		r.Header["Authorization"] = []string{p.bearer}
	}
	w := httptest.NewRecorder()
	x := new(request.Exchange)
	x.Begin(w, time.Now())
	x.ID = "00000000-0000-0000-0000-000000000000"
	p.issuer.ServeHTTP(x, r)
	return w
}

func BenchmarkIssueCode(b *testing.B) {
	i := benchIssuer(b, "ES256")
	compact, _, err := i.minter.Management("shop", token.IssueCodes, "", 0)
	if err != nil {
		b.Fatal(err)
	}
	p := poster{i, "/api/v1/authorization-codes", "Bearer " + compact}
	body := []byte(`{"subject":"alice","role":"agent","tenant":"acme"}`)
	b.ReportAllocs()
	for b.Loop() {
		if w := p.post(b, body); w.Code != 201 {
			b.Fatal(w.Body)
		}
	}
}

// sealAgain makes one more code for alice.
func sealAgain(tb testing.TB, i *Issuer) string {
	sealed, err := i.sealer.seal(code.Grant{
		IssuedAt: time.Now().UnixMilli(), Lifetime: 600 * time.Second, Nominal: 600 * time.Second,
		Client: code.DigestOf("shop"), Role: code.DigestOf("agent"), Tenant: "acme", Subject: "alice",
	}, code.Binding{})
	if err != nil {
		tb.Fatal(err)
	}
	return sealed
}

// BenchmarkRedeem opens, consumes and mints; "core" is that alone, "request" the whole endpoint without the socket, and
// "mint" what it is compared with: the aim is a ratio of 1.15 at most for the core.
func BenchmarkRedeem(b *testing.B) {
	for _, algorithm := range jose.SigningAlgorithms() {
		i := benchIssuer(b, algorithm)
		i.settings.Clients[0].CodeTTL = 600 * time.Second
		b.Run(algorithm+"/mint", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := i.minter.ForRole("shop", "agent", "acme", "alice", 0); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(algorithm+"/core", func(b *testing.B) {
			r := httptest.NewRequest("POST", "/api/v1/tokens", nil)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				sealed := sealAgain(b, i)
				c := &call{issuer: i, x: new(request.Exchange), r: r, now: time.Now()}
				b.StartTimer()
				if _, err := c.redeem(redemption{code: sealed, audiences: i.settings.Audiences}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(algorithm+"/request", func(b *testing.B) {
			p := poster{i, "/api/v1/tokens", ""}
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				body := fmt.Appendf(nil, `{"authorization_code":"%s"}`, sealAgain(b, i))
				b.StartTimer()
				if w := p.post(b, body); w.Code != 201 {
					b.Fatal(w.Body)
				}
			}
		})
	}
}

// TestAllocations gates what our own code allocates: not the signature, nor net/http. EdDSA's signature allocates the
// least, so it hides the least.
func TestAllocations(t *testing.T) {
	i := benchIssuer(t, "EdDSA")
	mint := testing.AllocsPerRun(200, func() {
		if _, _, err := i.minter.ForRole("shop", "agent", "acme", "alice", 0); err != nil {
			t.Fatal(err)
		}
	})
	codes := make([]string, 0, 202)
	for range cap(codes) {
		codes = append(codes, sealAgain(t, i))
	}
	r := httptest.NewRequest("POST", "/api/v1/tokens", strings.NewReader(""))
	n := 0
	redeem := testing.AllocsPerRun(200, func() {
		c := &call{issuer: i, x: new(request.Exchange), r: r, now: time.Now()}
		if _, err := c.redeem(redemption{code: codes[n], audiences: i.settings.Audiences}); err != nil {
			t.Fatal(err)
		}
		n++
	})
	t.Logf("mint %v, redeem %v allocations", mint, redeem)
	if mint > 12 {
		t.Errorf("mint: %v allocations, at most 12", mint)
	}
	if redeem > 28 && !raceEnabled { // pools let go of things under the race detector
		t.Errorf("redeem: %v allocations, at most 28", redeem)
	}
}
