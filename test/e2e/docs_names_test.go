package e2e_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/strictyaml"
)

var update = flag.Bool("update", false, "write test/e2e/testdata/names.txt as the names are now")

// TestNamesThatOperatorsRelyOn holds the names that configurations, dashboards, log queries and scripts use to one
// list: config keys, reason codes, metrics with their labels, fields of log lines, commands with their flags, and exit
// codes. A renamed one breaks someone's setup. A new one is added with: go test ./test/e2e -run TestNames -update
func TestNamesThatOperatorsRelyOn(t *testing.T) {
	t.Parallel()
	var names []string
	configKeys(config.Reference(), "", &names)
	for _, reason := range refusal.All() {
		names = append(names, "reason "+string(reason))
	}
	names = append(names, namesInSource(t)...)
	names = append(names, commandLine(t)...)
	slices.Sort(names)
	names = slices.Compact(names)
	for _, kind := range []string{"config ", "reason ", "metric ", "field ", "command ", "exit "} {
		if n := len(slices.DeleteFunc(slices.Clone(names),
			func(s string) bool { return !strings.HasPrefix(s, kind) })); n < 5 {
			t.Errorf("found %d names that begin with %q: the search is broken", n, kind)
		}
	}
	const path = "test/e2e/testdata/names.txt"
	got := strings.Join(names, "\n") + "\n"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("names (-listed +found); if they are only new, run: go test ./test/e2e -run TestNames -update\n%s", diff)
	}
}

// configKeys lists every key with its path.
func configKeys(s *strictyaml.Shape, path string, names *[]string) {
	for _, k := range s.Keys {
		at := strings.TrimPrefix(path+"."+k.Name, ".")
		*names = append(*names, "config "+at)
		configKeys(k.Shape, at, names)
	}
	switch {
	case s.Type == "list":
		configKeys(s.Items, path+"[]", names)
	case s.Type == "names":
		configKeys(s.Items, path+".NAME", names)
	}
	for _, word := range s.Words {
		*names = append(*names, "config "+path+": "+word)
	}
	for _, e := range s.Either {
		configKeys(e, path, names)
	}
}

// namesInSource finds the metrics, the fields of log lines and the exit codes where the source writes them.
func namesInSource(t *testing.T) (names []string) {
	t.Helper()
	for _, root := range []string{"internal", "issuer", "proxy"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					names = append(names, metric(n)...)
					names = append(names, field(n, strings.HasPrefix(path, "internal/telemetry/"))...)
				case *ast.CompositeLit:
					names = append(names, auditWords(n)...)
				case *ast.ValueSpec:
					names = append(names, exitCode(n)...)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// metric reads newCounters(name, help, labels…), s.Gauge(name, …), s.histogram(name, …) and describe(name, help,
// labels…).
func metric(call *ast.CallExpr) []string {
	name, labels := "", []string{}
	for i, arg := range call.Args {
		lit, ok := arg.(*ast.CompositeLit)
		switch {
		case ok && strings.HasSuffix(typeName(lit.Type), "Opts"):
			for _, e := range lit.Elts {
				if kv, ok := e.(*ast.KeyValueExpr); ok && typeName(kv.Key) == "Name" {
					name = text(kv.Value)
				}
			}
		case ok && typeName(lit.Type) == "[]string":
			for _, e := range lit.Elts {
				labels = append(labels, text(e))
			}
		case slices.Contains([]string{"newCounters", "s.Gauge", "s.histogram"}, typeName(call.Fun)) && i == 0:
			name = text(arg)
		case typeName(call.Fun) == "newCounters" && i > 1:
			labels = append(labels, text(arg))
		case typeName(call.Fun) == "describe" && i == 0:
			name = "jotgate_" + text(arg)
		case typeName(call.Fun) == "describe" && i > 1:
			labels = append(labels, text(arg))
		}
	}
	if !strings.HasPrefix(name, "jotgate_") || name == "jotgate_" {
		return nil
	}
	slices.Sort(labels)
	return []string{"metric " + name + "{" + strings.Join(labels, ",") + "}"}
}

// field reads zap.String("name", …) and, in package telemetry, the methods that write members of an access line.
func field(call *ast.CallExpr, telemetry bool) []string {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) == 0 {
		return nil
	}
	writes := []string{"text", "some", "number", "milliseconds", "address", "entry", "key"}
	name := text(call.Args[0])
	if zap := typeName(sel.X) == "zap" && len(call.Args) == 2; name == "" || !zap &&
		!(telemetry && slices.Contains(writes, sel.Sel.Name)) {
		return nil
	}
	return []string{"field " + name}
}

// auditWords reads []telemetry.Word{{"name", …}, …}.
func auditWords(lit *ast.CompositeLit) (names []string) {
	array, ok := lit.Type.(*ast.ArrayType)
	if !ok || typeName(array.Elt) != "telemetry.Word" {
		return nil
	}
	for _, e := range lit.Elts {
		word, ok := e.(*ast.CompositeLit)
		if !ok || len(word.Elts) == 0 {
			continue
		}
		first := word.Elts[0]
		if kv, ok := first.(*ast.KeyValueExpr); ok {
			first = kv.Value
		}
		names = append(names, "field "+text(first))
	}
	return names
}

func exitCode(spec *ast.ValueSpec) []string {
	if len(spec.Names) != 1 || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "exit") {
		return nil
	}
	value, ok := spec.Values[0].(*ast.BasicLit)
	if !ok || value.Kind != token.INT {
		return nil
	}
	return []string{fmt.Sprintf("exit %s %s", value.Value,
		strings.ToLower(strings.TrimPrefix(spec.Names[0].Name, "exit")))}
}

// typeName writes a name as the source has it: prometheus.CounterOpts, []string.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return typeName(e.X) + "." + e.Sel.Name
	case *ast.ArrayType:
		return "[]" + typeName(e.Elt)
	}
	return ""
}

// text is the value of a string literal, or "".
func text(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}

var (
	listedCommand = regexp.MustCompile(`(?m)^  ([a-z]+) +\S.*$`)
	listedFlag    = regexp.MustCompile(`(?m)^  (--[a-z0-9-]+)( [A-Z]+)?(?: .*)?$`)
)

// commandLine asks the binary for its commands and their flags.
func commandLine(t *testing.T) (names []string) {
	t.Helper()
	help := func(args ...string) string {
		out, err := exec.Command(binary, args...).Output()
		if err != nil {
			t.Fatalf("jotgate %v: %v", args, err)
		}
		return string(out)
	}
	list, _, _ := strings.Cut(help("--help"), "Examples:")
	for _, command := range listedCommand.FindAllStringSubmatch(list, -1) {
		names = append(names, "command "+command[1])
		_, flags, _ := strings.Cut(help(command[1], "--help"), "\nFlags:\n")
		for _, f := range listedFlag.FindAllStringSubmatch(flags, -1) {
			names = append(names, "command "+command[1]+" "+f[1])
		}
	}
	return names
}
