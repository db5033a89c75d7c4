package etcdapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// Levels of a cluster. A level stands for what members write into the log and into
// snapshots, and send to each other. The level of a cluster is at most the level of each
// member, so every member reads what the others write.
//
//   - Level 1 is that of all versions before levels.
//   - Level 2 adds the level itself: the kind of log entry, and the section of snapshots.
//
// A version of raftlab with a new kind of entry, section or peer method adds a level, and
// uses the new kind in clusters of that level alone.
const (
	// Level is the newest level of this version.
	Level      = 2
	firstLevel = 1
)

// levelPause is the time after which the leader asks members again that have not told a
// newer level.
const levelPause = 5 * time.Second

const methodLevel = "/raftlab.etcdapi.Peer/Level"

// handleLevel tells another member the newest level of this one.
func (s *Server) handleLevel(context.Context, *emptypb.Empty) (*wrapperspb.UInt32Value, error) {
	return wrapperspb.UInt32(uint32(s.cfg.Level)), nil
}

// Level returns the level of the cluster, as far as this member has applied the log.
func (s *Server) Level() int { return s.picture().level }

// raiseLevel raises the level of the cluster while this member leads, until the cluster has
// the member's level.
func (s *Server) raiseLevel(ctx context.Context) {
	for ctx.Err() == nil {
		changed := s.node.Changed()
		var again <-chan time.Time
		if s.node.IsLeader() && s.Level() < s.cfg.Level {
			if err := s.tryLevel(ctx); err != nil {
				s.log.Debug("the cluster keeps its level", "level", s.Level(), "reason", err)
				again = time.After(levelPause)
			}
		}
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
		}
	}
}

// tryLevel raises the level of the cluster to the lowest one of its members. The error says
// which member keeps the level from rising to this member's.
func (s *Server) tryLevel(ctx context.Context) error {
	if err := s.readable(ctx); err != nil { // the state may be behind
		return err
	}
	st, err := s.node.Status(ctx)
	if err != nil {
		return err
	}
	lowest, least := s.cfg.Level, s.node.ID()
	for _, m := range st.Members {
		level, err := s.levelOf(ctx, m.ID)
		if err != nil {
			return fmt.Errorf("member %x: %w", uint64(m.ID), err)
		}
		if level < lowest {
			lowest, least = level, m.ID
		}
	}
	if lowest > s.Level() {
		if _, err := s.propose(ctx, &entry{level: lowest}); err != nil {
			return err
		}
		s.log.Info("the cluster has a new level", "level", lowest)
	}
	if lowest < s.cfg.Level {
		return fmt.Errorf("member %x has the level %d, and this one %d", uint64(least), lowest, s.cfg.Level)
	}
	return nil
}

// levelOf asks a member for its newest level.
func (s *Server) levelOf(ctx context.Context, id core.NodeID) (int, error) {
	if id == s.node.ID() {
		return s.cfg.Level, nil
	}
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	told := new(wrapperspb.UInt32Value)
	err := s.invoke(ctx, id, methodLevel, &emptypb.Empty{}, told)
	if status.Code(err) == codes.Unimplemented {
		return firstLevel, nil
	}
	return int(told.Value), err
}

// checkLevel returns an error for a level of the cluster above the newest one that a member
// reads.
func checkLevel(level, newest int) error {
	if level > newest {
		return fmt.Errorf("%w: the cluster has the level %d; this version of raftlab reads levels %d to %d", ErrFormat, level, firstLevel, newest)
	}
	return nil
}

// upgradeAdvice tells the operator of a member that is older than its cluster how to go on.
const upgradeAdvice = "start the member with a newer version of raftlab, as on the other members; the level of a cluster never falls, and a backup restores to an older version as a new cluster"

// Stopped returns the reason why a node stopped. The reason is one line without a stack if
// a newer version wrote what the node cannot read.
func Stopped(n *node.Node) error {
	err := n.Err()
	if panicked := (*node.PanicError)(nil); errors.As(err, &panicked) && errors.Is(panicked, ErrFormat) {
		return panicked.Cause
	}
	return err
}
