//go:build !wasip1

package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"raftlab/labrpc"
)

// servers are the replicas of all groups of a store, on one network and one data
// directory.
type servers struct {
	log      *slog.Logger
	opts     Options
	lock     *os.File
	net      *labrpc.Network
	replicas []*replica // in the order of their numbers
	made     atomic.Int64
}

// prepareServers takes hold of a data directory.
func prepareServers(dir string, opts Options) (*servers, manifest, error) {
	if err := opts.setDefaults(); err != nil {
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
	return &servers{log: opts.Logger, opts: opts, lock: lock, net: labrpc.MakeNetwork()}, m, nil
}

// start starts all replicas of all groups. What each runs launch says, by group
// and number in it. After an error everything is closed.
func (s *servers) start(sets []set, launch func(group string, number int) launcher) error {
	for _, set := range sets {
		stores, err := openAll(set.files)
		if err != nil {
			return errors.Join(err, s.Close())
		}
		first := len(s.replicas)
		for i, file := range set.files {
			r := &replica{
				number: len(s.replicas) + 1,
				group:  set.group,
				peer:   i,
				path:   file,
				opts:   s.opts,
				net:    s.net,
				launch: launch(set.group, i),
			}
			for j := range set.files {
				r.ends = append(r.ends, s.end(r.number, first+j+1))
			}
			s.replicas = append(s.replicas, r)
		}
		err = all(len(stores), func(i int) error { return s.replicas[first+i].startOn(stores[i]) })
		if err != nil {
			return errors.Join(err, s.Close())
		}
	}
	return nil
}

// end makes an end from one replica, or 0 for none, to another.
func (s *servers) end(from, to int) *labrpc.ClientEnd {
	type name struct{ from, to, made int }
	id := name{from, to, int(s.made.Add(1))}
	end := s.net.MakeEnd(id)
	s.net.Connect(id, to)
	s.net.Enable(id, true)
	return end
}

// Close stops the replicas that run, and gives the directory free.
func (s *servers) Close() error {
	var errs []error
	for _, r := range s.replicas {
		if err := r.stop(); err != nil && !errors.Is(err, ErrStopped) {
			errs = append(errs, fmt.Errorf("stopping replica %d: %w", r.number, err))
		}
	}
	s.net.Cleanup()
	return errors.Join(append(errs, s.lock.Close())...)
}

// Start starts a replica that was stopped.
func (s *servers) Start(number int) error { return s.change(number, "started", (*replica).start) }

// Stop stops a replica. The others do not notice but by its silence.
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
