package course

import (
	"archive/zip"
	"bytes"
	"embed"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/template"

	"raftlab"
	"raftlab/internal/grade"
)

// texts are the templates of the pages and scripts.
//
//go:embed files
var texts embed.FS

// labs are the packages that students write, each with its directory in the plain
// implementation.
var labs = []struct{ name, from, doc string }{
	{"raft", student, "Package raft is your Raft: labs 2A to 2D. The pages labs/2A.md to labs/2D.md say what to\n// build."},
	{"kvraft", student + "/kvraft", "Package kvraft is your replicated key/value service: labs 3A and 3B. The pages labs/3A.md\n// and labs/3B.md say what to build."},
	{"shardctrler", student + "/shardctrler", "Package shardctrler is your shard controller: lab 4A. The page labs/4A.md says what to\n// build."},
	{"shardkv", student + "/shardkv", "Package shardkv is your sharded key/value service: lab 4B. The page labs/4B.md says what\n// to build."},
}

// packageOf returns the lab package of a part.
func packageOf(part string) string {
	for _, t := range []struct{ prefix, pkg string }{{"2", "raft"}, {"3", "kvraft"}, {"4A", "shardctrler"}} {
		if strings.HasPrefix(part, t.prefix) {
			return t.pkg
		}
	}
	return "shardkv"
}

// needs lists the packages below the lab packages. A service needs the Raft of the
// student.
func (c *config) packages() []string {
	var names []string
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	add("raft")
	for _, p := range c.Parts {
		if p == "4B" {
			add("shardctrler")
		}
		add(packageOf(p))
	}
	return names
}

// builder collects the files of a handout.
type builder struct {
	*config
	mold
	tests []grade.Test
	files map[string][]byte
	done  map[string]bool // packages of the harness
}

// files returns the handout of a student, or of the class for the empty student.
func (c *config) files(student string) (map[string][]byte, error) {
	if c.same == nil {
		b, err := c.builder("")
		if err != nil {
			return nil, err
		}
		for _, name := range c.packages() {
			if err := b.suite(name); err != nil {
				return nil, err
			}
		}
		b.files["go.mod"] = fmt.Appendf(nil, "module %s\n\ngo %s\n", c.Module, goVersion())
		c.same = b.files
	}
	b, err := c.skeletons(student)
	if err != nil {
		return nil, err
	}
	maps.Copy(b.files, c.same)
	return b.files, b.pages()
}

// skeletons returns a builder with the skeletons of a student.
func (c *config) skeletons(student string) (*builder, error) {
	b, err := c.builder(student)
	if err != nil {
		return nil, err
	}
	for _, lab := range labs {
		if slices.Contains(c.packages(), lab.name) {
			if err := b.lab(lab.name, lab.from, lab.doc); err != nil {
				return nil, err
			}
		}
	}
	return b, nil
}

// catalogue is the list of all tests.
var catalogue = sync.OnceValues(grade.Catalogue)

// builder returns a builder without files.
func (c *config) builder(student string) (*builder, error) {
	tests, err := catalogue()
	if err != nil {
		return nil, err
	}
	b := &builder{config: c, mold: mold{c.Secret, student}, files: make(map[string][]byte), done: make(map[string]bool)}
	for _, t := range tests {
		if slices.Contains(c.Parts, t.Part) && (c.hold == nil || !c.hold.MatchString(t.Name)) {
			b.tests = append(b.tests, t)
		}
	}
	return b, nil
}

// goVersion is the version of Go in go.mod.
func goVersion() string {
	mod, err := raftlab.Sources.ReadFile("go.mod")
	if m := regexp.MustCompile(`(?m)^go (\S+)`).FindSubmatch(mod); err == nil && m != nil {
		return string(m[1])
	}
	return strings.TrimPrefix(runtime.Version(), "go")
}

// lab adds the skeleton of a package.
func (b *builder) lab(name, from, doc string) error {
	entries, err := fs.ReadDir(raftlab.Sources, from)
	if err != nil {
		return err
	}
	comment := fmt.Sprintf("// %s\n", doc) // of one file
	for _, e := range entries {
		if e.IsDir() || path.Ext(e.Name()) != ".go" || e.Name() == "persister.go" {
			continue
		}
		src, err := raftlab.Sources.ReadFile(path.Join(from, e.Name()))
		if err != nil {
			return err
		}
		head := comment
		if code := b.code(); code != "" {
			head = fmt.Sprintf("// Handout %s\n\n", code) + head
		}
		out, err := skeleton(e.Name(), src, head)
		if err != nil {
			return err
		}
		if out != nil {
			comment = ""
			b.add(path.Join(name, e.Name()), b.cast(name, out))
		}
	}
	return nil
}

// add adds a Go file, with imports of the handout's module.
func (b *builder) add(name string, src []byte) { b.files[name] = b.imports(src) }

var importPath = regexp.MustCompile(`"raftlab/(mutants/student/)?([a-z0-9/]+)"`)

// imports leads the imports of a file to the handout's module.
func (c *config) imports(src []byte) []byte {
	src = importPath.ReplaceAll(src, []byte(`"`+c.Module+`/${2}"`))
	if sorted, err := format.Source(src); err == nil {
		return sorted
	}
	return src
}

// suite adds the tests of a package and the harness.
func (b *builder) suite(pkg string) error {
	entries, err := fs.ReadDir(raftlab.Sources, pkg)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(pkg, e.Name())
		if !grade.IsSuite(e.Name()) && e.Name() != "export_test.go" && name != "raft/persister.go" {
			continue
		}
		if pkg == "raft" && e.Name() == "export_test.go" {
			continue
		}
		src, err := raftlab.Sources.ReadFile(name)
		if err != nil {
			return err
		}
		if grade.IsSuite(e.Name()) {
			if src, err = b.chosen(name, src); err != nil {
				return err
			}
		}
		if err := b.needs(name, src); err != nil {
			return err
		}
		b.add(name, src)
	}
	return nil
}

// chosen removes the tests from a suite that the handout does not have.
func (b *builder) chosen(name string, src []byte) ([]byte, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	decls := slices.Clone(file.Decls)
	slices.Reverse(decls)
	cut := false
	for _, decl := range decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Test") || fn.Name.Name == "TestMain" {
			continue
		}
		if slices.ContainsFunc(b.tests, func(t grade.Test) bool { return t.Name == fn.Name.Name }) {
			continue
		}
		start := fn.Pos()
		if fn.Doc != nil {
			start = fn.Doc.Pos()
		}
		src = slices.Delete(slices.Clone(src), int(start-file.FileStart), int(fn.End()-file.FileStart))
		cut = true
	}
	if !cut {
		return src, nil
	}
	return tidied(name, src, "")
}

// needs adds the packages of the harness that a file imports.
func (b *builder) needs(name string, src []byte) error {
	file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
	if err != nil {
		return err
	}
	for _, spec := range file.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		pkg, ours := strings.CutPrefix(imported, module+"/")
		if !ours || b.done[pkg] || slices.ContainsFunc(labs, func(l struct{ name, from, doc string }) bool { return l.name == pkg }) {
			continue
		}
		b.done[pkg] = true
		if err := b.harness(pkg); err != nil {
			return err
		}
	}
	return nil
}

// harness adds a package of this project without its tests.
func (b *builder) harness(pkg string) error {
	return fs.WalkDir(raftlab.Sources, pkg, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			goFiles, _ := fs.Glob(raftlab.Sources, name+"/*.go")
			if name != pkg && (len(goFiles) > 0 || d.Name() == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, "_test.go") {
			return nil
		}
		src, err := raftlab.Sources.ReadFile(name)
		if err != nil {
			return err
		}
		if path.Ext(name) != ".go" {
			b.files[name] = src
			return nil
		}
		b.add(name, src)
		return b.needs(name, src)
	})
}

// A page is what the templates show.
type page struct {
	Class, Module, Go, Part, Package string
	Toolchain                        string // the version of Go for the grader
	Parts, Packages, Students        []string
	Tests                            []grade.Test // of the part
	Held                             int          // tests of the part that the handout lacks
	HoldBack                         string
	Edition                          string
	First                            string // a quick test
}

func (c *config) page() page {
	class := c.Class
	if class == "" {
		class = "this course"
	}
	first := "TestInitialElection2A"
	if !c.hasHandout() {
		first = "TestVersions2"
	}
	return page{Edition: c.Edition, First: first, Class: class, Module: c.Module, Go: goVersion(), Toolchain: strings.TrimPrefix(runtime.Version(), "go"), Parts: c.Parts, Packages: c.packages(), Students: c.Students, HoldBack: c.HoldBack}
}

// pages adds the texts of the labs and the files for CI.
func (b *builder) pages() error {
	tests, err := catalogue()
	if err != nil {
		return err
	}
	render := func(from, to, pkg string, p page) error {
		text, err := rendered(from, p)
		b.files[to] = []byte(b.words(pkg, text))
		return err
	}
	p := b.page()
	failed := errors.Join(render("files/README.md", "README.md", "raft", p), render("files/failures.md", "labs/failures.md", "raft", p),
		render("files/ci/labs.yml", ".github/workflows/labs.yml", "", p), render("files/gitignore", ".gitignore", "", p))
	for _, part := range b.Parts {
		p.Part, p.Package, p.Tests, p.Held = part, packageOf(part), nil, 0
		for _, t := range b.tests {
			if t.Part == part {
				p.Tests = append(p.Tests, t)
			}
		}
		for _, t := range tests {
			if t.Part == part {
				p.Held++
			}
		}
		p.Held -= len(p.Tests)
		failed = errors.Join(failed, render("files/labs/"+part+".md", "labs/"+part+".md", p.Package, p))
	}
	return failed
}

func rendered(name string, p page) (string, error) {
	src, err := texts.ReadFile(name)
	if err != nil {
		return "", err
	}
	common, err := texts.ReadFile("files/common.md")
	if err != nil {
		return "", err
	}
	t, err := template.New(name).Delims("<%", "%>").Funcs(template.FuncMap{"join": strings.Join}).Parse(string(common) + string(src))
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = t.Execute(&out, p)
	return strings.TrimLeft(out.String(), "\n"), err
}

// instructor returns the instructor's files, with the solution.
func (c *config) instructor() (map[string][]byte, error) {
	files := make(map[string][]byte)
	table, err := grade.NewTableFile(c.Class, c.Edition, c.Parts...)
	if err != nil {
		return nil, err
	}
	files["instructor/class.yaml"] = table
	p := c.page()
	pages := map[string]string{
		"files/instructor/README.md":                 "instructor/README.md",
		"files/instructor/grade.yml":                 "instructor/github/grade.yml",
		"files/instructor/gradescope/setup.sh":       "instructor/gradescope/setup.sh",
		"files/instructor/gradescope/run_autograder": "instructor/gradescope/run_autograder",
		"files/course.md":                            "README.md",
	}
	if !c.hasHandout() {
		delete(pages, "files/course.md")
		delete(pages, "files/instructor/README.md")
		pages["files/instructor/edition.md"] = "instructor/README.md"
	}
	for from, to := range pages {
		text, err := rendered(from, p)
		if err != nil {
			return nil, err
		}
		files[to] = []byte(text)
	}
	if !c.hasHandout() {
		return files, nil
	}
	return files, c.solutions(files)
}

// solutions adds the solution of all labs.
func (c *config) solutions(files map[string][]byte) error {
	for _, lab := range append(slices.Clone(labs), struct{ name, from, doc string }{"replica", student + "/replica", ""}) {
		entries, err := fs.ReadDir(raftlab.Sources, lab.from)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() || path.Ext(e.Name()) != ".go" || e.Name() == "persister.go" {
				continue
			}
			src, err := raftlab.Sources.ReadFile(path.Join(lab.from, e.Name()))
			if err != nil {
				return err
			}
			if src, err = solution(src); err != nil {
				return err
			}
			files[path.Join("instructor/solution", lab.name, e.Name())] = c.imports(src)
		}
	}
	return nil
}

// warmUp is a small right submission of the 2025 edition. The autograder builds the
// submission once, so that later builds are quick.
func warmUp() (map[string][]byte, error) {
	files := map[string][]byte{"go.mod": []byte("module 6.5840\n")}
	for _, name := range []string{"kvsrv1/client.go", "kvsrv1/server.go", "kvsrv1/rpc/rpc.go", "internal/versions/versions.go"} {
		src, err := raftlab.Sources.ReadFile("y2025/" + name)
		if err != nil {
			return nil, err
		}
		files[name] = []byte(strings.NewReplacer(`"`+module+`/y2025/`, `"6.5840/`, `"`+module+`/`, `"6.5840/`).Replace(string(src)))
	}
	return files, nil
}

// maxDeflated is the size from which a file is not worth the time of compression. The
// only such file is the program.
const maxDeflated = 1 << 20

// zipped returns an archive of files below a directory. Equal files make equal archives.
func zipped(files map[string][]byte, below string) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &zip.FileHeader{Name: below + name, Method: zip.Deflate}
		if len(files[name]) > maxDeflated {
			h.Method = zip.Store
		}
		h.SetMode(0o644)
		if executable(name) {
			h.SetMode(0o755)
		}
		w, err := z.CreateHeader(h)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(files[name]); err != nil {
			return nil, err
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Autograder writes the archive for Gradescope with the present table, and this program as
// the grader. The program runs on linux/amd64.
func Autograder(dir string) (name string, err error) {
	c, err := load(dir)
	if err != nil {
		return "", err
	}
	if runtime.GOOS+"/"+runtime.GOARCH != "linux/amd64" {
		return "", bad("Gradescope runs linux/amd64, and this is a program for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	files := make(map[string][]byte)
	base := filepath.Join(dir, "instructor")
	for to, from := range map[string]string{
		"setup.sh": filepath.Join(base, "gradescope/setup.sh"), "run_autograder": filepath.Join(base, "gradescope/run_autograder"),
		"class.yaml": filepath.Join(base, "class.yaml"), "raftlab": self,
	} {
		if files[to], err = os.ReadFile(from); err != nil {
			return "", bad("%w", err)
		}
	}
	if _, err := grade.LoadTable(filepath.Join(base, "class.yaml")); err != nil {
		return "", err
	}
	solved := make(map[string][]byte)
	if c.hasHandout() {
		err = c.solutions(solved)
	} else {
		solved, err = warmUp()
	}
	if err != nil {
		return "", err
	}
	for path, data := range solved {
		if rel, ok := strings.CutPrefix(path, "instructor/solution/raft/"); ok {
			files["solution/raft/"+rel] = data
		} else if !c.hasHandout() {
			files["solution/"+path] = data
		}
	}
	data, err := zipped(files, "")
	if err != nil {
		return "", err
	}
	name = filepath.Join(base, "autograder.zip")
	return name, writePrivate(name, data)
}
