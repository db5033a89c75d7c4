package shardkv_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"raftlab/labrpc"
	"raftlab/y2025/internal/lab"
	"raftlab/y2025/kvsrv1/lock"
	"raftlab/y2025/kvsrv1/rpc"
	"raftlab/y2025/shardkv1/shardcfg"
	"raftlab/y2025/shardkv1/shardctrler"
	"raftlab/y2025/shardkv1/shardgrp"
	tester "raftlab/y2025/tester1"
)

// TestFirstConfiguration5A stores the first configuration. Every controller reads the
// same one, and the first group serves all shards.
func TestFirstConfiguration5A(t *testing.T) {
	run(t, 0, -1, func(t *testing.T, s *store) {
		config := s.query()
		if config.Num != shardcfg.NumFirst || len(config.Groups) != 1 || !config.IsMember(shardcfg.Gid1) {
			t.Fatalf("the first configuration is %v", config)
		}
		s.Await("Query of another controller", lab.OperationLimit, lab.Go(func() {
			other := shardctrler.MakeShardCtrler(s.NewClient().Clnt)
			if again := other.Query(); again.String() != config.String() {
				t.Errorf("another controller has configuration %v; want %v", again, config)
			}
		}))
		k := s.clerk()
		d := s.fill(k, 24, 10)
		s.grow(s.clerk(), d)
		k.Want("missing", "", 0)
		k.WantPut("missing", "x", 5, rpc.ErrNoKey)
	})
}

// TestJoinAndLeave5A lets a second group join, and the first one leave and shut down.
// Every key is there, with its version.
func TestJoinAndLeave5A(t *testing.T) {
	run(t, 2, -1, func(t *testing.T, s *store) {
		k, other := s.clerk(), s.clerk()
		d := s.fill(k, 24, 10)
		s.toggle(2)
		s.grow(k, d)
		s.grow(other, d)
		s.toggle(shardcfg.Gid1)
		s.groups[shardcfg.Gid1].CrashAll()
		s.grow(other, d)
		s.toggle(3)
		s.grow(k, d)
		s.groups[shardcfg.Gid1].StartAll()
		s.toggle(shardcfg.Gid1)
		s.grow(k, d)
		s.grow(other, d)
	})
}

// TestManyGroups5A lets groups join and leave one after another.
func TestManyGroups5A(t *testing.T) {
	run(t, 4, -1, func(t *testing.T, s *store) {
		k := s.clerk()
		d := s.fill(k, 24, 10)
		for _, gid := range []tester.Tgid{2, 3, 4, 5, 1, 3, 2, 5, 1} {
			s.toggle(gid)
			s.grow(k, d)
		}
	})
}

// TestOnlyTheOwnerServes5A asks each group for keys of the other group's shards. The
// answer is ErrWrongGroup, and the key does not change.
func TestOnlyTheOwnerServes5A(t *testing.T) {
	run(t, 1, -1, func(t *testing.T, s *store) {
		k := s.clerk()
		for _, key := range keys() {
			k.Write(key, "x", 0)
		}
		s.toggle(2)
		config := s.query()
		s.Await("operations at both groups", lab.OperationLimit, lab.Go(func() {
			for gid := range s.groups {
				ck := s.groupClerk(gid)
				for shard, key := range keys() {
					_, version, err := ck.Get(key)
					if owner := config.Shards[shard]; owner == gid {
						if err != rpc.OK || version != 1 {
							t.Errorf("Get at group %d, which has shard %d, is version %d, %q", gid, shard, version, err)
						}
					} else if err != rpc.ErrWrongGroup {
						t.Errorf("Get at group %d for shard %d of group %d is %q; want %q", gid, shard, owner, err, rpc.ErrWrongGroup)
					} else if err := ck.Put(key, "y", 1); err != rpc.ErrWrongGroup {
						t.Errorf("Put at group %d for shard %d of group %d is %q; want %q", gid, shard, owner, err, rpc.ErrWrongGroup)
					}
				}
			}
		}))
		for _, key := range keys() {
			k.Want(key, "x", 1)
		}
	})
}

// A mover is the test in the place of a controller.
type mover struct {
	*store
	key      string
	shard    shardcfg.Tshid
	one, two *shardgrp.Clerk
}

// must waits for a request that must succeed.
func (m *mover) must(what string, request func() rpc.Err) {
	m.t.Helper()
	m.Await(what, lab.OperationLimit, lab.Go(func() {
		if err := decided(request); err != rpc.OK {
			m.t.Errorf("%s is %q; want %q", what, err, rpc.OK)
		}
	}))
}

// decided repeats a request until a group has answered. The clerk of a group may give up
// while no server leads, with an error of its own.
func decided(request func() rpc.Err) rpc.Err {
	for {
		switch err := request(); err {
		case rpc.OK, rpc.ErrNoKey, rpc.ErrVersion, rpc.ErrMaybe, rpc.ErrWrongGroup:
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// late waits for a request of an old change, which must have no effect. The error is the
// group's choice.
func (m *mover) late(what string, request func()) {
	m.t.Helper()
	m.Await(what+" again", lab.OperationLimit, lab.Go(request))
}

// serves ends the test unless a group serves the key with this value and version.
func (m *mover) serves(ck *shardgrp.Clerk, value string, version rpc.Tversion) {
	m.t.Helper()
	m.Await("Get", lab.OperationLimit, lab.Go(func() {
		var got string
		var v rpc.Tversion
		err := decided(func() (err rpc.Err) { got, v, err = ck.Get(m.key); return err })
		if err != rpc.OK || got != value || v != version {
			m.t.Errorf("the key is %q with version %d (%s); want %q with version %d", got, v, err, value, version)
		}
	}))
}

// refuses ends the test unless a group refuses a Put.
func (m *mover) refuses(ck *shardgrp.Clerk, version rpc.Tversion) {
	m.t.Helper()
	m.Await("Put", lab.OperationLimit, lab.Go(func() {
		err := decided(func() rpc.Err { return ck.Put(m.key, "wrong", version) })
		if err != rpc.ErrWrongGroup {
			m.t.Errorf("Put at a group without the shard is %q; want %q", err, rpc.ErrWrongGroup)
		}
	}))
}

// moves moves a shard to another group and back, with each request twice, and then
// repeats the requests of the first move. between runs between the steps.
func moves(t *testing.T, maxraftstate int, between func(s *store)) {
	run(t, 1, maxraftstate, func(t *testing.T, s *store) {
		key := keys()[0]
		m := &mover{s, key, shardcfg.Key2Shard(key), s.groupClerk(1), s.groupClerk(2)}
		k := s.clerk()
		s.Await("Put", lab.OperationLimit, lab.Go(func() { k.Write(key, "a", 0) }))
		var first, second []byte
		for range 2 {
			m.must("FreezeShard", func() (err rpc.Err) { first, err = m.one.FreezeShard(m.shard, 2); return err })
			m.refuses(m.one, 1)
		}
		between(s)
		m.must("InstallShard", func() rpc.Err { return m.two.InstallShard(m.shard, first, 2) })
		m.serves(m.two, "a", 1)
		m.must("Put", func() rpc.Err { return m.two.Put(key, "b", 1) })
		m.late("InstallShard", func() { m.two.InstallShard(m.shard, first, 2) })
		m.serves(m.two, "b", 2) // the repeated InstallShard does not undo the Put
		m.must("DeleteShard", func() rpc.Err { return m.one.DeleteShard(m.shard, 2) })
		m.refuses(m.one, 1)
		m.late("DeleteShard", func() { m.one.DeleteShard(m.shard, 2) })
		m.refuses(m.one, 1)
		between(s)
		m.must("FreezeShard", func() (err rpc.Err) { second, err = m.two.FreezeShard(m.shard, 3); return err })
		m.must("InstallShard", func() rpc.Err { return m.one.InstallShard(m.shard, second, 3) })
		m.must("DeleteShard", func() rpc.Err { return m.two.DeleteShard(m.shard, 3) })
		m.serves(m.one, "b", 2)
		between(s)
		m.late("FreezeShard", func() { m.one.FreezeShard(m.shard, 2) })
		m.serves(m.one, "b", 2)
		m.must("Put", func() rpc.Err { return m.one.Put(key, "c", 2) })
		m.late("InstallShard", func() { m.two.InstallShard(m.shard, first, 2) })
		m.refuses(m.two, 1)
		m.late("InstallShard", func() { m.one.InstallShard(m.shard, first, 2) })
		m.late("InstallShard", func() { m.one.InstallShard(m.shard, second, 3) })
		m.late("DeleteShard", func() { m.one.DeleteShard(m.shard, 2) })
		m.serves(m.one, "c", 3)
		m.refuses(m.two, 2)
	})
}

// TestRepeatedMoves5A repeats each request of a move, at once and after later moves. A
// repeated FreezeShard, InstallShard or DeleteShard has no effect, and one of an older
// configuration has none either.
func TestRepeatedMoves5A(t *testing.T) { moves(t, -1, func(*store) {}) }

// TestRepeatedMovesAfterRestarts5A restarts the groups between the requests. The groups
// keep the numbers of the configurations in the log and in snapshots.
func TestRepeatedMovesAfterRestarts5A(t *testing.T) {
	restart := func(s *store) {
		for _, g := range s.groups {
			g.CrashAll()
			g.StartAll()
		}
	}
	t.Run("log", func(t *testing.T) { moves(t, -1, restart) })
	t.Run("snapshot", func(t *testing.T) { moves(t, 1, restart) })
}

// TestLostReplyBeforeAMove5A loses the replies to a Put until the shard has moved. The
// new group has the value of the Put, and the clerk cannot know, so the outcome is
// ErrMaybe.
func TestLostReplyBeforeAMove5A(t *testing.T) {
	run(t, 1, -1, func(t *testing.T, s *store) {
		client := s.NewClient()
		k := s.Clerk(client, plainClerk(client))
		next := s.toggled(s.query(), 2)
		key := keys()[slices.Index(next.Shards[:], 2)]
		k.Write(key, "a", 0)
		var lose atomic.Bool
		lose.Store(true)
		controller := tester.ServerName(tester.GRP0, 0) // a clerk may ask it before each request
		s.Direct(client, func(m labrpc.Message) labrpc.Decision {
			if m.Reply && m.Server != controller && lose.Load() {
				return labrpc.Never()
			}
			return labrpc.Usual()
		})
		put := lab.Go(func() { k.WantPut(key, "b", 1, rpc.ErrMaybe) })
		witness := s.clerk()
		s.Await("the effect of the Put", lab.OperationLimit, lab.Go(func() {
			for {
				if value, _, _ := witness.Get(key); value == "b" {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}))
		s.change(next)
		lose.Store(false)
		s.Await("the Put", lab.OperationLimit, put)
		witness.Want(key, "b", 2)
	})
}

// TestMovedShardsAreDeleted5A moves most shards away from a group with large values. The
// disks of all groups must not keep a second copy of the moved shards.
func TestMovedShardsAreDeleted5A(t *testing.T) {
	const values, bytes = 36, 1000
	run(t, 2, 1, func(t *testing.T, s *store) {
		k := s.clerk()
		s.fill(k, values, bytes)
		s.toggle(2)
		s.toggle(3)
		const bound = groupSize * values * bytes * 4 / 3 // with copies: 5/3
		size := 0
		for version := range rpc.Tversion(60) { // makes the groups take snapshots
			s.Await("Puts", lab.OperationLimit, lab.Go(func() {
				for _, key := range keys() {
					k.Write(key, "x", version)
				}
			}))
			time.Sleep(100 * time.Millisecond)
			size = 0
			for _, g := range s.groups {
				size += g.StateBytes()
			}
			if size <= bound {
				return
			}
		}
		t.Errorf("the groups have %d bytes for %d values of %d bytes on %d servers each; want at most %d", size, values, bytes, groupSize, bound)
	})
}

// TestUnaffectedShards5A changes the configuration while a group is down. Shards that
// stay with another group are served meanwhile. The change ends when the group is back.
func TestUnaffectedShards5A(t *testing.T) {
	run(t, 2, -1, func(t *testing.T, s *store) {
		k := s.clerk()
		d := s.fill(k, 24, 10)
		s.toggle(2)
		before := s.query()
		next := s.toggled(before, 3)
		s.groups[2].CrashAll()
		change := lab.Go(func() { s.sck.ChangeConfigTo(next) })
		time.Sleep(10 * time.Second) // longer than a clerk of the group may look for a leader
		s.Await("operations on shards that stay", lab.OperationLimit, lab.Go(func() {
			for shard, key := range keys() {
				if before.Shards[shard] == shardcfg.Gid1 && next.Shards[shard] == shardcfg.Gid1 {
					k.Write(key, "x", 0)
				}
			}
		}))
		s.groups[2].StartAll()
		s.Await("the change when the group is back", lab.ChangeLimit, change)
		s.grow(k, d)
		s.grow(s.clerk(), d)
	})
}

// underLoad lets groups join and leave while clerks work.
func underLoad(t *testing.T, maxraftstate int, unreliable, restarts bool) {
	run(t, 3, maxraftstate, func(t *testing.T, s *store) {
		s.Net.Reliable(!unreliable)
		w := s.begin(4)
		for _, gid := range []tester.Tgid{2, 3, 1, 4, 2, 1} {
			time.Sleep(200 * time.Millisecond)
			change := lab.Go(func() { s.sck.ChangeConfigTo(s.toggled(s.sck.Query(), gid)) })
			if restarts {
				for _, g := range s.groups {
					g.CrashAll()
					g.StartAll()
				}
			}
			s.Await("a change", lab.ChangeLimit, change)
		}
		w.Stop()
	})
}

// TestMovesUnderLoad5A lets groups join and leave while clerks read and write. The
// history is linearizable.
func TestMovesUnderLoad5A(t *testing.T) { underLoad(t, -1, false, false) }

// TestUnreliableMovesUnderLoad5A adds loss of messages.
func TestUnreliableMovesUnderLoad5A(t *testing.T) { underLoad(t, -1, true, false) }

// TestSnapshotsUnderLoad5A adds snapshots, and restarts of all groups during the changes.
func TestSnapshotsUnderLoad5A(t *testing.T) { underLoad(t, 1000, false, true) }

// TestLocksWhileShardsMove5A lets clients take a lock in the store while shards move.
// One client at a time holds the lock.
func TestLocksWhileShardsMove5A(t *testing.T) {
	run(t, 1, -1, func(t *testing.T, s *store) {
		var holders atomic.Int32
		var done []<-chan struct{}
		for range 3 {
			lk := lock.MakeLock(s.clerk(), "l")
			done = append(done, lab.Go(func() {
				for range 15 {
					lk.Acquire()
					if n := holders.Add(1); n != 1 {
						t.Errorf("%d clients hold the lock", n)
					}
					time.Sleep(10 * time.Millisecond)
					holders.Add(-1)
					lk.Release()
				}
			}))
		}
		for range 4 {
			s.toggle(2)
		}
		s.Await("the turns of all clients", time.Minute, done...)
	})
}
