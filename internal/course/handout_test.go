package course

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
)

// A handout works alone, without a network and without modules. The skeletons pass no
// test and do not panic. With the solution in the place of the skeletons, the tests pass.
func TestHandoutWorksAlone(t *testing.T) {
	if !testkit.Soak() {
		t.Skip("only with RAFTLAB_SOAK=1")
	}
	dir := filepath.Join(t.TempDir(), "course")
	require.NoError(t, Init(dir, Options{Class: "c", Students: []string{"alice"}}))
	for name, src := range unzipped(t, filepath.Join(dir, "students", "alice.zip")) {
		require.NoError(t, write(filepath.Join(dir, name), []byte(src))) // over the class's own
	}
	handout := filepath.Join(dir, "handout")
	out, err := goCommand(t, handout, "vet", "./...")
	require.NoError(t, err, out)
	out, err = goCommand(t, handout, "test", "./raft", "./kvraft", "./shardctrler", "./shardkv", "-run", "2A|2B|^TestRestart.*2C|2D|3A|^TestSnapshot.*3B|4A|^TestJoin.*4B", "-v", "-short")
	require.Error(t, err)
	require.NotContains(t, out, "--- PASS", "a skeleton passes")
	require.NotContains(t, out, "panic:", "a skeleton panics")
	require.Contains(t, out, "--- FAIL: TestBasic4A")

	require.NoError(t, os.CopyFS(filepath.Join(dir, "solved"), os.DirFS(handout)))
	solved := filepath.Join(dir, "solved")
	for _, lab := range []string{"raft", "kvraft", "shardctrler", "shardkv"} {
		skeletons, err := filepath.Glob(filepath.Join(solved, lab, "*.go"))
		require.NoError(t, err)
		for _, name := range skeletons {
			if base := filepath.Base(name); !strings.HasSuffix(base, "_test.go") && base != "persister.go" {
				require.NoError(t, os.Remove(name))
			}
		}
	}
	require.NoError(t, os.CopyFS(solved, os.DirFS(filepath.Join(dir, "instructor", "solution"))))
	for _, args := range [][]string{{"./raft", "-run", "2A|2B|2C|2D"}, {"./kvraft", "-run", "3A|3B"}, {"./shardctrler", "-run", "4A"}, {"./shardkv", "-run", "4B"}} {
		out, err := goCommand(t, solved, append([]string{"test"}, args...)...)
		require.NoError(t, err, out)
	}
}

// goCommand runs the go command in a module, without network and without modules.
func goCommand(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOPROXY=off", "GOMODCACHE="+t.TempDir(), "GOFLAGS=-mod=readonly", "GOWORK=off", "RAFTLAB_SOAK=", "RAFTLAB_REPEATS=0")
	out, err := cmd.CombinedOutput()
	return string(out), err
}
