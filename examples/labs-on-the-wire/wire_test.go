//go:build unix && !wasip1

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/labrpc"
)

// The test binary is also the program of the processes.
const asProgram = "LABS_ON_THE_WIRE"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// A machine runs the processes of one cluster.
type machine struct {
	t       *testing.T
	binary  string
	config  config
	servers []*exec.Cmd
}

func newMachine(t *testing.T, binary string, shards bool) *machine {
	m := &machine{t: t, binary: binary, config: config{servers: 3, groups: 2, dir: t.TempDir(), shards: shards}}
	m.config.port = freePorts(t)
	for i := range m.config.servers {
		m.servers = append(m.servers, nil)
		m.start(i)
	}
	t.Cleanup(func() {
		for i := range m.servers {
			m.kill(i)
		}
	})
	return m
}

// portsOf is the number of ports of a cluster, and clusters counts the clusters of
// this process.
const portsOf = 40

var clusters atomic.Int64

// freePorts finds ports that nobody uses, below those that systems give to outgoing
// connections. A port in that range could be taken while its server is down. Test
// processes that run at the same time begin at different places.
func freePorts(t *testing.T) int {
	const places = 300
	for range places {
		first := 20000 + portsOf*((os.Getpid()*7+int(clusters.Add(1)))%places)
		if areFree(first, first+portsOf) {
			return first
		}
	}
	t.Fatal("no free ports")
	return 0
}

func areFree(from, to int) bool {
	for port := from; port < to; port++ {
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

func (m *machine) command(args ...string) *exec.Cmd {
	c := m.config
	cmd := exec.Command(m.binary, append([]string{
		"-port", strconv.Itoa(c.port), "-groups", strconv.Itoa(c.groups), "-dir", c.dir, fmt.Sprint("-shards=", c.shards),
	}, args...)...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stderr = os.Stderr
	return cmd
}

// start starts a server process and waits until it serves.
func (m *machine) start(i int) {
	cmd := m.command("server", strconv.Itoa(i))
	out, err := cmd.StdoutPipe()
	require.NoError(m.t, err)
	require.NoError(m.t, cmd.Start())
	m.servers[i] = cmd
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(m.t, err)
	require.Equal(m.t, fmt.Sprintf("server %d is ready\n", i), line)
}

// kill ends a server process with SIGKILL.
func (m *machine) kill(i int) {
	if cmd := m.servers[i]; cmd != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		m.servers[i] = nil
	}
}

// run runs a command to its end.
func (m *machine) run(args ...string) string {
	out, err := m.command(args...).Output()
	require.NoError(m.t, err, "%v", args)
	return strings.TrimSuffix(string(out), "\n")
}

// A load is clerks that append numbers, each clerk to a key of its own and to a key of
// all.
type load struct {
	clerks  sync.WaitGroup
	stop    atomic.Bool
	written []atomic.Int64 // appends of each clerk
}

const sharedKey = "shared"

func ownKey(clerk int) string { return string(rune('a' + 3*clerk)) }

func (m *machine) load(tn *labrpc.TCPNetwork) *load {
	l := &load{written: make([]atomic.Int64, 3)}
	for id := range l.written {
		ck := m.config.clerk(tn)
		l.clerks.Go(func() {
			for n := int64(0); !l.stop.Load(); n++ {
				ck.Append(sharedKey, fmt.Sprintf("%d.%d ", id, n))
				ck.Append(ownKey(id), fmt.Sprintf("%d ", n))
				l.written[id].Store(n + 1)
				time.Sleep(20 * time.Millisecond) // the test is about crashes, not speed
			}
		})
	}
	return l
}

// progress waits until each clerk has appended n more numbers.
func (l *load) progress(t *testing.T, n int64) {
	for i := range l.written {
		w := &l.written[i]
		want := w.Load() + n
		testkit.WaitFor(t, time.Minute, fmt.Sprintf("append %d of clerk %d", want, i), func() bool { return w.Load() >= want })
	}
}

// check requires that every append is there once, in the order of its clerk.
func (l *load) check(t *testing.T, ck clerk) {
	shared := strings.Fields(ck.Get(sharedKey))
	total := 0
	for id := range l.written {
		var own, want, ofShared strings.Builder
		for n := range l.written[id].Load() {
			fmt.Fprintf(&want, "%d ", n)
			total++
		}
		own.WriteString(ck.Get(ownKey(id)))
		for _, s := range shared {
			if n, ok := strings.CutPrefix(s, fmt.Sprintf("%d.", id)); ok {
				ofShared.WriteString(n + " ")
			}
		}
		require.Equal(t, want.String(), own.String(), "clerk %d", id)
		require.Equal(t, want.String(), ofShared.String(), "clerk %d in the shared key", id)
	}
	require.Len(t, shared, total)
}

// testCluster kills some servers under load, one after the other, and then all of
// them. Every acknowledged append is there once.
func testCluster(t *testing.T, binary string, shards bool, killed int) {
	m := newMachine(t, binary, shards)
	if shards {
		m.run("join", "1")
		m.run("join", "2")
	} else {
		m.run("put", "greeting", "hello, ")
		m.run("append", "greeting", "world")
	}
	tn := labrpc.MakeTCPNetwork(labrpc.TCPOptions{})
	defer tn.Close()
	l := m.load(tn)
	for i := range killed {
		l.progress(t, 3)
		m.kill(i)
		l.progress(t, 3)
		m.start(i)
	}
	if shards {
		m.run("leave", "1")
		require.Contains(t, m.run("query"), "Shards:[2 2 2 2 2 2 2 2 2 2]")
	}
	l.progress(t, 3)
	l.stop.Store(true)
	testkit.AwaitGroup(t, "the clerks", &l.clerks)
	for i := range m.servers {
		m.kill(i)
	}
	for i := range m.servers {
		m.start(i)
	}
	l.check(t, m.config.clerk(tn))
	if !shards {
		require.Equal(t, "hello, world", m.run("get", "greeting"))
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	testCluster(t, os.Args[0], false, 3)
}

func TestShards(t *testing.T) {
	t.Parallel()
	testCluster(t, os.Args[0], true, 1)
}

// TestStudent runs the same over the plain Raft of mutants/student.
func TestStudent(t *testing.T) {
	if !testkit.Soak() {
		t.Skip("RAFTLAB_SOAK=1 builds the program over a student's Raft")
	}
	binary := studentsBinary(t)
	t.Run("store", func(t *testing.T) { testCluster(t, binary, false, 3) })
	t.Run("shards", func(t *testing.T) { testCluster(t, binary, true, 3) })
}

// studentsBinary builds the program with mutants/student in place of package raft.
func studentsBinary(t *testing.T) string {
	files, err := filepath.Glob("../../raft/*.go")
	require.NoError(t, err)
	replace := make(map[string]string)
	for _, file := range append(files, "../../mutants/student/raft.go") {
		path, err := filepath.Abs(file)
		require.NoError(t, err)
		switch {
		case strings.Contains(path, "mutants"):
			replace[filepath.Join(filepath.Dir(path), "..", "..", "raft", "raft.go")] = path
		case !strings.HasSuffix(path, "persister.go"):
			replace[path] = "" // removed
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600))
	build := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", filepath.Join(dir, "program"), ".")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return filepath.Join(dir, "program")
}

// A command or a server out of range is refused with what is wanted.
func TestWrongCommands(t *testing.T) {
	c := config{servers: 3, groups: 2}
	sharded := c
	sharded.shards = true
	for _, wrong := range []struct {
		config config
		args   string
		want   string
	}{
		{c, "", "-help"},
		{c, "get", "is no command"},
		{c, "put x", "is no command"},
		{c, "fetch x", "is no command"},
		{c, "server 3", "want 0 to 2"},
		{c, "server x", "want 0 to 2"},
		{c, "join 1", "needs -shards"},
		{sharded, "join 3", "want 1 to 2"},
		{config{servers: 11}, "get x", "-servers is 11; want 1 to 10"},
	} {
		require.ErrorContains(t, wrong.config.run(&bytes.Buffer{}, strings.Fields(wrong.args)), wrong.want)
	}
}
