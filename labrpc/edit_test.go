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

// parrot repeats its arguments.
type parrot struct{}

func (parrot) Say(args string, reply *string) { *reply = args }

// TestEditedFaults runs a lossy network in another process and records the
// faults. Faults listed as calm do not happen, and the others stay the same. An
// error names an unusable directory, and the calls go on.
func TestEditedFaults(t *testing.T) {
	if os.Getenv("EDIT_CHILD") != "" {
		lossyCalls(t)
		return
	}
	dir := t.TempDir()
	child := func() []string {
		os.Remove(filepath.Join(dir, "met"))
		editChild(t, dir)
		met, err := os.ReadFile(filepath.Join(dir, "met"))
		require.NoError(t, err)
		return strings.Split(strings.TrimSpace(string(met)), "\n")
	}
	all := child()
	require.GreaterOrEqual(t, len(all), 10, "%q", all)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "calm"), []byte(all[0]+"\n"+all[3]+"\n"), 0o600))
	fewer := map[string]bool{}
	for _, line := range child() {
		fewer[line] = true
	}
	for i, line := range all {
		calm := i == 0 || i == 3
		require.NotEqual(t, calm, fewer[line], "fault %q: listed as calm, happened", line)
	}

	missing := filepath.Join(dir, "missing")
	require.Contains(t, editChild(t, missing), "labrpc: faults are neither recorded nor edited: "+labrpc.FaultsDir+"="+missing)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "calm"), []byte("7 0\n"), 0o600))
	require.Contains(t, editChild(t, dir), `line "7 0" is not a seed, a link`)
}

// editChild runs lossyCalls in another process and returns its output.
func editChild(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestEditedFaults$")
	cmd.Env = append(os.Environ(), "EDIT_CHILD=1", labrpc.FaultsDir+"="+dir)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
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
