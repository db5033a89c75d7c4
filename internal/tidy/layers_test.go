package tidy

import (
	"go/build"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// library are the packages that a service imports. They stand on raft/core and
// on nothing of the labs.
var library = []string{"raft/core", "raft/node", "raft/wal", "raft/tcp", "raft/memstore", "raft/memnet"}

// The library's packages reach neither the labs' packages nor the command's, and
// few modules of others.
func TestLibraryStandsAlone(t *testing.T) {
	allowed := []string{"github.com/hashicorp/go-msgpack/v2", "golang.org/x/sys"}
	for _, pkg := range library {
		for dep, via := range dependencies(t, pkg) {
			ours, isOurs := strings.CutPrefix(dep, "raftlab/")
			switch {
			case isOurs && !slices.Contains([]string{"raft", "labrpc", "labgob"}, ours) && !strings.HasPrefix(ours, "cmd/"):
			case !isOurs && !strings.Contains(strings.Split(dep, "/")[0], "."): // the standard library
			case slices.ContainsFunc(allowed, func(module string) bool { return strings.HasPrefix(dep, module) }):
			default:
				t.Errorf("%s reaches %s (imported by %s)", pkg, dep, via)
			}
		}
	}
}

// dependencies returns all packages that a package of ours imports, directly or
// through packages of ours, each with one that imports it.
func dependencies(t *testing.T, pkg string) map[string]string {
	deps := make(map[string]string)
	var visit func(pkg string)
	visit = func(pkg string) {
		p, err := build.Default.ImportDir(filepath.Join("..", "..", filepath.FromSlash(pkg)), 0)
		require.NoError(t, err)
		for _, dep := range p.Imports {
			if _, known := deps[dep]; known {
				continue
			}
			deps[dep] = pkg
			if ours, ok := strings.CutPrefix(dep, "raftlab/"); ok {
				visit(ours)
			}
		}
	}
	visit(pkg)
	require.NotEmpty(t, deps)
	return deps
}
