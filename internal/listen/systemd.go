package listen

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Sockets that systemd has bound for this process are passed as open files from number 3 on (sd_listen_fds(3)), with
// their names in LISTEN_FDNAMES (FileDescriptorName= in the socket unit).
const firstInherited = 3

// An inherited holds the sockets that were passed to this process and not taken yet.
type inherited struct {
	once  sync.Once
	files []*os.File // their names are those of LISTEN_FDNAMES
	err   error
}

// passed is per process: the files can be taken once.
var passed inherited

// read takes the files over. The variables are unset, so that no child takes them for its own.
func (i *inherited) read() {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(name)
	}
	if pid != strconv.Itoa(os.Getpid()) {
		i.err = errors.New("systemd passed no socket (LISTEN_PID is not this process); start it by its socket unit")
		return
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > 1024 {
		i.err = fmt.Errorf("LISTEN_FDS %.20q: not a number of sockets", count)
		return
	}
	list := strings.Split(names, ":")
	for at := range n {
		name := "unknown" // as sd_listen_fds_with_names(3) has it
		if names != "" && at < len(list) {
			name = list[at]
		}
		closeOnExec(firstInherited + at)
		i.files = append(i.files, os.NewFile(uintptr(firstInherited+at), name))
	}
}

// take returns the listening sockets of that name; without a name, the only one that was passed.
func (i *inherited) take(name string) ([]rawListener, error) {
	i.once.Do(i.read)
	if i.err != nil {
		return nil, i.err
	}
	var taken []*os.File
	for _, f := range i.files {
		if name == "" || f.Name() == name {
			taken = append(taken, f)
		}
	}
	switch {
	case len(taken) == 0:
		return nil, fmt.Errorf("systemd passed no socket named %q; its names are %s", name, i.names())
	case name == "" && len(taken) > 1:
		return nil, fmt.Errorf("systemd passed %d sockets; write systemd:NAME, with one of %s", len(taken), i.names())
	}
	i.files = slices.DeleteFunc(i.files, func(f *os.File) bool { return slices.Contains(taken, f) })
	var raws []rawListener
	for _, f := range taken {
		l, err := net.FileListener(f)
		if err == nil {
			err = f.Close()
		}
		raw, ok := l.(rawListener)
		if err == nil && !ok {
			err = errors.New("is not a TCP or Unix stream socket")
		}
		if err != nil {
			for _, earlier := range raws {
				err = errors.Join(err, earlier.Close())
			}
			return nil, fmt.Errorf("socket %q from systemd: %w", f.Name(), err)
		}
		if u, is := l.(*net.UnixListener); is {
			u.SetUnlinkOnClose(false) // it is systemd's
		}
		raws = append(raws, raw)
	}
	return raws, nil
}

func (i *inherited) names() string {
	var names []string
	for _, f := range i.files {
		names = append(names, strconv.Quote(f.Name()))
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
