//go:build unix && !wasip1

package main

import (
	"fmt"
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

// certificates follows the page's script.
func certificates(t *testing.T, dir string) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("there is no openssl here")
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "library.md"))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(page), "```\nopenssl req")
	require.True(t, found)
	script, _, _ := strings.Cut("openssl req"+rest, "```")
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

// hosts are the processes of a test.
type hosts struct {
	*testing.T
	dir       string
	addresses map[int]string
	terminals map[int]*testkit.Terminal
}

func (h *hosts) start(id int, flags ...string) {
	var members []string
	for i := 1; i <= 3; i++ {
		members = append(members, fmt.Sprintf("%d=%s", i, h.addresses[i]))
	}
	exe, err := filepath.Abs(os.Args[0])
	require.NoError(h, err)
	args := append([]string{"-id", strconv.Itoa(id), "-listen", h.addresses[id], "-dir", filepath.Join("data", strconv.Itoa(id)),
		"-certs", ".", "-members", strings.Join(members, ",")}, flags...)
	cmd := exec.Command(exe, args...)
	cmd.Dir, cmd.Env = h.dir, append(os.Environ(), "RAFTLAB_COUNTER=1")
	h.terminals[id] = testkit.StartTerminal(h, cmd)
}

// ask returns the answer of a host.
func (h *hosts) ask(id int, line string) string {
	h.Helper()
	answer, err := h.terminals[id].Ask(line)
	require.NoError(h, err)
	return answer
}

// onLeader repeats a request until a host answers as wanted.
func (h *hosts) onLeader(line string, wanted func(answer string) bool) (leader int) {
	h.Helper()
	testkit.WaitFor(h, 30*time.Second, "an answer to "+line, func() bool {
		for id := range h.terminals {
			if wanted(h.ask(id, line)) {
				leader = id
				return true
			}
		}
		return false
	})
	return leader
}

// add adds a number, and returns the leader and the sum. An attempt with an unknown
// outcome may have added the number, too.
func (h *hosts) add(n, least int) (leader int, sum string) {
	h.Helper()
	leader = h.onLeader(strconv.Itoa(n), func(answer string) bool {
		got, err := strconv.Atoi(answer)
		sum = answer
		return err == nil && got >= least
	})
	return leader, sum
}

func is(want string) func(string) bool { return func(answer string) bool { return answer == want } }

// The steps of docs/library.md, with four processes.
func TestEachStep(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes, in real time")
	}
	h := &hosts{t, t.TempDir(), make(map[int]string), make(map[int]*testkit.Terminal)}
	certificates(t, h.dir)
	for id := 1; id <= 4; id++ {
		h.addresses[id] = testkit.FreeAddress(t)
	}
	for id := 1; id <= 3; id++ {
		h.start(id, "-create")
	}
	_, sum := h.add(5, 5)
	h.start(4, "-create", "-join")
	h.onLeader("add 4 "+h.addresses[4], is("added"))
	require.Equal(t, sum, h.ask(4, ""), "a linearizable read")
	require.Equal(t, "saved", h.ask(4, "snapshot"))
	require.Contains(t, h.ask(4, "status"), "host 4 at "+h.addresses[4]+", voter true")
	leader, _ := h.add(6, 11)
	require.Contains(t, h.ask(leader, "metrics"), "commands, 99 % of the proposals within")
	require.Equal(t, `"twelve" is neither a number nor a request`, h.ask(4, "twelve"))

	require.NoError(t, h.terminals[leader].Close(), "an orderly stop")
	delete(h.terminals, leader)
	_, sum = h.add(1, 12)
	h.start(leader)
	require.Equal(t, sum, h.ask(leader, ""))
	h.onLeader(fmt.Sprint("remove ", 1+leader%4), is("removed"))
}
