package raft_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"raftlab/internal/labrun"
	"raftlab/labgob"
)

func TestMain(m *testing.M) { labrun.Main(m) }

// randomString returns a string of letters that is like no other.
func randomString(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + r.IntN(26))
	}
	return string(b)
}

func init() { labgob.Register(structCommand{}) }

// saved says whether a state holds a command. The command's first bytes may have
// been left out where they are like those before.
func saved(state []byte, command string) bool {
	return bytes.Contains(state, []byte(command[8:]))
}
