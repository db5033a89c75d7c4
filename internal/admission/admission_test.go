package admission_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/admission"
	"raftlab/internal/testkit"
)

// acquire acquires in a goroutine.
func acquire(ctx context.Context, g *admission.Gate, bytes int) <-chan error {
	done := make(chan error, 1)
	go func() { done <- g.Acquire(ctx, bytes) }()
	return done
}

// waits checks that an acquisition waits.
func waits(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		require.Fail(t, "Acquire returned", "%v", err)
	case <-time.After(time.Second):
	}
}

func TestBytesAndRequestsAreBounded(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		g := admission.NewGate(admission.Limits{Bytes: 100, Requests: 3, Waiting: 10})
		require.NoError(t, g.Acquire(t.Context(), 60))
		require.NoError(t, g.Acquire(t.Context(), 40))
		over := acquire(t.Context(), g, 1)
		waits(t, over)
		require.False(t, g.TryAcquire(0), "a request overtook the waiting one")
		g.Release(40)
		require.NoError(t, <-over)
		require.True(t, g.TryAcquire(1))
		fourth := acquire(t.Context(), g, 1)
		waits(t, fourth) // there is room in bytes, and there are three requests
		require.Equal(t, admission.Load{Bytes: 62, Requests: 3, Waiting: 1}, g.Load())
		g.Release(60)
		require.NoError(t, <-fourth)
	})
}

func TestFirstComeFirstServed(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		g := admission.NewGate(admission.Limits{Bytes: 100, Requests: 100, Waiting: 10})
		require.NoError(t, g.Acquire(t.Context(), 90))
		large := acquire(t.Context(), g, 50)
		waits(t, large)
		small := acquire(t.Context(), g, 10) // would fit, and comes second
		waits(t, small)
		g.Release(90)
		require.NoError(t, <-large)
		require.NoError(t, <-small)
	})
}

func TestLargeRequestIsAdmittedAlone(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		g := admission.NewGate(admission.Limits{Bytes: 100, Requests: 100, Waiting: 10})
		require.NoError(t, g.Acquire(t.Context(), 1))
		large := acquire(t.Context(), g, 1000)
		waits(t, large)
		g.Release(1)
		require.NoError(t, <-large)
		next := acquire(t.Context(), g, 1)
		waits(t, next)
		g.Release(1000)
		require.NoError(t, <-next)
	})
}

func TestFullRefusesAtOnce(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		g := admission.NewGate(admission.Limits{Bytes: 1, Requests: 1, Waiting: 1})
		require.NoError(t, g.Acquire(t.Context(), 1))
		second := acquire(t.Context(), g, 1)
		waits(t, second)
		require.ErrorIs(t, g.Acquire(t.Context(), 1), admission.ErrFull)
		g.Release(1)
		require.NoError(t, <-second)
	})
}

// A request that gives up leaves no trace, and lets those behind it go on.
func TestGivingUp(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		g := admission.NewGate(admission.Limits{Bytes: 100, Requests: 100, Waiting: 10})
		require.NoError(t, g.Acquire(t.Context(), 90))
		ctx, cancel := context.WithCancel(t.Context())
		large := acquire(ctx, g, 50)
		waits(t, large)
		small := acquire(t.Context(), g, 10)
		waits(t, small)
		cancel()
		require.ErrorIs(t, <-large, context.Canceled)
		require.NoError(t, <-small)
		require.Equal(t, admission.Load{Bytes: 100, Requests: 2}, g.Load())
	})
}

func TestClose(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		g := admission.NewGate(admission.Limits{Bytes: 1, Requests: 1, Waiting: 10})
		require.NoError(t, g.Acquire(t.Context(), 1))
		second := acquire(t.Context(), g, 1)
		waits(t, second)
		g.Close()
		require.ErrorIs(t, <-second, admission.ErrClosed)
		g.Release(1)
		require.ErrorIs(t, g.Acquire(t.Context(), 1), admission.ErrClosed)
		require.Equal(t, admission.Load{}, g.Load())
	})
}

func TestMisuse(t *testing.T) {
	require.Panics(t, func() { admission.NewGate(admission.Limits{}) })
	g := admission.NewGate(admission.Limits{Bytes: 1, Requests: 1})
	require.Panics(t, func() { g.Release(1) })
}

// Many goroutines that acquire, release and give up never exceed the limits, and
// leave the gate empty.
func TestConcurrentUse(t *testing.T) {
	rng := testkit.Rand(t)
	g := admission.NewGate(admission.Limits{Bytes: 100, Requests: 8, Waiting: 1000})
	var bytes, requests, over atomic.Int64
	var running sync.WaitGroup
	for range 32 {
		size, patience := 1+rng.IntN(100), time.Duration(rng.IntN(200))*time.Microsecond
		running.Go(func() {
			for range 200 {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				if g.Acquire(ctx, size) == nil {
					if bytes.Add(int64(size)) > 100 || requests.Add(1) > 8 {
						over.Add(1)
					}
					bytes.Add(-int64(size))
					requests.Add(-1)
					g.Release(size)
				}
				cancel()
			}
		})
	}
	running.Wait()
	require.Zero(t, over.Load(), "times that the limits were exceeded")
	require.Equal(t, admission.Load{}, g.Load())
}
