// Package shardcfg has the configurations of the sharded service: which group serves
// which shard.
package shardcfg

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	tester "raftlab/y2025/tester1"
)

// Tshid is the number of a shard, from 0.
type Tshid int

// Tnum is the number of a configuration.
type Tnum int

const (
	// NShards is the number of shards.
	NShards = 12
	// NumFirst is the number of the first configuration.
	NumFirst = Tnum(1)
)

// Gid1 is the group that serves all shards in the first configuration.
const Gid1 = tester.Tgid(1)

// Key2Shard returns the shard of a key.
func Key2Shard(key string) Tshid {
	h := fnv.New32a()
	h.Write([]byte(key)) // never fails
	return Tshid(h.Sum32() % NShards)
}

// ShardConfig is a configuration. A shard of group 0 has no group.
type ShardConfig struct {
	Num    Tnum
	Shards [NShards]tester.Tgid
	Groups map[tester.Tgid][]string // names of the servers
}

// MakeShardConfig returns configuration 0, without groups.
func MakeShardConfig() *ShardConfig {
	return &ShardConfig{Groups: make(map[tester.Tgid][]string)}
}

// String returns the configuration as JSON, for [FromString].
func (c *ShardConfig) String() string {
	data, err := json.Marshal(c)
	if err != nil {
		panic(fmt.Sprintf("shardcfg: %v", err)) // plain data has an encoding
	}
	return string(data)
}

// FromString returns the configuration that String has encoded. FromString panics for
// any other text.
func FromString(s string) *ShardConfig {
	c := MakeShardConfig()
	if err := json.Unmarshal([]byte(s), c); err != nil {
		panic(fmt.Sprintf("shardcfg: no configuration: %.80q: %v", s, err))
	}
	return c
}

// Copy returns an independent copy.
func (c *ShardConfig) Copy() *ShardConfig {
	groups := make(map[tester.Tgid][]string, len(c.Groups))
	for gid, servers := range c.Groups {
		groups[gid] = slices.Clone(servers)
	}
	return &ShardConfig{Num: c.Num, Shards: c.Shards, Groups: groups}
}

// Join adds groups without shards, and raises the number. Join returns false and
// changes nothing if one of the groups is a member.
func (c *ShardConfig) Join(servers map[tester.Tgid][]string) bool {
	for gid := range servers {
		if c.IsMember(gid) {
			return false
		}
	}
	maps.Copy(c.Groups, servers)
	c.Num++
	return true
}

// Leave removes groups, whose shards then have no group, and raises the number. Leave
// returns false and changes nothing if one of the groups is no member.
func (c *ShardConfig) Leave(gids []tester.Tgid) bool {
	for _, gid := range gids {
		if !c.IsMember(gid) {
			return false
		}
	}
	for _, gid := range gids {
		delete(c.Groups, gid)
	}
	for s, gid := range c.Shards {
		if !c.IsMember(gid) {
			c.Shards[s] = 0
		}
	}
	c.Num++
	return true
}

// JoinBalance is Join followed by Rebalance.
func (c *ShardConfig) JoinBalance(servers map[tester.Tgid][]string) bool {
	if !c.Join(servers) {
		return false
	}
	c.Rebalance()
	return true
}

// LeaveBalance is Leave followed by Rebalance.
func (c *ShardConfig) LeaveBalance(gids []tester.Tgid) bool {
	if !c.Leave(gids) {
		return false
	}
	c.Rebalance()
	return true
}

// Rebalance spreads the shards within one of each other over the groups, with as few
// moves as possible.
func (c *ShardConfig) Rebalance() {
	if len(c.Groups) == 0 {
		c.Shards = [NShards]tester.Tgid{}
		return
	}
	for s, gid := range c.Shards {
		if !c.IsMember(gid) {
			least, _ := c.extremes()
			c.Shards[s] = least
		}
	}
	for {
		least, most := c.extremes()
		if c.count(most)-c.count(least) <= 1 {
			return
		}
		c.Shards[slices.Index(c.Shards[:], most)] = least
	}
}

// extremes returns the groups with the fewest and the most shards.
func (c *ShardConfig) extremes() (least, most tester.Tgid) {
	gids := slices.Sorted(maps.Keys(c.Groups))
	byCount := func(a, b tester.Tgid) int { return c.count(a) - c.count(b) }
	return slices.MinFunc(gids, byCount), slices.MaxFunc(gids, byCount)
}

func (c *ShardConfig) count(gid tester.Tgid) (shards int) {
	for _, g := range c.Shards {
		if g == gid {
			shards++
		}
	}
	return shards
}

// GidServers returns the group of a shard and the names of its servers, or false if the
// shard has no group.
func (c *ShardConfig) GidServers(sh Tshid) (tester.Tgid, []string, bool) {
	gid := c.Shards[sh]
	servers, found := c.Groups[gid]
	return gid, servers, found
}

// IsMember reports whether a group belongs to the configuration.
func (c *ShardConfig) IsMember(gid tester.Tgid) bool {
	_, found := c.Groups[gid]
	return found
}
