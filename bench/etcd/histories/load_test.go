//go:build linux

package histories

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"raftlab/internal/testkit"
)

const (
	loadClients  = 32
	loadWatchers = 1000
	loadLeases   = 10_000
	loadRounds   = 3
)

// row is a kind of load. run returns the number of operations within a time, and the
// times of some of them.
type row struct {
	name string
	run  func(s *loaded, d time.Duration) (int64, []time.Duration)
}

// loaded is a cluster under a load for measurement.
type loaded struct {
	*cluster
	name    string
	clients []*clientv3.Client
	leases  []clientv3.LeaseID
}

// TestLoad measures raftlab beside the etcd on the PATH, in turns. RAFTLAB_LOAD is the
// time of one measurement, such as 3s.
func TestLoad(t *testing.T) {
	if os.Getenv("RAFTLAB_LOAD") == "" {
		t.Skip("measures; RAFTLAB_LOAD=3s runs it")
	}
	length, err := time.ParseDuration(os.Getenv("RAFTLAB_LOAD"))
	require.NoError(t, err)
	systems := []*loaded{{cluster: newCluster(t, 3, false), name: "raftlab"}}
	if path, err := exec.LookPath("etcd"); err == nil {
		systems = append(systems, &loaded{cluster: newEtcd(t, path), name: "etcd"})
	}
	for _, s := range systems {
		s.prepare()
	}
	for _, r := range []row{
		{"put, 256 B", put}, {"linearizable get", get(true)}, {"serializable get", get(false)},
		{"events, 1,000 watches", fanOut}, {"keep-alives, 10,000 leases", renew},
	} {
		rates := make(map[string][]float64)
		times := make(map[string][]time.Duration)
		for range loadRounds {
			for _, s := range systems {
				n, took := r.run(s, length)
				rates[s.name] = append(rates[s.name], float64(n)/length.Seconds())
				times[s.name] = append(times[s.name], took...)
			}
		}
		for _, s := range systems {
			slices.Sort(rates[s.name])
			slices.Sort(times[s.name])
			took := times[s.name]
			t.Logf("%-28s %-8s %9.0f/s (of %.0f), p50 %v, p99 %v", r.name, s.name, rates[s.name][loadRounds/2], rates[s.name],
				took[len(took)/2].Round(10*time.Microsecond), took[len(took)*99/100].Round(10*time.Microsecond))
		}
	}
}

// newEtcd starts three processes of etcd.
func newEtcd(t *testing.T, path string) *cluster {
	c := &cluster{T: t, dir: t.TempDir()}
	var first []string
	for i := 1; i <= 3; i++ {
		p := &process{name: fmt.Sprint("e", i), binary: path, peer: testkit.FreeAddress(t), client: testkit.FreeAddress(t)}
		p.dir = filepath.Join(c.dir, p.name)
		c.members = append(c.members, p)
		first = append(first, p.name+"=http://"+p.peer)
	}
	for _, p := range c.members {
		p.args = []string{
			"--name", p.name, "--data-dir", p.dir, "--log-level", "error",
			"--listen-peer-urls", "http://" + p.peer, "--initial-advertise-peer-urls", "http://" + p.peer,
			"--listen-client-urls", "http://" + p.client, "--advertise-client-urls", "http://" + p.client,
			"--initial-cluster", strings.Join(first, ","),
		}
		require.NoError(t, c.start(p))
	}
	t.Cleanup(c.close)
	return c
}

// prepare makes the clients, the keys and the leases.
func (s *loaded) prepare() {
	for i := range loadClients {
		cli := s.client(s.members[i%len(s.members)])
		s.Cleanup(func() { cli.Close() })
		s.clients = append(s.clients, cli)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for {
		if _, err := s.clients[0].Put(ctx, "ready", "x"); err == nil {
			break
		}
		require.NoError(s, ctx.Err())
	}
	s.parallel(func(i int, cli *clientv3.Client) {
		for n := i; n < 1000 && ctx.Err() == nil; {
			if _, err := cli.Put(ctx, fmt.Sprintf("key%04d", n), strings.Repeat("v", 256)); err == nil {
				n += loadClients // a busy machine loses leaders
			}
		}
	})
	s.leases = make([]clientv3.LeaseID, loadLeases)
	s.parallel(func(i int, cli *clientv3.Client) {
		for n := i; n < loadLeases && ctx.Err() == nil; {
			if l, err := cli.Grant(ctx, 3600); err == nil {
				s.leases[n] = l.ID
				n += loadClients
			}
		}
	})
	require.NoError(s, ctx.Err())
}

func (s *loaded) parallel(do func(i int, cli *clientv3.Client)) {
	var wg sync.WaitGroup
	for i, cli := range s.clients {
		wg.Go(func() { do(i, cli) })
	}
	wg.Wait()
}

// each calls one over and over from all clients, and counts the answers without an error.
func (s *loaded) each(d time.Duration, one func(ctx context.Context, i, n int, cli *clientv3.Client) error) (int64, []time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	var mu sync.Mutex
	var all []time.Duration
	s.parallel(func(i int, cli *clientv3.Client) {
		var own []time.Duration
		for n := 0; ctx.Err() == nil; n++ {
			begin := time.Now()
			if one(ctx, i, n, cli) == nil {
				own = append(own, time.Since(begin))
			}
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, own...)
	})
	return int64(len(all)), all
}

func put(s *loaded, d time.Duration) (int64, []time.Duration) {
	value := strings.Repeat("v", 256)
	return s.each(d, func(ctx context.Context, i, n int, cli *clientv3.Client) error {
		_, err := cli.Put(ctx, fmt.Sprintf("key%04d", (i*31+n)%1000), value)
		return err
	})
}

func get(linearizable bool) func(s *loaded, d time.Duration) (int64, []time.Duration) {
	var opts []clientv3.OpOption
	if !linearizable {
		opts = append(opts, clientv3.WithSerializable())
	}
	return func(s *loaded, d time.Duration) (int64, []time.Duration) {
		return s.each(d, func(ctx context.Context, i, n int, cli *clientv3.Client) error {
			_, err := cli.Get(ctx, fmt.Sprintf("key%04d", (i*31+n)%1000), opts...)
			return err
		})
	}
}

// fanOut counts the events of one key that arrive at all watches. The times are from the
// put to the last of the watches.
func fanOut(s *loaded, d time.Duration) (int64, []time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var arrived atomic.Int64
	var created sync.WaitGroup
	created.Add(loadWatchers)
	for i := range loadWatchers {
		watch := s.clients[i%loadClients].Watch(ctx, "fan", clientv3.WithCreatedNotify())
		wg.Go(func() {
			for r := range watch {
				if r.Created {
					created.Done()
				}
				arrived.Add(int64(len(r.Events)))
			}
		})
	}
	created.Wait()
	var times []time.Duration
	for end := time.Now().Add(d); time.Now().Before(end); {
		want := arrived.Load() + loadWatchers
		begin := time.Now()
		if _, err := s.clients[0].Put(ctx, "fan", "x"); err != nil {
			continue
		}
		for arrived.Load() < want && time.Since(begin) < 10*time.Second {
			time.Sleep(50 * time.Microsecond)
		}
		times = append(times, time.Since(begin))
	}
	return arrived.Load(), times
}

func renew(s *loaded, d time.Duration) (int64, []time.Duration) {
	return s.each(d, func(ctx context.Context, i, n int, cli *clientv3.Client) error {
		_, err := cli.KeepAliveOnce(ctx, s.leases[(i+n*loadClients)%loadLeases])
		return err
	})
}
