package labtrace_test

import (
	"testing"

	"raftlab/internal/labtrace"
	"raftlab/labrpc"
	"raftlab/trace"
)

// Adder is a server with one method.
type Adder struct{}

// Args has the size of a small AppendEntries.
type Args struct{ Term, Leader, PrevLogIndex, PrevLogTerm, LeaderCommit int }

// Add replies with a sum.
func (Adder) Add(args Args, reply *int) { *reply = args.Term + args.PrevLogIndex }

// BenchmarkCall is a call on a network with and without a recording. The difference is the
// price of a recorded call, with its four events.
func BenchmarkCall(b *testing.B) {
	for _, recorded := range []bool{false, true} {
		b.Run(map[bool]string{false: "plain", true: "recorded"}[recorded], func(b *testing.B) {
			net := labrpc.MakeNetworkSeed(1)
			defer net.Cleanup()
			server := labrpc.MakeServer()
			server.AddService(labrpc.MakeService(Adder{}))
			net.AddServer(0, server)
			end := net.MakeEnd("client")
			net.Connect("client", 0)
			net.Enable("client", true)
			if recorded {
				rec := trace.NewRecorder(trace.Options{})
				defer labtrace.Listen(net, rec, labtrace.Lanes{
					End:    func(any) (string, bool) { return "client", false },
					Server: labtrace.ServerName,
				})()
			}
			b.ReportAllocs()
			for i := range b.N {
				var sum int
				if args := (Args{Term: 1, PrevLogIndex: i}); !end.Call("Adder.Add", args, &sum) || sum != i+1 {
					b.Fatalf("the sum of 1 and %d is %d", i, sum)
				}
			}
		})
	}
}
