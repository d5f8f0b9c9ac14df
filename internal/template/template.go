// Package template fills in the templates of pages, completions and first configurations. The language is that of
// text/template, parsed by its own parser, but for methods: a template reads fields and calls the functions that it was
// given.
//
// text/template looks methods up by names that only running tells, so a program with it keeps every exported method of
// every type that it converts to an interface: a quarter of this binary (docs/decisions/0013-what-a-build-holds.md).
package template

import (
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"text/template/parse"
)

// Funcs are functions by the name that templates call them by. Each returns one value.
type Funcs map[string]any

// A Template can be executed by many goroutines at once.
type Template struct {
	trees map[string]*parse.Tree
	funcs Funcs
	page  escaper // where values stand, which are escaped for it; nil: they are written as they are
}

// Text parses a template whose values are written as they are, with the given delimiters; empty ones stand for {{ }}.
func Text(text, left, right string, funcs Funcs) (*Template, error) {
	return read(funcs, left, right, text)
}

// Page parses an HTML page from files; the first is executed, and may use what the others define. What is filled in is
// escaped for text and for quoted attributes, and may stand nowhere else.
func Page(funcs Funcs, files ...string) (*Template, error) {
	t, err := read(funcs, "", "", files...)
	if err != nil {
		return nil, err
	}
	t.page = make(escaper)
	for _, name := range slices.Sorted(maps.Keys(t.trees)) {
		if err := t.page.template(t.trees[name]); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// root is the name of the template that is executed.
const root = ""

func read(funcs Funcs, left, right string, files ...string) (*Template, error) {
	all := builtins()
	maps.Copy(all, funcs)
	t := &Template{trees: make(map[string]*parse.Tree), funcs: all}
	for i, file := range files {
		trees, err := parse.Parse(root, file, left, right, all)
		if err != nil {
			return nil, err
		}
		for name, tree := range trees {
			switch _, twice := t.trees[name]; {
			case name == root && i > 0:
				if !parse.IsEmptyTree(tree.Root) {
					return nil, fmt.Errorf("template: there is text outside of {{define}} in file %d", i)
				}
			case twice:
				return nil, fmt.Errorf("template: %q is defined twice", name)
			default:
				t.trees[name] = tree
			}
		}
	}
	return t, nil
}

// Execute writes the template with data as its dot. What was written before an error stays written.
func (t *Template) Execute(w io.Writer, data any) error {
	e := &execution{template: t, out: w}
	return e.run(root, reflect.ValueOf(data))
}
