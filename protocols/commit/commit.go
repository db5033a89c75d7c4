// Package commit has two-phase and three-phase commit, and shows when each one blocks or breaks.
//
// A transaction changes several nodes. Atomic commitment makes all nodes commit, or all
// abort, and any node may refuse.
//
// Two-phase commit (Gray, Notes on Data Base Operating Systems, 1978) has a coordinator. The
// coordinator asks each participant to prepare. A participant that votes yes holds its locks and
// gives up the right to abort. With all votes yes the coordinator decides commit, else abort, and
// tells the participants. If the coordinator crashes before telling, a prepared participant
// can neither commit (another one may have refused) nor abort (another one may
// have committed). The participant blocks, with its locks held. [Participant.Terminate] asks the others. The
// answer helps only if one participant knows the decision or has not voted.
//
// Three-phase commit (Skeen, Nonblocking Commit Protocols, 1981) adds a phase. After the votes the
// coordinator announces the commit (pre-commit), and commits when all have acknowledged. No participant
// commits while another one is uncertain, so the survivors of a crash decide
// alone. If one survivor is pre-committed, they commit, else they abort. The rule takes silence
// for a crash. With a partition both sides decide alone, and the decisions may differ. So
// real systems replicate the coordinator by consensus (Gray and Lamport, Consensus on
// Transaction Commit, 2006) as package shardkv does with its groups.
package commit

import (
	"sync"

	"raftlab/labrpc"
)

// A State is the state of a participant in a transaction.
type State string

// The states. A participant in Prepared or PreCommitted holds locks.
const (
	Working      State = "" // has not voted
	Prepared     State = "prepared"
	PreCommitted State = "pre-committed" // three phases only
	Committed    State = "committed"
	Aborted      State = "aborted"
)

// decided reports whether a state is final.
func (s State) decided() bool { return s == Committed || s == Aborted }

// A Participant takes part in one transaction. Its methods may be called concurrently.
type Participant struct {
	peers []*labrpc.ClientEnd
	me    int
	// Refuse makes the participant vote no.
	Refuse bool

	mu    sync.Mutex
	state State // on disk in a real system, synced before each reply
}

// NewParticipant returns participant number me of peers.
func NewParticipant(peers []*labrpc.ClientEnd, me int) *Participant {
	return &Participant{peers: peers, me: me}
}

// Prepare asks for a vote. The reply is the vote.
func (p *Participant) Prepare(_ int, yes *bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == Working {
		p.state = Prepared
		if p.Refuse {
			p.state = Aborted // a no decides the transaction
		}
	}
	*yes = p.state == Prepared
}

// Decide moves a participant to PreCommitted, Committed or Aborted. A decision is final.
func (p *Participant) Decide(s State, ok *bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.state.decided() {
		p.state = s
	}
	*ok = p.state == s
}

// Inquire answers the state to a participant that terminates the transaction. A participant that has
// not voted aborts, because the coordinator can then not have decided commit.
func (p *Participant) Inquire(_ int, s *State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == Working {
		p.state = Aborted
	}
	*s = p.state
}

// State returns the state.
func (p *Participant) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// Terminate ends the transaction without the coordinator if the states of the reachable
// participants permit, and reports whether they do. The caller has waited for the coordinator in
// vain. threePhase applies the rule of three-phase commit.
func (p *Participant) Terminate(threePhase bool) bool {
	var own, decision State
	p.Inquire(0, &own) // not over the network, where the participant could miss its own state
	seen := map[State]bool{own: true}
	for i, peer := range p.peers {
		var s State
		if i != p.me && peer.Call("Participant.Inquire", 0, &s) {
			seen[s] = true
		}
	}
	switch {
	case seen[Committed]:
		decision = Committed
	case seen[Aborted]:
		decision = Aborted
	case threePhase && seen[PreCommitted]:
		decision = Committed
	case threePhase:
		decision = Aborted
	default:
		return false // all are prepared, and the coordinator may have decided anything
	}
	if decision == Committed && threePhase {
		p.decide(PreCommitted) // so that a crash now leaves no survivor uncertain
	}
	p.decide(decision)
	return true
}

// decide moves the participant itself and the others to a state.
func (p *Participant) decide(s State) {
	p.Decide(s, new(bool))
	tell(p.peers, s)
}

// tell calls Decide on all participants. One without the message calls Terminate later.
func tell(peers []*labrpc.ClientEnd, s State) {
	for _, peer := range peers {
		var ok bool
		peer.Call("Participant.Decide", s, &ok)
	}
}

// A Coordinator runs a transaction over participants.
type Coordinator struct {
	Participants []*labrpc.ClientEnd
	ThreePhase   bool
	// Before is called before each phase, and may be nil. If Before returns false, the coordinator
	// crashes at this point.
	Before func(phase State) bool
}

// Run runs the transaction and returns the decision, or Working after a crash. A missing vote
// counts as no.
func (c *Coordinator) Run() State {
	if !c.enter(Prepared) {
		return Working
	}
	decision := Committed
	for _, p := range c.Participants {
		var yes bool
		if !p.Call("Participant.Prepare", 0, &yes) || !yes {
			decision = Aborted
		}
	}
	if c.ThreePhase && decision == Committed {
		if !c.enter(PreCommitted) {
			return Working
		}
		// A participant without acknowledgement has crashed, and learns the decision later.
		tell(c.Participants, PreCommitted)
	}
	if !c.enter(decision) {
		return Working
	}
	tell(c.Participants, decision)
	return decision
}

func (c *Coordinator) enter(phase State) bool { return c.Before == nil || c.Before(phase) }
