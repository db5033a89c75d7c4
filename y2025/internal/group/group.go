// Package group has the parts that the replicated services and their clerks share: the
// search for a leader, and the outcome of a request to a replicated state machine.
package group

import (
	"sync/atomic"
	"time"

	"raftlab/y2025/kvraft1/rsm"
	"raftlab/y2025/kvsrv1/rpc"
	tester "raftlab/y2025/tester1"
)

// roundPause is the time between two rounds of calls without an answer of a leader.
const roundPause = 50 * time.Millisecond

// Submit submits a request on a server, for a reply to a clerk. The error is
// rpc.ErrWrongLeader if the request has no effect, and rpc.ErrMaybe if the server lost
// the leadership while the request was in the log.
func Submit(r *rsm.RSM, req any) (any, rpc.Err) {
	if _, leads := r.Raft().GetState(); !leads {
		return nil, rpc.ErrWrongLeader
	}
	err, result := r.Submit(req)
	if err != rpc.OK {
		return nil, rpc.ErrMaybe
	}
	return result, rpc.OK
}

// Kill stops the state machine and the Raft server of a server. A student's RSM has no
// method Kill, and ends with the Raft server.
func Kill(r *rsm.RSM) {
	if killer, ok := any(r).(interface{ Kill() }); ok {
		killer.Kill()
	}
	r.Raft().Kill()
}

// Servers are the servers of a group, with the last known leader. Any goroutine may
// call the methods.
type Servers struct {
	clnt   *tester.Clnt
	names  []string
	leader atomic.Int64
}

// New returns the servers with these names.
func New(clnt *tester.Clnt, names []string) *Servers { return &Servers{clnt: clnt, names: names} }

// An Attempt is one round of calls to the servers of a group.
type Attempt[R any] struct {
	Reply    R
	Answered bool // by a server as the leader
	// Open is true if a server without an answer may have executed the request, or may
	// yet.
	Open bool
}

// Try calls the servers in turn, from the last known leader on, until a server answers
// as the leader. outcome is the outcome in a reply. Try pauses after a round without an
// answer.
func Try[A, R any](s *Servers, method string, args *A, outcome func(*R) rpc.Err) (a Attempt[R]) {
	first := int(s.leader.Load())
	for k := range s.names {
		i := (first + k) % len(s.names)
		var reply R
		answered := s.clnt.Call(s.names[i], method, args, &reply)
		switch {
		case !answered || outcome(&reply) == rpc.ErrMaybe:
			a.Open = true
		case outcome(&reply) != rpc.ErrWrongLeader:
			s.leader.Store(int64(i))
			a.Reply, a.Answered = reply, true
			return a
		}
	}
	time.Sleep(roundPause)
	return a
}

// Get makes one attempt of a Get.
func (s *Servers) Get(key string) Attempt[rpc.GetReply] {
	return Try(s, "KVServer.Get", &rpc.GetArgs{Key: key}, func(r *rpc.GetReply) rpc.Err { return r.Err })
}

// Put makes one attempt of a Put.
func (s *Servers) Put(args *rpc.PutArgs) Attempt[rpc.PutReply] {
	return Try(s, "KVServer.Put", args, func(r *rpc.PutReply) rpc.Err { return r.Err })
}
