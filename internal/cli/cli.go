// Package cli is the command line, one file for each subcommand.
//
// A command writes what it was asked for to standard output, and nothing else, so that it can stand in $(…); whatever
// it has to say about that goes to standard error. How it ended is the exit code:
//
//	0  fine
//	1  failed while running
//	2  it was called wrongly
//	3  the config has faults
//	4  refused by the config's own rules
//	5  diff: the new config opens what the old one keeps closed
//
// Arguments can be read by every user of a machine, so a secret is never asked for as one: it comes from a file, as
// @FILE, or from standard input, as -.
package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictyaml"
)

// The exit codes.
const (
	exitFine    = 0
	exitFailed  = 1
	exitUsage   = 2
	exitConfig  = 3
	exitRefused = 4
	exitOpens   = 5
)

// A Process is the world that a command runs in. Every member is required, but for the last three.
type Process struct {
	Args           []string // without the program's name
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	LookupEnv      func(name string) (value string, ok bool)
	// Version, Revision (the commit) and Built (its time) are set for a release; where they are "", Go's own stamp counts.
	Version, Revision, Built string
}

// A command is one subcommand. Its run returns a *usageError for a wrong call, config.Faults for a config that does not
// load, and a *refusal.Error where the rules forbid what was asked.
type command struct {
	name  string
	usage string              // what follows the name
	brief string              // one line for the list of commands
	help  string              // what it does and, as its last paragraph, examples: one on each line
	words map[string][]string // what a flag's value can be or, under "", an operand; for completion
	run   func(p *Process, c *call) error
}

// examples are the last paragraph of the help; text is what stands before it.
func (c *command) examples() (text string, examples []string) {
	text, last, _ := cutLast(strings.TrimSuffix(c.help, "\n"), "\n\n")
	for line := range strings.Lines(last) {
		examples = append(examples, strings.TrimSpace(line))
	}
	return text, examples
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+len(sep):], true
}

func commands() []command {
	return []command{
		serveCommand(), checkCommand(), diffCommand(), explainCommand(), mintCommand(), reloadCommand(), revokeCommand(),
		keygenCommand(),
		hashCommand(),
		initCommand(), schemaCommand(), completionCommand(), demoCommand(), healthcheckCommand(), versionCommand(),
	}
}

// Run runs one command line to its end and returns the exit code.
func Run(p *Process) int {
	c, args, err := choose(p.Args)
	if err == nil && c == nil {
		printCommands(p.Stdout, p.style(p.Stdout))
		return exitFine
	}
	if err == nil {
		err = c.run(p, newCall(c, args, p.Stdout, p.style(p.Stdout)))
	}
	return p.report(c, err)
}

// choose finds the command that args name. Without one it is serve; nil without an error asks for the list of commands.
func choose(args []string) (*command, []string, error) {
	name := "serve"
	if len(args) > 0 {
		switch first := args[0]; {
		case first == "help" && len(args) > 1:
			name, args = args[1], []string{"--help"}
		case first == "help", first == "--help", first == "-help", first == "-h":
			return nil, nil, nil
		case first == "--version", first == "-version":
			name, args = "version", args[1:]
		case !strings.HasPrefix(first, "-"):
			name, args = first, args[1:]
		}
	}
	all := commands()
	for i := range all {
		if all[i].name == name {
			return &all[i], args, nil
		}
	}
	return nil, nil, usagef("unknown command %q%s; jotgate --help lists them", name, suggestion(name, names(all)))
}

// suggestion is what was probably meant, for the end of a complaint.
func suggestion(name string, words []string) string {
	near := strictyaml.Nearest(name, words)
	if near == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", near)
}

func names(all []command) []string {
	list := make([]string, len(all))
	for i := range all {
		list[i] = all[i].name
	}
	return list
}

func printCommands(w io.Writer, s style) {
	fmt.Fprintf(w, "Jotgate hands out short-lived JWTs and guards HTTP apps with them.\n\n%s jotgate [COMMAND] [FLAGS]\n"+
		"\n", s.bold("Usage:"))
	for _, c := range commands() {
		fmt.Fprintf(w, "  %s %s\n", s.bold(fmt.Sprintf("%-12s", c.name)), c.brief)
	}
	fmt.Fprintf(w, `
The default command is serve. JOTGATE_CONFIG names the config where --config is not set. Secrets and tokens come from a
file, as @FILE, or from standard input, as -. Colours and tables appear at terminals only; NO_COLOR turns colours off.

%s
  jotgate demo                                    see everything work, without a config
  jotgate init gate                               write a first config
  jotgate serve --config gate/config.yaml         run it
  jotgate COMMAND --help                          show one command, with examples
`, s.bold("Examples:"))
}

// A call is one command with its flags and operands.
type call struct {
	*flag.FlagSet
	operands []string

	command *command
	args    []string
	stdout  io.Writer
	style   style // of stdout
}

func newCall(c *command, args []string, stdout io.Writer, s style) *call {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // report says what is wrong, once
	fs.Usage = func() {}
	return &call{FlagSet: fs, command: c, args: args, stdout: stdout, style: s}
}

// parse reads the flags and at most so many operands, in any order.
func (c *call) parse(most int) error {
	rest := c.args
	for {
		if err := c.Parse(rest); errors.Is(err, flag.ErrHelp) {
			c.printHelp()
			return err
		} else if err != nil {
			return c.wrongFlag(err)
		}
		if c.NArg() == 0 {
			return nil
		}
		if len(c.operands) == most {
			return usagef("unexpected argument %q", c.Arg(0))
		}
		c.operands, rest = append(c.operands, c.Arg(0)), c.Args()[1:]
	}
}

// wrongFlag says what the flag package has to say in our words.
func (c *call) wrongFlag(err error) error {
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return usagef("%v", err)
	}
	var known []string
	c.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
	near := strictyaml.Nearest(name, known)
	if near != "" {
		return usagef("unknown flag --%s, did you mean --%s?", name, near)
	}
	return usagef("unknown flag --%s", name)
}

// operand is the first operand, or otherwise.
func (c *call) operand(otherwise string) string {
	if len(c.operands) == 0 {
		return otherwise
	}
	return c.operands[0]
}

// given reports whether the flag was on the command line, even if empty.
func (c *call) given(name string) (found bool) {
	c.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

func (c *call) printHelp() {
	w, s := c.stdout, c.style
	text, examples := c.command.examples()
	fmt.Fprintf(w, "%s %s\n\n%s\n\n%s\n", s.bold("Usage:"),
		strings.TrimSpace("jotgate "+c.command.name+" "+c.command.usage), text, s.bold("Examples:"))
	for _, line := range examples {
		fmt.Fprintf(w, "  %s\n", line)
	}
	title := "\n" + s.bold("Flags:") + "\n"
	c.VisitAll(func(f *flag.Flag) {
		fmt.Fprint(w, title)
		title = ""
		operand, usage := flagUsage(f)
		fmt.Fprintf(w, "  --%-20s %s", strings.TrimSpace(f.Name+" "+operand), usage)
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0s" {
			fmt.Fprintf(w, " (default %s)", f.DefValue)
		}
		fmt.Fprintln(w)
	})
}

// flagUsage returns the operand of a flag and its description, written as "`OPERAND` description".
func flagUsage(f *flag.Flag) (operand, usage string) {
	if rest, found := strings.CutPrefix(f.Usage, "`"); found {
		operand, usage, _ = strings.Cut(rest, "` ")
		return operand, usage
	}
	return flag.UnquoteUsage(f)
}

// A usageError says how the command was called wrongly.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// A toldError ends a command whose output has said already how it ended.
type toldError struct{ code int }

func (e *toldError) Error() string { return fmt.Sprintf("told; exit code %d", e.code) }

var (
	errToldRefused = &toldError{exitRefused}
	errToldFaults  = &toldError{exitConfig}
	errToldOpens   = &toldError{exitOpens}
	errToldFailed  = &toldError{exitFailed}
)

// report says on standard error how a command ended, and returns its exit code.
func (p *Process) report(c *command, err error) int {
	w, s := p.Stderr, p.style(p.Stderr)
	name := "jotgate"
	if c != nil {
		name += " " + c.name
	}
	var usage *usageError
	var faults config.Faults
	var refused *refusal.Error
	var told *toldError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitFine
	case errors.As(err, &told):
		return told.code
	case errors.As(err, &usage):
		fmt.Fprintf(w, "%s: %s\n", name, usage.text)
		if c != nil {
			fmt.Fprintf(w, "see: jotgate %s --help\n", c.name)
		}
		return exitUsage
	case errors.As(err, &faults):
		for _, f := range faults {
			fmt.Fprintln(w, s.fault(f))
		}
		return exitConfig
	case errors.As(err, &refused):
		fmt.Fprintf(w, "%s: %s %v\n", name, s.bad("refused:"), err)
		return exitRefused
	}
	fmt.Fprintf(w, "%s: %v\n", name, err)
	return exitFailed
}
