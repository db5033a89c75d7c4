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
	name   string   // the directory in the course's tree
	clause string   // the name of the package
	start  string   // the function that returns a server with an unexported Raft, or ""
	theirs []string // files of the course's harness in the directory
}

// A suite is a package of tests.
type suite struct {
	dir    string   // of the project's sources
	clause string   // the name of the tested package
	parts  []string // in order
	labs   []string // the packages under test, of which a submission has at least one
	// ends maps the end of a test's name to a part, if the name does not end with the part.
	ends map[string]string
}

// An edition is a year's set of labs.
type edition struct {
	name   string
	labs   []lab
	suites []suite
	// given are the packages that are always this project's, by their directory in the
	// course's tree.
	given map[string]string
	// prefix is the directory of the labs in the project's sources, with a slash, or "".
	prefix string
	// byPath says that the packages have fixed directories in the course's tree. Without
	// byPath the last part of a directory decides.
	byPath bool
	tag    string            // build tag of test files for this edition alone
	about  map[string]string // what each part is about
}

// classic is the edition of 2021 to 2024.
var classic = edition{
	name: "2021-2024",
	labs: []lab{
		{name: "raft", clause: "raft"},
		{name: "kvraft", clause: "kvraft", start: "StartKVServer"},
		{name: "shardctrler", clause: "shardctrler"},
		{name: "shardkv", clause: "shardkv", start: "StartServer"},
	},
	suites: []suite{
		{dir: "raft", clause: "raft", parts: []string{"2A", "2B", "2C", "2D"}, labs: []string{"raft"}},
		{dir: "kvraft", clause: "kvraft", parts: []string{"3A", "3B"}, labs: []string{"kvraft"}},
		{dir: "shardctrler", clause: "shardctrler", parts: []string{"4A"}, labs: []string{"shardctrler"}},
		{dir: "shardkv", clause: "shardkv", parts: []string{"4B"}, labs: []string{"shardkv"}},
	},
	given: map[string]string{"labgob": "labgob", "labrpc": "labrpc", "porcupine": "porcupine", "models": "porcupine/models"},
	about: map[string]string{
		"2A": "elections", "2B": "the log", "2C": "persistence", "2D": "snapshots",
		"3A": "the key/value service", "3B": "the service with snapshots",
		"4A": "the shard controller", "4B": "the sharded service",
	},
}

// of2025 is the edition of 2025. Package raft has the suites of lab 3.
var of2025 = edition{
	name: "2025",
	labs: []lab{
		{name: "kvsrv1", clause: "kvsrv"},
		{name: "kvsrv1/lock", clause: "lock"},
		{name: "kvsrv1/rpc", clause: "rpc"},
		{name: "raft1", clause: "raft", theirs: []string{"server.go", "test.go"}},
		{name: "kvraft1/rsm", clause: "rsm", theirs: []string{"server.go", "test.go"}},
		{name: "kvraft1", clause: "kvraft", theirs: []string{"test.go"}},
		{name: "shardkv1", clause: "shardkv", theirs: []string{"test.go"}},
		{name: "shardkv1/shardctrler", clause: "shardctrler"},
		{name: "shardkv1/shardgrp", clause: "shardgrp"},
		{name: "shardkv1/shardgrp/shardrpc", clause: "shardrpc"},
	},
	suites: []suite{
		{dir: "y2025/kvsrv1", clause: "kvsrv", parts: []string{"2"}, labs: []string{"kvsrv1"}},
		{dir: "y2025/kvsrv1/lock", clause: "lock", parts: []string{"2"}, labs: []string{"kvsrv1/lock"}},
		{
			dir: "raft", clause: "raft", parts: []string{"3A", "3B", "3C", "3D"}, labs: []string{"raft1"},
			ends: map[string]string{"2A": "3A", "2B": "3B", "2C": "3C", "2D": "3D"},
		},
		{dir: "y2025/kvraft1/rsm", clause: "rsm", parts: []string{"4A", "4C"}, labs: []string{"kvraft1/rsm"}},
		{dir: "y2025/kvraft1", clause: "kvraft", parts: []string{"4B", "4C"}, labs: []string{"kvraft1"}},
		{
			dir: "y2025/shardkv1", clause: "shardkv", parts: []string{"5A", "5B", "5C"},
			labs: []string{"shardkv1", "shardkv1/shardctrler", "shardkv1/shardgrp"},
		},
	},
	given: map[string]string{
		"labgob": "labgob", "labrpc": "labrpc", "raftapi": "y2025/raftapi", "tester1": "y2025/tester1",
		"kvtest1": "y2025/kvtest1", "shardkv1/shardcfg": "y2025/shardkv1/shardcfg",
	},
	prefix: "y2025/",
	byPath: true,
	tag:    "edition2025",
	about: map[string]string{
		"2":  "the key/value server",
		"3A": "elections", "3B": "the log", "3C": "persistence", "3D": "snapshots",
		"4A": "the replicated state machine", "4B": "the replicated key/value service", "4C": "snapshots of the services",
		"5A": "moving shards", "5B": "a controller that crashes", "5C": "many controllers",
	},
}

// editions are the editions, the default first.
var editions = []*edition{&classic, &of2025}

// editionOf returns the edition with a name. The name "" is the default.
func editionOf(name string) (*edition, error) {
	var names []string
	for _, e := range editions {
		if e.name == name || name == "" {
			return e, nil
		}
		names = append(names, e.name)
	}
	return nil, badTable("there is no edition %q; the editions are %s", name, strings.Join(names, ", "))
}

// Editions lists the names of the editions, the default first.
func Editions() (names []string) {
	for _, e := range editions {
		names = append(names, e.name)
	}
	return names
}

// Parts lists the parts of all labs of the default edition, in order.
func Parts() []string { return classic.parts() }

// PartsOf lists the parts of all labs of an edition, in order. The name "" is the default.
func PartsOf(name string) ([]string, error) {
	e, err := editionOf(name)
	if err != nil {
		return nil, err
	}
	return e.parts(), nil
}

// parts lists the parts of all labs, in order.
func (e *edition) parts() []string {
	var parts []string
	for _, s := range e.suites {
		parts = append(parts, s.parts...)
	}
	slices.Sort(parts)
	return slices.Compact(parts)
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

// Catalogue returns the tests of all suites of the default edition, by part and in the
// order of the sources.
func Catalogue() ([]Test, error) { return classic.catalogue() }

func (e *edition) catalogue() ([]Test, error) {
	var all []Test
	for _, l := range e.suites {
		files, err := suiteFiles(l.dir)
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

// testsOf returns the tests in a file that belong to a part of the suite.
func testsOf(file *ast.File, s suite) []Test {
	var found []Test
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || !isTest(fn) {
			continue
		}
		if part := s.part(fn.Name.Name); part != "" {
			found = append(found, Test{Name: fn.Name.Name, Part: part, Package: s.dir, Doc: sentences(fn)})
		}
	}
	return found
}

// part returns the part of a test, or "" for a test that gives no points.
func (s suite) part(test string) string {
	for end, part := range s.ends {
		if strings.HasSuffix(test, end) {
			return part
		}
	}
	for _, part := range s.parts {
		if s.ends == nil && strings.HasSuffix(test, part) {
			return part
		}
	}
	return ""
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

// WriteTests writes a list of all tests of an edition in Markdown, with the reason for
// each.
func WriteTests(w io.Writer, edition string) error {
	e, err := editionOf(edition)
	if err != nil {
		return err
	}
	tests, err := e.catalogue()
	if err != nil {
		return err
	}
	for _, part := range e.parts() {
		fmt.Fprintf(w, "## %s: %s\n\n", part, e.about[part])
		for _, t := range tests {
			if t.Part == part {
				fmt.Fprintf(w, "- **%s**. %s\n", t.Name, t.Doc)
			}
		}
		fmt.Fprintln(w)
	}
	return nil
}
