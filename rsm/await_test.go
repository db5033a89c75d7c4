package rsm_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/rsm"
)

// killed is the log of a killed server whose Raft still claims to lead.
type killed struct{}

func (killed) Leadership() rsm.Leadership { return rsm.Leadership{Term: 1, Leads: true} }
func (killed) Changed() <-chan struct{}   { return nil }

// A goroutine that waits for leadership in a loop ends with its context, although the
// log claims to lead for ever.
func TestAwaitLeadershipAfterTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	leads := func(now rsm.Leadership) bool { return now.Leads }
	now, err := rsm.AwaitLeadership(ctx, killed{}, leads)
	require.NoError(t, err)
	require.Equal(t, uint64(1), now.Term)
	cancel()
	_, err = rsm.AwaitLeadership(ctx, killed{}, leads)
	require.ErrorIs(t, err, context.Canceled)
}
