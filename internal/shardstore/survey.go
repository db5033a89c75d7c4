package shardstore

import (
	"context"
	"time"

	"raftlab/labrpc"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/shardkv"
)

// State is a picture of a replica.
type State struct {
	Group string // "1" and so on, or [Controllers]
	// Err is why the replica has stopped by itself, "" while the replica runs.
	Err     string
	Stalled bool // the disk does not answer
	NoRoom  bool // the disk has no room for a snapshot

	Role                                                string // as of raft/core
	Term                                                uint64
	Leader                                              core.NodeID
	CommitIndex, AppliedIndex, LastIndex, SnapshotIndex uint64

	Keys, Sessions int
	Config         int                   // the newest configuration that the group has taken
	Shards         []shardkv.ShardStatus // of a group of shards
}

// Picture is the answer of a process to a survey.
type Picture struct {
	States []State // by group, the controllers last
	// LogBytes is the size of the process's log, which all groups share.
	LogBytes int64
	// Level is that of the process, 0 for processes from before levels.
	Level int
}

// statusPatience bounds the wait for a replica's picture of itself, and surveyPatience
// the wait for other processes.
const (
	statusPatience = time.Second
	surveyPatience = 2 * statusPatience
)

// state returns a picture of a replica.
func (r *replica) state(ctx context.Context) State {
	s := State{Group: r.group()}
	if err := r.failure(); err != nil {
		s.Err = err.Error()
		return s
	}
	if r.ctrl != nil {
		st := r.ctrl.Status()
		s.Sessions, s.Config = st.Sessions, st.Newest
	} else {
		st := r.shards.Status()
		s.Config, s.Shards = st.Config, st.Shards
		for _, shard := range st.Shards {
			s.Keys += shard.Keys
			s.Sessions += shard.Sessions
		}
	}
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	member := r.log.Node()
	s.Stalled, s.NoRoom = member.Stalled(), member.NoRoom()
	s.Term = member.Term()
	s.Leader, _ = member.Leader()
	s.AppliedIndex, s.CommitIndex = member.Applied(), member.Committed()
	if st, err := member.Status(ctx); err == nil {
		s.describe(&st)
	}
	return s
}

// describe fills in the state of Raft.
func (s *State) describe(st *node.Status) {
	s.Role, s.Term, s.Leader = st.State.String(), st.CurrentTerm, st.Leader
	s.CommitIndex, s.AppliedIndex = st.CommitIndex, st.LastApplied
	s.LastIndex, s.SnapshotIndex = st.LastIndex, st.SnapshotIndex
}

// Picture returns a picture of this process's replicas.
func (p *Part) Picture(ctx context.Context) Picture {
	picture := Picture{LogBytes: p.cfg.Host.Stats().Storage.Log, Level: p.cfg.Level}
	for _, r := range p.replicas {
		picture.States = append(picture.States, r.state(ctx))
	}
	return picture
}

// Figures are the figures of a replica.
type Figures struct {
	Group                        string
	Node                         *node.Node
	Config, Shards, Keys, Locked int // of the group, see State
}

// GroupFigures returns the figures of this process's replicas, the controllers last.
func (p *Part) GroupFigures() []Figures {
	all := make([]Figures, len(p.replicas))
	for i, r := range p.replicas {
		f := &all[i]
		f.Group, f.Node = r.group(), r.log.Node()
		if r.ctrl != nil {
			f.Config = r.ctrl.Status().Newest
			continue
		}
		st := r.shards.Status()
		f.Config, f.Shards = st.Config, len(st.Shards)
		for _, shard := range st.Shards {
			f.Keys += shard.Keys
			f.Locked += shard.Locked
		}
	}
	return all
}

// process is a Part as a service for the other processes.
type process struct{ part *Part }

// Survey is the RPC handler of surveys. The argument has no meaning.
func (s process) Survey(_ int, reply *Picture) { *reply = s.part.Picture(context.Background()) }

// Surveyed is a process with its picture, which is nil if the process does not answer in
// time.
type Surveyed struct {
	Member
	*Picture
}

// Survey returns a picture of each process, in the order of [Roster.Members].
func (p *Part) Survey(ctx context.Context) []Surveyed {
	members := p.cfg.Roster.Members()
	all := make([]Surveyed, len(members))
	answers := make(chan func(), len(all)) // has room for late answers
	asked := 0
	for i, m := range members {
		all[i].Member = m
		if m.Name == p.cfg.Name {
			own := p.Picture(ctx)
			all[i].Picture = &own
			continue
		}
		asked++
		p.running.Go(func() { // ends with the call
			picture := p.ask(p.direct(m.Name))
			answers <- func() { all[i].Picture = picture }
		})
	}
	timer := time.NewTimer(surveyPatience)
	defer timer.Stop()
	for range asked {
		select {
		case note := <-answers:
			note()
		case <-timer.C:
			return all
		case <-ctx.Done():
			return all
		}
	}
	return all
}

// ask returns the picture of another process, or nil.
func (p *Part) ask(end *labrpc.ClientEnd) *Picture {
	var picture Picture
	if !end.Call("process.Survey", 0, &picture) || len(picture.States) != p.cfg.Groups+1 {
		return nil
	}
	return &picture
}

// statuses implements ClientConfig.Survey.
func (p *Part) statuses(ctx context.Context) map[int]shardkv.Status {
	all := make(map[int]shardkv.Status)
	surveyed := p.Survey(ctx)
	for i, one := range surveyed {
		if one.Picture == nil {
			continue
		}
		for gid := 1; gid <= p.cfg.Groups; gid++ {
			if s := one.States[gid-1]; s.Err == "" {
				all[(gid-1)*len(surveyed)+i+1] = shardkv.Status{
					Term: int(s.Term), IsLeader: s.Leader == one.ID, Applied: int(s.AppliedIndex), Config: s.Config, Shards: s.Shards,
				}
			}
		}
	}
	return all
}
