package template

import (
	"fmt"
	"io"
	"reflect"
	"text/template/parse"
)

// maxDepth bounds templates that use each other.
const maxDepth = 20

// An execution is one template being written.
type execution struct {
	template  *Template
	out       io.Writer
	variables []variable
	depth     int
}

type variable struct {
	name  string
	value reflect.Value
}

// run executes a template by its name. Within it, $ is its dot, and no variable of the caller is seen.
func (e *execution) run(name string, dot reflect.Value) error {
	tree := e.template.trees[name]
	if tree == nil {
		return fmt.Errorf("template: %q is not defined", name)
	}
	if e.depth > maxDepth {
		return fmt.Errorf("template: %q uses itself more than %d times", name, maxDepth)
	}
	inner := &execution{
		template: e.template, out: e.out, depth: e.depth + 1, variables: []variable{{"$", dot}},
	}
	return inner.list(tree.Root, dot)
}

func (e *execution) list(list *parse.ListNode, dot reflect.Value) error {
	if list == nil {
		return nil
	}
	for _, node := range list.Nodes {
		if err := e.node(node, dot); err != nil {
			return err
		}
	}
	return nil
}

func (e *execution) node(node parse.Node, dot reflect.Value) error {
	switch n := node.(type) {
	case *parse.TextNode:
		_, err := e.out.Write(n.Text)
		return err
	case *parse.ActionNode:
		value, err := e.pipe(n.Pipe, dot)
		if err != nil || len(n.Pipe.Decl) > 0 {
			return err
		}
		return e.write(n, value)
	case *parse.IfNode:
		return e.branch(&n.BranchNode, dot)
	case *parse.WithNode:
		return e.branch(&n.BranchNode, dot)
	case *parse.RangeNode:
		return e.loop(n, dot)
	case *parse.TemplateNode:
		var value reflect.Value
		if n.Pipe != nil {
			var err error
			if value, err = e.pipe(n.Pipe, dot); err != nil {
				return err
			}
		}
		return e.run(n.Name, value)
	case *parse.CommentNode:
		return nil
	}
	return fmt.Errorf("template: %s is not supported", node)
}

func (e *execution) write(n *parse.ActionNode, value reflect.Value) error {
	value = behind(value)
	if !value.IsValid() {
		return fmt.Errorf("template: %s is nil", n)
	}
	text := fmt.Sprint(value.Interface())
	if page := e.template.page; page != nil {
		text = page[n].escape(text)
	}
	_, err := io.WriteString(e.out, text)
	return err
}

// branch is an if, or a with, whose dot is the value.
func (e *execution) branch(n *parse.BranchNode, dot reflect.Value) error {
	defer e.leave(len(e.variables))
	value, err := e.pipe(n.Pipe, dot)
	switch {
	case err != nil:
		return err
	case !truth(value):
		return e.list(n.ElseList, dot)
	case n.NodeType == parse.NodeWith:
		return e.list(n.List, value)
	}
	return e.list(n.List, dot)
}

// leave forgets the variables that were declared since there were n.
func (e *execution) leave(n int) { e.variables = e.variables[:n] }

func (e *execution) loop(n *parse.RangeNode, dot reflect.Value) error {
	defer e.leave(len(e.variables))
	value, err := e.pipe(n.Pipe, dot)
	if err != nil {
		return err
	}
	value = behind(value)
	if value.IsValid() && value.Kind() != reflect.Slice && value.Kind() != reflect.Array {
		return fmt.Errorf("template: %s is no list", n.Pipe)
	}
	if !value.IsValid() || value.Len() == 0 {
		return e.list(n.ElseList, dot)
	}
	inside := len(e.variables)
	for i := range value.Len() {
		item := value.Index(i)
		// {{range $i, $x := …}} declares both, {{range $x := …}} the item.
		switch d := n.Pipe.Decl; len(d) {
		case 1:
			e.variables[inside-1].value = item
		case 2:
			e.variables[inside-2].value, e.variables[inside-1].value = reflect.ValueOf(i), item
		}
		if err := e.list(n.List, item); err != nil {
			return err
		}
		e.leave(inside)
	}
	return nil
}

// pipe evaluates a pipeline and declares its variables.
func (e *execution) pipe(pipe *parse.PipeNode, dot reflect.Value) (value reflect.Value, err error) {
	for i, command := range pipe.Cmds {
		var last []reflect.Value
		if i > 0 {
			last = []reflect.Value{value}
		}
		if value, err = e.command(command, dot, last); err != nil {
			return value, err
		}
	}
	if pipe.IsAssign {
		return value, fmt.Errorf("template: %s assigns, which is not supported", pipe)
	}
	for _, d := range pipe.Decl {
		e.variables = append(e.variables, variable{d.Ident[0], value})
	}
	return value, nil
}

func (e *execution) command(c *parse.CommandNode, dot reflect.Value, last []reflect.Value) (reflect.Value, error) {
	name, calls := c.Args[0].(*parse.IdentifierNode)
	if !calls {
		if len(c.Args) > 1 || last != nil {
			return reflect.Value{}, fmt.Errorf("template: %s is no function", c.Args[0])
		}
		return e.argument(c.Args[0], dot)
	}
	var args []reflect.Value
	for _, node := range c.Args[1:] {
		value, err := e.argument(node, dot)
		if err != nil {
			return value, err
		}
		if (name.Ident == "and" && !truth(value)) || (name.Ident == "or" && truth(value)) {
			return value, nil // the others are not evaluated
		}
		args = append(args, value)
	}
	value, err := call(e.template.funcs[name.Ident], append(args, last...))
	if err != nil {
		return value, fmt.Errorf("template: %s: %w", c, err)
	}
	return value, nil
}

func (e *execution) argument(node parse.Node, dot reflect.Value) (reflect.Value, error) {
	switch n := node.(type) {
	case *parse.DotNode:
		return dot, nil
	case *parse.FieldNode:
		return fields(dot, n.Ident)
	case *parse.VariableNode:
		for i := len(e.variables) - 1; i >= 0; i-- {
			if e.variables[i].name == n.Ident[0] {
				return fields(e.variables[i].value, n.Ident[1:])
			}
		}
	case *parse.PipeNode:
		return e.pipe(n, dot)
	case *parse.ChainNode:
		value, err := e.argument(n.Node, dot)
		if err != nil {
			return value, err
		}
		return fields(value, n.Field)
	case *parse.StringNode:
		return reflect.ValueOf(n.Text), nil
	case *parse.BoolNode:
		return reflect.ValueOf(n.True), nil
	case *parse.NumberNode:
		if n.IsInt {
			return reflect.ValueOf(int(n.Int64)), nil
		}
	case *parse.IdentifierNode:
		return call(e.template.funcs[n.Ident], nil)
	}
	return reflect.Value{}, fmt.Errorf("template: %s is not supported", node)
}

// behind follows pointers and interfaces; what is behind nil is the zero Value.
func behind(v reflect.Value) reflect.Value {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	return v
}

// fields reads a chain of fields, of structs and of maps with strings as keys.
func fields(v reflect.Value, names []string) (reflect.Value, error) {
	for _, name := range names {
		of := behind(v)
		switch {
		case of.Kind() == reflect.Struct:
			field, there := of.Type().FieldByName(name)
			if !there || !field.IsExported() {
				return v, fmt.Errorf("template: %s has no field %s", of.Type(), name)
			}
			v = of.FieldByIndex(field.Index)
		case of.Kind() == reflect.Map && of.Type().Key().Kind() == reflect.String:
			if v = of.MapIndex(reflect.ValueOf(name).Convert(of.Type().Key())); !v.IsValid() {
				v = reflect.Zero(of.Type().Elem())
			}
		default:
			return v, fmt.Errorf("template: there is no %s in nil or %s", name, of.Kind())
		}
	}
	return v, nil
}

// truth is false for what is empty, zero or nil, as in text/template.
func truth(v reflect.Value) bool {
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Invalid:
		return false
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() > 0
	case reflect.Struct:
		return true
	}
	return !v.IsZero()
}

// call calls a function with values that fit its parameters.
func call(function any, args []reflect.Value) (reflect.Value, error) {
	f := reflect.ValueOf(function)
	t := f.Type()
	if len(args) < t.NumIn() && (!t.IsVariadic() || len(args) < t.NumIn()-1) || len(args) > t.NumIn() && !t.IsVariadic() {
		return f, fmt.Errorf("%d arguments, want %d", len(args), t.NumIn())
	}
	for i, arg := range args {
		var want reflect.Type
		if t.IsVariadic() && i >= t.NumIn()-1 {
			want = t.In(t.NumIn() - 1).Elem()
		} else {
			want = t.In(i)
		}
		if arg.Kind() == reflect.Interface && want.Kind() != reflect.Interface {
			arg = arg.Elem()
		}
		switch {
		case !arg.IsValid():
			arg = reflect.Zero(want)
		case arg.Type().AssignableTo(want):
		case arg.Kind() == reflect.Pointer && !arg.IsNil() && arg.Type().Elem().AssignableTo(want):
			arg = arg.Elem()
		default:
			return f, fmt.Errorf("argument %d is %s, want %s", i+1, arg.Type(), want)
		}
		args[i] = arg
	}
	results := f.Call(args)
	if len(results) == 2 {
		err, _ := results[1].Interface().(error)
		return results[0], err
	}
	return results[0], nil
}

// builtins are the functions that every template has; and, or and not mean what they mean in text/template.
func builtins() Funcs {
	last := func(first any, rest ...any) any {
		if len(rest) > 0 {
			return rest[len(rest)-1]
		}
		return first
	}
	return Funcs{
		"and": last, "or": last,
		"not":    func(v any) bool { return !truth(reflect.ValueOf(v)) },
		"print":  fmt.Sprint,
		"printf": fmt.Sprintf,
		"eq":     equal,
		"len":    length,
		"index":  index,
	}
}

// equal compares what is of one kind: strings, whole numbers, booleans.
func equal(a, b any) (bool, error) {
	x, y := behind(reflect.ValueOf(a)), behind(reflect.ValueOf(b))
	switch {
	case x.Kind() == reflect.String && y.Kind() == reflect.String:
		return x.String() == y.String(), nil
	case x.Kind() == reflect.Bool && y.Kind() == reflect.Bool:
		return x.Bool() == y.Bool(), nil
	case x.CanInt() && y.CanInt():
		return x.Int() == y.Int(), nil
	case x.CanUint() && y.CanUint():
		return x.Uint() == y.Uint(), nil
	}
	return false, fmt.Errorf("%T and %T cannot be compared", a, b)
}

func length(v any) (int, error) {
	of := behind(reflect.ValueOf(v))
	switch of.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return of.Len(), nil
	}
	return 0, fmt.Errorf("%T has no length", v)
}

// index reads a map's values, and those of the maps in it. A key that is not there has the zero value.
func index(v any, keys ...any) (any, error) {
	of := reflect.ValueOf(v)
	for _, key := range keys {
		of = behind(of)
		k := reflect.ValueOf(key)
		if of.Kind() != reflect.Map || !k.IsValid() || !k.Type().AssignableTo(of.Type().Key()) {
			return nil, fmt.Errorf("%T has no index %T", v, key)
		}
		value := of.MapIndex(k)
		if !value.IsValid() {
			value = reflect.Zero(of.Type().Elem())
		}
		of = value
	}
	return of.Interface(), nil
}
