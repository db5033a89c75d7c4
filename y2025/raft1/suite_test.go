package raft_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"raftlab/internal/labrun"
	"raftlab/internal/labtest"
	"raftlab/internal/testkit"
	"raftlab/labrpc"
	raft1 "raftlab/y2025/raft1"
	"raftlab/y2025/raftapi"
	tester "raftlab/y2025/tester1"
)

func TestMain(m *testing.M) { labrun.Main(m) }

// The clusters of this package run the servers of package raft1.
var _ = labtest.Use(func(peers []*labrpc.ClientEnd, me int, persister *tester.Persister, applyCh chan raftapi.ApplyMsg) labtest.Server {
	return raft1.Make(peers, me, persister, applyCh)
})

// TestElection3A elects a leader, and another one when the first is cut off.
func TestElection3A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3)
		first := c.Leader()
		c.Disconnect(first)
		c.Leader()
		c.Heal()
		c.Leader()
	})
}

// TestAgreement3B commits commands while a follower is cut off.
func TestAgreement3B(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3)
		c.One("a", 3)
		c.Disconnect(c.Others(c.Leader())[0])
		c.One("b", 2)
		c.Heal()
		c.One("c", 3)
	})
}

// TestRestarts3C restarts all servers. What was committed stays.
func TestRestarts3C(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3, labtest.Unreliable())
		for _, command := range []string{"a", "b", "c"} {
			c.One(command, 3)
			c.Restart(c.All()...)
		}
		c.One("d", 3)
	})
}

// TestSnapshots3D takes snapshots while a follower is cut off. The follower gets a
// snapshot, and restarts from it.
func TestSnapshots3D(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3, labtest.SnapshotEvery(5))
		c.One(0, 3)
		slow := c.Others(c.Leader())[0]
		c.Disconnect(slow)
		for i := range 20 {
			c.One(i, 2)
		}
		c.Heal()
		c.One(20, 3)
		c.Restart(c.All()...)
		c.One(21, 3)
	})
}

// TestPersistBytes3D compares PersistBytes with the size of the state in the persister.
func TestPersistBytes3D(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		net := labrpc.MakeNetworkSeed(testkit.Seed(t))
		t.Cleanup(net.Cleanup)
		persister, applyCh := tester.MakePersister(), make(chan raftapi.ApplyMsg)
		rf := raft1.Make([]*labrpc.ClientEnd{net.MakeEnd(0)}, 0, persister, applyCh)
		testkit.WaitFor(t, labtest.ElectionLimit, "a leader", func() bool {
			_, leads := rf.GetState()
			return leads
		})
		rf.Start("a command")
		if m := <-applyCh; m.Command != "a command" || m.CommandIndex != 1 {
			t.Errorf("applied %+v", m)
		}
		if got, want := rf.PersistBytes(), persister.RaftStateSize(); got != want || got == 0 {
			t.Errorf("PersistBytes is %d, and the persister has a state of %d bytes", got, want)
		}
		rf.Kill()
		labtest.Drain()
	})
}

// byHand is the command that TestSuites runs.
const byHand = "go test -tags edition2025 -run '2A|2B|2C|2D' ./raft"

// TestSuites runs the suites 2A to 2D of package raft, which are the parts 3A to 3D here,
// with the servers of this package. The project's own servers are those of package raft,
// so their run would say nothing new. RAFTLAB_SOAK=1 runs it anyway.
func TestSuites(t *testing.T) {
	source, err := os.ReadFile("raft.go")
	projects := err == nil && strings.Contains(string(source), "\t*raft.Raft\n")
	switch _, err := exec.LookPath("go"); {
	case own() && !testkit.Soak():
		t.Skip("package raft1 is a layer over package raft, which has passed the suites")
	case err != nil || testkit.Simulated():
		t.Skip("the suites need the go command: " + byHand)
	case projects && !own(): // a run of the go command here would not know the overlay
		t.Skip("package raft1 comes from an overlay; run the suites with the overlay: " + byHand)
	}
	cmd := exec.Command("go", "test", "-tags", "edition2025", "-run", "2A|2B|2C|2D", "-v", "./raft")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "RAFTLAB_LAB_RESULT=")
	out, err := cmd.CombinedOutput()
	var lines []string
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- PASS") {
			lines = append(lines, line)
		}
	}
	t.Log("\n" + strings.Join(lines, ""))
	if err != nil {
		t.Errorf("the suites of package raft: %v", err)
	}
}

// own reports whether package raft1 is the project's own.
func own() bool {
	net := labrpc.MakeNetwork()
	defer net.Cleanup()
	rf := raft1.Make([]*labrpc.ClientEnd{net.MakeEnd(0)}, 0, tester.MakePersister(), make(chan raftapi.ApplyMsg))
	defer rf.Kill()
	server := reflect.TypeOf(rf)
	if server.Kind() != reflect.Pointer || server.Elem().Kind() != reflect.Struct {
		return false
	}
	embedded, found := server.Elem().FieldByName("Raft")
	return found && embedded.Type.Kind() == reflect.Pointer && embedded.Type.Elem().PkgPath() == "raftlab/raft"
}
