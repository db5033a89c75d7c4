//lab:solution

// Package replica runs the services of the plain Raft. A service is a state machine, and
// package replica submits commands, applies commands and takes snapshots for the service.
package replica

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"time"

	"raftlab/labgob"
	"raftlab/raft"
)

// patience is the time that Submit waits for a command. A leader without a majority
// never commits the command.
const patience = 500 * time.Millisecond

// leadEvery is the pause between two looks at the role.
const leadEvery = 50 * time.Millisecond

// A Service is a state machine. The server calls the methods one at a time.
type Service interface {
	Apply(command any) (result any)
	Save(e *labgob.LabEncoder)    // writes a snapshot
	Restore(d *labgob.LabDecoder) // reads a snapshot
}

// Op is an entry of the log. The number distinguishes the submissions of a server.
type Op struct {
	ID      int64
	Command any
}

func init() { labgob.Register(Op{}) }

// Server replicates a service.
type Server struct {
	rf        *raft.Raft
	persister *raft.Persister
	limit     int // bytes of Raft state from which on the server takes a snapshot, or -1
	stop      chan struct{}

	mu      sync.Mutex
	service Service
	applied int
	waiting map[int]waiter // by index
}

// A waiter waits for the command at an index. The channel closes if the command is lost.
type waiter struct {
	id     int64
	result chan any
}

// New starts a server with the service in the persister's snapshot. limit is the
// course's maxraftstate.
func New(rf *raft.Raft, applyCh chan raft.ApplyMsg, persister *raft.Persister, limit int, service Service) *Server {
	s := &Server{rf: rf, persister: persister, limit: limit, stop: make(chan struct{}), service: service, waiting: make(map[int]waiter)}
	s.restore(persister.ReadSnapshot())
	go s.run(applyCh)
	go s.lead()
	return s
}

// Kill stops the server and its Raft.
func (s *Server) Kill() {
	close(s.stop)
	s.rf.Kill()
}

// Killed returns a channel that Kill closes.
func (s *Server) Killed() <-chan struct{} { return s.stop }

// Leads reports whether this server's Raft leads.
func (s *Server) Leads() bool {
	_, leads := s.rf.GetState()
	return leads
}

// Look calls look while no command is applied.
func (s *Server) Look(look func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	look()
}

// Submit replicates a command and returns its result. ok is false if this server does not
// lead, or if the command is perhaps lost.
func (s *Server) Submit(command any) (result any, ok bool) {
	s.mu.Lock()
	w := waiter{rand.Int64(), make(chan any, 1)}
	index, _, leads := s.rf.Start(Op{w.id, command})
	if !leads {
		s.mu.Unlock()
		return nil, false
	}
	if old, taken := s.waiting[index]; taken {
		close(old.result) // of an earlier term, whose entry was overwritten
	}
	s.waiting[index] = w
	s.mu.Unlock()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case result, ok = <-w.result:
		return result, ok
	case <-timeout.C:
	case <-s.stop:
	}
	return nil, false
}

// run applies commands until Kill.
func (s *Server) run(applyCh chan raft.ApplyMsg) {
	for {
		select {
		case msg := <-applyCh:
			s.handle(msg)
		case <-s.stop:
			return
		}
	}
}

// lead submits an empty command in each term that this server leads. A leader commits
// entries of older terms only together with one of its own (section 5.4.2), and a service
// that waits for the effect of an older entry may submit nothing.
func (s *Server) lead() {
	for latest := 0; ; {
		if term, leads := s.rf.GetState(); leads && term > latest {
			latest = term
			s.rf.Start(Op{})
		}
		select {
		case <-time.After(leadEvery):
		case <-s.stop:
			return
		}
	}
}

func (s *Server) handle(msg raft.ApplyMsg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if msg.SnapshotValid {
		if msg.SnapshotIndex > s.applied {
			s.restore(msg.Snapshot)
		}
		return
	}
	if !msg.CommandValid || msg.CommandIndex <= s.applied {
		return
	}
	s.applied = msg.CommandIndex
	op, ours := msg.Command.(Op)
	if !ours {
		return
	}
	var result any
	if op.Command != nil {
		result = s.service.Apply(op.Command)
	}
	if w, waits := s.waiting[s.applied]; waits {
		delete(s.waiting, s.applied)
		if w.id == op.ID {
			w.result <- result
		} else {
			close(w.result)
		}
	}
	if s.limit > 0 && s.persister.RaftStateSize() >= s.limit {
		s.snapshot()
	}
}

func (s *Server) snapshot() {
	var b bytes.Buffer
	e := labgob.NewEncoder(&b)
	e.Encode(s.applied)
	s.service.Save(e)
	s.rf.Snapshot(s.applied, b.Bytes())
}

func (s *Server) restore(snapshot []byte) {
	if len(snapshot) == 0 {
		return
	}
	d := labgob.NewDecoder(bytes.NewReader(snapshot))
	var applied int
	if d.Decode(&applied) != nil {
		panic("the snapshot has no index")
	}
	s.service.Restore(d)
	s.applied = applied
	for index, w := range s.waiting {
		if index <= applied {
			delete(s.waiting, index)
			close(w.result) // the snapshot does not tell the result
		}
	}
}

// Sessions holds the latest operation of each client. A client has one operation under
// way, so a repeated operation is always the latest.
type Sessions map[int64]Session

// A Session is the latest operation of a client, with its result.
type Session struct {
	Seq   int64
	Value string
}

// Once calls do unless the operation is a duplicate.
func (s Sessions) Once(client, seq int64, do func() string) string {
	if last := s[client]; last.Seq >= seq {
		return last.Value
	}
	value := do()
	s[client] = Session{seq, value}
	return value
}

// Copy returns an independent copy.
func (s Sessions) Copy() Sessions {
	c := make(Sessions)
	for client, session := range s {
		c[client] = session
	}
	return c
}
