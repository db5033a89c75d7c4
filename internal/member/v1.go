//go:build !wasip1

package member

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"raftlab/internal/clientport"
	"raftlab/internal/cluster"
	"raftlab/internal/console"
	"raftlab/internal/etcdapi"
	"raftlab/internal/httpkv"
	"raftlab/internal/httpkv/handler"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// newPage returns the page for people, and the interface /v1 of the member.
func (f front) newPage() http.Handler {
	m := f.member
	store := v1{fixed{}, cluster.KeysOf(f.serving), f}
	return console.New(console.Options{
		Title:  fmt.Sprintf("cluster %s, as member %s sees it", m.opts.ClusterName, m.opts.Name),
		Status: store.Status, Serving: f.serving, Sources: []clientport.Source{f}, Admin: m.opts.Admin,
		Hosts: m.opts.Hosts, Logger: m.log,
		Next: handler.New(store, handler.Options{Hosts: m.opts.Hosts, Logger: m.log, Administrator: f.administers}),
	})
}

// administers refuses a sender who may not change members. A member that has not joined its
// cluster since its start may not know the users yet, and refuses everybody.
func (f front) administers(r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), 5*f.member.opts.ElectionTimeout)
	defer cancel()
	s := f.member.Server()
	select {
	case <-s.Ready():
		return s.Administers(ctx, r.Header.Get("Authorization"))
	case <-ctx.Done():
		return errNotJoined
	}
}

var errNotJoined = &httpkv.Error{Status: http.StatusServiceUnavailable, Code: httpkv.NoLeader, Message: "the member has not joined its cluster since its start, and does not know yet who may change members"}

// v1 is a member of a cluster for the interface /v1. Members are numbered from 1 in the
// order of their ids.
type v1 struct {
	fixed
	*cluster.Keys
	front
}

// survey returns a picture of each member. A stopped member remembers the others.
func (v v1) survey() ([]etcdapi.MemberPicture, error) {
	if s := v.serving(); s != nil {
		members, err := s.Survey(context.Background())
		if err == nil || v.serving() == s { // not stopped in the meantime
			return members, err
		}
	}
	return v.member.remembered(), nil
}

// Status returns a picture of each member. A member knows the sizes of its own store and
// log alone.
func (v v1) Status() []cluster.Status {
	members, err := v.survey()
	if err != nil {
		return []cluster.Status{{Number: 1, Name: v.member.opts.Name, State: "failed", Error: err.Error()}}
	}
	numbers := make(map[core.NodeID]int)
	for i, one := range members {
		numbers[one.ID] = i + 1
	}
	all := make([]cluster.Status, len(members))
	var asking sync.WaitGroup
	for i, one := range members {
		s := &all[i]
		*s = cluster.Status{Number: i + 1, Name: one.Name, State: "unreachable"}
		if one.Self {
			setState(s, v.member.state())
		}
		switch {
		case one.Err == nil:
			s.Leader = numbers[one.Leader]
			v.describe(s, &one)
		case !one.Self:
			s.Error = one.Err.Error()
			asking.Go(func() { v.ask(s, &one) })
		}
	}
	asking.Wait()
	return all
}

// setState sets the state of a member, as the service Control names states.
func setState(s *cluster.Status, state string) {
	s.State, s.Disconnected = state, state == "disconnected"
	if s.Disconnected {
		s.State = "running"
	}
}

// describe fills in the figures of a member that has answered.
func (v v1) describe(s *cluster.Status, one *etcdapi.MemberPicture) {
	s.State, s.Role = "running", "follower"
	switch {
	case one.Leader == one.ID:
		s.Role = "leader"
	case one.Learner:
		s.Role = "learner"
	}
	s.Term, s.CommitIndex, s.AppliedIndex, s.LastIndex = one.Term, one.CommitIndex, one.AppliedIndex, one.CommitIndex
	if f := v.Figures(); one.Self && f != nil {
		stats := f.Server.Stats()
		s.Keys, s.Sessions = stats.Keys, stats.Sessions
		s.LogBytes = int(f.Host.Storage.Log)
		if f.Server.Node().NoRoom() {
			s.Error = node.ErrNoRoom.Error()
		}
	}
}

// ask asks a member for its state that has not answered a request for its figures. The
// member may be stopped or cut off, or this one may be.
func (v v1) ask(s *cluster.Status, one *etcdapi.MemberPicture) {
	ctx, cancel := context.WithTimeout(context.Background(), stateTimeout)
	defer cancel()
	state := new(wrapperspb.StringValue)
	if v.member.control(ctx, one.ID, one.Address, methodState, &emptypb.Empty{}, state) == nil {
		setState(s, state.Value)
		s.Error = ""
	}
}

// change changes a member, through that member.
func (v v1) change(number int, verb string) error {
	members, err := v.survey()
	if err != nil {
		return err
	}
	if number < 1 || number > len(members) {
		return cluster.ErrNoReplica
	}
	if !v.member.opts.Admin {
		return errNoAdmin
	}
	ctx, cancel := context.WithTimeout(context.Background(), changeTimeout)
	defer cancel()
	one := &members[number-1]
	if one.Self {
		outcome, err := v.member.begin(ctx, verb)
		if err != nil {
			return err
		}
		return <-outcome
	}
	err = v.member.control(ctx, one.ID, one.Address, methodChange, wrapperspb.String(verb), &emptypb.Empty{})
	switch status.Code(err) {
	case codes.OK:
		return nil
	case codes.FailedPrecondition:
		return &httpkv.Error{Status: http.StatusConflict, Code: httpkv.ReplicaState, Message: fmt.Sprintf("%s: %s", one.Name, status.Convert(err).Message())}
	}
	return &httpkv.Error{Status: http.StatusServiceUnavailable, Code: httpkv.OutcomeUnknown, Message: fmt.Sprintf("%s does not answer: %s", one.Name, status.Convert(err).Message())}
}

// Start implements handler.Cluster.
func (v v1) Start(number int) error { return v.change(number, "start") }

// Stop implements handler.Cluster.
func (v v1) Stop(number int) error { return v.change(number, "stop") }

// Disconnect implements handler.Connector.
func (v v1) Disconnect(number int) error { return v.change(number, "disconnect") }

// Connect implements handler.Connector.
func (v v1) Connect(number int) error { return v.change(number, "connect") }

// fixed refuses the changes of replicas in one process.
type fixed struct{}

// Start implements handler.Cluster.
func (fixed) Start(int) error { return cluster.ErrProcess }

// Stop implements handler.Cluster.
func (fixed) Stop(int) error { return cluster.ErrProcess }

// Repair implements handler.Cluster.
func (fixed) Repair(int) error { return cluster.ErrProcess }

// Compact implements handler.Cluster.
func (fixed) Compact(int) error { return cluster.ErrProcess }
