package etcdapi

import (
	"context"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftlab/raft/core"
)

// Methods that a member answers before the member has joined its cluster.
const (
	methodStatus     = "/etcdserverpb.Maintenance/Status"
	methodMemberList = "/etcdserverpb.Cluster/MemberList"
)

// surveyTimeout bounds the wait for the picture of another member.
const surveyTimeout = time.Second

// MemberPicture is a picture of one member.
type MemberPicture struct {
	ID         core.NodeID
	Name       string
	ClientURLs []string
	Address    string // for the other members
	Learner    bool
	Self       bool // the member that made the picture

	Err          error // the member did not answer
	Leader       core.NodeID
	Term         uint64
	CommitIndex  uint64
	AppliedIndex uint64
}

// Survey returns a picture of each member in the order of the ids. Survey asks all members
// at the same time, each for at most a second.
func (s *Server) Survey(ctx context.Context) ([]MemberPicture, error) {
	st, err := s.node.Status(ctx)
	if err != nil {
		return nil, err
	}
	published := s.picture().members
	all := make([]MemberPicture, len(st.Members))
	var asking sync.WaitGroup
	for i, m := range st.Members {
		a := published[m.ID]
		one := &all[i]
		*one = MemberPicture{ID: m.ID, Name: a.name, ClientURLs: a.clientURLs, Address: m.Address, Learner: m.Learner, Self: m.ID == s.node.ID()}
		if one.Self {
			one.Leader, one.Term, one.CommitIndex, one.AppliedIndex = st.Leader, st.CurrentTerm, st.CommitIndex, st.LastApplied
			continue
		}
		asking.Go(func() { s.ask(ctx, one) })
	}
	asking.Wait()
	slices.SortFunc(all, func(a, b MemberPicture) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return all, nil
}

func (s *Server) ask(ctx context.Context, one *MemberPicture) {
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	r := &pb.StatusResponse{}
	if one.Err = s.invoke(ctx, one.ID, methodStatus, &pb.StatusRequest{}, r); one.Err != nil {
		return
	}
	one.Leader, one.Term, one.CommitIndex, one.AppliedIndex = core.NodeID(r.Leader), r.RaftTerm, r.RaftIndex, r.RaftAppliedIndex
}

// AlarmNames returns the raised alarms as NAME of member ID.
func (s *Server) AlarmNames() []string {
	var all []string
	for _, a := range s.picture().alarms {
		all = append(all, toAlarm(a).String())
	}
	return all
}

// AccessControl reports whether users and their permissions are enforced.
func (s *Server) AccessControl() bool { return s.picture().auth.Enabled() }

// LeasePicture is a picture of a lease.
type LeasePicture struct {
	ID, TTL int64
	Keys    int
}

// FirstLeases returns up to max leases in the order of their ids. With access control
// FirstLeases returns none.
func (s *Server) FirstLeases(max int) []LeasePicture {
	p := s.picture()
	if p.auth.Enabled() || p.view.LeaseCount() > 10_000 {
		return nil
	}
	var all []LeasePicture
	for _, l := range p.view.Leases() {
		if len(all) == max {
			break
		}
		all = append(all, LeasePicture{l.ID, l.TTL, len(p.view.LeaseKeys(l.ID))})
	}
	return all
}
