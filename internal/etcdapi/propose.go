package etcdapi

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"raftlab/mvcc"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// propose has an entry applied by all members, and returns the outcome on this one. An
// error of propose itself, in place of one in the outcome, is an answer for the client.
func (s *Server) propose(ctx context.Context, e *entry) (outcome, error) {
	serial, done := s.machine.await()
	defer s.machine.forget(serial)
	e.origin, e.serial = s.node.ID(), serial
	data, err := e.encode()
	if err != nil {
		return outcome{}, answer(err)
	}
	if len(data) > s.cfg.MaxRequestBytes {
		return outcome{}, rpctypes.ErrGRPCRequestTooLarge
	}
	limited, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	if err := s.send(limited, data); err != nil {
		return outcome{}, s.late(ctx, err)
	}
	select {
	case o := <-done:
		return o, nil
	case <-limited.Done():
		return outcome{}, s.late(ctx, limited.Err())
	case <-s.node.Done():
		return outcome{}, rpctypes.ErrGRPCStopped
	}
}

// command proposes a command of a client. The error is an answer for the client.
func (s *Server) command(ctx context.Context, c mvcc.Command) (outcome, error) {
	who, err := s.caller(ctx, s.picture())
	if err != nil {
		return outcome{}, answer(err)
	}
	if grows(&c) {
		if err := s.checkQuota(ctx); err != nil {
			return outcome{}, err
		}
	}
	o, err := s.propose(ctx, &entry{caller: who, command: &c})
	if err != nil {
		return outcome{}, err
	}
	return o, answer(o.err)
}

// late returns the answer to a request that got an error, or no outcome in time.
func (s *Server) late(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil: // the client's own deadline
		return answer(ctx.Err())
	case !errors.Is(err, context.DeadlineExceeded):
		return answer(err)
	case s.leader() == core.None:
		return rpctypes.ErrGRPCNoLeader
	}
	return rpctypes.ErrGRPCTimeout
}

// send has the leader append an entry, and returns when the leader has applied it.
func (s *Server) send(ctx context.Context, data []byte) error {
	return s.untilAccepted(ctx, retryable, func(leader core.NodeID) error {
		if leader == s.node.ID() {
			_, err := s.node.Propose(ctx, data)
			return err
		}
		return s.forward(ctx, leader, data)
	})
}

// untilAccepted calls do with the leader, until do returns no error that is to be
// retried. A refused request is sent again, to the next leader. A request with an unknown
// outcome is not, unless the request may happen twice.
func (s *Server) untilAccepted(ctx context.Context, again func(error) bool, do func(leader core.NodeID) error) error {
	for {
		changed := s.node.Changed()
		err := errNoLeader
		if leader := s.leader(); leader != core.None {
			err = do(leader)
		}
		if err == nil || !again(err) {
			return err
		}
		if err := s.awaitChange(ctx, changed); err != nil {
			return err
		}
	}
}

var errNoLeader = errors.New("etcdapi: no leader is known")

// retryable reports whether an entry certainly has no effect, and another member may
// take the entry.
func retryable(err error) bool {
	for _, one := range []error{errNoLeader, node.ErrNotLeader, core.ErrTransferring, rpctypes.ErrGRPCNotLeader} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

// awaitChange waits for another leader, or for a moment: the members may disagree about
// the leader.
func (s *Server) awaitChange(ctx context.Context, changed <-chan struct{}) error {
	t := time.NewTimer(s.cfg.Node.ElectionTimeout / 10)
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.node.Done():
		return node.ErrStopped
	}
	return nil
}

// linearize waits until the state includes every write that was acknowledged before the
// call. The error is an answer for the client.
func (s *Server) linearize(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	if _, err := s.node.ReadIndex(limited); err != nil {
		s.counters.readsFailed.Add(1)
		if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			s.counters.readsSlow.Add(1)
		}
		return s.late(ctx, err)
	}
	return nil
}
