package core_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// allowedImports is all that the core may stand on: nothing that knows time,
// other goroutines, the machine or chance, and nothing of ours.
var allowedImports = []string{"cmp", "encoding/binary", "errors", "fmt", "slices", "sort"}

// The core is pure: whoever drives it decides what time, disk, network and
// chance are, and no two of its steps run at once.
func TestCoreIsPure(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	parsed := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		parsed++
		for _, imp := range file.Imports {
			if path, _ := strconv.Unquote(imp.Path.Value); !slices.Contains(allowedImports, path) {
				t.Errorf("%s imports %s; allowed are %v", name, path, allowedImports)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
				t.Errorf("%s: a goroutine or a channel", fset.Position(n.Pos()))
			case *ast.RangeStmt:
				if sel, ok := n.X.(*ast.SelectorExpr); ok && slices.Contains([]string{"votes"}, sel.Sel.Name) {
					t.Errorf("%s: ranges over a map, whose order differs from run to run", fset.Position(n.Pos()))
				}
			}
			return true
		})
	}
	if parsed < 8 {
		t.Fatalf("only %d files found: %v", parsed, files)
	}
}

// The core stays small enough to read.
func TestCoreIsSmall(t *testing.T) {
	const limit = 3500
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines += strings.Count(string(text), "\n")
	}
	if lines >= limit || lines < 1000 {
		t.Fatalf("the core has %d lines; want fewer than %d", lines, limit)
	}
}
