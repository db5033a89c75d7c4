package labrpc_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/labrpc"
)

// parrot answers with what it is asked.
type parrot struct{}

func (parrot) Say(args string, reply *string) { *reply = args }

// TestEditedFaults runs a lossy network in a process of its own: faults are
// recorded; those that are listed as calm do not happen, and the others stay
// what they were.
func TestEditedFaults(t *testing.T) {
	if os.Getenv("EDIT_CHILD") != "" {
		lossyCalls(t)
		return
	}
	dir := t.TempDir()
	child := func() []string {
		os.Remove(filepath.Join(dir, "met"))
		cmd := exec.Command(os.Args[0], "-test.run=^TestEditedFaults$")
		cmd.Env = append(os.Environ(), "EDIT_CHILD=1", labrpc.FaultsDir+"="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		met, err := os.ReadFile(filepath.Join(dir, "met"))
		require.NoError(t, err)
		return strings.Split(strings.TrimSpace(string(met)), "\n")
	}
	all := child()
	if len(all) < 10 {
		t.Fatalf("recorded %d faults:\n%s", len(all), strings.Join(all, "\n"))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "calm"), []byte(all[0]+"\n"+all[3]+"\n"), 0o600))
	fewer := map[string]bool{}
	for _, line := range child() {
		fewer[line] = true
	}
	for i, line := range all {
		if calm := i == 0 || i == 3; calm == fewer[line] {
			t.Errorf("fault %q: listed as calm %v, happened %v", line, calm, fewer[line])
		}
	}
}

// lossyCalls makes calls one after the other.
func lossyCalls(t *testing.T) {
	rn := labrpc.MakeNetworkSeed(7)
	defer rn.Cleanup()
	rs := labrpc.MakeServer()
	rs.AddService(labrpc.MakeService(parrot{}))
	rn.AddServer(0, rs)
	end := rn.MakeEnd("c")
	rn.Connect("c", 0)
	rn.Enable("c", true)
	rn.SetFaults(labrpc.Faults{RequestLoss: 0.3, ReplyLoss: 0.3, Duplicate: 0.3})
	for range 40 {
		var reply string
		end.Call("parrot.Say", "x", &reply)
	}
}
