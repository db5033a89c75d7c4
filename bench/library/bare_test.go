package library

import (
	"runtime"
	"sync"

	"raftlab/raft/node"
)

// bareGroups are groups without Raft. Each has a queue of commands, three logs and a state
// machine. A proposer that finds a group free appends all queued commands to the logs,
// applies them and wakes the other proposers. The rate of bareGroups shows the price of
// the queues, the clients and the caches of the processors for so many groups.
type bareGroups struct{ groups []*bareGroup }

type bareGroup struct {
	mu      sync.Mutex
	queue   []*bareProposal
	running bool

	// Only the proposer that runs the group touches these.
	current  []*bareProposal
	logs     [3][][]byte
	commands []node.Command
}

type bareProposal struct {
	data, result []byte
	done         chan struct{}
}

var bareProposals = sync.Pool{New: func() any { return &bareProposal{done: make(chan struct{}, 1)} }}

func newBareGroups(n int) *bareGroups {
	b := &bareGroups{}
	for range n {
		b.groups = append(b.groups, &bareGroup{})
	}
	return b
}

func (b *bareGroups) Propose(command []byte) error { return b.ProposeTo(0, command) }
func (b *bareGroups) Close()                       {}

// ProposeTo implements manyGroups.
func (b *bareGroups) ProposeTo(group int, command []byte) error {
	g := b.groups[group]
	p := bareProposals.Get().(*bareProposal)
	p.data = command
	g.mu.Lock()
	g.queue = append(g.queue, p)
	free := !g.running
	g.running = true
	g.mu.Unlock()
	if free {
		runtime.Gosched() // for the company of other proposers, as raft/node does
		for g.pass() {
		}
	}
	<-p.done
	p.data, p.result = nil, nil
	bareProposals.Put(p)
	return nil
}

// bareLog is the length at which a log begins again.
const bareLog = 10_000

// pass serves what is queued. It returns false and frees the group if nothing is.
func (g *bareGroup) pass() bool {
	g.mu.Lock()
	g.queue, g.current = g.current[:0], g.queue
	g.running = len(g.current) > 0
	g.mu.Unlock()
	for i := range g.logs {
		if len(g.logs[i]) > bareLog {
			g.logs[i] = nil
		}
		for _, p := range g.current {
			g.logs[i] = append(g.logs[i], p.data)
		}
	}
	g.commands = g.commands[:0]
	for _, p := range g.current {
		g.commands = append(g.commands, node.Command{Data: p.data})
	}
	sink{}.Apply(g.commands)
	served := len(g.current) > 0
	for i, p := range g.current {
		p.result = g.commands[i].Result
		p.done <- struct{}{}
	}
	return served
}
