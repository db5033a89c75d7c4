// Package raftlab holds the sources of the laboratory, so that the command raftlab
// can build the suites around a submission without a checkout.
package raftlab

import "embed"

// Sources are the module's files that the suites and the lab packages need.
//
//go:embed go.mod go.sum labgob labrpc porcupine raft rsm kv kvraft shardctrler shardkv internal
var Sources embed.FS
