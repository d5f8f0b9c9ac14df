// Package sdnotify tells a service manager what the process does, by the protocol of sd_notify(3): ready, reloading,
// stopping, and that it is alive (watchdog). Without NOTIFY_SOCKET it does nothing.
package sdnotify

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// A Notifier speaks to the service manager. Its zero value and nil do nothing.
type Notifier struct {
	socket string
	every  time.Duration
}

// New reads the environment by lookup, as os.LookupEnv.
func New(lookup func(name string) (string, bool)) *Notifier {
	n := &Notifier{}
	n.socket, _ = lookup("NOTIFY_SOCKET")
	microseconds, _ := lookup("WATCHDOG_USEC")
	of, given := lookup("WATCHDOG_PID")
	if us, err := strconv.ParseInt(microseconds, 10, 64); err == nil && us > 0 &&
		us < int64(24*time.Hour/time.Microsecond) &&
		(!given || of == strconv.Itoa(os.Getpid())) {
		n.every = time.Duration(us) * time.Microsecond / 2
	}
	return n
}

// Watchdog returns how often Alive is to be called, half of what the manager waits; 0 is never.
func (n *Notifier) Watchdog() time.Duration {
	if n == nil || n.socket == "" {
		return 0
	}
	return n.every
}

// Ready says that requests are served, with a status line for people.
func (n *Notifier) Ready(status string) error { return n.send("READY=1\nSTATUS=" + status) }

// Reloading says that the config is being read; Ready ends it.
func (n *Notifier) Reloading() error {
	state := "RELOADING=1"
	if at, ok := monotonic(); ok {
		state += fmt.Sprintf("\nMONOTONIC_USEC=%d", at)
	}
	return n.send(state)
}

// Stopping says that the process drains.
func (n *Notifier) Stopping() error { return n.send("STOPPING=1\nSTATUS=draining") }

// Alive keeps the watchdog quiet.
func (n *Notifier) Alive() error { return n.send("WATCHDOG=1") }

func (n *Notifier) send(state string) error {
	if n == nil || n.socket == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(state)); err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	return nil
}
