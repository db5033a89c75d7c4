package coretest

import (
	"fmt"
	"math/rand/v2"

	"raftlab/raft/core"
)

// Choices is what decides a schedule. The same choices make the same run.
type Choices interface {
	// Next returns a number from [0, n), and false when there are no more.
	Next(n int) (int, bool)
}

// Seeded returns choices that a seed determines, steps of them.
func Seeded(seed uint64, steps int) Choices {
	return &seeded{rand.New(rand.NewPCG(seed, 1)), steps}
}

type seeded struct {
	rand *rand.Rand
	left int
}

func (s *seeded) Next(n int) (int, bool) {
	s.left--
	return s.rand.IntN(n), s.left >= 0
}

// FromBytes returns choices that bytes spell out, one each, as a fuzzer has them.
func FromBytes(b []byte) Choices { return &spelled{b} }

type spelled struct{ left []byte }

func (s *spelled) Next(n int) (int, bool) {
	if len(s.left) == 0 {
		return 0, false
	}
	b := s.left[0]
	s.left = s.left[1:]
	return int(b) % n, true
}

// step is one kind of thing that happens in an explored schedule.
type step struct {
	weight int
	do     func(x *explorer)
}

// steps are what may happen. Most of the time messages arrive and hosts do their
// duties; faults are rare enough for work to get done between them.
var steps = []step{
	{30, func(x *explorer) { x.message(x.Deliver) }},
	{8, func(x *explorer) { x.DeliverAll() }},
	{20, func(x *explorer) { x.Work(x.server()) }},
	{4, func(x *explorer) { x.Outgoing(x.server()) }},
	{14, func(x *explorer) { x.Finish(x.server()) }},
	{6, func(x *explorer) { x.FinishAll() }},
	{10, func(x *explorer) { x.tickAll() }},
	{6, func(x *explorer) { x.Tick(x.server()) }},
	{3, func(x *explorer) { x.timeout(x.server()) }},
	{12, func(x *explorer) { x.propose() }},
	{4, func(x *explorer) { x.message(x.Drop) }},
	{4, func(x *explorer) { x.message(x.Duplicate) }},
	{2, func(x *explorer) { x.Crash(x.server()) }},
	{4, func(x *explorer) { x.Restart(x.server()) }},
	{1, func(x *explorer) { x.crashAll() }},
	{1, func(x *explorer) { x.Partition(x.group()) }},
	{1, func(x *explorer) { x.Cut(x.server(), x.server()) }},
	{2, func(x *explorer) { x.Heal() }},
	{3, func(x *explorer) { x.Snapshot(x.server(), x.next(4) == 0) }},
}

// menu has each step's place as often as its weight says.
var menu = func() (m []int) {
	for i, s := range steps {
		for range s.weight {
			m = append(m, i)
		}
	}
	return m
}()

type explorer struct {
	*Cluster
	choices  Choices
	done     bool // no more choices
	proposed int
}

// Explore drives a cluster through the schedule that choices describe, checking
// it after each step, then lets it recover: within a bounded time it must have a
// leader, commit a new command and bring all servers to the same state.
func Explore(c *Cluster, choices Choices) error {
	x := &explorer{Cluster: c, choices: choices}
	for c.Err() == nil {
		i := x.next(len(menu))
		if x.done {
			break
		}
		steps[menu[i]].do(x)
		if len(c.pool) > 200 {
			x.Drop(0) // a network that holds on to everything only hides what is new
		}
	}
	if c.Err() != nil {
		return c.Err()
	}
	return x.recover()
}

func (x *explorer) next(n int) int {
	i, ok := x.choices.Next(n)
	if !ok {
		x.done = true
		return 0
	}
	return i
}

func (x *explorer) server() core.NodeID { return x.ids[x.next(len(x.ids))] }

func (x *explorer) message(do func(int)) {
	if n := len(x.pool); n > 0 {
		do(x.next(n))
	}
}

// group draws some of the servers; the others are each alone.
func (x *explorer) group() []core.NodeID {
	var g []core.NodeID
	bits := x.next(1 << len(x.ids))
	for i, id := range x.ids {
		if bits&(1<<i) != 0 {
			g = append(g, id)
		}
	}
	return g
}

func (x *explorer) tickAll() {
	for _, id := range x.ids {
		x.Tick(id)
	}
}

// timeout lets a server alone see enough time pass to become a candidate.
func (x *explorer) timeout(id core.NodeID) {
	for range 2 * x.opt.Config.ElectionTicks {
		x.Tick(id)
	}
}

func (x *explorer) crashAll() {
	for _, id := range x.ids {
		x.Crash(id)
	}
	for _, id := range x.ids {
		x.Restart(id)
	}
}

// propose hands one command to whoever leads, or thinks so.
func (x *explorer) propose() {
	for _, id := range x.ids {
		if x.Up(id) && x.Core(id).Status().State == core.Leader {
			x.proposed++
			if err := x.Propose(id, fmt.Sprint(x.proposed)); err != nil {
				x.checker.fail("leader %d refuses a command: %v", id, err)
			}
		}
	}
}

// recover ends all faults and waits for progress, for 60 election timeouts at
// most. Messages still arrive in the order in which they were sent, each once.
func (x *explorer) recover() error {
	x.trace("the faults end")
	x.Heal()
	for _, id := range x.ids {
		x.Restart(id)
	}
	var marked core.Status // the leader that took in the last command, in its term
	for range 60 * x.opt.Config.ElectionTicks {
		x.FinishAll()
		x.DeliverAll()
		x.FinishAll()
		x.tickAll()
		if x.Err() != nil {
			return x.Err()
		}
		leader := x.Leader()
		if leader == core.None {
			continue
		}
		if st := x.Core(leader).Status(); st.ID != marked.ID || st.CurrentTerm != marked.CurrentTerm {
			marked = st
			x.propose()
			continue
		}
		if x.Converged() == nil {
			return nil
		}
	}
	if leader := x.Leader(); leader == core.None {
		return fmt.Errorf("no leader long after the faults ended")
	}
	return fmt.Errorf("no agreement long after the faults ended: %w", x.Converged())
}
