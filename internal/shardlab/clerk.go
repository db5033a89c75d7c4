package shardlab

import (
	"fmt"
	"maps"
	"slices"

	"raftlab/internal/labrun"
	"raftlab/internal/labtest"
	"raftlab/labrpc"
	"raftlab/shardctrler"
)

// Clerk is a clerk of a controller. Its operations have the limit of
// [labtest.OperationLimit].
type Clerk struct {
	*shardctrler.Clerk
	lab *Lab
}

// Clerk returns a clerk of the group, a controller, over the given ends.
func (g *Group) Clerk(ends []*labrpc.ClientEnd) Clerk {
	return Clerk{shardctrler.MakeClerk(ends), g.lab}
}

// Query returns a configuration.
func (c Clerk) Query(num int) (config shardctrler.Config) {
	c.patient(fmt.Sprintf("Query(%d)", num), func() { config = c.Clerk.Query(num) })
	return config
}

// Join adds groups.
func (c Clerk) Join(groups map[int][]string) {
	c.patient(fmt.Sprintf("Join(%v)", slices.Sorted(maps.Keys(groups))), func() { c.Clerk.Join(groups) })
}

// Leave removes groups.
func (c Clerk) Leave(gids []int) {
	c.patient(fmt.Sprintf("Leave(%v)", gids), func() { c.Clerk.Leave(gids) })
}

// Move gives a shard to a group.
func (c Clerk) Move(shard, gid int) {
	c.patient(fmt.Sprintf("Move(%d, %d)", shard, gid), func() { c.Clerk.Move(shard, gid) })
}

func (c Clerk) patient(what string, operation func()) {
	labrun.Within(c.lab.T, c.lab.Open.Done(), labtest.OperationLimit, "the controller: "+what, operation)
}
