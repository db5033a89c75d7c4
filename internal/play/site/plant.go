package site

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// A core with all bugs has a variant of a function for each bug in the function. The
// function itself calls the variant of the planted bug, if there is one. So one WebAssembly
// module has every bug, at the price of the changed functions alone.

// planter makes the variants of one file.
type planter struct {
	name  string
	src   string
	fset  *token.FileSet
	funcs map[string]*ast.FuncDecl // by receiver and name
	// variants are the changed functions, by the key of the function.
	variants map[string][]variant
}

// variant is a function with a bug.
type variant struct {
	bug  int    // number of the bug
	text string // source of the changed function
}

// plantAll returns the files of the core with all bugs that can be planted, and these
// bugs. A bug outside of function bodies cannot be planted.
func plantAll(sources fs.FS, bugs []Bug) (files map[string][]byte, planted []Bug, err error) {
	files = map[string][]byte{}
	byFile := map[string]*planter{}
	for _, b := range bugs {
		p := byFile[b.File]
		if p == nil {
			if p, err = newPlanter(sources, b.File); err != nil {
				return nil, nil, err
			}
			byFile[b.File] = p
		}
		ok, err := p.add(b, len(planted))
		if err != nil {
			return nil, nil, err
		}
		if ok {
			planted = append(planted, b)
		}
	}
	for name, p := range byFile {
		if files[name], err = p.file(planted); err != nil {
			return nil, nil, err
		}
	}
	files[path.Join(coreDir, "planted.go")] = plantedFile(planted)
	return files, planted, nil
}

func newPlanter(sources fs.FS, name string) (*planter, error) {
	src, err := fs.ReadFile(sources, name)
	if err != nil {
		return nil, err
	}
	p := &planter{name: name, src: string(src), variants: map[string][]variant{}}
	p.fset, p.funcs, err = functions(name, p.src)
	return p, err
}

// functions returns the functions of a file.
func functions(name, src string) (*token.FileSet, map[string]*ast.FuncDecl, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution|parser.ParseComments)
	if err != nil {
		return nil, nil, err
	}
	funcs := map[string]*ast.FuncDecl{}
	for _, d := range file.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			funcs[key(fn)] = fn
		}
	}
	return fset, funcs, nil
}

// key names a function with its receiver.
func key(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return fn.Name.Name
	}
	typ := fn.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	return fmt.Sprint(typ) + "." + fn.Name.Name
}

// cut returns the source between two positions.
func cut(fset *token.FileSet, src string, from, to token.Pos) string {
	return src[fset.Position(from).Offset:fset.Position(to).Offset]
}

// add makes the variants of a bug, and returns false if the bug is outside of function
// bodies.
func (p *planter) add(b Bug, number int) (bool, error) {
	src, err := b.apply(p.src)
	if err != nil {
		return false, err
	}
	fset, funcs, err := functions(p.name, src)
	if err != nil {
		return false, fmt.Errorf("%w: %s: %w", ErrBug, b.Name, err)
	}
	rest, restBefore := src, p.src
	changed := map[string]string{}
	for k, fn := range funcs {
		before, ok := p.funcs[k]
		if !ok {
			return false, nil
		}
		now, was := cut(fset, src, fn.Pos(), fn.End()), cut(p.fset, p.src, before.Pos(), before.End())
		if now == was {
			continue
		}
		header := cut(fset, src, fn.Pos(), fn.Body.Pos())
		if header != cut(p.fset, p.src, before.Pos(), before.Body.Pos()) || !forwards(fn) {
			return false, nil
		}
		changed[k] = now
		rest, restBefore = strings.Replace(rest, now, "", 1), strings.Replace(restBefore, was, "", 1)
	}
	if len(changed) == 0 || rest != restBefore {
		return false, nil
	}
	for k, text := range changed {
		p.variants[k] = append(p.variants[k], variant{number, text})
	}
	return true, nil
}

// forwards reports whether a function's arguments and receiver have names to pass on.
func forwards(fn *ast.FuncDecl) bool {
	lists := []*ast.FieldList{fn.Type.Params}
	if fn.Recv != nil {
		lists = append(lists, fn.Recv)
	}
	for _, list := range lists {
		for _, f := range list.List {
			if len(f.Names) == 0 || slices.ContainsFunc(f.Names, func(n *ast.Ident) bool { return n.Name == "_" }) {
				return false
			}
		}
	}
	return true
}

// file returns the source with the variants.
func (p *planter) file(bugs []Bug) ([]byte, error) {
	src := p.src
	var added strings.Builder
	for _, k := range slices.Sorted(maps.Keys(p.variants)) {
		fn := p.funcs[k]
		text := cut(p.fset, p.src, fn.Pos(), fn.End())
		src = strings.Replace(src, text, p.dispatch(fn, p.variants[k], bugs), 1)
		added.WriteString("\n" + renamed(text, fn.Name.Name, correct(fn.Name.Name)) + "\n")
		for _, v := range p.variants[k] {
			added.WriteString("\n" + renamed(v.text, fn.Name.Name, withBug(fn.Name.Name, v.bug)) + "\n")
		}
	}
	out, err := format.Source([]byte(src + added.String()))
	if err != nil {
		return nil, fmt.Errorf("%s with bugs: %w", p.name, err)
	}
	return out, nil
}

func correct(name string) string          { return name + "Correct" }
func withBug(name string, bug int) string { return fmt.Sprintf("%sWithBug%d", name, bug) }

// renamed gives a function's declaration another name.
func renamed(text, name, to string) string {
	return strings.Replace(text, name+"(", to+"(", 1)
}

// dispatch returns the function that calls the planted variant.
func (p *planter) dispatch(fn *ast.FuncDecl, variants []variant, bugs []Bug) string {
	var args []string
	for _, f := range fn.Type.Params.List {
		for _, n := range f.Names {
			arg := n.Name
			if _, variadic := f.Type.(*ast.Ellipsis); variadic {
				arg += "..."
			}
			args = append(args, arg)
		}
	}
	call := func(name string) string {
		if fn.Recv != nil {
			name = fn.Recv.List[0].Names[0].Name + "." + name
		}
		name += "(" + strings.Join(args, ", ") + ")"
		if fn.Type.Results != nil {
			return "return " + name
		}
		return name + "; return"
	}
	var b bytes.Buffer
	b.WriteString(cut(p.fset, p.src, fn.Pos(), fn.Body.Pos()) + "{\n\tswitch planted {\n")
	for _, v := range variants {
		fmt.Fprintf(&b, "\tcase %q:\n\t\t%s\n", bugs[v.bug].Name, call(withBug(fn.Name.Name, v.bug)))
	}
	last, _, _ := strings.Cut(call(correct(fn.Name.Name)), "; return")
	fmt.Fprintf(&b, "\t}\n\t%s\n}", last)
	return b.String()
}

// plantedFile has the switch.
func plantedFile(bugs []Bug) []byte {
	var b bytes.Buffer
	b.WriteString("package core\n\nimport \"fmt\"\n\n// planted is the bug of all cores.\nvar planted string\n\n")
	b.WriteString("// Plant gives all cores a bug, or with an empty name none.\nfunc Plant(bug string) error {\n\tswitch bug {\n\tcase \"\"")
	for _, bug := range bugs {
		fmt.Fprintf(&b, ", %q", bug.Name)
	}
	b.WriteString(":\n\t\tplanted = bug\n\t\treturn nil\n\t}\n\treturn fmt.Errorf(\"core: no bug %q\", bug)\n}\n")
	return b.Bytes()
}
