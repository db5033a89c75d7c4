package shardstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// Errors of a change of processes.
var (
	// ErrChange is matched by the error of a change that the store refuses.
	ErrChange = errors.New("the store refuses the change of its processes")
	// ErrNoProcess is matched by the refusal to remove a process that the store does not
	// have. The error matches ErrChange as well.
	ErrNoProcess = errors.New("the store has no such process")
	// ErrUnfinished is matched by the error of a change that was not finished in time. The
	// same change, asked for again, goes on from there.
	ErrUnfinished = errors.New("the change of the processes is not finished")
)

// ProcessChange is a change of the processes of a store. A change with Add and Remove
// replaces a process. The two may have the same name.
type ProcessChange struct {
	// Add is a process to be added, with a host id that the store never had. A zero Name
	// stands for none.
	Add Member
	// Remove is the name of a process to be removed, which may be down. "" stands for
	// none.
	Remove string
	// RemoveID is the host id of that process. A later process of the same name has another
	// id, and stays. 0 stands for every id.
	RemoveID core.NodeID
}

// Level is the newest level of this version of raftlab. A process reads what the processes
// of a store write up to its level.
//
//   - Level 2 adds changes of processes, with the names of processes in Raft's
//     configurations.
//
// Processes from before levels count as level 1. The first change of processes needs the
// level 2 of all others, and says which process lacks the level.
const Level = 2

// changesLevel is the level with changes of processes.
const changesLevel = 2

const (
	// changeStep bounds the work for one request to change processes. The caller then asks
	// again, because the leaders may have changed.
	changeStep = 2 * time.Second
	// changePause is the pause between two requests.
	changePause = 100 * time.Millisecond
	// servingPatience bounds the check that all groups serve, before anything changes.
	servingPatience = time.Second
)

// ChangeProcesses changes the processes of the store. Each group makes one change of its
// members, by joint consensus, and the controllers come last. An added process votes in a
// group once it has the group's state. The leader of the controllers coordinates the change.
// If ctx ends first, or if the coordinator fails, the error matches [ErrUnfinished], and the
// same call continues the change. A refused change changes nothing, and the error matches
// [ErrChange]. A change needs majorities of the present processes and of the next ones.
func (p *Part) ChangeProcesses(ctx context.Context, c ProcessChange) error {
	begun := false
	for {
		reply := p.askCoordinator(c)
		switch {
		case reply.Done, reply.NoProcess && begun:
			return nil
		case reply.Refused:
			return &refusedChange{reply}
		}
		begun = begun || reply.Begun
		select {
		case <-time.After(changePause):
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", ErrUnfinished, reply.Problem)
		case <-p.stopped:
			return fmt.Errorf("%w: this process stops", ErrUnfinished)
		}
	}
}

// ChangeReply is the answer to a request to change processes, or the members of a group.
type ChangeReply struct {
	Done      bool
	Begun     bool // the store may have changed
	Refused   bool
	NoProcess bool // the process to be removed is missing
	// Problem is why the change is not done.
	Problem string
}

// refusedChange is the error of a change that the coordinator has refused.
type refusedChange struct{ reply ChangeReply }

func (e *refusedChange) Error() string { return e.reply.Problem }

// Is reports that the error is a refusal.
func (e *refusedChange) Is(target error) bool {
	return target == ErrChange || target == ErrNoProcess && e.reply.NoProcess
}

// askCoordinator asks the leader of the controllers for a change.
func (p *Part) askCoordinator(c ProcessChange) (reply ChangeReply) {
	leader := p.leader(Controllers)
	switch name, _, _ := strings.Cut(leader, "/"); {
	case leader == "":
		reply.Problem = fmt.Sprintf("the controllers have no leader; a change needs a majority of the processes %s", strings.Join(p.processes(), ", "))
	case name == p.cfg.Name && p.isLeader(0):
		process{p}.Change(c, &reply)
	case !p.direct(leader).Call("process.Change", c, &reply):
		reply = ChangeReply{Begun: true, Problem: fmt.Sprintf("process %s, which leads the controllers, does not answer", name)}
	}
	return reply
}

func (p *Part) isLeader(gid int) bool { return p.replica(gid).log.Node().IsLeader() }

// replica returns the replica of a group, of the controllers for 0.
func (p *Part) replica(gid int) *replica {
	if gid == 0 {
		return p.replicas[p.cfg.Groups]
	}
	return p.replicas[gid-1]
}

// Change is the RPC handler of the coordinator of a change. The caller asks again until the
// change is done.
func (s process) Change(c ProcessChange, reply *ChangeReply) {
	p := s.part
	if !p.changing.TryLock() {
		reply.Problem = "another change of processes is under way"
		return
	}
	defer p.changing.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), changeStep)
	defer cancel()
	*reply = p.coordinate(ctx, c)
}

// coordinate takes a change as far as ctx allows.
func (p *Part) coordinate(ctx context.Context, c ProcessChange) ChangeReply {
	controllers := p.replica(0).log.Node()
	term, leads := controllers.Leadership()
	if !leads {
		return ChangeReply{Problem: fmt.Sprintf("process %s no longer leads the controllers", p.cfg.Name)}
	}
	target, err := p.plan(ctx, c)
	switch {
	case errors.Is(err, ErrChange):
		return ChangeReply{Refused: true, NoProcess: errors.Is(err, ErrNoProcess), Problem: err.Error()}
	case err != nil:
		return ChangeReply{Problem: err.Error()}
	}
	for gid := 1; gid <= p.cfg.Groups+1; gid++ {
		gid := gid % (p.cfg.Groups + 1) // the controllers last
		if now, leads := controllers.Leadership(); !leads || now != term {
			return ChangeReply{Begun: true, Problem: fmt.Sprintf("process %s no longer leads the controllers", p.cfg.Name)}
		}
		if ctx.Err() != nil {
			return ChangeReply{Begun: true, Problem: fmt.Sprintf("group %s is next", GroupName(gid))}
		}
		if reply := p.changeGroup(gid, target); !reply.Done {
			return ChangeReply{Begun: true, Problem: fmt.Sprintf("group %s: %s", GroupName(gid), reply.Problem)}
		}
	}
	return ChangeReply{Done: true}
}

// CheckChange returns the error with which the store refuses a change. The error matches
// [ErrUnfinished] if the change has to wait.
func (p *Part) CheckChange(ctx context.Context, c ProcessChange) error {
	_, err := p.plan(ctx, c)
	if err != nil && !errors.Is(err, ErrChange) {
		err = fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
	return err
}

// plan returns the processes after a change. The error of a change that the store refuses
// matches [ErrChange].
func (p *Part) plan(ctx context.Context, c ProcessChange) ([]Member, error) {
	if err := p.checkServing(ctx); err != nil {
		return nil, err
	}
	present := p.replica(0).log.Node().Members()
	next, err := target(c, p.cfg.Roster.Named(present))
	if err != nil {
		return nil, err
	}
	surveyed := p.Survey(ctx)
	if err := checkMajority(surveyed, next, c.Add.ID); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(present, func(m node.Member) bool { name, _ := SplitAddress(m.Address); return name != "" }) {
		return next, nil // all processes have read a change before
	}
	return next, checkLevels(surveyed, next, c.Add.ID)
}

// checkLevels makes sure that all processes which stay know changes of processes.
func checkLevels(surveyed []Surveyed, target []Member, joins core.NodeID) error {
	for _, one := range surveyed {
		stays := slices.ContainsFunc(target, func(m Member) bool { return m.ID == one.ID })
		switch {
		case !stays || one.ID == joins:
		case one.Picture == nil:
			return refusal("process %s does not answer; before the first change all processes that stay say whether their version of raftlab knows changes", one.Name)
		case one.Level < changesLevel:
			return refusal("process %s runs an earlier version of raftlab, which does not know changes of processes; upgrade all processes first", one.Name)
		}
	}
	return nil
}

// refusal is an error that matches [ErrChange].
func refusal(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrChange, fmt.Errorf(format, args...))
}

// target returns the processes after a change. The present ones are the members of the
// controllers.
func target(c ProcessChange, present []Member) ([]Member, error) {
	var next []Member
	var names []string
	removes, added := false, false
	for _, m := range present {
		if !m.Learner {
			names = append(names, m.Name)
		}
		switch {
		case m.Learner && m.ID != c.Add.ID: // of an abandoned change
		case m.ID == c.Add.ID && !m.Learner:
			added = true
			next = append(next, m)
		case m.ID == c.Add.ID:
		case m.Name == c.Remove && (c.RemoveID == 0 || c.RemoveID == m.ID):
			removes = true
		case m.Name == c.Add.Name:
			return nil, refusal("the store has a process %s; if its data is lost, replace it", m.Name)
		case m.Address != "" && m.Address == c.Add.Address:
			return nil, refusal("process %s has the address %s", m.Name, m.Address)
		default:
			next = append(next, m)
		}
	}
	if c.Remove != "" && !removes && !added {
		return nil, refusal("%w: %s; the processes are %s", ErrNoProcess, c.Remove, strings.Join(names, ", "))
	}
	if c.Add.Name != "" && !added {
		next = append(next, c.Add)
	}
	if len(next) == 0 {
		return nil, refusal("%s is the last process", c.Remove)
	}
	for i := range next {
		next[i].Learner = false
	}
	return next, nil
}

// checkServing makes sure that each group serves. Since the controllers answer a
// linearizable read, this process knows their members.
func (p *Part) checkServing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, servingPatience)
	defer cancel()
	for _, r := range p.replicas {
		if err := r.health(ctx, true); err != nil && !errors.Is(err, node.ErrRemoved) {
			return fmt.Errorf("group %s does not serve, and a change needs a majority of its members: %w", r.group(), err)
		}
	}
	return nil
}

// checkMajority makes sure that a majority of the processes after a change runs. The
// process that joins counts, because a group changes its voters only when that process has
// the group's state.
func checkMajority(surveyed []Surveyed, target []Member, joins core.NodeID) error {
	up := 0
	var down []string
	for _, m := range target {
		i := slices.IndexFunc(surveyed, func(s Surveyed) bool { return s.ID == m.ID })
		if m.ID == joins || i >= 0 && surveyed[i].Picture != nil {
			up++
		} else {
			down = append(down, m.Name)
		}
	}
	if 2*up <= len(target) {
		return refusal("of the %d processes after the change, %s would be down, so no majority would run", len(target), strings.Join(down, ", "))
	}
	return nil
}

// GroupTarget are the processes that a group is to have as members.
type GroupTarget struct {
	GID     int
	Members []Member
}

// changeGroup has the leader of a group make the processes its members.
func (p *Part) changeGroup(gid int, target []Member) (reply ChangeReply) {
	args := GroupTarget{gid, target}
	leader := p.leader(GroupName(gid))
	switch {
	case p.isLeader(gid):
		process{p}.ChangeGroup(args, &reply)
	case leader == "":
		reply.Problem = "there is no leader"
	case !p.direct(leader).Call("process.ChangeGroup", args, &reply):
		reply = ChangeReply{Problem: "the leader, " + leader + ", does not answer"}
	}
	return reply
}

// ChangeGroup is the RPC handler of a group's leader for a change of processes.
func (s process) ChangeGroup(args GroupTarget, reply *ChangeReply) {
	p := s.part
	if args.GID < 0 || args.GID > p.cfg.Groups || len(args.Members) == 0 {
		reply.Problem = fmt.Sprintf("there is no group %d", args.GID)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), changeStep)
	defer cancel()
	member := p.replica(args.GID).log.Node()
	if err := member.ChangeMembers(ctx, changes(member.Members(), args.Members)...); err != nil {
		reply.Problem = err.Error()
		return
	}
	reply.Done = true
}

// changes returns the changes that make the target the members. Since an address in the
// configuration has the process's name, a name follows the id wherever the log goes. A
// present member keeps the address that the leader uses.
func changes(present []node.Member, target []Member) []node.Change {
	var all []node.Change
	for _, m := range present {
		i := slices.IndexFunc(target, func(t Member) bool { return t.ID == m.ID })
		if i < 0 {
			all = append(all, node.Remove(m.ID))
			continue
		}
		t := target[i]
		_, t.Address = SplitAddress(m.Address)
		all = append(all, node.AddVoter(m.ID, t.raftAddress()))
	}
	for _, t := range target {
		if !slices.ContainsFunc(present, func(m node.Member) bool { return m.ID == t.ID }) {
			all = append(all, node.AddVoter(t.ID, t.raftAddress()))
		}
	}
	return all
}

// Process is a process of the store with the groups in which the process is a member.
type Process struct {
	Member
	Groups []string
}

// Processes returns the processes, by name. During a change a process may be a member of
// some groups alone, and the process that another one replaces has the name once more.
func (p *Part) Processes() []Process {
	var all []Process
	for gid := 1; gid <= p.cfg.Groups+1; gid++ {
		group := GroupName(gid % (p.cfg.Groups + 1))
		for _, m := range p.cfg.Roster.of(group) {
			i := slices.IndexFunc(all, func(p Process) bool { return p.ID == m.ID })
			if i < 0 {
				i = len(all)
				all = append(all, Process{Member: m})
			}
			all[i].Groups = append(all[i].Groups, group)
			all[i].Learner = all[i].Learner && m.Learner
		}
	}
	slices.SortStableFunc(all, func(a, b Process) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
