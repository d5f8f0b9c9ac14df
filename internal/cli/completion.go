package cli

import (
	"flag"
	"io"
	"maps"
	"slices"
	"strings"

	_ "embed"

	"github.com/jotgate/jotgate/internal/template"
)

//go:embed completion.bash.tmpl
var bashCompletion string

//go:embed completion.zsh.tmpl
var zshCompletion string

//go:embed completion.fish.tmpl
var fishCompletion string

// completions are the scripts' templates by shell.
func completions() map[string]string {
	return map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
}

func completionCommand() command {
	shells := slices.Sorted(maps.Keys(completions()))
	return command{
		name: "completion", usage: strings.Join(shells, "|"), brief: "print a completion script for a shell",
		run:   printCompletion,
		words: map[string][]string{"": shells},
		help: `Prints a completion script for bash, zsh or fish: commands, flags, file names and fixed words. It comes from the same
table as the help, so it always matches this binary.

  source <(jotgate completion bash)
  jotgate completion bash > jotgate.bash
  jotgate completion zsh > _jotgate
  jotgate completion fish > jotgate.fish
`,
	}
}

func printCompletion(p *Process, c *call) error {
	if err := c.parse(1); err != nil {
		return err
	}
	shell := c.operand("")
	text, known := completions()[shell]
	switch {
	case shell == "":
		return usagef("name a shell: %s", strings.Join(c.command.words[""], ", "))
	case !known:
		return usagef("no completions for %q; there are some for %s", shell, strings.Join(c.command.words[""], ", "))
	}
	t, err := template.Text(text, "", "", template.Funcs{
		"quote": quoted, "zsh": zshText, "fish": fishQuoted,
		"join": strings.Join, "flags": description.flagWords, "value": flagDescription.zshValue,
	})
	if err != nil {
		return err
	}
	return t.Execute(p.Stdout, described(p))
}

// A description is a command as completions see it.
type description struct {
	Name, Brief string
	Flags       []flagDescription
	Words       []string // of its operand; nil: none in particular
	Files       bool     // its operand may be @FILE
	Folders     bool     // its operand is a folder
}

type flagDescription struct {
	Name, Usage string
	Value       bool     // it takes one
	Words       []string // of its value; nil: none in particular
	File        bool     // its value is a file
}

// described asks each command for its flags: asked for help, it declares them and does nothing else.
func described(p *Process) (all []description) {
	for _, c := range commands() {
		asked := newCall(&c, []string{"--help"}, io.Discard, false)
		_ = c.run(p, asked) // flag.ErrHelp
		d := description{
			Name: c.name, Brief: c.brief, Words: c.words[""],
			Files: strings.Contains(c.usage, "@"), Folders: strings.Contains(c.usage, "[FOLDER]"),
		}
		asked.VisitAll(func(f *flag.Flag) {
			operand, usage := flagUsage(f)
			d.Flags = append(d.Flags, flagDescription{
				Name: f.Name, Usage: usage, Value: operand != "", Words: c.words[f.Name], File: operand == "FILE",
			})
		})
		d.Flags = append(d.Flags, flagDescription{Name: "help", Usage: "tell what the command does, with examples"})
		all = append(all, d)
	}
	return all
}

// quoted is text within single quotes, as bash and zsh read it.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// fishQuoted is text within single quotes, where fish, unlike the others, knows escapes.
func fishQuoted(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(text) + "'"
}

// zshText is what may stand in a specification of zsh's, where brackets and colons mean something.
func zshText(text string) string {
	return strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`, ":", `\:`).Replace(text)
}

// flagWords are the command's flags as they are written.
func (d description) flagWords() string {
	words := make([]string, len(d.Flags))
	for i, f := range d.Flags {
		words[i] = "--" + f.Name
	}
	return strings.Join(words, " ")
}

// zshValue is how zsh completes the flag's value.
func (f flagDescription) zshValue() string {
	switch {
	case f.File:
		return "_files"
	case f.Words != nil:
		return "(" + strings.Join(f.Words, " ") + ")"
	}
	return " "
}
