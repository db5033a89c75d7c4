package shardkv_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"raftlab/internal/labrun"
	"raftlab/internal/shardlab"
	"raftlab/labrpc"
	"raftlab/y2025/internal/lab"
	kvsrv "raftlab/y2025/kvsrv1"
	"raftlab/y2025/kvsrv1/rpc"
	kvtest "raftlab/y2025/kvtest1"
	shardkv "raftlab/y2025/shardkv1"
	"raftlab/y2025/shardkv1/shardcfg"
	"raftlab/y2025/shardkv1/shardctrler"
	"raftlab/y2025/shardkv1/shardgrp"
	tester "raftlab/y2025/tester1"
)

// The suites 5A, 5B and 5C use what the course gives to students and nothing more, so
// another implementation can take the place of packages shardkv, shardctrler and
// shardgrp.

func TestMain(m *testing.M) { labrun.Main(m) }

// A store is the sharded service: the server with the configurations, and groups of three
// servers.
type store struct {
	*lab.Lab
	t            *testing.T
	maxraftstate int
	groups       map[tester.Tgid]*shardlab.Group
	sck          *shardctrler.ShardCtrler // of the test
}

const groupSize = 3

// run runs a test with the group Gid1, which has all shards in configuration 1. More
// groups run, and none of them has joined.
func run(t *testing.T, more, maxraftstate int, body func(t *testing.T, s *store)) {
	t.Helper()
	lab.Run(t, func(t *testing.T, l *lab.Lab) {
		s := &store{Lab: l, t: t, maxraftstate: maxraftstate, groups: make(map[tester.Tgid]*shardlab.Group)}
		l.StartGroup(tester.GRP0, 1, kvsrv.StartKVServer)
		for i := range more + 1 {
			s.startGroup(shardcfg.Gid1 + tester.Tgid(i))
		}
		s.sck = shardctrler.MakeShardCtrler(l.NewClient().Clnt)
		first := shardcfg.MakeShardConfig()
		first.JoinBalance(s.servers(shardcfg.Gid1))
		l.Await("InitConfig", lab.ChangeLimit, lab.Go(func() { s.sck.InitConfig(first) }))
		if config := s.query(); config == nil || config.String() != first.String() {
			t.Fatalf("after InitConfig the configuration is %v; want %v", config, first)
		}
		body(t, s)
	})
}

func (s *store) startGroup(gid tester.Tgid) {
	s.groups[gid] = s.StartGroup(gid, groupSize, func(ends []*labrpc.ClientEnd, gid tester.Tgid, me int, persister *tester.Persister) []tester.IService {
		return shardgrp.StartServerShardGrp(ends, gid, me, persister, s.maxraftstate)
	})
}

// servers returns groups with the names of their servers.
func (s *store) servers(gids ...tester.Tgid) map[tester.Tgid][]string {
	all := make(map[tester.Tgid][]string)
	for _, gid := range gids {
		all[gid] = s.groups[gid].Names()
	}
	return all
}

// clerk returns a clerk with connections of its own.
func (s *store) clerk() *lab.Clerk {
	client := s.NewClient()
	return s.Clerk(client, plainClerk(client))
}

func plainClerk(client *lab.Client) kvtest.IKVClerk {
	return shardkv.MakeClerk(client.Clnt, shardctrler.MakeShardCtrler(client.Clnt))
}

// groupClerk returns a clerk of one group.
func (s *store) groupClerk(gid tester.Tgid) *shardgrp.Clerk {
	return shardgrp.MakeClerk(s.NewClient().Clnt, s.groups[gid].Names())
}

// toggled returns the next configuration, in which a group has joined if it was no
// member, and has left otherwise.
func (s *store) toggled(config *shardcfg.ShardConfig, gid tester.Tgid) *shardcfg.ShardConfig {
	next := config.Copy()
	if next.IsMember(gid) {
		next.LeaveBalance([]tester.Tgid{gid})
	} else {
		next.JoinBalance(s.servers(gid))
	}
	return next
}

// toggle makes a group join or leave, and waits for the change.
func (s *store) toggle(gid tester.Tgid) {
	s.t.Helper()
	s.change(s.toggled(s.query(), gid))
}

// change changes the configuration, and waits for the change.
func (s *store) change(next *shardcfg.ShardConfig) {
	s.t.Helper()
	s.Await(fmt.Sprintf("the change to configuration %d", next.Num), lab.ChangeLimit, lab.Go(func() { s.sck.ChangeConfigTo(next) }))
	if now := s.query(); now.String() != next.String() {
		s.t.Fatalf("after the change the configuration is %v; want %v", now, next)
	}
}

// query returns the current configuration.
func (s *store) query() *shardcfg.ShardConfig {
	s.t.Helper()
	var config *shardcfg.ShardConfig
	s.Await("Query", lab.OperationLimit, lab.Go(func() { config = s.sck.Query() }))
	return config
}

// data is keys with their values and versions.
type data map[string]value

type value struct {
	value   string
	version rpc.Tversion
}

// keys returns a key of each shard.
func keys() (all [shardcfg.NShards]string) {
	for shard := range all {
		all[shard] = keyOf(shardcfg.Tshid(shard), "key")
	}
	return all
}

// keyOf returns a key of a shard that begins with a prefix.
func keyOf(shard shardcfg.Tshid, prefix string) string {
	for i := 0; ; i++ {
		if key := fmt.Sprintf("%s/%d", prefix, i); shardcfg.Key2Shard(key) == shard {
			return key
		}
	}
}

// fill writes keys over all shards, with values of some bytes.
func (s *store) fill(k *lab.Clerk, n, bytes int) data {
	s.t.Helper()
	d := make(data)
	s.Await("Puts over all shards", lab.OperationLimit, lab.Go(func() {
		for i := range n {
			key := keyOf(shardcfg.Tshid(i%shardcfg.NShards), fmt.Sprintf("key%d", i))
			v := value{tester.Randstring(bytes), 1}
			k.Write(key, v.value, 0)
			d[key] = v
		}
	}))
	return d
}

// grow checks each key, and writes a new value.
func (s *store) grow(k *lab.Clerk, d data) {
	s.t.Helper()
	s.Await("Gets and Puts over all shards", lab.OperationLimit, lab.Go(func() {
		for _, key := range slices.Sorted(maps.Keys(d)) {
			k.Want(key, d[key].value, d[key].version)
			v := value{tester.Randstring(10), d[key].version + 1}
			k.Write(key, v.value, d[key].version)
			d[key] = v
		}
	}))
}

// begin starts clerks.
func (s *store) begin(clerks int) *lab.Working {
	return s.Start(lab.Load{Clerks: clerks, Pause: 30 * time.Millisecond, Clerk: plainClerk})
}
