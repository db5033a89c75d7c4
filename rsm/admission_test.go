package rsm_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/rsm"
)

// leader starts a replica that leads and has its no-op applied; what is submitted
// later stays in the log until the test commits it.
func leader(t *testing.T, opts rsm.Options) (*replica, *fakeRaft) {
	t.Helper()
	r, f := start(t, &account{}, nil, opts)
	f.lead(t, 1)
	testkit.WaitFor(t, time.Second, "the no-op", func() bool { return appliedBy(r) == 1 })
	return r, f
}

// submitAll submits the first command of each of n clients, in their order.
func submitAll(t *testing.T, r *replica, n int) []<-chan reply {
	replies := make([]<-chan reply, n)
	for i := range replies {
		replies[i] = submit(t, r, uint64(i+1), 1, 1)
		time.Sleep(time.Millisecond)
	}
	return replies
}

// The commands in the log that are not applied stay within the bound in bytes,
// however many are submitted, and all of them take effect in the end.
func TestBytesInFlightAreBounded(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		_, command := costs(t)
		r, f := leader(t, rsm.Options{MaxInFlightBytes: 3*command + command/2})
		replies := submitAll(t, r, 10)
		for index := 2; index <= 11; index++ {
			require.Equal(t, min(index+2, 11), f.length(), "commands in the log when index %d is committed", index)
			commands, bytes := r.InFlight()
			require.Equal(t, min(3, 12-index), commands)
			require.Equal(t, commands*command, bytes)
			f.commit(index)
			time.Sleep(time.Millisecond)
		}
		for i, ch := range replies {
			want(t, ch, i+1, nil)
		}
		commands, bytes := r.InFlight()
		require.Zero(t, commands+bytes)
	})
}

func TestRequestsInFlightAreBounded(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, f := leader(t, rsm.Options{MaxInFlight: 2})
		replies := submitAll(t, r, 4)
		require.Equal(t, 3, f.length())
		refused := submit(t, r, 5, 1, 1)
		want(t, refused, 0, rsm.ErrBusy) // two are in the log, and two wait
		f.commit(2)
		f.waitLength(t, 4) // one waits no longer; two at once would race for their places
		f.commit(3)
		f.waitLength(t, 5)
		f.commit(4)
		f.commit(5)
		for i, ch := range replies {
			want(t, ch, i+1, nil)
		}
	})
}

// A command that is larger than the bound is proposed alone.
func TestLargeCommandIsProposedAlone(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, f := leader(t, rsm.Options{MaxInFlightBytes: 1})
		replies := submitAll(t, r, 2)
		require.Equal(t, 2, f.length())
		f.commit(2)
		want(t, replies[0], 1, nil)
		f.waitLength(t, 3)
		f.commit(3)
		want(t, replies[1], 2, nil)
	})
}

// A command whose ctx ends while it waits is never proposed, and its error says so.
func TestContextEndsWhileWaiting(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, f := leader(t, rsm.Options{MaxInFlight: 1})
		first := submit(t, r, 1, 1, 1)
		f.waitLength(t, 2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := r.Submit(ctx, 2, 1, add{1})
		require.ErrorIs(t, err, rsm.ErrBusy)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		f.commit(2)
		want(t, first, 1, nil)
		time.Sleep(time.Second)
		require.Equal(t, 2, f.length())
	})
}

// A command in the log counts until it is applied or lost, although its caller
// has given up: what is in the log is bounded, not what somebody waits for.
func TestGivenUpCommandsCount(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, f := leader(t, rsm.Options{MaxInFlight: 1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := r.Submit(ctx, 1, 1, add{1})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		second := submit(t, r, 2, 1, 1)
		still(t, second)
		require.Equal(t, 2, f.length())
		f.commit(2)
		f.waitLength(t, 3)
		f.commit(3)
		want(t, second, 2, nil)
	})
}

// The end of a leadership releases those in the log, whose outcome is unknown, and
// those that wait, which were not proposed.
func TestLeadershipLostWhileWaiting(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, f := leader(t, rsm.Options{MaxInFlight: 1})
		replies := submitAll(t, r, 2)
		require.Equal(t, 2, f.length())
		f.set(2, false)
		want(t, replies[0], 0, rsm.ErrLost)
		want(t, replies[1], 0, rsm.ErrNotLeader)
		want(t, submit(t, r, 3, 1, 1), 0, rsm.ErrNotLeader)
		require.Equal(t, 2, f.length())
	})
}

func TestKillWhileWaiting(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, _ := leader(t, rsm.Options{MaxInFlight: 1})
		replies := submitAll(t, r, 2)
		r.Kill()
		want(t, replies[0], 0, rsm.ErrStopped)
		want(t, replies[1], 0, rsm.ErrStopped)
	})
}

// A command that is submitted again while the first submission waits joins it.
func TestDuplicateOfAWaitingCommand(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		r, f := leader(t, rsm.Options{MaxInFlight: 1})
		first := submit(t, r, 1, 1, 1)
		f.waitLength(t, 2)
		again := []<-chan reply{submit(t, r, 2, 1, 1), submit(t, r, 2, 1, 1), submit(t, r, 2, 1, 1)}
		time.Sleep(time.Millisecond)
		f.commit(2)
		want(t, first, 1, nil)
		f.waitLength(t, 3)
		f.commit(3)
		for _, ch := range again {
			want(t, ch, 2, nil)
		}
		require.Equal(t, 3, f.length())
	})
}
