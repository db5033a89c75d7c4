//go:build edition2025

package raft_test

import (
	"raftlab/internal/labtest"
	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/raft"
	raft1 "raftlab/y2025/raft1"
)

// The suites 2A to 2D judge the servers of y2025/raft1, which the 2025 edition calls parts
// 3A to 3D.
var _ = labtest.Use(func(peers []*labrpc.ClientEnd, me int, persister *raft.Persister, applyCh chan raft.ApplyMsg) labtest.Server {
	return raft1.Make(peers, me, persister, applyCh)
})

func init() { testkit.Tags = "edition2025" }
