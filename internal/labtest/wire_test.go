package labtest

import (
	"strings"
	"testing"

	"raftlab/labrpc"
)

type (
	appendArgs struct {
		Term int
		Word string
	}
	Figure2Args struct{ Term, CandidateId, LastLogIndex, LastLogTerm int }
	PreVoteArgs struct {
		Term, CandidateId int
		LastLogIndex      int
		LastLogTerm       int
		PreVote           bool
	}
	TrialArgs struct {
		Term, CandidateId, LastLogIndex, LastLogTerm int
		Trial                                        bool
	}
	wordArgs  struct{ Word string }
	voteReply struct{ VoteGranted bool }
)

// Raft answers as every server of the tests below.
type Raft struct{ grants bool }

func (r *Raft) AppendEntries(args appendArgs, reply *voteReply)   {}
func (r *Raft) InstallSnapshot(args appendArgs, reply *voteReply) {}
func (r *Raft) RequestVote(args PreVoteArgs, reply *voteReply)    { reply.VoteGranted = r.grants }

// TestWire sends messages of incorrect servers, and similar messages of correct
// servers.
func TestWire(t *testing.T) {
	type call struct {
		from, to int
		method   string
		args     any
	}
	ask := func(from, to, term int) call {
		return call{from, to, "Raft.RequestVote", Figure2Args{Term: term, CandidateId: from}}
	}
	lead := func(from, to, term int) call { return call{from, to, "Raft.AppendEntries", appendArgs{Term: term}} }
	for name, test := range map[string]struct {
		grants bool
		calls  []call
		want   string // "" if the wire reports no error
	}{
		"two leaders":           {true, []call{ask(0, 2, 1), lead(0, 1, 1), lead(1, 0, 1)}, "servers 0 and 1 both sent AppendEntries"},
		"a snapshot, too":       {true, []call{ask(0, 2, 1), lead(0, 1, 1), {1, 0, "Raft.InstallSnapshot", appendArgs{Term: 1}}}, "both sent"},
		"leaders of two terms":  {true, []call{ask(0, 2, 1), lead(0, 1, 1), ask(1, 2, 2), lead(1, 0, 2), lead(0, 2, 1)}, ""},
		"never asked":           {true, []call{ask(0, 2, 1), lead(1, 0, 2)}, "has not asked for votes"},
		"no votes at all":       {true, []call{lead(1, 0, 2)}, ""},
		"no terms":              {true, []call{{0, 1, "Raft.AppendEntries", wordArgs{"x"}}, {1, 0, "Raft.AppendEntries", wordArgs{"x"}}}, ""},
		"two votes":             {true, []call{ask(0, 2, 1), ask(1, 2, 1)}, "server 2 voted for servers 0 and 1 in term 1"},
		"two refusals":          {false, []call{ask(0, 2, 1), ask(1, 2, 1)}, ""},
		"the same vote again":   {true, []call{ask(0, 2, 1), ask(0, 2, 1)}, ""},
		"votes of two terms":    {true, []call{ask(0, 2, 1), ask(1, 2, 2)}, ""},
		"a candidate's vote":    {true, []call{ask(0, 2, 1), ask(2, 1, 1)}, "server 2 voted for servers 0 and 2 in term 1"},
		"pre-votes":             {true, []call{{0, 2, "Raft.RequestVote", PreVoteArgs{Term: 1, PreVote: true}}, {1, 2, "Raft.RequestVote", PreVoteArgs{Term: 1, PreVote: true}}}, ""},
		"votes beside pre-vote": {true, []call{{0, 2, "Raft.RequestVote", PreVoteArgs{Term: 1}}, {1, 2, "Raft.RequestVote", PreVoteArgs{Term: 1}}}, "server 2 voted for"},
		"votes of another kind": {true, []call{{0, 2, "Raft.RequestVote", TrialArgs{Term: 1, Trial: true}}, {1, 2, "Raft.RequestVote", TrialArgs{Term: 1, Trial: true}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			net := labrpc.MakeNetwork()
			defer net.Cleanup()
			w, got := newWire(newKinds()), ""
			net.AddTap(func(e labrpc.Event) {
				if err := w.listen(e); err != nil && got == "" {
					got = err.Error()
				}
			})
			defer labrpc.Record(net).Stop() // beside the wire checks
			for i := range 3 {
				server := labrpc.MakeServer()
				server.AddService(labrpc.MakeService(&Raft{test.grants}))
				net.AddServer(i, server)
			}
			for k, call := range test.calls {
				end := endName{call.from, call.to, k}
				e := net.MakeEnd(end)
				net.Connect(end, call.to)
				net.Enable(end, true)
				e.Call(call.method, call.args, &voteReply{})
			}
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("the wire reports %q; want %q", got, test.want)
			}
		})
	}
}
