package tidy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	testifyPath = "github.com/stretchr/testify"
	requirePath = testifyPath + "/require"
)

// Checks of the lab suites and of the test kits run in goroutines of their own,
// where require would end the goroutine and leave its waiter hanging, or in an
// importer's package.
var (
	withoutTestify      = []string{"internal/labtest", "internal/shardlab", "internal/testkit", "raft/core", "raft/node/storagetest"}
	withoutTestifyFiles = []string{"suite_", "adversary_"}
)

// Tests check errors with require, and use nothing else of testify.
func TestErrorChecks(t *testing.T) {
	files := 0
	walkGo(t, func(path string, src []byte) {
		if !strings.HasSuffix(path, "_test.go") && !exempt(path) {
			return
		}
		files++
		for _, problem := range inspectChecks(path, src) {
			t.Error(problem)
		}
	})
	require.Greater(t, files, 100)
}

// exempt reports whether testify has no place in a file.
func exempt(path string) bool {
	dir, name := filepath.ToSlash(filepath.Dir(path)), filepath.Base(path)
	return slices.ContainsFunc(withoutTestify, func(p string) bool { return dir == p || strings.HasPrefix(dir, p+"/") }) ||
		slices.ContainsFunc(withoutTestifyFiles, func(p string) bool { return strings.HasPrefix(name, p) })
}

// checkInspector collects the problems of one file.
type checkInspector struct {
	fset     *token.FileSet
	problems []string
}

func (c *checkInspector) report(n ast.Node, format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf("%s: %s", c.fset.Position(n.Pos()), fmt.Sprintf(format, args...)))
}

// inspectChecks returns how a file's error checks break the rule.
func inspectChecks(path string, src []byte) []string {
	c := &checkInspector{fset: token.NewFileSet()}
	file, err := parser.ParseFile(c.fset, path, src, parser.SkipObjectResolution)
	if err != nil {
		return []string{err.Error()}
	}
	outside := exempt(path)
	for _, spec := range file.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		switch {
		case imported == requirePath && outside:
			c.report(spec, "require has no place here: the checks run in goroutines of their own")
		case strings.HasPrefix(imported, testifyPath) && imported != requirePath:
			c.report(spec, "%s: of testify only require is used", imported)
		}
	}
	if !outside {
		c.walk(file, false)
	}
	return c.problems
}

// walk inspects a node. elsewhere says that the code runs outside of the test's
// own goroutine.
func (c *checkInspector) walk(root ast.Node, elsewhere bool) {
	ast.Inspect(root, func(n ast.Node) bool {
		if n == root {
			return true
		}
		switch n := n.(type) {
		case *ast.CallExpr:
			if name, ok := requireCall(n); ok && elsewhere {
				c.report(n, "require.%s outside of the test's goroutine", name)
			} else if ok && (strings.HasPrefix(name, "Eventually") || strings.HasPrefix(name, "Never")) {
				c.report(n, "require.%s waits for time: wait for a condition in a bubble", name)
			}
			if startsGoroutine(n) {
				c.walkArguments(n)
				return false
			}
		case *ast.GoStmt:
			c.walk(n.Call, true)
			return false
		case *ast.ForStmt, *ast.RangeStmt:
			return !measured(n)
		case *ast.IfStmt:
			if method, ok := bareCheck(n); ok && !elsewhere {
				c.report(n, "a bare if err != nil { t.%s(err) }: write require.NoError(t, err)", method)
			}
		}
		return true
	})
}

// measured reports whether a loop is the measured one of a benchmark, for b.Loop()
// or for range b.N. require would be a part of the figure there.
func measured(loop ast.Node) bool {
	switch loop := loop.(type) {
	case *ast.ForStmt:
		call, ok := loop.Cond.(*ast.CallExpr)
		return ok && isSelector(call.Fun, "Loop")
	case *ast.RangeStmt:
		return isSelector(loop.X, "N")
	}
	return false
}

func isSelector(e ast.Expr, name string) bool {
	sel, ok := e.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == name
}

// walkArguments inspects a call that runs its function in another goroutine.
func (c *checkInspector) walkArguments(call *ast.CallExpr) {
	for _, arg := range call.Args {
		_, isFunc := arg.(*ast.FuncLit)
		c.walk(arg, isFunc)
	}
}

// requireCall returns the name of the function of require that a call names.
func requireCall(call *ast.CallExpr) (string, bool) {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", false
	}
	pkg, ok := sel.X.(*ast.Ident)
	return sel.Sel.Name, ok && pkg.Name == "require"
}

// startsGoroutine reports whether a call runs the function that it is given in
// another goroutine: WaitGroup.Go and its relatives, and handlers of a server.
func startsGoroutine(call *ast.CallExpr) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return ok && slices.Contains([]string{"Go", "AfterFunc", "HandlerFunc", "HandleFunc"}, sel.Sel.Name)
}

// bareCheck reports whether a statement is if err != nil { t.Fatal(err) }.
func bareCheck(s *ast.IfStmt) (method string, bare bool) {
	cond, ok := s.Cond.(*ast.BinaryExpr)
	if !ok || cond.Op != token.NEQ || !isIdent(cond.Y, "nil") || len(s.Body.List) != 1 || s.Else != nil {
		return "", false
	}
	stmt, ok := s.Body.List[0].(*ast.ExprStmt)
	if !ok {
		return "", false
	}
	call, ok := stmt.X.(*ast.CallExpr)
	if !ok || len(call.Args) != 1 {
		return "", false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	checked, isName := cond.X.(*ast.Ident)
	return selectorName(sel, ok), ok && isName && isIdent(call.Args[0], checked.Name) &&
		!isIdent(sel.X, "log") && // an example has no test to fail
		(sel.Sel.Name == "Fatal" || sel.Sel.Name == "Error")
}

func selectorName(sel *ast.SelectorExpr, ok bool) string {
	if !ok {
		return ""
	}
	return sel.Sel.Name
}

func isIdent(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

// The rule itself is seen to say no.
func TestInspectChecksFindsProblems(t *testing.T) {
	const head = "package p\n\nimport \"" + requirePath + "\"\n\nfunc f() {\n"
	for _, tt := range []struct {
		name, path, src string
		want            int
	}{
		{"fatal", "a_test.go", head + "if err != nil { t.Fatal(err) }\n}\n", 1},
		{"error, with an init", "a_test.go", head + "if err := g(); err != nil { t.Error(err) }\n}\n", 1},
		{"in a cleanup", "a_test.go", head + "t.Cleanup(func() { if err := g(); err != nil { t.Error(err) } })\n}\n", 1},
		{"a method's testing.T", "a_test.go", head + "if err != nil { s.t.Fatal(err) }\n}\n", 1},
		{"assert", "a_test.go", "package p\n\nimport \"" + testifyPath + "/assert\"\n", 1},
		{"require in a suite", "raft/suite_2a_test.go", head + "}\n", 1},
		{"require in the core", "raft/core/a_test.go", head + "}\n", 1},
		{"require in a goroutine", "a_test.go", head + "go func() { require.NoError(t, err) }()\n}\n", 1},
		{"require in a group", "a_test.go", head + "wg.Go(func() { require.NoError(t, err) })\n}\n", 1},
		{"Eventually", "a_test.go", head + "require.Eventually(t, g, a, b)\n}\n", 1},
		{"not Go", "a_test.go", "package", 1},
		{"require", "a_test.go", head + "require.NoError(t, err)\n}\n", 0},
		{"a message", "a_test.go", head + "if err != nil { t.Fatalf(\"put: %v\", err) }\n}\n", 0},
		{"a goroutine's error", "a_test.go", head + "go func() { if err != nil { t.Error(err) } }()\n}\n", 0},
		{"a group's error", "a_test.go", head + "wg.Go(func() { if err != nil { t.Error(err) } })\n}\n", 0},
		{"a benchmark's loop", "a_test.go", head + "for b.Loop() { if err != nil { b.Fatal(err) } }\n}\n", 0},
		{"a benchmark's N", "a_test.go", head + "for range b.N { if err != nil { b.Fatal(err) } }\n}\n", 0},
		{"another loop", "a_test.go", head + "for range n { if err != nil { b.Fatal(err) } }\n}\n", 1},
		{"a suite's fatal", "raft/suite_2a_test.go", "package p\n\nfunc f() {\nif err != nil { t.Fatal(err) }\n}\n", 0},
	} {
		require.Len(t, inspectChecks(tt.path, []byte(tt.src)), tt.want, tt.name)
	}
}

// walkGo calls visit for each Go file of the module, with its path below the root.
func walkGo(t *testing.T, visit func(path string, src []byte)) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || isModule(path)) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		visit(rel, src)
		return err
	})
	require.NoError(t, err)
}
