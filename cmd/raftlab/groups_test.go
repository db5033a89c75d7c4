//go:build !wasip1

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/httpkv"
	"raftlab/internal/testkit"
)

// processes are three processes of a store with groups.
type processes struct {
	*testing.T
	args    [3][]string
	servers [3]*server
	urls    [3]string // for clients
	dir     string
	made    int // processes that take the place of others
	away    int // the group that has left, or 0
}

func startProcesses(t *testing.T, more ...string) *processes {
	p := &processes{T: t}
	var peers []string
	for i := range p.args {
		peers = append(peers, fmt.Sprintf("n%d=%s", i+1, testkit.FreeAddress(t)))
	}
	p.dir = t.TempDir()
	for i := range p.args {
		_, listen, _ := strings.Cut(peers[i], "=")
		p.args[i] = append([]string{
			"--name", fmt.Sprint("n", i+1), "--data", fmt.Sprintf("%s/n%d", p.dir, i+1), "--cluster", strings.Join(peers, ","),
			"--listen-peer", listen, "--listen", testkit.FreeAddress(t), "--heartbeat", "50ms", "--election-timeout", "500ms",
		}, more...)
		p.urls[i] = "http://" + flagOf(p.args[i], "--listen")
		p.start(i)
	}
	return p
}

func (p *processes) start(i int) {
	p.Helper()
	p.servers[i] = startServer(p.T, p.args[i]...)
	p.servers[i].url = "http://" + flagOf(p.args[i], "--listen")
}

func flagOf(args []string, name string) string {
	for i := range args {
		if args[i] == name {
			return args[i+1]
		}
	}
	return ""
}

// writers starts writers at all processes.
func (p *processes) writers() (writers []*writer, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i := range 6 {
		w := &writer{key: fmt.Sprintf("%d, a writer's", i), client: &httpkv.Client{BaseURL: p.servers[i%3].url}}
		writers = append(writers, w)
		running.Go(func() {
			if err := w.run(ctx); err != nil {
				p.Error(err)
			}
		})
	}
	stop = func() {
		cancel()
		testkit.AwaitGroup(p, "the clients", &running)
	}
	p.Cleanup(stop)
	return writers, stop
}

// busyPatience bounds the wait for an answer. A process answers "there is no leader" to each
// request that takes longer than its patience, and a busy machine holds elections.
const busyPatience = 2 * time.Minute

// check checks the writes, as another process than the writer's serves them.
func (p *processes) check(writers []*writer, through int) {
	p.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), busyPatience)
	defer cancel()
	for _, w := range writers {
		other := &writer{key: w.key, client: p.servers[through].client()}
		other.acked.Store(w.acked.Load())
		require.NoError(p, other.check(ctx), "through process %d", through+1)
	}
}

// move changes the layout through a process. One of the two groups stays a member, since a
// store without a group serves no key.
func (p *processes) move(rng *rand.Rand, through int) {
	p.Helper()
	change, gid := []string{"leave", "join", "move"}[rng.IntN(3)], 1+rng.IntN(2)
	if change == "leave" && p.away == 3-gid {
		change, gid = "join", p.away
	}
	args := []string{"shards", change, fmt.Sprint(gid)}
	switch {
	case change == "move":
		args = slices.Insert(args, 2, fmt.Sprint(rng.IntN(10)))
	case change == "leave":
		p.away = gid
	case gid == p.away:
		p.away = 0
	}
	got := p.servers[through].raftlab(nil, append(args, "--timeout", busyPatience.String())...)
	// A group that has left takes no shard.
	if got.code != 0 && !strings.Contains(got.err, "is not a member") {
		p.Errorf("%q: %+v", args, got)
	}
}

// TestGroupsSIGKILL kills each of three processes again and again, while shards move under
// load. Every acknowledged write is there, none twice.
func TestGroupsSIGKILL(t *testing.T) {
	t.Parallel()
	kills := 2
	if testkit.Soak() {
		kills = 40
	}
	rng := testkit.Rand(t)
	p := startProcesses(t, "--groups", "2", "--snapshot-bytes", "20000")
	writers, stop := p.writers()
	for kill := range kills {
		before := total(writers)
		testkit.WaitFor(t, busyPatience, "more writes", func() bool { return total(writers) > before+20 })
		victim := kill % 3
		p.servers[victim].end(syscall.SIGKILL)
		survivor := (victim + 1) % 3
		p.move(rng, survivor)
		p.check(writers, survivor)
		p.start(victim)
		p.check(writers, victim)
	}
	stop()
	got := p.servers[0].raftlab(nil, "shards", "join", "1", "2", "--timeout", busyPatience.String())
	require.Zero(t, got.code, got.err)
	p.check(writers, 1)
	got = p.servers[2].raftlab(nil, "status")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "controller  n3      running")
	for i, s := range p.servers {
		state := s.end(syscall.SIGTERM)
		require.Zero(t, state.ExitCode(), "process %d: %s", i+1, &s.logs)
	}
	t.Logf("%d kills, %d acknowledged writes", kills, total(writers))
}

// Flags that do not fit the kind of the store are refused before anything starts.
func TestGroupsFlags(t *testing.T) {
	t.Parallel()
	for says, args := range map[string][]string{
		"--replicas is for replicas in one process":             {"--groups", "2", "--replicas", "3"},
		"--groups is 11; want 1 to 10":                          {"--groups", "11"},
		"--groups is 0; want 1 to 10":                           {"--groups", "0"},
		"--quota is for a member of a store without groups":     {"--groups", "2", "--quota", "9"},
		"--join-user is for a member of a store without groups": {"--groups", "2", "--join-user", "a:b"},
		"--replace is for a process that joins":                 {"--groups", "2", "--replace", "n2"},
		"it needs --groups and --join":                          {"--join", "http://127.0.0.1:1", "--replace", "n2"},
		"--admin is for a member of a store without groups":     {"--groups", "2", "--admin"},
		"--name is given without --groups":                      {"--patience", "1s"},
		"names of members of a store with groups have no slash": {"--groups", "2", "--cluster", "n1=127.0.0.1:1,a/b=127.0.0.1:2"},
	} {
		got := raftlab(t, nil, append([]string{"serve", "--name", "n1", "--data", t.TempDir()}, args...)...)
		require.Equal(t, exitUsage, got.code, "%q: %s", args, got.err)
		require.Contains(t, got.err, says)
	}
}
