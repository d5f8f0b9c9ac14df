package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// A rawListener is a bound socket: TCP, Unix, or one that systemd passed.
type rawListener interface {
	net.Listener
	syscall.Conn
	SetDeadline(time.Time) error
}

// A rawConn is an accepted connection.
type rawConn interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

const unixPrefix = "unix:"

func (ls *Listeners) bind(ctx context.Context, o Listener) (*listener, error) {
	if o.RedirectHTTPS && o.TLS != nil {
		return nil, fmt.Errorf("listener %q: redirects to https and has certificates; set only one of the two", o.Name)
	}
	raw, err := socketFor(ctx, &o)
	if err != nil {
		return nil, fmt.Errorf("listener %q: %w", o.Name, err)
	}
	return newListener(ls, o, raw), nil
}

func socketFor(ctx context.Context, o *Listener) (rawListener, error) {
	if isPassed(o.Address) {
		o.ReusePort = false // the next process gets this same socket: nothing is taken over
		return passed(o.Address)
	}
	if path, is := strings.CutPrefix(o.Address, unixPrefix); is {
		o.ReusePort = false
		return bindUnix(ctx, path, o.Mode)
	}
	var lc net.ListenConfig
	if o.ReusePort {
		lc.Control = reusePort
	}
	l, err := lc.Listen(ctx, "tcp", o.Address)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// A unixListener removes its file when it is closed, unless another process has replaced it.
type unixListener struct {
	*net.UnixListener
	path string
	file fs.FileInfo
}

// bindUnix binds a Unix socket. It is made under another name and renamed when its mode is set, so that no client can
// connect before. A socket that nothing listens on, left by a process that was killed, is replaced.
func bindUnix(ctx context.Context, path string, mode fs.FileMode) (rawListener, error) {
	if err := replaceable(ctx, path); err != nil {
		return nil, err
	}
	draft := path + ".new"
	if err := os.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", draft)
	if err != nil {
		return nil, err
	}
	u := &unixListener{UnixListener: l.(*net.UnixListener), path: draft}
	u.SetUnlinkOnClose(false)
	if mode != 0 {
		err = os.Chmod(draft, mode)
	}
	if err == nil {
		u.file, err = os.Lstat(draft)
	}
	if err == nil {
		err = os.Rename(draft, path)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(draft), u.UnixListener.Close())
	}
	u.path = path
	return u, nil
}

// replaceable is an error if path is something else than a socket, or a socket that is in use.
func replaceable(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s: is there and is not a socket; remove it or choose another path", path)
	}
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		return errors.Join(fmt.Errorf("%s: another process listens on it", path), c.Close())
	}
	return nil
}

// Close implements net.Listener.
func (u *unixListener) Close() error {
	if now, err := os.Lstat(u.path); err == nil && os.SameFile(u.file, now) {
		_ = os.Remove(u.path) // a file that stays is replaced at the next start
	}
	return u.UnixListener.Close()
}

// Addr implements net.Listener.
func (u *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: u.path, Net: "unix"} }
