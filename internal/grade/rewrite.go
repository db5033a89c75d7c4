package grade

import (
	"bytes"
	"cmp"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strconv"
)

// An edit replaces bytes of a file.
type edit struct {
	start, end int
	text       []byte
}

// rewritten returns a file as it goes into the work copy. Imports lead to the copy's
// packages. In package raft the declarations of the Persister are blank. Lines keep
// their numbers. rewritten also returns the imported directories of the submission.
func (l *layout) rewritten(u *unit, pkg string) (src []byte, imported []target) {
	if u.file == nil {
		return u.src, nil
	}
	offset := func(p token.Pos) int { return int(p - u.file.FileStart) }
	var edits []edit
	var dropped map[*ast.ImportSpec]bool
	if pkg == "raft" {
		edits, dropped = u.withoutPersister(offset)
		if len(edits) > 0 {
			l.once("%s: the Persister of the laboratory takes the place of the submitted one", u.name)
		}
	}
	for _, spec := range u.file.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		text := spec.Path.Value
		if t, local := l.resolve(path.Dir(u.name), name); local {
			imported = append(imported, t)
			if t.path != name {
				l.once("import %q is %s", name, t.path)
			}
			text = strconv.Quote(t.path)
		} else if l.absent(name) {
			text = strconv.Quote(absentPath + name) // whatever modules the grader's machine has
		}
		start := spec.Path.Pos()
		if dropped[spec] {
			text = `_ "sync"` // an import that nothing uses, so that the lines stay
			start = spec.Pos()
		}
		edits = append(edits, edit{offset(start), offset(spec.Path.End()), []byte(text)})
	}
	return apply(u.src, edits), imported
}

// apply applies edits that do not overlap.
func apply(src []byte, edits []edit) []byte {
	slices.SortFunc(edits, func(a, b edit) int { return cmp.Compare(b.start, a.start) })
	src = slices.Clone(src)
	for _, e := range edits {
		if 0 <= e.start && e.start <= e.end && e.end <= len(src) {
			src = slices.Replace(src, e.start, e.end, e.text...)
		}
	}
	return src
}

// withoutPersister returns edits that blank the declarations of the Persister, and
// the imports that only these declarations use.
func (u *unit) withoutPersister(offset func(token.Pos) int) ([]edit, map[*ast.ImportSpec]bool) {
	var edits []edit
	used := make(map[string]bool) // names before a dot in the rest of the file
	for _, decl := range u.file.Decls {
		gone := persisterType(decl)
		if persisterDecl(decl) {
			gone = decl
		}
		if gone != nil {
			start, end := offset(gone.Pos()), offset(gone.End())
			edits = append(edits, edit{start, end, bytes.Repeat([]byte("\n"), bytes.Count(u.src[start:end], []byte("\n")))})
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			if n == gone && n != nil {
				return false
			}
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if id, ok := sel.X.(*ast.Ident); ok {
					used[id.Name] = true
				}
			}
			return true
		})
	}
	dropped := make(map[*ast.ImportSpec]bool)
	if len(edits) == 0 {
		return nil, dropped
	}
	for _, spec := range u.file.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		name = path.Base(name)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if name != "." && !used[name] {
			dropped[spec] = true
		}
	}
	return edits, dropped
}
