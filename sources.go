// Package raftlab embeds the sources of the laboratory. The command raftlab builds the
// suites around a submission from these sources, without a checkout.
package raftlab

import "embed"

// Sources are the files of the suites, the lab packages, the packages below, and the plain
// implementation from which a course's handout is made. The playground also takes its
// lessons and its bugs from here.
//
//go:embed go.mod go.sum labgob labrpc porcupine trace raft rsm kv kvraft shardctrler shardkv y2025 internal mutants/student mutants/core.go mutants/raft.go docs/lessons
var Sources embed.FS
