package bench

import (
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// lookInside are tests of the original that use unexported names.
var lookInside = []string{"TestRegisterModelMetadata"}

// helper replaces a function from another test file of the original.
const helper = `package theirs

import (
	"path/filepath"
	"testing"

	"raftlab/porcupine"
)

func visualizeTempFile(t *testing.T, model porcupine.Model, info porcupine.LinearizationInfo) {
	if err := porcupine.VisualizePath(model, info, filepath.Join(t.TempDir(), "page.html")); err != nil {
		t.Fatal(err)
	}
}
`

// TestTheirTests runs the tests of the original with our package. Only the import path changes.
func TestTheirTests(t *testing.T) {
	dir, err := os.MkdirTemp(".", "theirs-") // within the module, where raftlab can be imported
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	data := testData(t)
	if err := os.Symlink(data, filepath.Join(dir, "test_data")); err != nil {
		t.Fatal(err)
	}
	tests := imported(t, filepath.Join(filepath.Dir(data), "porcupine_test.go"))
	for name, text := range map[string]string{"porcupine_test.go": tests, "helper_test.go": helper} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("go", "test", "-v", "./"+filepath.Base(dir)).CombinedOutput()
	if passed := strings.Count(string(out), "\n--- PASS"); err != nil || passed < 100 {
		t.Errorf("%d tests passed, %v:\n%s", passed, err, out)
	}
}

// imported changes a test file of the original to import our package.
func imported(t *testing.T, path string) string {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	file.Name.Name = "theirs"
	file.Decls = slices.DeleteFunc(file.Decls, func(d ast.Decl) bool {
		f, ok := d.(*ast.FuncDecl)
		return ok && slices.Contains(lookInside, f.Name.Name)
	})
	file.Comments = nil
	ours := &ast.ImportSpec{Name: ast.NewIdent("."), Path: &ast.BasicLit{Kind: token.STRING, Value: strconv.Quote("raftlab/porcupine")}}
	imports := file.Decls[0].(*ast.GenDecl)
	imports.Specs = append(imports.Specs, ours)
	var text strings.Builder
	if err := format.Node(&text, set, file); err != nil {
		t.Fatal(err)
	}
	return text.String()
}
