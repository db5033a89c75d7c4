package grade

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"raftlab"
)

// A copyTree is a work copy of the laboratory with a submission in its place.
type copyTree struct {
	*layout
	dir       string // of the copy
	submitted []string
	inspected []inspection    // the submission's packages
	done      map[string]bool // packages of the copy that are complete
}

// Names of generated files. Submitted files with these names are renamed.
const (
	guardFile  = "zz_raftlab_guard.go"
	mainFile   = "zz_raftlab_main_test.go"
	exportFile = "zz_raftlab_export_test.go"
	storeFile  = "zz_raftlab_persister.go"
)

// assemble writes the work copy into the empty directory dir. The harness is this
// project's in any case. A lab package that is not submitted is this project's too.
func assemble(l *layout, dir string) (*copyTree, error) {
	c := &copyTree{layout: l, dir: dir, done: make(map[string]bool)}
	for _, name := range l.other {
		l.once("%s is left out, because only Go files are graded", name)
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		if err := c.ours(name, name, nil); err != nil {
			return nil, err
		}
	}
	for _, lab := range l.edition.labs {
		if dir, ok := l.labs[lab.name]; ok {
			c.submitted = append(c.submitted, lab.name)
			if err := c.student(dir, l.edition.place(lab.name)); err != nil {
				return nil, err
			}
		}
	}
	for _, name := range c.submitted {
		if err := c.support(*l.edition.lab(name)); err != nil {
			return nil, err
		}
	}
	for _, s := range l.edition.suites {
		if !c.tested(s) {
			continue
		}
		if err := c.suite(s); err != nil {
			return nil, err
		}
	}
	return c, c.need(module + "/internal/verdict")
}

// tested reports whether the submission has a package that a suite tests.
func (c *copyTree) tested(s suite) bool {
	return slices.ContainsFunc(s.labs, func(name string) bool { return c.labs[name] != "" })
}

// ours copies a file of this project, perhaps changed.
func (c *copyTree) ours(from, to string, change func([]byte) []byte) error {
	src, err := raftlab.Sources.ReadFile(from)
	if err != nil {
		return err
	}
	if change != nil {
		src = change(src)
	}
	return c.write(to, src)
}

func (c *copyTree) write(name string, src []byte) error {
	full := filepath.Join(c.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	return os.WriteFile(full, src, 0o644)
}

// student copies a package of the submission and the packages that it imports.
func (c *copyTree) student(dir, place string) error {
	if c.done[place] {
		return nil
	}
	c.done[place] = true
	pkg := inspection{Local: c.locals(dir)}
	var imported []target
	clause := c.clause(dir, path.Base(place))
	for _, u := range c.dirs[dir] {
		why := u.left()
		if lab := c.edition.at(place); why == "" && lab != nil && slices.Contains(lab.theirs, path.Base(u.name)) {
			why = "part of the course's harness"
		}
		if why != "" {
			if why != "a test" {
				c.once("%s is left out (%s)", u.name, why)
			}
			continue
		}
		src, targets := c.rewritten(u, place)
		imported = append(imported, targets...)
		name := path.Base(u.name)
		if strings.HasPrefix(name, "zz_raftlab_") {
			name = "submitted_" + name
		}
		if err := c.write(path.Join(place, name), src); err != nil {
			return err
		}
		if u.file != nil {
			pkg.Names, pkg.Files = append(pkg.Names, u.name), append(pkg.Files, u.src)
		}
	}
	c.inspected = append(c.inspected, pkg)
	guard := fmt.Sprintf("package %s\n\nimport _ %q\n", clause, module+"/internal/verdict")
	if err := c.write(path.Join(place, guardFile), []byte(guard)); err != nil {
		return err
	}
	for _, t := range imported {
		if err := c.follow(t); err != nil {
			return err
		}
	}
	return nil
}

// locals returns the imports of a directory that lead to the submission or the course.
func (c *copyTree) locals(dir string) (paths []string) {
	for _, u := range c.dirs[dir] {
		if u.file == nil || u.left() != "" {
			continue
		}
		for _, spec := range u.file.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil || slices.Contains(paths, name) {
				continue
			}
			_, local := c.resolve(dir, name)
			if !local && c.absent(name) {
				c.once("import %q leads nowhere: the submission has no such package", name)
				local = true
			}
			if local {
				paths = append(paths, name)
			}
		}
	}
	return paths
}

// follow copies an imported package.
func (c *copyTree) follow(t target) error {
	if t.dir != "" {
		return c.student(t.dir, strings.TrimPrefix(t.path, module+"/"))
	}
	return c.need(t.path)
}

// need copies a package of this project and its imports, unless the submission has
// the package.
func (c *copyTree) need(name string) error {
	pkg, local := strings.CutPrefix(name, module+"/")
	if !local || c.done[pkg] {
		return nil
	}
	if lab := c.edition.at(pkg); lab != nil {
		if dir, ok := c.labs[lab.name]; ok {
			return c.student(dir, pkg)
		}
		c.once("package %s is not submitted, and is the laboratory's", lab.name)
	}
	c.done[pkg] = true
	entries, err := fs.ReadDir(raftlab.Sources, pkg)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the compiler tells
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		file := path.Join(pkg, e.Name())
		if e.IsDir() || strings.HasSuffix(file, "_test.go") {
			continue
		}
		if err := c.ours(file, file, nil); err != nil {
			return err
		}
		if path.Ext(file) == ".go" {
			if err := c.needs(file); err != nil {
				return err
			}
		}
	}
	return c.embedded(pkg)
}

// needs copies what a file of this project imports.
func (c *copyTree) needs(file string) error {
	src, err := raftlab.Sources.ReadFile(file)
	if err != nil {
		return err
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, src, parser.ImportsOnly)
	if err != nil {
		return err
	}
	for _, spec := range parsed.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		if err := c.need(name); err != nil {
			return err
		}
	}
	return nil
}

// embedded copies files in directories without Go files, which a package of this
// project may embed.
func (c *copyTree) embedded(pkg string) error {
	return fs.WalkDir(raftlab.Sources, pkg, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == pkg {
			return err
		}
		if d.IsDir() {
			if goFiles, _ := fs.Glob(raftlab.Sources, name+"/*.go"); len(goFiles) > 0 || d.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		if path.Dir(name) == pkg {
			return nil
		}
		return c.ours(name, name, nil)
	})
}

// suite copies the tests of a suite. Each test begins with a call of verdict.Watch.
func (c *copyTree) suite(s suite) error {
	files, err := suiteFiles(s.dir)
	if err != nil {
		return err
	}
	for _, name := range files {
		if err := c.ours(name, name, func(src []byte) []byte { return c.watched(name, src) }); err != nil {
			return err
		}
		if err := c.needs(name); err != nil {
			return err
		}
	}
	text := fmt.Sprintf("package %s_test\n\nimport (\n\t\"testing\"\n\n\t%q\n)\n\nfunc TestMain(m *testing.M) { verdict.Main(m) }\n\n"+
		"func raftlabWatch(t *testing.T) { verdict.Watch(t) }\n", s.clause, module+"/internal/verdict")
	return c.write(path.Join(s.dir, mainFile), []byte(text))
}

// watched adds the calls to the source of a suite.
func (c *copyTree) watched(name string, src []byte) []byte {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return src
	}
	var edits []edit
	if line := []byte("//go:build " + c.edition.tag + "\n"); c.edition.tag != "" && bytes.HasPrefix(src, line) {
		edits = append(edits, edit{0, len(line), []byte("\n")})
	}
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		if fn.Name.Name == "TestMain" { // the grader has its own
			at := int(fn.Name.Pos() - file.FileStart)
			edits = append(edits, edit{at, at + len("TestMain"), []byte("raftlabSuiteMain")})
		} else if isTest(fn) {
			at := int(fn.Body.Lbrace-file.FileStart) + 1
			edits = append(edits, edit{at, at, fmt.Appendf(nil, " raftlabWatch(%s);", fn.Type.Params.List[0].Names[0].Name)})
		}
	}
	return []byte(strings.ReplaceAll(string(apply(src, edits)), raftOf, c.raftOf()))
}

// support writes what the harness needs inside of a submitted package. For raft that
// is the Persister, an alias of a type in a package of its own, so that submitted code
// does not reach the fields. For a service that is access to the service's Raft.
func (c *copyTree) support(l lab) error {
	if l.name == "raft" { // the Persister of other editions is in a package of its own
		const store = "internal/persister"
		err := c.ours("raft/persister.go", store+"/persister.go", func(src []byte) []byte {
			return []byte(strings.Replace(string(src), "package raft\n", "package persister\n", 1))
		})
		if err != nil {
			return err
		}
		text := fmt.Sprintf("package raft\n\nimport %s %q\n\ntype Persister = %[1]s.Persister\n\n"+
			"func MakePersister() *Persister { return %[1]s.MakePersister() }\n", c.free("persister"), module+"/"+store)
		return c.write(path.Join(l.name, storeFile), []byte(text))
	}
	if l.start == "" {
		return nil
	}
	server, field := c.server(l)
	text := fmt.Sprintf("package %s\n\nimport %s %q\n\nfunc %s(kv *%s) *%[2]s.Raft { return kv.%[6]s }\n", l.name, c.free("raft"), module+"/raft", c.raftOf(), server, field)
	return c.write(path.Join(l.name, exportFile), []byte(text))
}

// raftOf is the function of the suites that returns the Raft of a server. The name
// changes if a submission has the name.
const raftOf = "RaftOf"

func (c *copyTree) raftOf() string { return c.free(raftOf) }

// free returns a name that no submitted lab package declares, and that begins with name.
func (c *copyTree) free(name string) string {
	var decls []ast.Decl
	for _, lab := range c.submitted {
		decls = append(decls, c.decls(lab)...)
	}
	for slices.ContainsFunc(decls, func(d ast.Decl) bool { return declares(d, name) }) {
		name += "_"
	}
	return name
}

// declares reports whether a declaration of a package has a name.
func declares(decl ast.Decl, name string) bool {
	if fn, ok := decl.(*ast.FuncDecl); ok {
		return fn.Recv == nil && fn.Name.Name == name
	}
	d, ok := decl.(*ast.GenDecl)
	return ok && slices.ContainsFunc(d.Specs, func(spec ast.Spec) bool {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			return spec.Name.Name == name
		case *ast.ValueSpec:
			return slices.ContainsFunc(spec.Names, func(id *ast.Ident) bool { return id.Name == name })
		}
		return false
	})
}

// decls are the declarations of a submitted lab package.
func (c *copyTree) decls(lab string) []ast.Decl {
	var all []ast.Decl
	for _, u := range c.dirs[c.labs[lab]] {
		if u.file != nil && u.left() == "" {
			all = append(all, u.file.Decls...)
		}
	}
	return all
}

// server finds the type that a lab's start function returns, and the type's field for
// the Raft server.
func (c *copyTree) server(l lab) (name, field string) {
	name, field = map[string]string{"kvraft": "KVServer", "shardkv": "ShardKV"}[l.name], "rf"
	decls := c.decls(l.name)
	for _, d := range decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || fn.Name.Name != l.start || fn.Type.Results == nil {
			continue
		}
		if star, ok := fn.Type.Results.List[0].Type.(*ast.StarExpr); ok {
			if id, ok := star.X.(*ast.Ident); ok {
				name = id.Name
			}
		}
	}
	for _, d := range decls {
		ast.Inspect(d, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && spec.Name.Name == name {
				if s, ok := spec.Type.(*ast.StructType); ok {
					field = raftField(s, field)
				}
			}
			return true
		})
	}
	return name, field
}

// raftField returns the name of the field with type *raft.Raft.
func raftField(s *ast.StructType, usual string) string {
	for _, f := range s.Fields.List {
		star, ok := f.Type.(*ast.StarExpr)
		if !ok {
			continue
		}
		if sel, ok := star.X.(*ast.SelectorExpr); ok && sel.Sel.Name == "Raft" {
			if len(f.Names) == 0 {
				return "Raft" // embedded
			}
			return f.Names[0].Name
		}
	}
	return usual
}
