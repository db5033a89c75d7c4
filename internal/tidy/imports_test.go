package tidy

import (
	"fmt"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// modulePath begins the import path of each package of the module.
const modulePath = "raftlab/"

// bbolt is the engine of the store's data files.
const bbolt = "go.etcd.io/bbolt"

// reaches has the rules of docs/design.md for imports. A package, with those below,
// must not reach a package of its list, with those below.
var reaches = []struct {
	packages, never []string
}{
	// The core, the checker and the simulator stand alone.
	{[]string{"raft/core", "labgob", "porcupine", "sim"}, []string{
		"raft", "labrpc", "rsm", "kv", "kvraft", "shardctrler", "shardkv", "internal", "cmd"}},
	// The store is a pure function of its commands.
	{[]string{"mvcc"}, []string{
		"raft", "labrpc", "labgob", "rsm", "kv", "kvraft", "shardctrler", "shardkv", "internal", "cmd",
		"time", "sync", "os", "net", "log", "context", "math/rand", "crypto"}},
	// An importer of the library gets neither the labs' network nor gob.
	{[]string{"raft/node", "raft/wal", "raft/memstore", "raft/tcp", "raft/memnet", "raft/transporttest", "=rsm", "rsm/onnode"}, []string{
		"labrpc", "labgob", "encoding/gob", "=raft", bbolt}},
	{[]string{"=raft/boltstore"}, []string{"labrpc", "labgob", "encoding/gob", "=raft"}},
	// A client of the store links no storage.
	{[]string{"=internal/httpkv"}, []string{"internal/cluster", "raft", "labrpc", bbolt}},
	{[]string{"examples/wordcount", "examples/rebalance"}, []string{"internal/cluster", "raft", "labrpc", bbolt}},
	// Nothing imports the command.
	{[]string{"raft", "labrpc", "rsm", "kv", "kvraft", "shardctrler", "shardkv", "y2025", "internal", "examples", "sim", "porcupine"}, []string{"cmd"}},
}

// labPackages import package raft, the labs' face. The services have the labs'
// starters, and rsm/labraft adapts. The others are harnesses, students' packages and
// examples of labs.
var labPackages = []string{
	"kvraft", "shardctrler", "shardkv", "rsm/labraft", "y2025",
	"internal/labtest", "internal/shardlab", "mutants", "examples/labs-on-the-wire",
}

// labImporters returns the packages that import package raft and are not of the labs.
func labImporters(imports map[string][]string) (others []string) {
	for _, pkg := range slices.Sorted(maps.Keys(imports)) {
		ofLabs := slices.ContainsFunc(labPackages, func(name string) bool { return within(pkg, name) })
		if slices.Contains(imports[pkg], "raft") && !ofLabs {
			others = append(others, pkg)
		}
	}
	return others
}

// within reports whether a package is name, or lies below. A name that begins with =
// stands for the package alone.
func within(pkg, name string) bool {
	if alone, ok := strings.CutPrefix(name, "="); ok {
		return pkg == alone
	}
	return pkg == name || strings.HasPrefix(pkg, name+"/")
}

// chain returns the shortest chain of imports from a package to one that lies within
// never, and nil if there is none. A package reaches itself and those below freely.
func chain(imports map[string][]string, from string, own, never []string) []string {
	inside := func(names []string, pkg string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return within(pkg, name) })
	}
	cameFrom := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		pkg := queue[0]
		if inside(never, pkg) && !inside(own, pkg) {
			var found []string
			for ; pkg != ""; pkg = cameFrom[pkg] {
				found = append(found, pkg)
			}
			slices.Reverse(found)
			return found
		}
		for _, next := range imports[pkg] {
			if _, seen := cameFrom[next]; !seen {
				cameFrom[next] = pkg
				queue = append(queue, next)
			}
		}
	}
	return nil
}

// broken returns the chains of imports that break a rule.
func broken(imports map[string][]string) []string {
	var problems []string
	for _, rule := range reaches {
		for _, pkg := range slices.Sorted(maps.Keys(imports)) {
			for _, name := range rule.packages {
				if !within(pkg, name) {
					continue
				}
				if found := chain(imports, pkg, []string{name}, rule.never); found != nil {
					problems = append(problems, fmt.Sprintf("%s must not reach %s: %s", pkg, found[len(found)-1], strings.Join(found, " imports ")))
				}
			}
		}
	}
	return problems
}

// Imports go down only (docs/design.md). Tests may import anything.
func TestImports(t *testing.T) {
	imports := make(map[string][]string)
	walkGo(t, func(file string, src []byte) {
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, src, parser.ImportsOnly)
		require.NoError(t, err)
		pkg := path.Dir(filepath.ToSlash(file))
		imports[pkg] = append(imports[pkg], []string{}...)
		for _, spec := range parsed.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			imports[pkg] = append(imports[pkg], strings.TrimPrefix(name, modulePath))
		}
	})
	for _, rule := range reaches {
		for _, name := range rule.packages {
			require.True(t, slices.ContainsFunc(slices.Collect(maps.Keys(imports)), func(pkg string) bool { return within(pkg, name) }), "no package %s", name)
		}
	}
	for _, problem := range broken(imports) {
		t.Error(problem)
	}
	require.Empty(t, labImporters(imports), "only the labs' packages import package raft")
}

// The rules are seen to say no.
func TestImportsFindsProblems(t *testing.T) {
	for _, tt := range []struct {
		imports map[string][]string
		want    []string
	}{
		{map[string][]string{"raft/core": {"fmt"}, "raft/node": {"raft/core"}}, nil},
		{map[string][]string{"raft/core": {"raft/node"}}, []string{"raft/core must not reach raft/node: raft/core imports raft/node"}},
		{map[string][]string{"raft/core/coretest": {"raft/core"}}, nil},
		{map[string][]string{"raft/tcp": {"raft/node"}, "raft/node": {"internal/x"}, "internal/x": {"labgob"}},
			[]string{
				"raft/node must not reach labgob: raft/node imports internal/x imports labgob",
				"raft/tcp must not reach labgob: raft/tcp imports raft/node imports internal/x imports labgob",
			}},
		{map[string][]string{"internal/httpkv": {"kv"}, "internal/httpkv/handler": {"internal/cluster"}}, nil},
		{map[string][]string{"internal/httpkv": {bbolt}}, []string{"internal/httpkv must not reach " + bbolt + ": internal/httpkv imports " + bbolt}},
		{map[string][]string{"kv": {"cmd/raftlab"}}, []string{"kv must not reach cmd/raftlab: kv imports cmd/raftlab"}},
	} {
		require.Equal(t, tt.want, broken(tt.imports))
	}
	require.Equal(t, []string{"internal/cluster"}, labImporters(map[string][]string{
		"internal/cluster": {"raft", "raft/node"}, "kvraft": {"raft"}, "raft/wal": {"raft/node"},
	}))
}
