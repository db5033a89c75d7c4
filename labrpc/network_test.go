package labrpc_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/labrpc"
)

// A JunkServer is a service for tests.
type JunkServer struct {
	mu   sync.Mutex
	seen []int
	gate chan struct{} // Block waits for it
}

type JunkArgs struct{ X int }
type JunkReply struct{ Text string }

func (js *JunkServer) Echo(args *JunkArgs, reply *JunkReply) {
	js.mu.Lock()
	defer js.mu.Unlock()
	js.seen = append(js.seen, args.X)
	reply.Text = fmt.Sprint("echo ", args.X)
}

func (js *JunkServer) ByValue(args int, reply *string) { *reply = fmt.Sprint(args) }

func (js *JunkServer) Block(args int, reply *int) {
	<-js.gate
	*reply = args
}

func (js *JunkServer) NotAHandler(a, b int) {}

func (js *JunkServer) calls() []int {
	js.mu.Lock()
	defer js.mu.Unlock()
	return append([]int(nil), js.seen...)
}

// connect puts a server named "server" on a network, with an end for each name.
func connect(rn *labrpc.Network, names ...any) (*JunkServer, []*labrpc.ClientEnd) {
	js := &JunkServer{gate: make(chan struct{})}
	rs := labrpc.MakeServer()
	rs.AddService(labrpc.MakeService(js))
	rn.AddServer("server", rs)
	var ends []*labrpc.ClientEnd
	for _, name := range names {
		ends = append(ends, rn.MakeEnd(name))
		rn.Connect(name, "server")
		rn.Enable(name, true)
	}
	return js, ends
}

func echo(e *labrpc.ClientEnd, x int) bool {
	var reply JunkReply
	ok := e.Call("JunkServer.Echo", JunkArgs{x}, &reply)
	if ok && reply.Text != fmt.Sprint("echo ", x) {
		panic("wrong reply " + reply.Text)
	}
	return ok
}

func TestBasic(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rn := labrpc.MakeNetworkSeed(testkit.Seed(t))
		defer rn.Cleanup()
		_, ends := connect(rn, 1)
		require.True(t, echo(ends[0], 7), "call failed on a reliable network")
		var reply string
		if !ends[0].Call("JunkServer.ByValue", 5, &reply) || reply != "5" {
			t.Fatalf("ByValue: %q", reply)
		}
		rn.Enable(1, false)
		if start := time.Now(); echo(ends[0], 1) || time.Since(start) >= 100*time.Millisecond {
			t.Fatalf("disabled end: after %v", time.Since(start))
		}
		require.Equal(t, 2, rn.GetCount("server"))
		require.Equal(t, 3, rn.GetTotalCount())
	})
}
