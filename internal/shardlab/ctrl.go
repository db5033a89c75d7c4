package shardlab

import (
	"testing"

	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/shardctrler"
)

// NewController starts a configuration service of n servers.
func NewController(t testing.TB, net *labrpc.Network, n int) *Group {
	return NewGroup(t, net, "ctrl", n, func(i int, peers []*labrpc.ClientEnd, p *raft.Persister) Instance {
		sc := shardctrler.StartServer(peers, i, p)
		return Instance{Services: []any{sc, sc.Raft()}, Kill: sc.Kill}
	})
}
