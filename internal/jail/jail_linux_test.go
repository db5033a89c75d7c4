//go:build amd64 || arm64

package jail_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"raftlab/internal/jail"
)

// inJail names the task of a confined test process.
const inJail = "RAFTLAB_JAIL_TEST"

// confined runs a task of TestConfined in a jail without namespaces, as in a container that
// forbids them, and returns the output.
func confined(t *testing.T, level jail.Level, task string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestTask$", "-test.v")
	dir := t.TempDir()
	cmd.Env = []string{inJail + "=" + task, "TMPDIR=" + dir}
	err := level.Confine(cmd, jail.Limits{File: 8 << 20, Files: 64})
	require.NoError(t, err)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// TestTask is the confined process.
func TestTask(t *testing.T) {
	parent := os.Getppid()
	switch os.Getenv(inJail) {
	case "signal":
		fmt.Println("tgkill:", unix.Tgkill(parent, parent, unix.SIGWINCH))
		fmt.Println("kill:", unix.Kill(parent, unix.SIGWINCH))
		fmt.Println("own:", unix.Tgkill(os.Getpid(), os.Getpid(), unix.SIGWINCH))
	case "limits":
		var lim unix.Rlimit
		fmt.Println("prlimit:", unix.Prlimit(parent, unix.RLIMIT_CORE, nil, &lim))
		fmt.Println("own:", unix.Prlimit(0, unix.RLIMIT_CORE, nil, &lim))
	case "owner":
		r, w, err := os.Pipe()
		require.NoError(t, err)
		for name, op := range map[string]int{"setown": unix.F_SETOWN, "setsig": unix.F_SETSIG, "setown_ex": unix.F_SETOWN_EX} {
			_, err = unix.FcntlInt(r.Fd(), op, 0)
			fmt.Println(name+":", err)
		}
		_, err = unix.FcntlInt(w.Fd(), unix.F_GETFL, 0)
		fmt.Println("own:", err)
	case "":
		t.Skip("not in a jail")
	}
}

// A confined process reaches no other process, also where namespaces are missing.
func TestConfined(t *testing.T) {
	level := jail.Probe()
	if !level.Calls {
		t.Skip("no list of system calls here: ", level.Missing())
	}
	level.Namespaces = false // the test binary is not static
	for task, refused := range map[string][]string{"signal": {"tgkill", "kill"}, "limits": {"prlimit"}, "owner": {"setown", "setsig", "setown_ex"}} {
		out := confined(t, level, task)
		for _, name := range refused {
			require.Contains(t, strings.Split(out, "\n"), name+": operation not permitted", task)
		}
		require.Contains(t, strings.Split(out, "\n"), "own: <nil>", task)
	}
}
