package app_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jotgate/jotgate/internal/dnstest"
)

// names is the name server of the test that needs one.
var names atomic.Pointer[dnstest.Server]

// TestMain fails if a goroutine is left behind. On a busy machine the last ones take a while to end.
func TestMain(m *testing.M) {
	net.DefaultResolver = &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if s := names.Load(); s != nil {
				return s.Dial(ctx, network, address)
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	code := m.Run()
	for end := time.Now().Add(20 * time.Second); code == 0; {
		err := goleak.Find()
		if err == nil {
			break
		}
		if time.Now().After(end) {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
