package sdnotify

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func environment(of map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := of[name]
		return value, ok
	}
}

func TestEachStateIsOneDatagram(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n := New(environment(map[string]string{"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000"}))
	for _, c := range []struct {
		send func() error
		want string
	}{
		{func() error { return n.Ready("serving") }, "READY=1\nSTATUS=serving"},
		{n.Reloading, "RELOADING=1\nMONOTONIC_USEC="},
		{n.Stopping, "STOPPING=1\nSTATUS=draining"},
		{n.Alive, "WATCHDOG=1"},
	} {
		if err := c.send(); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1024)
		size, err := l.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(b[:size]), c.want) {
			t.Errorf("sent %q, want %q", b[:size], c.want)
		}
	}
	if n.Watchdog() != 15*time.Second {
		t.Errorf("watchdog every %v, want half of 30 s", n.Watchdog())
	}
}

func TestWithoutAManagerNothingIsSent(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]*Notifier{
		"nil": nil, "no socket": New(environment(map[string]string{"WATCHDOG_USEC": "30000000"})),
	} {
		if err := n.Ready("serving"); err != nil || n.Watchdog() != 0 {
			t.Errorf("%s: %v, watchdog every %v", name, err, n.Watchdog())
		}
	}
	for _, wrong := range []map[string]string{
		{"WATCHDOG_USEC": "-1"},
		{"WATCHDOG_USEC": "soon"},
		{"WATCHDOG_USEC": "9223372036854775807"},
		{"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},
	} {
		wrong["NOTIFY_SOCKET"] = "/nowhere"
		n := New(environment(wrong))
		if n.Watchdog() != 0 {
			t.Errorf("%v: watchdog every %v, want none", wrong, n.Watchdog())
		}
		if err := n.Alive(); err == nil {
			t.Error("a socket that does not exist is no error")
		}
	}
}
