//go:build !wasip1

package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"raftlab/labrpc"
)

// servers are the replicas of all groups of a store, on one network and one data
// directory.
type servers struct {
	log      *slog.Logger
	opts     Options
	lock     *os.File
	borrowed bool // the lock belongs to other servers
	net      *labrpc.Network
	replicas []*replica // in the order of their numbers

	mu     sync.Mutex
	linked map[[2]int]*labrpc.ClientEnd // by the numbers of the two replicas
}

// prepareServers locks and prepares a data directory.
func prepareServers(dir string, opts Options) (*servers, manifest, error) {
	if err := opts.setDefaults(); err != nil {
		return nil, manifest{}, err
	}
	if err := labrpc.CheckFaultsDir(); err != nil {
		return nil, manifest{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, manifest{}, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, manifest{}, err
	}
	m, err := prepare(dir, opts.Replicas, opts.Groups)
	if err != nil {
		return nil, m, errors.Join(err, lock.Close())
	}
	return &servers{log: opts.Logger, opts: opts, lock: lock, net: labrpc.MakeNetwork(), linked: map[[2]int]*labrpc.ClientEnd{}}, m, nil
}

// start starts the replicas of all groups. launch returns the launcher of a replica.
// After an error everything is closed.
func (s *servers) start(m manifest, dir string, launch func(group string, peer int) launcher) error {
	var groups []*group
	var broken [][]error // by group and replica
	var failed error
	for _, set := range m.sets(dir) {
		g := newGroup(m, set)
		errs, err := g.openAll(s.opts)
		groups, broken, failed = append(groups, g), append(broken, errs), errors.Join(failed, err)
	}
	for i, g := range groups {
		if failed == nil {
			failed = s.startGroup(g, broken[i], launch)
		}
	}
	if failed == nil {
		return nil
	}
	failed = errors.Join(failed, s.Close())
	for _, g := range groups {
		failed = errors.Join(failed, g.releaseAll()) // of replicas that were not started
	}
	return failed
}

func (s *servers) startGroup(g *group, broken []error, launch func(group string, peer int) launcher) error {
	// From here on the records tell an older copy of any file.
	if err := g.recordAll(); err != nil {
		return err
	}
	first := len(s.replicas)
	for i, file := range g.files {
		r := &replica{
			number: len(s.replicas) + 1,
			group:  g,
			peer:   i,
			path:   file,
			opts:   s.opts,
			net:    s.net,
			launch: launch(g.group, i),
			broken: broken[i],
		}
		s.replicas = append(s.replicas, r)
	}
	return all(len(g.files), func(i int) error {
		r := s.replicas[first+i]
		if broken[i] != nil {
			s.log.Error("replica cannot start", "replica", r.number, "error", r.withAdvice(broken[i]))
			return nil
		}
		return r.startOn(g.stores[i].Load())
	})
}

// end returns the end from one replica, or 0 for a client, to another. Callers share
// ends, because the network keeps every end.
func (s *servers) end(from, to int) *labrpc.ClientEnd {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := [2]int{from, to}
	end := s.linked[id]
	if end == nil {
		end = s.net.MakeEnd(id)
		s.net.Connect(id, to)
		s.net.Enable(id, true)
		s.linked[id] = end
	}
	return end
}

// Close stops the running replicas, and releases the directory. Close reports
// replicas on a disk without an answer, and does not wait for them.
func (s *servers) Close() error {
	each := func(do func(*replica) error) error {
		return all(len(s.replicas), func(i int) error {
			if err := do(s.replicas[i]); err != nil && !errors.Is(err, errHeld) {
				return fmt.Errorf("stopping replica %d: %w", s.replicas[i].number, err)
			}
			return nil
		})
	}
	// Each file records the last sequences of the others. So no file is closed before
	// all servers have ended.
	err := each((*replica).haltForGood)
	for _, r := range s.replicas {
		if cause := r.closed(0); cause != nil {
			err = errors.Join(err, fmt.Errorf("stopping replica %d: %w", r.number, cause))
		}
	}
	s.net.Cleanup()
	if s.borrowed {
		return err
	}
	return errors.Join(err, s.lock.Close())
}

// Start starts a stopped replica.
func (s *servers) Start(number int) error { return s.change(number, "started", (*replica).start) }

// Stop stops a replica like a crash. The others notice only its silence. Stop does
// not wait for a hung disk.
func (s *servers) Stop(number int) error { return s.change(number, "stopped", (*replica).stop) }

func (s *servers) change(number int, done string, do func(*replica) error) error {
	if number < 1 || number > len(s.replicas) {
		return fmt.Errorf("%w: %d; there are 1 to %d", ErrNoReplica, number, len(s.replicas))
	}
	if err := do(s.replicas[number-1]); err != nil {
		return fmt.Errorf("replica %d: %w", number, err)
	}
	s.log.Info("replica "+done, "replica", number)
	return nil
}

// Status returns a picture of each replica, in order.
func (s *servers) Status() []Status {
	all := make([]Status, len(s.replicas))
	for i, r := range s.replicas {
		all[i] = r.status()
	}
	return all
}
