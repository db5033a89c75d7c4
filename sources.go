// Package raftlab embeds the sources of the laboratory. The command raftlab builds the
// suites around a submission from these sources, without a checkout.
package raftlab

import "embed"

// Sources are the files of the suites, the lab packages, and the packages below.
//
//go:embed go.mod go.sum labgob labrpc porcupine raft rsm kv kvraft shardctrler shardkv y2025 internal
var Sources embed.FS
