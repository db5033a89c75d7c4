//go:build !wasip1

package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"raftlab/internal/kvstore"
	"raftlab/internal/shardstore"
	"raftlab/kv"
	"raftlab/labrpc"
	"raftlab/rsm"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// Sharded is a running sharded store. Each group of replicas serves some of the
// shards, and the controller assigns the shards to groups. Any goroutine may call
// the methods.
type Sharded struct {
	*servers
	*shardstore.Client
	groups int

	stop    context.CancelFunc
	joining sync.WaitGroup // of the first groups
}

// OpenSharded starts a sharded store on a data directory. If the directory is
// missing, OpenSharded makes one with opts.Groups groups, all of them members. The
// errors are those of [Open].
func OpenSharded(dir string, opts Options) (*Sharded, error) {
	s, m, err := prepareServers(dir, opts)
	if err != nil {
		return nil, err
	}
	if m.Groups == 0 {
		return nil, errors.Join(fmt.Errorf("%w: the data directory %s was made for %s", ErrGroups, dir, groupsInWords(0)), s.Close())
	}
	if err := s.start(m, dir, s.shardLauncher(m)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Sharded{servers: s, groups: m.Groups, stop: cancel}
	c.Client = shardstore.NewClient(shardstore.ClientConfig{
		Controllers: s.ends(0, m.controllerNumbers()), MakeEnd: s.endByName(0),
		Groups: m.names, Survey: s.survey, Logger: s.log,
	})
	c.joining.Go(func() { c.JoinFirst(ctx) })
	return c, nil
}

// OpenAny opens a [Sharded] store if the data directory or opts has groups, and
// otherwise a [Cluster].
func OpenAny(dir string, opts Options) (Store, error) {
	groups := opts.Groups
	if m, err := readManifest(dir); err == nil && groups == 0 {
		groups = m.Groups
	}
	if groups != 0 {
		return OpenSharded(dir, opts)
	}
	return Open(dir, opts)
}

// Store is a running store, with groups or without.
type Store interface {
	Do(ctx context.Context, idempotencyKey string, op kv.Op) (kv.Result, error)
	Status() []Status
	Start(replica int) error
	Stop(replica int) error
	Repair(replica int) error
	Compact(replica int) error
	Close() error
}

// shardLauncher returns the launcher of each replica of a sharded store.
func (s *servers) shardLauncher(m manifest) func(group string, peer int) launcher {
	return func(group string, peer int) launcher {
		if group == controllers {
			return onLog(startController)
		}
		gid, err := strconv.Atoi(group)
		if err != nil {
			panic(fmt.Sprintf("cluster: group %q of a manifest that was read", group))
		}
		me := (gid-1)*m.Replicas + peer + 1
		return onLog(func(log rsm.Log, snapshot []byte, opts Options) (rsmService, error) {
			server, err := shardkv.Open(log, shardkv.Options{
				GID:            gid,
				Controllers:    s.ends(me, m.controllerNumbers()),
				MakeEnd:        s.endByName(me),
				Snapshot:       snapshot,
				MaxRaftState:   opts.SnapshotBytes,
				SnapshotGrowth: snapshotGrowth,
				Limits:         kvstore.Limits,
				Logger:         opts.Logger,
			})
			return shardService{server}, err
		})
	}
}

func startController(log rsm.Log, snapshot []byte, opts Options) (rsmService, error) {
	server, err := shardctrler.Open(log, shardctrler.Options{
		Snapshot:     snapshot,
		MaxRaftState: opts.SnapshotBytes,
		KeepConfigs:  keepConfigs,
		Logger:       opts.Logger,
	})
	return controllerService{server}, err
}

// keepConfigs is the least number of kept configurations.
const keepConfigs = 1000

// controllerNumbers returns the controllers' numbers among all replicas.
func (m manifest) controllerNumbers() []int {
	numbers := make([]int, m.Replicas)
	for i := range numbers {
		numbers[i] = m.Groups*m.Replicas + i + 1
	}
	return numbers
}

func (s *servers) ends(from int, to []int) []*labrpc.ClientEnd {
	ends := make([]*labrpc.ClientEnd, len(to))
	for i, number := range to {
		ends[i] = s.end(from, number)
	}
	return ends
}

// endByName returns ends by the names of replicas in a configuration, which are
// their numbers.
func (s *servers) endByName(from int) func(string) *labrpc.ClientEnd {
	return func(name string) *labrpc.ClientEnd {
		number, err := strconv.Atoi(name)
		if err != nil {
			s.log.Error("a configuration names a replica by what is not a number", "name", name)
		}
		return s.end(from, number)
	}
}

// names returns the names of each group's replicas in a configuration.
func (m manifest) names() [][]string {
	all := make([][]string, m.Groups)
	for i := range m.Groups * m.Replicas {
		all[i/m.Replicas] = append(all[i/m.Replicas], strconv.Itoa(i+1))
	}
	return all
}

// survey returns pictures of the running servers of groups, by number.
func (s *servers) survey(context.Context) map[int]shardkv.Status {
	all := make(map[int]shardkv.Status)
	for _, r := range s.replicas {
		if run := r.current(); run != nil && r.group.group != controllers {
			all[r.number] = run.server.(logService).rsmService.(shardService).ShardKV.Status()
		}
	}
	return all
}

type shardService struct{ *shardkv.ShardKV }

func (s shardService) rpc() any { return s.ShardKV }

func (s shardService) health() health {
	st := s.Status()
	h := health{err: st.Err}
	for _, shard := range st.Shards {
		h.keys += shard.Keys
		h.sessions += shard.Sessions
	}
	return h
}

type controllerService struct{ *shardctrler.ShardCtrler }

func (s controllerService) rpc() any { return s.ShardCtrler }

func (s controllerService) health() health {
	st := s.Status()
	return health{sessions: st.Sessions, err: st.Err}
}

// Groups returns the number of groups.
func (c *Sharded) Groups() int { return c.groups }

// Close is [Cluster.Close].
func (c *Sharded) Close() error {
	c.stop()
	c.joining.Wait()
	return c.servers.Close()
}
