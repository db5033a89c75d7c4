package labtest

import (
	"sync/atomic"
	"testing"
	"time"

	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/raft"
)

type (
	toyArgs struct {
		Term int
		Data []byte
	}
	toyReply   struct{ Yes bool }
	toyRefusal struct{ No bool }
)

// toy is a server with RPC names of its own. Server 0 asks for pre-votes and votes, and
// then sends heartbeats.
type toy struct {
	peers   []*labrpc.ClientEnd
	killed  atomic.Bool
	leads   atomic.Bool
	refuses bool // the replies have a field with the opposite meaning
}

func (s *toy) Try(args toyArgs, reply *toyReply)      { reply.Yes = true }
func (s *toy) Ask(args toyArgs, reply *toyReply)      { reply.Yes = true }
func (s *toy) Doubt(args toyArgs, reply *toyRefusal)  { reply.No = false }
func (s *toy) Beat(args toyArgs, reply *toyReply)     { reply.Yes = true }
func (s *toy) Carry(args toyArgs, reply *toyReply)    { reply.Yes = true }
func (s *toy) Transfer(args toyArgs, reply *toyReply) { reply.Yes = true }

func (s *toy) Start(any) (int, int, bool) { return 0, 1, false }
func (s *toy) GetState() (int, bool)      { return 1, s.leads.Load() }
func (s *toy) Snapshot(int, []byte)       {}
func (s *toy) Kill()                      { s.killed.Store(true) }

func (s *toy) lead(me int) {
	if me != 0 {
		return
	}
	time.Sleep(100 * time.Millisecond)
	if s.refuses {
		s.all("toy.Doubt", &toyRefusal{})
	} else {
		s.all("toy.Try", &toyReply{})
		s.all("toy.Ask", &toyReply{})
	}
	for s.leads.Store(true); !s.killed.Load(); time.Sleep(100 * time.Millisecond) {
		s.all("toy.Beat", &toyReply{})
	}
}

func (s *toy) all(method string, reply any) {
	for i, end := range s.peers {
		if i != 0 {
			end.Call(method, toyArgs{Term: 1}, reply)
		}
	}
}

// toyCluster starts a cluster of toys, which shows their names first.
func toyCluster(t *testing.T, body func(t *testing.T, c *Cluster), refuses bool) {
	before, other := MakeServer, otherRaft
	defer func() {
		MakeServer, otherRaft = before, other
		clear(learned.kinds)
	}()
	Use(func(peers []*labrpc.ClientEnd, me int, _ *raft.Persister, _ chan raft.ApplyMsg) Server {
		s := &toy{peers: peers, refuses: refuses}
		go s.lead(me)
		return s
	})
	testkit.Run(t, func(t *testing.T) { body(t, New(t, 3)) })
}

// send calls a method of server 1, and returns the kind of the request.
func send(c *Cluster, method string, data []byte) (kind Kind) {
	defer c.Net.AddTap(func(e labrpc.Event) {
		if e.Message.Method == method {
			kind = c.kinds.of(e.Message)
		}
	})()
	c.server(0).rf.(*toy).peers[1].Call(method, toyArgs{Data: data}, &toyReply{})
	return kind
}

// Methods with names of their own have the kinds that a cluster without a fault shows. A
// method that carries a command or a snapshot has its kind from then on.
func TestKindsAreLearned(t *testing.T) {
	toyCluster(t, func(t *testing.T, c *Cluster) {
		want := func(method string, data string, want Kind) {
			t.Helper()
			if got := send(c, method, []byte(data)); got != want {
				t.Errorf("%s with %q has kind %d; want %d", method, data, got, want)
			}
		}
		want("toy.Try", "", PreVote)
		want("toy.Ask", "", Vote)
		want("toy.Beat", "", Append)
		c.Start(0, "a long command")
		c.Snapshot(0, 1, []byte("a snapshot"))
		want("toy.Carry", "nothing known", Other)
		want("toy.Carry", "with a long command", Append)
		want("toy.Carry", "nothing known", Append)
		want("toy.Transfer", "here is a snapshot", Snapshot)
		if c.kinds.grants != "Yes" || c.kinds.accepts != "Yes" {
			t.Errorf("the fields are %q and %q; want Yes", c.kinds.grants, c.kinds.accepts)
		}
	}, false)
}

// A field that is true for a refusal says nothing about a vote.
func TestRefusalIsNoGrant(t *testing.T) {
	toyCluster(t, func(t *testing.T, c *Cluster) {
		if kind := c.kinds.methods["Doubt"]; kind != Vote {
			t.Errorf("Doubt has kind %d; want %d", kind, Vote)
		}
		if c.kinds.grants != "VoteGranted" {
			t.Errorf("field %s grants votes, though the field is true for a refusal", c.kinds.grants)
		}
	}, true)
}
