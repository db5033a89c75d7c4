package grade

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"raftlab"
)

// module is the path of the module in which submissions are built.
const module = "raftlab"

// A layout tells which directories of a submission hold the lab packages, and where
// each import leads.
type layout struct {
	*source
	edition *edition
	fset    *token.FileSet
	dirs    map[string][]*unit // by directory
	labs    map[string]string  // directory of a lab package, by name
	root    string             // the directory with the lab packages
	modules map[string]string  // directory of a module, by the module's path
	std     func(string) bool  // whether a path is of the standard library
	told    map[string]bool    // notes that were taken
}

// A unit is a Go file of a submission.
type unit struct {
	name string // slash-separated path in the submission
	src  []byte
	file *ast.File
	err  error // of the parser
}

var moduleLine = regexp.MustCompile(`(?m)^\s*module\s+"?([^\s"]+)"?`)

// newLayout finds the lab packages.
func newLayout(s *source, e *edition, std func(string) bool) (*layout, error) {
	l := &layout{source: s, edition: e, fset: token.NewFileSet(), dirs: make(map[string][]*unit), labs: make(map[string]string),
		modules: make(map[string]string), std: std, told: make(map[string]bool)}
	for name, src := range s.files {
		if path.Base(name) == "go.mod" {
			if m := moduleLine.FindSubmatch(src); m != nil {
				l.modules[string(m[1])] = path.Dir(name)
			}
			continue
		}
		file, err := parser.ParseFile(l.fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
		l.dirs[path.Dir(name)] = append(l.dirs[path.Dir(name)], &unit{name, src, file, err})
	}
	for _, units := range l.dirs {
		slices.SortFunc(units, func(a, b *unit) int { return strings.Compare(a.name, b.name) })
	}
	if e.byPath {
		l.findTree()
	}
	for _, lab := range e.labs {
		if _, found := l.labs[lab.name]; !found && !(e.byPath && l.root != "") {
			l.find(lab)
		}
	}
	if len(l.labs) == 0 {
		return nil, badSubmission("no directory holds one of the packages %s%s", strings.Join(e.names(), ", "), l.hint())
	}
	for _, lab := range e.labs {
		if dir, ok := l.labs[lab.name]; ok && l.root == "" {
			l.root = path.Dir(dir)
			break
		}
	}
	return l, nil
}

// hint names another edition whose packages the submission has.
func (l *layout) hint() string {
	for _, other := range editions {
		for _, lab := range other.labs {
			for dir := range l.dirs {
				if other != l.edition && path.Base(dir) == path.Base(lab.name) && l.holds(dir, lab.clause) {
					return fmt.Sprintf("; the directory %s is of the edition %s", dir, other.name)
				}
			}
		}
	}
	return ""
}

// holds reports whether a directory has a file of a package, beside tests.
func (l *layout) holds(dir, clause string) bool {
	return slices.ContainsFunc(l.dirs[dir], func(u *unit) bool {
		return !strings.HasSuffix(u.name, "_test.go") && u.built() && u.file != nil && u.file.Name != nil && u.file.Name.Name == clause
	})
}

// clause returns the name of the package in a directory. The name of most files counts.
func (l *layout) clause(dir, usual string) string {
	count := make(map[string]int)
	for _, u := range l.dirs[dir] {
		if u.file != nil && u.file.Name != nil && u.left() == "" {
			count[u.file.Name.Name]++
		}
	}
	if count[usual] > 0 {
		return usual
	}
	for name, n := range count {
		if n > count[usual] || n == count[usual] && name < usual {
			usual = name
		}
	}
	return usual
}

// findTree finds the packages of an edition with fixed directories. The root is the
// directory with the most of them, then one with the name src as in the course's tree, and
// then the one nearest to the top.
func (l *layout) findTree() {
	roots := make(map[string]map[string]string) // directories of labs, by root and lab
	for dir := range l.dirs {
		for _, lab := range l.edition.labs {
			root, ok := strings.CutSuffix("/"+dir, "/"+lab.name)
			if !ok || !l.holds(dir, lab.clause) {
				continue
			}
			root = cmp.Or(strings.TrimPrefix(root, "/"), ".")
			if roots[root] == nil {
				roots[root] = make(map[string]string)
			}
			roots[root][lab.name] = dir
		}
	}
	best := slices.SortedFunc(maps.Keys(roots), func(a, b string) int {
		return cmp.Or(len(roots[b])-len(roots[a]), outside(a)-outside(b), strings.Count(a, "/")-strings.Count(b, "/"), strings.Compare(a, b))
	})
	if len(best) == 0 {
		return
	}
	l.root, l.labs = best[0], roots[best[0]]
	l.once("the packages are in directory %s", l.root)
	for _, other := range best[1:] {
		l.once("directory %s has packages of the labs too, which are left out", other)
	}
}

func (e *edition) names() []string {
	var names []string
	for _, lab := range e.labs {
		names = append(names, lab.name)
	}
	return names
}

// find chooses the directory of a lab package, which has files of the package. A
// directory with the name of the package comes first, then one beside the most other
// lab packages, one in a directory src as in the course's tree, and the one nearest to the
// top. A tree often has older copies of packages.
func (l *layout) find(lab lab) {
	name := lab.name
	var found []string
	for dir := range l.dirs {
		if l.holds(dir, lab.clause) {
			found = append(found, dir)
		}
	}
	if len(found) == 0 {
		return
	}
	rank := func(dir string) string {
		other := 0
		if path.Base(dir) != path.Base(name) && dir != "." {
			other = 1
		}
		return fmt.Sprintf("%d %2d %d %4d %s", other, len(l.edition.labs)-l.beside(dir), outside(path.Dir(dir)), strings.Count(dir, "/"), dir)
	}
	slices.SortFunc(found, func(a, b string) int { return strings.Compare(rank(a), rank(b)) })
	l.labs[name] = found[0]
	l.once("package %s is in directory %s", name, found[0])
	for _, other := range found[1:] {
		l.once("package %s is in directory %s too, which is left out", name, other)
	}
}

// outside is 0 for a directory src, which has the labs in the course's tree, and 1 for others.
func outside(dir string) int {
	if path.Base(dir) == "src" {
		return 0
	}
	return 1
}

// beside counts the lab packages in the directory above dir.
func (l *layout) beside(dir string) (n int) {
	for _, lab := range l.edition.labs {
		if l.holds(path.Join(path.Dir(dir), lab.name), lab.clause) {
			n++
		}
	}
	return n
}

// once takes a note unless there is an equal one.
func (l *layout) once(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !l.told[text] {
		l.told[text] = true
		l.notes = append(l.notes, text)
	}
}

// A target is the meaning of an import path in a submission.
type target struct {
	path string // the import path in the work copy
	dir  string // the directory in the submission, or ""
}

// resolve finds the target of an import in directory from. The course's module has
// many names, so the longest end of the path with a meaning counts.
func (l *layout) resolve(from, name string) (target, bool) {
	switch {
	case strings.HasPrefix(name, "./") || strings.HasPrefix(name, "../"):
		return l.meaning(path.Join(from, name))
	case l.std(name):
		return target{path: name}, false
	}
	for mod, dir := range l.modules {
		if rel, ok := strings.CutPrefix(name, mod+"/"); ok {
			if t, ok := l.meaning(path.Join(dir, rel)); ok {
				return t, true
			}
		}
	}
	for rest := name; ; {
		if t, ok := l.meaning(path.Join(l.root, rest)); ok {
			return t, true
		}
		_, after, more := strings.Cut(rest, "/")
		if !more {
			return target{path: name}, false
		}
		rest = after
	}
}

// domain is the first part of an import path that leads to a third party.
var domain = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}$`)

// absentPath begins the import paths of packages that were not handed in. The work copy has
// no such directory.
const absentPath = module + "/not-submitted/"

// absent reports whether an import that is not local means a package of the student's own
// that was not handed in. The build then fails. That is a mistake and breaks no rule.
func (l *layout) absent(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	if l.std(name) || first == module {
		return false
	}
	for mod := range l.modules {
		if strings.HasPrefix(name+"/", mod+"/") {
			return true
		}
	}
	return !domain.MatchString(first)
}

// meaning interprets a directory of the submission.
func (l *layout) meaning(dir string) (target, bool) {
	key := l.edition.key(l.root, dir)
	for name, labDir := range l.labs {
		if labDir == dir {
			key = name // whatever the name of the directory
		}
	}
	if l.edition.lab(key) != nil {
		return target{path: module + "/" + l.edition.place(key), dir: l.labs[key]}, true
	}
	if ours, given := l.edition.given[key]; given && !l.own(key, dir) {
		return target{path: module + "/" + ours}, true
	}
	if _, ok := l.dirs[dir]; ok {
		return target{path: module + "/" + l.place(dir), dir: dir}, true
	}
	return target{}, false
}

// own reports whether a submitted directory with the name of a given package is a helper
// package of the student. Only the course's harness imports the models of porcupine, which
// are next to the labs.
func (l *layout) own(key, dir string) bool {
	return key == "models" && dir != path.Join(l.root, key) && len(l.dirs[dir]) > 0
}

// key returns the name by which an edition knows a directory of a submission.
func (e *edition) key(root, dir string) string {
	if !e.byPath {
		return path.Base(dir)
	}
	return strings.TrimPrefix(dir, root+"/")
}

// place returns the directory of a lab package in the work copy.
func (e *edition) place(name string) string { return e.prefix + name }

// at returns the lab whose package is in a directory of the work copy, or nil.
func (e *edition) at(place string) *lab {
	name, ok := strings.CutPrefix(place, e.prefix)
	if !ok {
		return nil
	}
	return e.lab(name)
}

// place returns the directory of a helper package in the work copy.
func (l *layout) place(dir string) string {
	for name, labDir := range l.labs {
		if rel, ok := strings.CutPrefix(dir, labDir+"/"); ok && labDir != "." {
			return away(l.edition.place(name) + "/" + rel)
		}
	}
	if rel, ok := strings.CutPrefix(dir, l.root+"/"); ok {
		dir = rel
	}
	return away(l.edition.prefix + dir)
}

// away moves a directory that would collide with one of this project. A directory
// below one called internal stays below, for its importers.
func away(dir string) string {
	if _, err := fs.Stat(raftlab.Sources, dir); err != nil && dir != "." {
		return dir
	}
	if i := strings.LastIndex("/"+dir, "/internal/"); i >= 0 {
		i += len("internal/")
		return dir[:i] + "submitted/" + dir[i:]
	}
	return "submitted/" + dir
}

// persisterDecl reports whether a declaration belongs to the course's stable storage.
func persisterDecl(decl ast.Decl) bool {
	fn, ok := decl.(*ast.FuncDecl)
	if !ok {
		return false
	}
	if fn.Recv == nil {
		return fn.Name.Name == "MakePersister"
	}
	x := fn.Recv.List[0].Type
	if star, ok := x.(*ast.StarExpr); ok {
		x = star.X
	}
	id, ok := x.(*ast.Ident)
	return ok && id.Name == "Persister"
}

// persisterType returns the declaration of the type Persister, of a group or of its own, or
// nil.
func persisterType(decl ast.Decl) ast.Node {
	d, ok := decl.(*ast.GenDecl)
	if !ok || d.Tok != token.TYPE {
		return nil
	}
	for _, spec := range d.Specs {
		if t := spec.(*ast.TypeSpec); t.Name.Name == "Persister" {
			if len(d.Specs) == 1 {
				return d
			}
			return t
		}
	}
	return nil
}

// built reports whether the go command compiles a file without tags on the grader's system.
// A file that cannot be read is the compiler's to refuse.
func (u *unit) built() bool {
	system := build.Default
	system.GOOS, system.GOARCH, system.CgoEnabled, system.BuildTags = "linux", "amd64", false, nil
	system.OpenFile = func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(u.src)), nil }
	match, err := system.MatchFile(path.Split(u.name))
	return match || err != nil
}

// left tells why a file is left out, or returns "".
func (u *unit) left() string {
	if strings.HasSuffix(u.name, "_test.go") {
		return "a test"
	}
	if !u.built() {
		return "a build constraint excludes the file on linux/amd64"
	}
	if u.file == nil {
		return ""
	}
	for _, spec := range u.file.Imports {
		if p, _ := strconv.Unquote(spec.Path.Value); p == "testing" {
			return "part of a harness, because the file imports package testing"
		}
	}
	return ""
}
