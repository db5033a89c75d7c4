package sim

import (
	"fmt"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
)

// TestAsleep tells a process that waits for something from one that a busy machine
// keeps from running. A stopped process stands for the latter.
func TestAsleep(t *testing.T) {
	cmd := exec.Command("sleep", "600")
	require.NoError(t, cmd.Start())
	defer cmd.Wait()
	defer cmd.Process.Kill()
	becomes := func(want bool) {
		t.Helper()
		testkit.WaitFor(t, 10*time.Second, fmt.Sprint("asleep: ", want), func() bool { return asleep(cmd.Process.Pid) == want })
	}
	becomes(true)
	require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
	var state syscall.WaitStatus
	_, err := syscall.Wait4(cmd.Process.Pid, &state, syscall.WUNTRACED, nil) // on the way, the process runs for a moment
	require.NoError(t, err)
	require.True(t, state.Stopped())
	require.False(t, asleep(cmd.Process.Pid))
	require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
	becomes(true)

	busy := exec.Command("sh", "-c", "while :; do :; done")
	require.NoError(t, busy.Start())
	defer busy.Wait()
	defer busy.Process.Kill()
	testkit.WaitFor(t, 10*time.Second, "a busy process", func() bool { return !asleep(busy.Process.Pid) })
}
