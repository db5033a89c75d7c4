//go:build unix && !wasip1

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
)

func TestMain(m *testing.M) {
	if os.Getenv("RAFTLAB_COUNTER") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// host starts a host of the counter as docs/library.md does.
func host(t *testing.T, dir string, id int, flags ...string) *testkit.Terminal {
	exe, err := filepath.Abs(os.Args[0])
	require.NoError(t, err)
	cmd := exec.Command(exe, append([]string{"-id", strconv.Itoa(id)}, flags...)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "RAFTLAB_COUNTER=1")
	return testkit.StartTerminal(t, cmd)
}

// Each acknowledged addition survives the death of the leader's process.
func TestThreeProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes, in real time")
	}
	for port := 7001; port <= 7003; port++ {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			t.Skipf("the example's port is in use: %v", err)
		}
		l.Close()
	}
	dir := t.TempDir()
	hosts := make(map[int]*testkit.Terminal)
	for id := 1; id <= 3; id++ {
		hosts[id] = host(t, dir, id, "-create")
	}
	sum, unknown, leader := 0, 0, 0
	add := func() {
		t.Helper()
		testkit.WaitFor(t, 30*time.Second, "an acknowledgement", func() bool {
			for id := range hosts {
				answer, err := hosts[id].Ask("7")
				require.NoError(t, err)
				if now, err := strconv.Atoi(answer); err == nil {
					require.Contains(t, []int{sum + 7, sum + 7 + unknown}, now)
					sum, unknown, leader = now, 0, id
					return true
				}
				if strings.Contains(answer, "the outcome of the command is unknown") {
					unknown += 7
				}
			}
			return false
		})
	}
	for range 3 {
		add()
	}
	old := leader
	hosts[old].Kill()
	delete(hosts, old)
	add()
	hosts[old] = host(t, dir, old)
	add()
	require.NoError(t, hosts[old].Close())
}

// The program stays small enough for the first page.
func TestProgramIsShort(t *testing.T) {
	text, err := os.ReadFile("main.go")
	require.NoError(t, err)
	require.LessOrEqual(t, strings.Count(string(text), "\n"), 60)
}
