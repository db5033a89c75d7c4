package labrpc_test

import (
	"fmt"
	"sync/atomic"

	"raftlab/labrpc"
)

// A Counter is a service.
type Counter struct{ sum atomic.Int64 }

type AddArgs struct{ By int }

type AddReply struct{ Sum int }

// Add is a handler with arguments, a pointer to the reply, and no result.
func (c *Counter) Add(args AddArgs, reply *AddReply) {
	reply.Sum = int(c.sum.Add(int64(args.By)))
}

// startCounter puts a Counter on a network and returns an end for the Counter.
func startCounter(rn *labrpc.Network) *labrpc.ClientEnd {
	server := labrpc.MakeServer()
	server.AddService(labrpc.MakeService(&Counter{}))
	rn.AddServer("counter", server)

	end := rn.MakeEnd("client")
	rn.Connect("client", "counter")
	rn.Enable("client", true)
	return end
}

// A server, an end for the server, and a call.
func Example() {
	rn := labrpc.MakeNetwork()
	defer rn.Cleanup()
	end := startCounter(rn)

	for _, by := range []int{3, 4} {
		var reply AddReply
		if end.Call("Counter.Add", AddArgs{By: by}, &reply) {
			fmt.Println("sum is", reply.Sum)
		}
	}
	// Output:
	// sum is 3
	// sum is 7
}

// The same seed brings the same faults.
func ExampleMakeNetworkSeed() {
	for range 2 {
		rn := labrpc.MakeNetworkSeed(42)
		rn.SetFaults(labrpc.Faults{RequestLoss: 0.3})
		end := startCounter(rn)
		for range 10 {
			if end.Call("Counter.Add", AddArgs{By: 1}, new(AddReply)) {
				fmt.Print("+")
			} else {
				fmt.Print("-")
			}
		}
		fmt.Println()
		rn.Cleanup()
	}
	// Output:
	// ++++-++--+
	// ++++-++--+
}

// A scheduler reads the arguments of a call and loses the reply. The caller
// cannot know that the call took effect.
func ExampleNetwork_SetScheduler() {
	rn := labrpc.MakeNetwork()
	defer rn.Cleanup()
	end := startCounter(rn)
	rn.SetScheduler(func(m labrpc.Message) labrpc.Decision {
		var reply AddReply
		if m.Reply && m.Decode(&reply) == nil && reply.Sum == 2 {
			return labrpc.Never()
		}
		return labrpc.Now()
	})

	for range 3 {
		var reply AddReply
		ok := end.Call("Counter.Add", AddArgs{By: 1}, &reply)
		fmt.Println(ok, reply.Sum)
	}
	// Output:
	// true 1
	// false 0
	// true 3
}

// A trace lists the events of all messages. WriteTo prints one event per line,
// with times.
func ExampleRecord() {
	rn := labrpc.MakeNetwork()
	defer rn.Cleanup()
	end := startCounter(rn)
	trace := labrpc.Record(rn)

	end.Call("Counter.Add", AddArgs{By: 1}, new(AddReply))
	rn.SetFaults(labrpc.Faults{RequestLoss: 1})
	end.Call("Counter.Add", AddArgs{By: 1}, new(AddReply))

	for _, e := range trace.Events() {
		fmt.Println(e.Kind, e.Message)
	}
	// Output:
	// sent request 0#0 Counter.Add client->counter
	// delivered request 0#0 Counter.Add client->counter
	// sent reply 0#0 Counter.Add client<-counter
	// delivered reply 0#0 Counter.Add client<-counter
	// sent request 0#1 Counter.Add client->counter
	// dropped request 0#1 Counter.Add client->counter
}
