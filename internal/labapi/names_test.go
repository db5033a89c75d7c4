package labapi_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// harnessNames are the names that the harnesses of the courses declare in our
// packages, and the names of the packages that they import there.
const harnessNames = `
config make_config randstring makeSeed random_handles ncpu_once SnapShotInterval RaftElectionTimeout
MAXLOGSIZE internalChurn snapcommon OpLog Get Put Append check check_same_config run_client
spawn_clients_and_wait NextValue checkClntAppends checkConcurrentAppends partitioner GenericTest
GenericTestSpeed electionTimeout linearizabilityCheckTimeout t0 group ctrler JunkServer JunkArgs
JunkReply T1 T2 T3 T4
labrpc labgob raft models porcupine shardctrler bytes log sync testing runtime rand crand big base64
time fmt atomic os strconv strings ioutil`

// labPackages are the packages into which a harness is compiled. A package's
// own tests are left out: a harness takes their place.
var labPackages = []string{"labgob", "labrpc", "raft", "kvraft", "shardctrler", "shardkv"}

func TestPackagesLeaveTheHarnessItsNames(t *testing.T) {
	taken := make(map[string]bool)
	for _, name := range strings.Fields(harnessNames) {
		taken[name] = true
	}
	for _, pkg := range labPackages {
		files, err := filepath.Glob(filepath.Join("..", "..", pkg, "*.go"))
		require.NoError(t, err)
		for _, path := range files {
			base := filepath.Base(path)
			if base == "config.go" || base == "test_test.go" {
				t.Errorf("%s/%s: the harness has a file of that name", pkg, base)
			}
			if strings.HasSuffix(base, "_test.go") {
				continue
			}
			for name, pos := range packageLevelNames(t, path) {
				if taken[name] {
					t.Errorf("%s: the harness declares %s itself", pos, name)
				}
			}
		}
	}
}

// packageLevelNames returns what a file declares at package level, and where.
func packageLevelNames(t *testing.T, path string) map[string]token.Position {
	t.Helper()
	source, err := os.ReadFile(path)
	require.NoError(t, err)
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, source, parser.SkipObjectResolution)
	require.NoError(t, err)
	names := make(map[string]token.Position)
	add := func(id *ast.Ident) { names[id.Name] = fset.Position(id.Pos()) }
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				add(d.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					add(s.Name)
				case *ast.ValueSpec:
					for _, id := range s.Names {
						add(id)
					}
				}
			}
		}
	}
	return names
}
