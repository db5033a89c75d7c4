//go:build !wasip1

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/datadir"
	"raftlab/internal/httpkv"
	"raftlab/internal/testkit"
	"raftlab/kv"
	"raftlab/porcupine"
	"raftlab/porcupine/models"
)

// recorded is what clients of processes did and saw.
type recorded struct {
	start time.Time

	mu      sync.Mutex
	clients int
	ops     []porcupine.Operation
}

func (h *recorded) newClient() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clients++
	return h.clients
}

// do makes an operation, which stays pending without an answer.
func (h *recorded) do(ctx context.Context, id int, in models.KVInput, client *httpkv.Client) error {
	h.mu.Lock()
	i := len(h.ops)
	h.ops = append(h.ops, porcupine.Operation{ClientId: id, Input: in, Call: int64(time.Since(h.start)), Return: porcupine.Pending})
	h.mu.Unlock()
	var pair kv.Pair
	var err error
	switch in.Op {
	case models.KVGet:
		if pair, err = client.Get(ctx, in.Key); notFound(err) {
			err = nil
		}
	case models.KVPut:
		_, err = client.Do(ctx, httpkv.Write{Op: kv.Put(in.Key, in.Value)})
	case models.KVAppend:
		_, err = client.Do(ctx, httpkv.Write{Op: kv.Append(in.Key, in.Value)})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.ops[i].Output, h.ops[i].Return = models.KVOutput{Value: pair.Value}, int64(time.Since(h.start))
	}
	return err
}

func notFound(err error) bool {
	refused, ok := err.(*httpkv.Error)
	return ok && refused.Code == httpkv.NotFound
}

// record has clients read and write shared keys through all processes until stop is called.
func (p *processes) record() (h *recorded, stop func()) {
	h = &recorded{start: time.Now()}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i := range 4 {
		rng := rand.New(rand.NewPCG(uint64(testkit.Seed(p.T)), uint64(i)))
		running.Go(func() {
			id := h.newClient()
			for n := 0; ctx.Err() == nil; n++ {
				in := models.KVInput{Op: models.KVOp(rng.IntN(3)), Key: fmt.Sprintf("%d shared", rng.IntN(10))}
				if in.Op != models.KVGet {
					in.Value = fmt.Sprintf("(%d.%d)", id, n)
				}
				limited, done := context.WithTimeout(ctx, time.Second)
				if h.do(limited, id, in, &httpkv.Client{BaseURL: p.urls[rng.IntN(3)]}) != nil {
					id = h.newClient() // the operation may still be under way
				}
				done()
				time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond) // a client thinks
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		testkit.AwaitGroup(p, "the clients", &running)
	})
	p.Cleanup(stop)
	return h, stop
}

// members returns the processes as one of them knows them.
func (p *processes) members(through int) httpkv.Members {
	p.Helper()
	got := p.servers[through].raftlab(nil, "member", "list", "--json", "--timeout", "20s")
	require.Zero(p, got.code, got.err)
	var all httpkv.Members
	require.NoError(p, json.Unmarshal([]byte(got.out), &all))
	return all
}

// awaitMembers waits until a process knows these processes alone, as voters of all groups,
// with the ids of their data directories.
func (p *processes) awaitMembers(through int, names ...string) {
	p.Helper()
	ids := make(map[string]string)
	for _, args := range p.args {
		m, err := datadir.Read(flagOf(args, "--data"))
		require.NoError(p, err)
		ids[m.Name] = m.ID.String()
	}
	testkit.WaitFor(p, time.Minute, fmt.Sprintf("process %d to know %v", through+1, names), func() bool {
		var voters []string
		for _, m := range p.members(through).Members {
			if m.Learner || len(m.Groups) != 3 || m.ID != ids[m.Name] {
				return false
			}
			voters = append(voters, m.Name)
		}
		return slices.Equal(voters, names)
	})
}

// newcomer starts a process without data that takes the place of a process. Clients reach
// the new process where they reached the other one.
func (p *processes) newcomer(i int, name, lost string) {
	p.Helper()
	p.args[i] = []string{
		"--name", name, "--data", fmt.Sprintf("%s/%s.%d", p.dir, name, p.made), "--groups", "2", "--join", p.urls[(i+1)%3], "--replace", lost,
		"--listen-peer", testkit.FreeAddress(p), "--listen", flagOf(p.args[i], "--listen"),
		"--heartbeat", "50ms", "--election-timeout", "500ms", "--snapshot-bytes", "20000",
	}
	p.made++
	p.start(i)
}

// Processes whose disks are gone are replaced under load, under the same name and under
// another one. A replacement that was killed in the middle goes on. No acknowledged write is
// lost, the history is linearizable, and the former data stays out.
func TestReplaceProcess(t *testing.T) {
	t.Parallel()
	p := startProcesses(t, "--groups", "2", "--snapshot-bytes", "20000")
	writers, stopWriters := p.writers()
	h, stopClients := p.record()
	more := func() {
		t.Helper()
		before := total(writers)
		testkit.WaitFor(t, time.Minute, "more writes", func() bool { return total(writers) > before+20 })
	}
	more()

	p.servers[1].end(syscall.SIGKILL)
	require.NoError(t, os.RemoveAll(flagOf(p.args[1], "--data")))
	p.newcomer(1, "n2", "n2")
	for i := range 3 {
		p.awaitMembers(i, "n1", "n2", "n3")
	}
	p.check(writers, 1)

	former, formerArgs := flagOf(p.args[2], "--data"), p.args[2]
	p.servers[2].end(syscall.SIGKILL)
	replaced, err := datadir.Read(former)
	require.NoError(t, err)
	p.newcomer(2, "n4", "n3")
	p.servers[2].end(syscall.SIGKILL)
	if m, err := datadir.Read(flagOf(p.args[2], "--data")); err == nil && m.Joins {
		require.Equal(t, replaced.ID, m.ReplacesID, "a later process n3 is another one")
	}
	more()
	p.start(2)
	for i := range 3 {
		p.awaitMembers(i, "n1", "n2", "n4")
	}
	p.check(writers, 2)

	p.servers[0].end(syscall.SIGKILL) // the new ones are a majority
	p.check(writers, 1)
	p.start(0) // --cluster has the former addresses
	p.check(writers, 0)
	p.awaitMembers(0, "n1", "n2", "n4")

	back := startServer(t, append(slices.Clone(formerArgs), "--listen", testkit.FreeAddress(t))...)
	back.cmd.Wait()
	require.Zero(t, back.cmd.ProcessState.ExitCode(), back.logs.String())
	require.Contains(t, back.logs.String(), "another process has taken the place of process n3")

	stopWriters()
	stopClients()
	result, info, err := porcupine.CheckOperationsContext(t.Context(), models.KV, h.ops, porcupine.Options{Verbose: true})
	require.Equal(t, porcupine.Ok, result, "%d operations: %v, %v", len(h.ops), err, porcupine.Explain(models.KV, info))
	t.Logf("%d acknowledged writes, and a history of %d operations", total(writers), len(h.ops))

	for _, s := range p.servers {
		require.Zero(t, s.end(syscall.SIGTERM).ExitCode(), s.logs.String())
	}
	dirs := []string{flagOf(p.args[0], "--data"), flagOf(p.args[1], "--data"), flagOf(p.args[2], "--data")}
	got := raftlab(t, nil, append([]string{"verify"}, dirs...)...)
	require.Zero(t, got.code, got.err)
	got = raftlab(t, nil, "inspect", dirs[0])
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "of n1, n2, n4")
	file := filepath.Join(p.dir, "file.backup")
	got = raftlab(t, nil, "backup", file, "--data", dirs[0], "--data", former)
	require.NotZero(t, got.code)
	require.Contains(t, got.err, "the process is no longer one of the store: "+former+" is of process n3")
	got = raftlab(t, nil, "backup", file, "--data", dirs[2])
	require.NotZero(t, got.code)
	require.Contains(t, got.err, "1 of 3 processes")
	got = raftlab(t, nil, "backup", file, "--data", dirs[1], "--data", dirs[2])
	require.Zero(t, got.code, got.err)
	got = raftlab(t, nil, "recover", "--data", dirs[2], "--yes")
	require.Zero(t, got.code, got.err)
	p.args[2] = append(p.args[2], "--cluster", "n4="+flagOf(p.args[2], "--listen-peer"))
	p.args[2] = slices.DeleteFunc(p.args[2], func(s string) bool {
		return s == "--join" || s == "--replace" || strings.HasPrefix(s, "http://") || s == "n3"
	})
	p.start(2)
	p.check(writers, 2)
}

// A process that cannot join is refused before anything changes, and the error says why.
func TestRefusedProcess(t *testing.T) {
	t.Parallel()
	p := startProcesses(t, "--groups", "2")
	for i := range 3 {
		p.awaitMembers(i, "n1", "n2", "n3")
	}
	refused := func(says string, args ...string) {
		t.Helper()
		args = append([]string{
			"serve", "--data", t.TempDir() + "/new", "--join", p.urls[0],
			"--listen-peer", testkit.FreeAddress(t), "--listen", testkit.FreeAddress(t),
		}, args...)
		got := raftlab(t, nil, args...)
		require.NotZero(t, got.code)
		require.Contains(t, got.err, says)
		require.Len(t, p.members(0).Members, 3)
	}
	refused("has a process n2; if its data is lost, replace it", "--name", "n2", "--groups", "2")
	refused("no such process: n9", "--name", "n4", "--groups", "2", "--replace", "n9")
	refused("2 groups, and this process was started for 3 groups", "--name", "n4", "--groups", "3", "--replace", "n2")
	refused(`the store is "raftlab", and this process is for "other"`, "--name", "n4", "--groups", "2", "--cluster-name", "other")
	got := p.servers[0].raftlab(nil, "member", "remove", "n9")
	require.Equal(t, exitRefused, got.code)
	require.Contains(t, got.err, "no such process: n9")

	lost := p.args[1]
	p.servers[1].end(syscall.SIGKILL)
	got = p.servers[0].raftlab(nil, "member", "remove", "n3")
	require.Equal(t, exitRefused, got.code)
	require.Contains(t, got.err, "n2 would be down")
	require.NoError(t, os.RemoveAll(flagOf(lost, "--data")))
	got = raftlab(t, nil, append([]string{"serve"}, lost...)...)
	require.NotZero(t, got.code)
	require.Contains(t, got.err, "--join and --replace")
	p.servers[2].end(syscall.SIGKILL)
	refused("a change needs a majority of its members", "--name", "n2", "--groups", "2", "--replace", "n2")
}
