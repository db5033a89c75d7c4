//go:build unix && !wasip1

package node_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/pki"
	"raftlab/internal/testkit"
	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
	"raftlab/raft/wal"
	simworld "raftlab/sim/world"
)

// The test binary is also the program of the member processes.
const memberEnv = "RAFTLAB_TEST_MEMBER"

func TestMain(m *testing.M) {
	if os.Getenv(memberEnv) != "" {
		if err := runMember(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// runMember serves requests from the standard input: lines of a number, "append"
// or "get", a key and a value.
func runMember() error {
	dir := os.Args[1]
	var id core.NodeID
	if _, err := fmt.Sscan(os.Args[2], &id); err != nil {
		return err
	}
	var members []node.Member
	for i, address := range os.Args[4:] {
		members = append(members, node.Member{ID: core.NodeID(i + 1), Address: address})
	}
	opts := wal.Options{Identity: node.Identity{Cluster: "processes", Host: id}, SegmentBytes: 1 << 20}
	logDir := filepath.Join(dir, fmt.Sprint("log", id))
	if err := wal.Create(logDir, opts); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	storage, err := wal.Open(logDir, opts)
	if err != nil {
		return err
	}
	transport, err := tcp.Listen(tcp.Options{Listen: members[id-1].Address, TLS: certificate(dir, id)})
	if err != nil {
		return err
	}
	lease, err := time.ParseDuration(os.Args[3])
	if err != nil {
		return err
	}
	s := &store{}
	n, err := node.Start(node.HostConfig{Storage: storage, Transport: transport}, node.Config{
		Members: members, StateMachine: s, SnapshotEntries: 500, TrailingEntries: 50, SnapshotChunkBytes: 1 << 10,
		ElectionTimeout: 300 * time.Millisecond, HeartbeatInterval: 50 * time.Millisecond, LeaseDuration: lease,
	})
	if err != nil {
		return err
	}
	defer n.Close()
	var mu sync.Mutex
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var number int
		var op, key, value string
		_, _ = fmt.Sscan(lines.Text(), &number, &op, &key, &value)
		go func() {
			answer := serve(n, s, op, key, value)
			mu.Lock()
			defer mu.Unlock()
			fmt.Println(number, answer)
		}()
	}
	return nil
}

func serve(n *node.Node, s *store, op, key, value string) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var err error
	if op == "get" {
		if _, err = n.ReadIndex(ctx); err == nil {
			return "ok " + s.get(key)
		}
		return "refused"
	}
	_, err = n.Propose(ctx, []byte(key+" "+value))
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, node.ErrRefused):
		return "refused"
	}
	return "unknown"
}

func certificate(dir string, id core.NodeID) *tcp.TLS {
	name := filepath.Join(dir, fmt.Sprint("host", id))
	return &tcp.TLS{CertFile: name + ".pem", KeyFile: name + ".key", CAFile: filepath.Join(dir, "ca.pem")}
}

// process is a member process.
type process struct {
	*testing.T
	command func() *exec.Cmd

	mu      sync.Mutex
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	number  int
	waiting map[int]chan string // closed when the process dies
}

func (p *process) start() {
	cmd := p.command()
	cmd.Env = append(os.Environ(), memberEnv+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(p, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(p, err)
	require.NoError(p, cmd.Start())
	waiting := make(map[int]chan string)
	p.mu.Lock()
	p.cmd, p.stdin, p.waiting = cmd, stdin, waiting
	p.mu.Unlock()
	go func() { // ends with the process
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			number, answer, _ := strings.Cut(lines.Text(), " ")
			var n int
			_, _ = fmt.Sscan(number, &n)
			p.mu.Lock()
			if ch := waiting[n]; ch != nil {
				ch <- answer
				delete(waiting, n)
			}
			p.mu.Unlock()
		}
		p.mu.Lock()
		for n, ch := range waiting {
			close(ch)
			delete(waiting, n)
		}
		p.mu.Unlock()
	}()
}

func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	cmd := p.cmd
	p.mu.Unlock()
	_ = cmd.Process.Signal(s)
	if s == syscall.SIGKILL {
		_ = cmd.Wait()
	}
}

// ask returns the answer to a request, "" if there is none.
func (p *process) ask(request string) string {
	ch := make(chan string, 1)
	p.mu.Lock()
	p.number++
	p.waiting[p.number] = ch
	_, err := fmt.Fprintln(p.stdin, p.number, request)
	p.mu.Unlock()
	if err != nil {
		return ""
	}
	select {
	case answer := <-ch:
		return answer
	case <-time.After(3 * time.Second):
		return ""
	}
}

// TestProcesses kills and stops three processes with TLS between them, under
// load. Histories are linearizable and nothing acknowledged is lost.
func TestProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes, in real time")
	}
	var addresses []string
	for range 3 {
		addresses = append(addresses, testkit.FreeAddress(t))
	}
	command := func(_ core.NodeID, args []string) *exec.Cmd { return exec.Command(os.Args[0], args...) }
	testProcesses(t, 8, addresses, command, (*processTest).mayFail)
}

// processTest is a cluster of three processes under load.
type processTest struct {
	rng       *rand.Rand
	processes []*process
	killed    int
	stopped   int
}

// mayFail kills or stops a process for a while.
func (r *processTest) mayFail() {
	p := r.processes[r.rng.IntN(len(r.processes))]
	if r.rng.IntN(2) == 0 {
		r.killed++
		p.signal(syscall.SIGKILL)
		time.Sleep(time.Duration(r.rng.IntN(500)) * time.Millisecond)
		p.start()
		return
	}
	r.stopped++
	p.signal(syscall.SIGSTOP)
	time.Sleep(time.Duration(r.rng.IntN(800)) * time.Millisecond)
	p.signal(syscall.SIGCONT)
}

// soakTime is how long the processes are disturbed under RAFTLAB_SOAK=1.
const soakTime = 5 * time.Minute

// testProcesses runs three processes at some addresses, and disturbs them at least a
// number of times.
func testProcesses(t *testing.T, least int, addresses []string, command func(core.NodeID, []string) *exec.Cmd, disturb func(*processTest)) {
	if simworld.Active() {
		t.Skip("processes outside of a simulated world do not reach its network")
	}
	t.Parallel()
	r := &processTest{rng: testkit.Rand(t)}
	lease := time.Duration(r.rng.IntN(2)) * 200 * time.Millisecond
	dir := t.TempDir()
	makeCertificates(t, dir)
	for id := core.NodeID(1); id <= 3; id++ {
		args := append([]string{dir, fmt.Sprint(id), lease.String()}, addresses...)
		p := &process{T: t, command: func() *exec.Cmd { return command(id, args) }}
		p.start()
		defer p.signal(syscall.SIGKILL)
		r.processes = append(r.processes, p)
	}
	h := &history{begun: time.Now(), stop: make(chan struct{})}
	var clients sync.WaitGroup
	for c := range 6 {
		seed := r.rng.Uint64()
		clients.Go(func() { h.client(c, rand.New(rand.NewPCG(seed, 0)), r.processes) })
	}
	h.waitFor(t, 50)
	begun, faults := time.Now(), 0
	for ; faults < least || testkit.Soak() && time.Since(begun) < soakTime; faults++ {
		disturb(r)
		time.Sleep(time.Duration(r.rng.IntN(300)) * time.Millisecond)
	}
	h.waitFor(t, h.acknowledged()+50)
	close(h.stop)
	clients.Wait()
	result := porcupine.CheckOperationsTimeout(models.KV, h.operations, time.Minute)
	require.Equal(t, porcupine.CheckResult(porcupine.Ok), result, "%d operations", len(h.operations))
	t.Logf("%v, leases of %v: %d faults, %d kills, %d stops, %d operations, %d acknowledged",
		time.Since(begun).Round(time.Second), lease, faults, r.killed, r.stopped, len(h.operations), h.acked)
}

// history is what clients have seen.
type history struct {
	begun      time.Time
	stop       chan struct{}
	mu         sync.Mutex
	operations []porcupine.Operation
	acked      int
}

func (h *history) acknowledged() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.acked
}

func (h *history) waitFor(t *testing.T, n int) {
	t.Helper()
	testkit.WaitFor(t, 30*time.Second, fmt.Sprintf("%d acknowledgements", n), func() bool { return h.acknowledged() >= n })
}

func (h *history) client(number int, rng *rand.Rand, processes []*process) {
	for n := 0; ; n++ {
		select {
		case <-h.stop:
			return
		case <-time.After(time.Duration(rng.IntN(10)) * time.Millisecond):
		}
		p := processes[rng.IntN(len(processes))]
		// Each key is in use for some seconds, so the values stay short.
		key := fmt.Sprint("k", rng.IntN(4), ".", int(time.Since(h.begun)/(5*time.Second)))
		op := porcupine.Operation{ClientId: number, Call: time.Now().UnixNano()}
		if rng.IntN(3) == 0 {
			answer, ok := strings.CutPrefix(p.ask("get "+key), "ok ")
			if !ok {
				continue
			}
			op.Input, op.Output = models.KVInput{Op: models.KVGet, Key: key}, models.KVOutput{Value: answer}
			op.Return = time.Now().UnixNano()
		} else {
			value := fmt.Sprintf("%d.%d,", number, n)
			op.Input = models.KVInput{Op: models.KVAppend, Key: key, Value: value}
			switch p.ask("append " + key + " " + value) {
			case "ok":
				op.Output, op.Return = models.KVOutput{}, time.Now().UnixNano()
			case "refused":
				continue
			default:
				op.Return = porcupine.Pending
			}
		}
		h.mu.Lock()
		h.operations = append(h.operations, op)
		if op.Return != porcupine.Pending {
			h.acked++
		}
		h.mu.Unlock()
	}
}

// makeCertificates writes an authority and the certificates of three hosts.
func makeCertificates(t *testing.T, dir string) {
	ca, err := pki.NewAuthority("test", time.Hour)
	require.NoError(t, err)
	require.NoError(t, ca.Write(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")))
	for id := core.NodeID(1); id <= 3; id++ {
		name := fmt.Sprint("host", id)
		pair, err := ca.Issue(pki.Request{Name: name, URI: tcp.HostURI(node.Identity{Cluster: "processes", Host: id}), Lifetime: time.Hour})
		require.NoError(t, err)
		require.NoError(t, pair.Write(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")))
	}
}
