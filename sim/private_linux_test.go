package sim_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/sim"
)

// TestFilesOfTheModule has runs that change files beside the tests, several at once.
// No run sees another one's change, and the module stays as it was.
func TestFilesOfTheModule(t *testing.T) {
	requireNative(t)
	probe := exec.Command("true")
	probe.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		probe.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
	}
	if err := probe.Run(); err != nil {
		t.Skipf("this system permits no mount namespace: %v", err)
	}
	left := filepath.Join("testdata", "mini", "left")
	require.NoDirExists(t, left)
	defer os.RemoveAll(left) // of a run that was not on its own
	s := sim.Sweep{Programs: []sim.Program{program(t, sim.Native, false)}, Pattern: "^TestOwnFiles$", Seeds: sim.Seeds{First: 1, Last: 8}, Jobs: 4}
	summary, err := s.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, 8, summary.Runs())
	require.Empty(t, summary.Failures())
	require.NoDirExists(t, left)
}
