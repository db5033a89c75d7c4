package labrpc_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/labrpc"
)

// A Sink collects the numbers of one-way messages.
type Sink struct {
	mu   sync.Mutex
	slow time.Duration
	got  []int
}

func (s *Sink) Put(n int) {
	time.Sleep(s.slow)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, n)
}

// Count returns the number of messages so far.
func (s *Sink) Count(_ int, n *int) { *n = len(s.taken()) }

func (s *Sink) taken() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// startSink puts a sink on a network and returns an end for the sink.
func startSink(rn *labrpc.Network, sink *Sink) *labrpc.ClientEnd {
	rs := labrpc.MakeServer()
	rs.AddService(labrpc.MakeService(sink))
	rn.AddServer("sink", rs)
	end := rn.MakeEnd("client")
	rn.Connect("client", "sink")
	rn.Enable("client", true)
	return end
}

// Delays reorder one-way messages, and FIFO keeps the order through delays, losses and
// slow handlers.
func TestSendOrder(t *testing.T) {
	for _, fifo := range []bool{false, true} {
		testkit.Run(t, func(t *testing.T) {
			rn := labrpc.MakeNetworkSeed(7)
			defer rn.Cleanup()
			sink := &Sink{slow: time.Millisecond}
			end := startSink(rn, sink)
			rn.SetFIFO("client", fifo)
			rn.SetFaults(labrpc.Faults{RequestLoss: 0.2, Duplicate: 0.2, MaxDelay: 30 * time.Millisecond})
			for n := range 100 {
				end.Send("Sink.Put", n)
			}
			time.Sleep(10 * time.Second)
			got := sink.taken()
			require.Equal(t, fifo, slices.IsSorted(got), got)
			require.Greater(t, len(got), 80)
			distinct := len(slices.Compact(slices.Sorted(slices.Values(got))))
			require.Less(t, distinct, 95, "messages get lost")
			require.Less(t, distinct, len(got), "messages are duplicated")
		})
	}
}

// A one-way message is lost silently where a call fails.
func TestSendToNowhere(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetworkSeed(1)
		defer rn.Cleanup()
		sink := &Sink{}
		end := startSink(rn, sink)
		rn.CutRequests("client", true)
		end.Send("Sink.Put", 1)
		time.Sleep(time.Second)
		rn.CutRequests("client", false)
		end.Send("Sink.Put", 2)
		rn.Enable("client", false) // the message is on its way
		end.Send("Sink.Put", 3)
		time.Sleep(time.Second)
		rn.Enable("client", true)
		end.Send("Sink.Put", 4)
		time.Sleep(time.Second)
		require.Equal(t, []int{4}, sink.taken())
		rn.Cleanup()
		end.Send("Sink.Put", 5)
		require.PanicsWithValue(t, `labrpc: Send("Sink.Put"): arguments are a nil *int`, func() { end.Send("Sink.Put", (*int)(nil)) })
	})
}

// A handler without a reply refuses calls. A handler with a reply takes one-way
// messages.
func TestSendAndCall(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetworkSeed(1)
		defer rn.Cleanup()
		end := startSink(rn, &Sink{})
		require.PanicsWithValue(t, `labrpc: Call("Sink.Put") to server sink: Sink.Put has no reply and takes one-way messages (ClientEnd.Send); a handler of Call is a func(args A, reply *R)`,
			func() { end.Call("Sink.Put", 1, new(int)) })
		rn.DeleteEnd("client")
		counter := startCounter(rn)
		counter.Send("Counter.Add", AddArgs{By: 2})
		time.Sleep(time.Second)
		var reply AddReply
		require.True(t, counter.Call("Counter.Add", AddArgs{By: 1}, &reply))
		require.Equal(t, 3, reply.Sum)
	})
}

// A redirect chooses an end for each call and message.
func TestRedirect(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetwork()
		defer rn.Cleanup()
		var sink Sink
		direct := startSink(rn, &sink)
		var now *labrpc.ClientEnd
		end := labrpc.MakeRedirect(func() *labrpc.ClientEnd { return now })
		count := -1
		require.False(t, end.Call("Sink.Count", 0, &count))
		end.Send("Sink.Put", 1)
		now = direct
		end.Send("Sink.Put", 2)
		time.Sleep(time.Second)
		require.True(t, end.Call("Sink.Count", 0, &count))
		require.Equal(t, 1, count)
		require.Equal(t, []int{2}, sink.taken())
	})
}
