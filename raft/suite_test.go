package raft_test

import (
	"math/rand/v2"

	"raftlab/labgob"
)

// randomString returns a string of letters that is like no other.
func randomString(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + r.IntN(26))
	}
	return string(b)
}

func init() { labgob.Register(structCommand{}) }
