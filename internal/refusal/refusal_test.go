package refusal

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"
)

// constants reads the reasons out of the source, so that one without a status is found.
func constants(t *testing.T) []Reason {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "refusal.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var found []Reason
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Type == nil {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); ok && name.Name == "Reason" {
			word, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, Reason(word))
		}
		return true
	})
	return found
}

func TestEveryReasonHasAStatus(t *testing.T) {
	t.Parallel()
	declared, listed := constants(t), All()
	slices.Sort(declared)
	slices.Sort(listed)
	if len(declared) < 50 || !slices.Equal(declared, listed) {
		t.Errorf("declared %d reasons %v\n listed %d %v", len(declared), declared, len(listed), listed)
	}
	for _, r := range listed {
		if s := r.Status(); s < 400 || s > 599 {
			t.Errorf("%s: status %d", r, s)
		}
	}
	if got := Reason("no_such_reason").Status(); got != 500 {
		t.Errorf("unknown reason: status %d, want 500", got)
	}
}

func TestOfFindsTheReasonThroughWrapping(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("redeem: %w", Because(CodeUsed, "client %q", "shop"))
	if Of(err) != CodeUsed || Of(errors.New("disk")) != InternalError || Of(nil) != "" {
		t.Errorf("of: %q, %q, %q", Of(err), Of(errors.New("disk")), Of(nil))
	}
	if got, want := err.Error(), `redeem: code_used: client "shop"`; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
}
