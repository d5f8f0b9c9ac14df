package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A terminal is a pseudo-terminal (pty(7)): what a command writes to the one end, a person reads at the other.
type terminal struct{ screen, command *os.File }

func newTerminal(t *testing.T) terminal {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	command, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return terminal{screen, command}
}

// run runs a command line at the terminal, or with standard output to a pipe, and returns what was written.
func (m terminal) run(t *testing.T, piped bool, env map[string]string, args ...string) (screen, pipe string, code int) {
	t.Helper()
	read := make(chan string)
	go func() {
		text, _ := io.ReadAll(m.screen) // ends with EIO when the other end is closed
		read <- strings.ReplaceAll(string(text), "\r\n", "\n")
	}()
	var out strings.Builder
	p := &Process{
		Args: args, Stdin: strings.NewReader(""), Stdout: m.command, Stderr: m.command,
		LookupEnv: func(name string) (string, bool) {
			value, ok := env[name]
			return value, ok
		},
	}
	if piped {
		p.Stdout = &out
	}
	code = Run(p)
	if err := m.command.Close(); err != nil {
		t.Fatal(err)
	}
	return <-read, out.String(), code
}

func TestColoursAreForTerminalsAlone(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	good, faulty := filepath.Join(folder, "good.yaml"), filepath.Join(folder, "faulty.yaml")
	for file, text := range map[string]string{good: exampleConfig, faulty: "version: 2\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "token"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	xterm := map[string]string{"TERM": "xterm"}
	for _, c := range []struct {
		name string
		args []string
		want string // at the terminal, with colours
		code int
	}{
		{"the list of commands", []string{"--help"}, "\x1b[1mUsage:\x1b[0m jotgate [COMMAND]", exitFine},
		{"a command's help", []string{"check", "--help"}, "\x1b[1mExamples:\x1b[0m\n  jotgate check", exitFine},
		{"a fine config", []string{"check", "--config", good}, "good.yaml is \x1b[32mfine\x1b[0m: 1 listener", exitFine},
		{
			"its routes",
			[]string{"check", "--config", good},
			"\x1b[2mROUTE         HOSTS  PATH          METHODS    NEEDS                              UPSTREAM\x1b[0m\n" +
				"/t/{tenant}/  any    /t/{tenant}/  the usual  READ on the tenant in path.tenant  http://127.0.0.1:3000\n",
			exitFine,
		},
		{"a fault", []string{"check", "--config", faulty}, "\x1b[1m" + faulty + ":1:10:\x1b[0m version: ", exitConfig},
		{
			"a refusal explained",
			[]string{"explain", "--config", good, "--request", "GET http://x/t/acme/1"},
			"\x1b[1;31mREFUSED\x1b[0m  401 token_missing\n", exitRefused,
		},
	} {
		screen, _, code := newTerminal(t).run(t, false, xterm, c.args...)
		if code != c.code || !strings.Contains(screen, c.want) {
			t.Errorf("%s: exit code %d, the screen shows %q, want %q", c.name, code, screen, c.want)
		}
		for env, value := range map[string]string{"NO_COLOR": "1", "TERM": "dumb"} {
			screen, _, code := newTerminal(t).run(t, false, map[string]string{env: value}, c.args...)
			if code != c.code || strings.Contains(screen, "\x1b") || screen == "" {
				t.Errorf("%s, %s=%s: exit code %d, the screen shows %q", c.name, env, value, code, screen)
			}
		}
		_, pipe, _ := newTerminal(t).run(t, true, xterm, c.args...)
		if strings.Contains(pipe, "\x1b") || strings.Contains(pipe, "ROUTE") || pipe == "" && c.code != exitConfig {
			t.Errorf("%s: the pipe got %q", c.name, pipe)
		}
	}
}

// A file, /dev/null and a pipe are no terminals, whatever else they are.
func TestWhatIsNoTerminal(t *testing.T) {
	t.Parallel()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for name, to := range map[string]io.Writer{
		"/dev/null": null, "a file": file, "a pipe": w,
		"a buffer": &strings.Builder{},
	} {
		if atTerminal(to) {
			t.Errorf("%s counts as a terminal", name)
		}
	}
	terminal := newTerminal(t)
	defer terminal.command.Close()
	if !atTerminal(terminal.command) {
		t.Error("a terminal does not count as one")
	}
}
