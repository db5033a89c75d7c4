package coretest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"raftlab/raft/core"
)

// Choices decide a schedule. The same choices make the same run.
type Choices interface {
	// Next returns a number from [0, n), and false when there are no more.
	Next(n int) (int, bool)
}

// Seeded returns a number of choices from a seed.
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

// FromBytes returns the choices of a fuzzer, one for each byte.
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

// step is a kind of event in an explored schedule.
type step struct {
	weight int
	do     func(x *explorer)
}

// steps are the possible events. Mostly messages arrive and hosts do their duties.
// Faults are rare enough for progress between them.
var steps = []step{
	{30, func(x *explorer) { x.message(x.Deliver) }},
	{16, func(x *explorer) { x.DeliverAll() }},
	{20, func(x *explorer) { x.Work(x.server()) }},
	{4, func(x *explorer) { x.Outgoing(x.server()) }},
	{14, func(x *explorer) { x.Finish(x.server()) }},
	{16, func(x *explorer) { x.FinishAll() }},
	{10, func(x *explorer) { x.tickAll() }},
	{6, func(x *explorer) { x.tick(x.server(), 1) }},
	{3, func(x *explorer) { x.tick(x.server(), 2*x.opt.Config.ElectionTicks) }},
	{12, func(x *explorer) { x.propose() }},
	{4, func(x *explorer) { x.message(x.Drop) }},
	{4, func(x *explorer) { x.message(x.Duplicate) }},
	{3, func(x *explorer) { x.Hold(x.server()) }},
	{3, func(x *explorer) { x.Release() }},
	{2, func(x *explorer) { x.Crash(x.server()) }},
	{4, func(x *explorer) { x.Restart(x.server()) }},
	{1, func(x *explorer) { x.crashAll() }},
	{1, func(x *explorer) { x.Partition(x.group()) }},
	{1, func(x *explorer) { x.Cut(x.server(), x.server()) }},
	{2, func(x *explorer) { x.Heal() }},
	{3, func(x *explorer) { x.Snapshot(x.server(), x.next(4) == 0) }},
	{8, func(x *explorer) { x.read(x.server()) }},
	{6, func(x *explorer) { x.reconfigure() }},
	{2, func(x *explorer) { x.transfer() }},
	{1, func(x *explorer) { x.transferInVain() }},
	{1, func(x *explorer) { x.readByOldAnswers() }},
	{1, func(x *explorer) { x.readAcrossRestart(x.server()) }},
	{1, func(x *explorer) { x.readUnderLease(x.server()) }},
	{1, func(x *explorer) { x.readInTransfer(x.server()) }},
	{1, func(x *explorer) { x.readByLateAnswers() }},
	{1, func(x *explorer) { x.readInSilence() }},
	{1, func(x *explorer) { x.readByNewerTerm(x.server(), x.server()) }},
	{1, func(x *explorer) { x.lateSnapshot(x.server()) }},
	{1, func(x *explorer) { x.loadAcrossCompaction(x.server()) }},
	{1, func(x *explorer) { x.loadOvertaken(x.server()) }},
	{3, func(x *explorer) { x.calm() }},
	{2, func(x *explorer) { x.fallBehind(x.server()) }},
	{1, func(x *explorer) { x.StepDown(x.server()) }},
	{1, func(x *explorer) { x.Wake(x.server()) }},
	{2, func(x *explorer) { x.SendCommits(x.server()) }},
	{1, func(x *explorer) { x.Corrupt(x.server()) }},
	{2, func(x *explorer) { s := x.server(); x.Stall(s, !x.servers[s].stalled) }},
	{1, func(x *explorer) { s := x.server(); x.SlowLoads(s, !x.servers[s].slow) }},
}

// menu repeats each step's index by its weight.
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
	// priorities gives the members priorities.
	priorities bool
}

// Explore drives a cluster through the schedule of choices, with a check after each
// step, and then lets the cluster recover. Within a bounded time the cluster must
// have a leader, commit a command, answer a read and bring all members to the same
// state.
func Explore(c *Cluster, choices Choices) error {
	x := &explorer{Cluster: c, choices: choices}
	x.priorities = x.next(4) == 0
	if x.next(4) > 0 { // begin with a leader
		x.calm()
		x.calm()
	}
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

// group draws some of the servers. The others are each alone.
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

// tickAll lets about a tick pass for all servers.
func (x *explorer) tickAll() {
	if len(x.opt.Clocks) > 0 {
		x.Pass(slices.Max(x.opt.Clocks))
		return
	}
	for _, id := range x.ids {
		x.Tick(id)
	}
}

// tickSlowly lets a tick of the fastest clock pass.
func (x *explorer) tickSlowly() {
	if len(x.opt.Clocks) > 0 {
		x.Pass(slices.Min(x.opt.Clocks))
		return
	}
	x.tickAll()
}

// tick lets time pass for one server alone, if the clocks allow that.
func (x *explorer) tick(id core.NodeID, ticks int) {
	if len(x.opt.Clocks) > 0 {
		x.Pass(1 + slices.Min(x.opt.Clocks)/2)
		return
	}
	for range ticks {
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

// propose hands a command to every leader, stale leaders included.
func (x *explorer) propose() {
	for _, id := range x.ids {
		if x.Up(id) && x.Core(id).Status().State == core.Leader {
			x.proposed++
			err := x.Propose(id, fmt.Sprint(x.proposed))
			if err != nil && !errors.Is(err, core.ErrTransferring) && !errors.Is(err, core.ErrTooMuchUncommitted) {
				x.checker.fail("leader %d refuses a command: %v", id, err)
			}
		}
	}
}

// read begins a read, which fails only for want of a leader.
func (x *explorer) read(id core.NodeID) {
	if err := x.Read(id); err != nil && x.Up(id) && !errors.Is(err, core.ErrNoLeader) {
		x.checker.fail("server %d refuses a read: %v", id, err)
	}
}

// calm lets a few election timeouts pass without faults and requests.
func (x *explorer) calm() {
	for range x.next(4) * x.opt.Config.ElectionTicks {
		x.FinishAll()
		x.DeliverAll()
		x.FinishAll()
		x.tickSlowly()
	}
}

// fallBehind cuts a server off until the others have compacted entries behind its
// log.
func (x *explorer) fallBehind(id core.NodeID) {
	for _, other := range x.ids {
		x.Cut(other, id)
	}
	for range 3 + x.next(4) {
		x.propose()
		x.FinishAll()
		x.DeliverAll()
	}
	for _, other := range x.ids {
		if other != id {
			x.Snapshot(other, false)
		}
	}
	x.Heal()
}

// leader draws one of the leaders, stale leaders included.
func (x *explorer) leader() core.NodeID {
	var leaders []core.NodeID
	for _, id := range x.ids {
		if x.Up(id) && x.Core(id).Status().State == core.Leader {
			leaders = append(leaders, id)
		}
	}
	if len(leaders) == 0 {
		return core.None
	}
	return leaders[x.next(len(leaders))]
}

func (x *explorer) transfer() {
	if id := x.leader(); id != core.None {
		_ = x.Transfer(id, core.NodeID(x.next(len(x.ids)+1))) // 0: the core chooses
	}
}

// transferInVain cuts a successor off once it has begun its election. The others go on in
// the old term.
func (x *explorer) transferInVain() {
	from, to := x.leader(), x.server()
	if from == core.None || x.Transfer(from, to) != nil {
		return
	}
	x.FinishAll()
	x.DeliverAll()
	x.isolate(to)
	x.FinishAll()
	x.calm()
	x.Heal()
}

// reconfigure proposes another membership, with a new role for every server or for
// one server alone. The core refuses unsafe ones.
func (x *explorer) reconfigure() {
	id := x.leader()
	if id == core.None {
		return
	}
	cfg, _ := x.Core(id).Configuration()
	next := core.Configuration{}
	one := core.None
	if x.next(2) == 0 {
		one = x.server()
	}
	for _, member := range x.ids {
		place := 0
		switch {
		case slices.Contains(cfg.Voters, member):
			place = 1
		case slices.Contains(cfg.Learners, member):
			place = 2
		}
		if one == core.None && x.next(2) == 0 || one == member {
			place = x.next(3)
		}
		switch place {
		case 1:
			next.Voters = append(next.Voters, member)
		case 2:
			next.Learners = append(next.Learners, member)
		}
		if x.priorities && place > 0 {
			next.Members = append(next.Members, core.Member{ID: member, Priority: uint8(member % 3)})
		}
	}
	if err := x.Reconfigure(id, next); err == nil {
		x.trace("%d proposes %v", id, next)
	}
}

// recover ends all faults and waits for progress, for 200 election timeouts at
// most. Messages arrive in the order of sending, each once. Within that time a
// leader commits a command and answers a read, no configuration stays joint, all
// members have the same log, and former members know of their removal.
func (x *explorer) recover() error {
	x.trace("the faults end")
	x.Heal()
	x.Release()
	for _, id := range x.ids {
		x.Stall(id, false)
		x.SlowLoads(id, false)
		x.Restart(id)
		x.Wake(id)
	}
	var marked core.Status // the leader that took in the last command, in its term
	answered := 0
	for range 200 * x.opt.Config.ElectionTicks {
		x.FinishAll()
		x.DeliverAll()
		x.FinishAll()
		x.tickSlowly()
		if x.Err() != nil {
			return x.Err()
		}
		leader := x.Leader()
		if leader == core.None || x.Core(leader).Status().Transferee != core.None {
			continue
		}
		if st := x.Core(leader).Status(); st.ID != marked.ID || st.CurrentTerm != marked.CurrentTerm {
			marked = st
			answered, _ = x.Reads()
			x.propose()
			x.read(leader)
			continue
		}
		if now, _ := x.Reads(); now > answered && x.Converged() == nil && x.Outsiders() == nil {
			return x.staysAtRest()
		}
	}
	if leader := x.Leader(); leader == core.None {
		return fmt.Errorf("no leader long after the faults ended")
	}
	if now, _ := x.Reads(); now == answered {
		return fmt.Errorf("no read was answered long after the faults ended")
	}
	return fmt.Errorf("no agreement long after the faults ended: %w", errors.Join(x.Converged(), x.Outsiders()))
}
