// Package grade grades submissions of the labs. A submission is a directory or an
// archive with a student's packages. The package puts the submitted packages into a
// copy of this project's sources, builds the suites, and runs each test in a process
// of its own, in a simulated world (package sim) and in a jail (package jail).
//
// The verdict of a test reaches the grader over package verdict's channel, which the
// tested code cannot write. docs/grading.md lists the defended attacks and the
// attacks that are not.
package grade

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"raftlab"
)

// A lab is a package that students write.
type lab struct {
	name  string   // of the package and of its directory
	parts []string // in order
	start string   // the function that returns a server with an unexported Raft, or ""
}

// An edition is a year's set of labs.
type edition struct {
	name    string
	labs    []lab
	harness []string // packages that are always this project's
}

// classic is the edition of 2021 to 2024.
var classic = edition{
	name: "2021-2024",
	labs: []lab{
		{name: "raft", parts: []string{"2A", "2B", "2C", "2D"}},
		{name: "kvraft", parts: []string{"3A", "3B"}, start: "StartKVServer"},
		{name: "shardctrler", parts: []string{"4A"}},
		{name: "shardkv", parts: []string{"4B"}, start: "StartServer"},
	},
	harness: []string{"labgob", "labrpc", "porcupine", "models"},
}

// Parts lists the parts of all labs, in order.
func Parts() []string {
	var parts []string
	for _, l := range classic.labs {
		parts = append(parts, l.parts...)
	}
	return parts
}

func (e *edition) lab(name string) *lab {
	for i := range e.labs {
		if e.labs[i].name == name {
			return &e.labs[i]
		}
	}
	return nil
}

// A Test is a test of a suite.
type Test struct {
	Name    string
	Part    string
	Package string
	Doc     string // what the test checks, one or more sentences
}

var suiteFile = regexp.MustCompile(`^(suite|adversary|random)_(.*_)?test\.go$`)

// IsSuite reports whether a file of a lab package belongs to the suites.
func IsSuite(name string) bool { return suiteFile.MatchString(name) }

// suiteFiles lists the files of the suites of a package.
func suiteFiles(pkg string) ([]string, error) {
	entries, err := fs.ReadDir(raftlab.Sources, pkg)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if IsSuite(e.Name()) {
			files = append(files, path.Join(pkg, e.Name()))
		}
	}
	return files, nil
}

// Catalogue returns the tests of all suites, by part and in the order of the
// sources.
func Catalogue() ([]Test, error) {
	var all []Test
	for _, l := range classic.labs {
		files, err := suiteFiles(l.name)
		if err != nil {
			return nil, err
		}
		for _, name := range files {
			src, err := raftlab.Sources.ReadFile(name)
			if err != nil {
				return nil, err
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			all = append(all, testsOf(file, l)...)
		}
	}
	slices.SortStableFunc(all, func(a, b Test) int { return strings.Compare(a.Part, b.Part) })
	if len(all) == 0 {
		return nil, fmt.Errorf("grade: the suites have no tests")
	}
	return all, nil
}

// testsOf returns the tests in a file that belong to a part of the lab.
func testsOf(file *ast.File, l lab) []Test {
	var found []Test
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || !isTest(fn) {
			continue
		}
		for _, part := range l.parts {
			if strings.HasSuffix(fn.Name.Name, part) {
				found = append(found, Test{Name: fn.Name.Name, Part: part, Package: l.name, Doc: sentences(fn)})
			}
		}
	}
	return found
}

// isTest reports whether fn is a test function of package testing.
func isTest(fn *ast.FuncDecl) bool {
	params := fn.Type.Params.List
	return fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") && len(params) == 1 && len(params[0].Names) == 1
}

// sentences returns the doc comment of a test as one line that does not begin with
// the name of the test.
func sentences(fn *ast.FuncDecl) string {
	text := strings.Join(strings.Fields(fn.Doc.Text()), " ")
	text = strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(text, fn.Name.Name), ":"))
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// partNames say what a part is about.
var partNames = map[string]string{
	"2A": "elections", "2B": "the log", "2C": "persistence", "2D": "snapshots",
	"3A": "the key/value service", "3B": "the service with snapshots",
	"4A": "the shard controller", "4B": "the sharded service",
}

// WriteTests writes a list of all tests in Markdown, with the reason for each.
func WriteTests(w io.Writer) error {
	tests, err := Catalogue()
	if err != nil {
		return err
	}
	for _, part := range Parts() {
		fmt.Fprintf(w, "## %s: %s\n\n", part, partNames[part])
		for _, t := range tests {
			if t.Part == part {
				fmt.Fprintf(w, "- **%s**. %s\n", t.Name, t.Doc)
			}
		}
		fmt.Fprintln(w)
	}
	return nil
}
