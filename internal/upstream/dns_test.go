package upstream

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/dnstest"
)

// A name with two addresses in the DNS: when the first one dies the second has all at once; when the name moves, it is
// followed while connections are kept; when the DNS fails, its last addresses stay.
func TestANameInTheDNS(t *testing.T) {
	t.Parallel()
	const first, second, third = "127.78.1.1", "127.78.1.2", "127.78.1.3"
	servers, port := map[string]*httptest.Server{}, "0"
	for _, ip := range []string{first, second, third} {
		l, err := net.Listen("tcp", net.JoinHostPort(ip, port))
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ = net.SplitHostPort(l.Addr().String())
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, ip)
		}))
		s.Listener.Close()
		s.Listener = l
		s.Start()
		t.Cleanup(s.Close)
		servers[ip] = s
	}
	dns := dnstest.Start(t)
	dns.Set("app.test", first, second)
	resolver, pools := dns.Resolver(), NewPools(time.Now)
	pools.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
		return resolver.LookupNetIP(ctx, "ip", host)
	}
	bounds := settings("http://app.test:" + port)
	bounds.Resolve, bounds.Retry = 20*time.Millisecond, Retry{Attempts: 2, Budget: 1}
	p, release, err := pools.Open(bounds)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	until := func(members int, holds func(text string) bool) {
		for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			text, err := ask(t.Context(), p, "GET", "", nil)
			if err == nil && len(p.members.Load().all) == members && holds(text) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%q %v", text, err)
			}
		}
	}
	until(2, func(text string) bool { return text == first })
	until(2, func(text string) bool { return text == second })
	servers[first].Close()
	for i := range 20 {
		method := []string{"GET", "POST"}[min(i/10, 1)] // a POST after its server was found dead
		if text, err := ask(t.Context(), p, method, "", nil); text != second || err != nil {
			t.Errorf("%s when the first has died: %q %v", method, text, err)
		}
	}
	dns.Set("app.test", third)
	until(1, func(text string) bool { return text == third })
	dns.Fail(true)
	for end := time.Now().Add(5 * bounds.Resolve); time.Now().Before(end); {
		if text, err := ask(t.Context(), p, "POST", "x", nil); text != third || err != nil {
			t.Errorf("while the DNS fails: %q %v", text, err)
		}
	}
}
