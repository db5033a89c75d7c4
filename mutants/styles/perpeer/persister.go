package raft

import lab "raftlab/raft"

// Persister is the lab's Persister. When raft.go replaces package raftlab/raft, the
// package's own Persister replaces this file.
type Persister = lab.Persister
