package listen

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// The first descriptor that systemd passes (sd_listen_fds(3)).
const firstPassed = 3

// passed returns the socket that systemd passed for an address of the form systemd or systemd:NAME, where NAME is the
// socket unit's FileDescriptorName; without a name, the only one that was passed.
func passed(address string) (rawListener, error) {
	_, name, _ := strings.Cut(address, ":")
	count, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || count < 1 || os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, fmt.Errorf("address %s: systemd passed no socket; start the .socket unit, or set host:port", address)
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	at := -1
	for i := range count {
		if name == "" || i < len(names) && names[i] == name {
			if at >= 0 {
				return nil, fmt.Errorf("address %s: systemd passed several such sockets; write systemd:NAME, with a "+
					"FileDescriptorName of its own for each", address)
			}
			at = i
		}
	}
	if at < 0 {
		return nil, fmt.Errorf("address %s: systemd passed only %s", address, strings.Join(names, ", "))
	}
	file := os.NewFile(uintptr(firstPassed+at), "socket of systemd")
	defer file.Close()
	l, err := net.FileListener(file) // a duplicate, closed on exec
	if err != nil {
		return nil, fmt.Errorf("address %s: %w", address, err)
	}
	raw, ok := l.(rawListener)
	if !ok {
		l.Close()
		return nil, fmt.Errorf("address %s: is not a stream socket (ListenStream=)", address)
	}
	if u, is := l.(*net.UnixListener); is {
		u.SetUnlinkOnClose(false) // it is systemd's
	}
	return raw, nil
}

// isPassed reports whether an address stands for a socket that systemd passes.
func isPassed(address string) bool {
	return address == "systemd" || strings.HasPrefix(address, "systemd:")
}
