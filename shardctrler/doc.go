// Package shardctrler is the configuration service of a sharded store. A
// configuration assigns each shard to a group of servers. The service keeps a
// numbered sequence of configurations and replicates the sequence by Raft. A
// [ShardCtrler] runs beside each Raft server. A [Clerk] is a client of the service.
//
//	ck := shardctrler.MakeClerk(servers)
//	ck.Join(map[int][]string{1: {"a", "b", "c"}, 2: {"d", "e", "f"}})
//	ck.Query(-1) // configuration 1: five shards each
//	ck.Leave([]int{1})
//	ck.Move(3, 2)
//
// # Changes
//
// Configuration 0 has no groups and assigns every shard to gid 0. Each effective
// change makes the next configuration.
//
//   - Join adds groups and Leave removes groups. Then the service rebalances the
//     shards. Afterwards the numbers of shards of any two groups differ by at most
//     one, and no assignment with this property moves fewer shards. The shards
//     without a member group move, and each group gives up the shards above its
//     quota. The groups with the most shards get the larger quotas.
//   - Move assigns one shard to a group until the next Join or Leave rebalances the
//     shards. Moving a shard to its present owner makes no configuration.
//
// A change takes effect as a whole or not at all. An invalid change makes no
// configuration and is answered with an error. A change is invalid if
//
//   - a gid is not positive, or a joining group has no servers
//   - a joining group is a member, or a leaving group or the target of a move is not
//   - a shard is outside [0, NShards)
//   - the change names no groups
//   - the configuration would exceed [MaxConfigBytes]
//
// The lab's methods Join, Leave and Move drop the error. JoinGroups, LeaveGroups and
// MoveShard return the error.
//
// # The history
//
// By default the service keeps all configurations, as a group that was down has to
// follow each of them. With [Options].KeepConfigs the service drops old
// configurations after every group named in a kept one has reached a later one. A
// group reports its configuration when it waits for the next one ([Clerk.Await]).
// The oldest kept configuration has groups, so a reader that starts there knows
// the owner of each shard.
package shardctrler
