package course

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Markers are comments in the sources of the plain implementation.
//
//	//lab:begin 2B TEXT    the solution of a part begins; the skeleton has TEXT instead
//	//lab:stub CODE        a line of the skeleton
//	//lab:end              the solution ends
//	//lab:solution         the whole file belongs to the solution
//
// Solutions may nest. The skeleton then has the texts of all of them.
const (
	markBegin    = "//lab:begin"
	markStub     = "//lab:stub"
	markEnd      = "//lab:end"
	markSolution = "//lab:solution"
)

// solution returns a source without the markers.
func solution(src []byte) ([]byte, error) {
	var kept []string
	for _, line := range strings.Split(string(src), "\n") {
		if !strings.HasPrefix(strings.TrimSpace(line), "//lab:") {
			kept = append(kept, line)
		}
	}
	return format.Source([]byte(strings.Join(kept, "\n")))
}

// skeleton returns a source without the solutions, or nil for a file of the solution. The
// comment of the package is doc.
func skeleton(name string, src []byte, doc string) ([]byte, error) {
	var kept []string
	depth := 0
	for n, line := range strings.Split(string(src), "\n") {
		text := strings.TrimSpace(line)
		indent := line[:len(line)-len(strings.TrimLeft(line, "\t"))]
		bad := func(what string) error { return fmt.Errorf("course: %s:%d: %s", name, n+1, what) }
		switch {
		case text == markSolution:
			return nil, nil
		case strings.HasPrefix(text, markBegin):
			depth++
			part, what, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(text, markBegin)), " ")
			if !slices.Contains(partNames, part) {
				return nil, bad("no part " + part)
			}
			if what != "" {
				kept = append(kept, fmt.Sprintf("%s// Your code here (%s): %s", indent, part, what))
			}
		case strings.HasPrefix(text, markStub):
			if depth == 0 {
				return nil, bad("a stub outside of a solution")
			}
			kept = append(kept, indent+strings.TrimPrefix(strings.TrimPrefix(text, markStub), " "))
		case text == markEnd:
			if depth--; depth < 0 {
				return nil, bad("an end without a begin")
			}
		case strings.HasPrefix(text, "//lab:"):
			return nil, bad("unknown marker " + text)
		case depth == 0:
			kept = append(kept, line)
		}
	}
	if depth != 0 {
		return nil, fmt.Errorf("course: %s: a begin without an end", name)
	}
	return tidied(name, []byte(strings.Join(kept, "\n")), doc)
}

// tidied formats a source, removes imports without a use, and replaces the comment of the
// package.
func tidied(name string, src []byte, doc string) ([]byte, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("course: %w", err)
	}
	offset := func(p token.Pos) int { return int(p - file.FileStart) }
	var cuts [][2]int
	if file.Doc != nil {
		cuts = append(cuts, [2]int{offset(file.Doc.Pos()), offset(file.Doc.End()) + 1})
	}
	used := make(map[string]bool)
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok {
				used[id.Name] = true
			}
		}
		return true
	})
	for _, spec := range file.Imports {
		if imported, _ := strconv.Unquote(spec.Path.Value); !used[importName(spec, imported)] {
			cuts = append(cuts, [2]int{offset(spec.Pos()), offset(spec.End())})
		}
	}
	slices.SortFunc(cuts, func(a, b [2]int) int { return b[0] - a[0] })
	for _, cut := range cuts {
		src = slices.Delete(src, cut[0], cut[1])
	}
	if doc != "" {
		src = append([]byte(doc), bytes.TrimLeft(src, "\n")...)
	}
	out, err := format.Source(withoutEmptyImports(src))
	if err != nil {
		return nil, fmt.Errorf("course: %s: %w", name, err)
	}
	return out, nil
}

func importName(spec *ast.ImportSpec, imported string) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	base := path.Base(imported)
	if base == "v2" {
		base = path.Base(path.Dir(imported))
	}
	return base
}

// withoutEmptyImports removes blank lines in an import declaration, and the declaration if
// nothing is left. A blank line stays between the standard library and other packages.
func withoutEmptyImports(src []byte) []byte {
	before, rest, found := strings.Cut(string(src), "import (\n")
	if !found {
		return src
	}
	body, after, _ := strings.Cut(rest, "\n)")
	var std, others []string
	for _, line := range strings.Split(body, "\n") {
		switch {
		case strings.TrimSpace(line) == "":
		case strings.Contains(line, module+"/"):
			others = append(others, line)
		default:
			std = append(std, line)
		}
	}
	if len(std)+len(others) == 0 {
		return []byte(before + strings.TrimLeft(after, "\n"))
	}
	lines := std
	if len(std) > 0 && len(others) > 0 {
		lines = append(lines, "")
	}
	lines = append(lines, others...)
	return []byte(before + "import (\n" + strings.Join(lines, "\n") + "\n)" + after)
}
