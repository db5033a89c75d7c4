// Package shardctrler is the configuration service of a sharded store: it says
// which group of servers owns which shard. It keeps a numbered sequence of
// configurations, replicated by Raft: a [ShardCtrler] beside each Raft server,
// and a [Clerk] that uses them as if they were one.
//
//	ck := shardctrler.MakeClerk(servers)
//	ck.Join(map[int][]string{1: {"a", "b", "c"}, 2: {"d", "e", "f"}})
//	ck.Query(-1) // configuration 1: five shards each
//	ck.Leave([]int{1})
//	ck.Move(3, 2)
//
// # What a change does
//
// Configuration 0 has no groups, and gid 0 owns every shard in it. Each change
// that takes effect makes the next configuration:
//
//   - Join adds groups, Leave removes some. Then the shards are spread again,
//     within one of each other, and as few as possible move: each shard whose
//     group is gone, and from each group what it has above its quota, where the
//     larger quotas go to the groups that have the most. No assignment within one
//     of each other is reached with fewer moves.
//   - Move gives a shard to a group. It stays there until the next Join or Leave
//     spreads the shards again. To a group that owns the shard already it
//     changes nothing, and makes no configuration.
//
// A change takes effect as a whole or not at all. One that is not valid changes
// nothing, makes no configuration, and is answered with an error: a gid that is
// not positive, a group without servers, joining a gid that is a member, leaving
// or moving to one that is not, a shard outside [0, NShards), a change of no
// groups. Clerk's Join, Leave and Move, which are the lab's, keep that error to
// themselves; JoinGroups, LeaveGroups and MoveShard return it.
//
// # The history
//
// All configurations are kept, since a group that was away has to follow each of
// them. With [Options].KeepConfigs old ones are dropped, when every group that a
// kept one names has reached a later one; groups tell how far they are as they
// wait for the next ([Clerk.Await]). The oldest that is kept has groups, so that
// who starts from it knows each shard's owner.
package shardctrler
