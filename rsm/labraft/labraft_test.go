package labraft_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/raft"
	"raftlab/rsm"
	"raftlab/rsm/labraft"
)

// A Raft server may close applyCh in Kill. Deliver then ends, and does not read the zero
// message of the closed channel again and again.
func TestClosedApplyChEndsDeliver(t *testing.T) {
	applyCh := make(chan raft.ApplyMsg)
	close(applyCh)
	log := labraft.New(nil, applyCh)
	require.ErrorIs(t, log.Deliver(nil, make(chan struct{})), rsm.ErrStopped)
	stopped := make(chan struct{})
	close(stopped)
	require.NoError(t, log.Deliver(nil, stopped))
}
