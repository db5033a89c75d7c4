//go:build !wasip1

package labraft_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// labRaft is a package raft with the names that the labs fix, and no others: what
// a student's package is sure to have.
const labRaft = `package raft

import "raftlab/labrpc"

type Raft struct{}

func Make(peers []*labrpc.ClientEnd, me int, persister *Persister, applyCh chan ApplyMsg) *Raft { return nil }
func (rf *Raft) Start(command any) (index int, term int, isLeader bool) { return }
func (rf *Raft) GetState() (term int, isLeader bool) { return }
func (rf *Raft) Snapshot(index int, snapshot []byte) {}
func (rf *Raft) Kill() {}

type ApplyMsg struct {
	CommandValid bool
	Command any
	CommandIndex int
	SnapshotValid bool
	Snapshot []byte
	SnapshotTerm int
	SnapshotIndex int
}

type Persister struct{}

func MakePersister() *Persister { return nil }
func (ps *Persister) Copy() *Persister { return nil }
func (ps *Persister) Save(raftstate []byte, snapshot []byte) {}
func (ps *Persister) ReadRaftState() []byte { return nil }
func (ps *Persister) ReadSnapshot() []byte { return nil }
func (ps *Persister) RaftStateSize() int { return 0 }
func (ps *Persister) SnapshotSize() int { return 0 }
`

// TestServicesCompileOverAnyLabRaft builds the services, and the harness of
// their suites, with labRaft in the place of package raft.
func TestServicesCompileOverAnyLabRaft(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("there is no go command here")
	}
	packages := []string{"./rsm/...", "./kv", "./kvraft", "./internal/labtest"}
	for _, later := range []string{"shardctrler", "shardkv"} {
		if found, _ := filepath.Glob(filepath.Join("..", "..", later, "*.go")); len(found) > 0 {
			packages = append(packages, "./"+later)
		}
	}
	overlay := overlayRaft(t, labRaft)
	if out, err := buildOver(goTool, overlay, packages...); err != nil {
		t.Fatalf("go build over a lab's raft: %v\n%s", err, out)
	}
	// The check is seen to say no.
	if out, err := buildOver(goTool, overlayRaft(t, "package raft\n"), "./rsm/labraft"); err == nil {
		t.Fatalf("go build over an empty package raft succeeded: %s", out)
	}
}

func buildOver(goTool, overlay string, packages ...string) ([]byte, error) {
	cmd := exec.Command(goTool, append([]string{"build", "-overlay", overlay}, packages...)...)
	cmd.Dir = filepath.Join("..", "..")
	return cmd.CombinedOutput()
}

// overlayRaft writes an overlay that replaces package raft by one file.
func overlayRaft(t *testing.T, source string) (path string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "raft", "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("package raft: %d files, %v", len(files), err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "raft.go")
	replace := make(map[string]string)
	for _, f := range files {
		full, err := filepath.Abs(f)
		require.NoError(t, err)
		replace[full] = "" // not there
		if filepath.Base(f) == "raft.go" {
			replace[full] = file
		}
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	path = filepath.Join(dir, "overlay.json")
	for name, content := range map[string][]byte{file: []byte(source), path: data} {
		require.NoError(t, os.WriteFile(name, content, 0o600))
	}
	return path
}
