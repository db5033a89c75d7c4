package library

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"time"

	"raftlab/examples/labs-on-the-wire/disk"
	"raftlab/labrpc"
	"raftlab/raft"
)

// The lab's face is measured beside the libraries. Alone:
//
//	go test ./library -run Libraries -v -full -only 'lab face'
func init() {
	systems = append(systems,
		system{"lab face, labrpc", false, func(string) (cluster, error) { return newLab("", false) }},
		system{"lab face, labrpc over TCP", false, func(string) (cluster, error) { return newLab("", true) }},
		system{"lab face, labrpc over TCP", true, func(dir string) (cluster, error) { return newLab(dir, true) }},
	)
}

// lab is three servers of package raft, through the names of the labs alone. The
// durable ones write their Persisters to files before messages leave.
type lab struct {
	servers []*labServer
	close   []func()
	mu      sync.Mutex // guards leader
	leader  *labServer
}

// labServer is a server whose service answers a command when the command is
// applied.
type labServer struct {
	rf        *raft.Raft
	persister *raft.Persister
	applyCh   chan raft.ApplyMsg
	compact   bool
	stop      chan struct{}

	mu      sync.Mutex
	applied int
	waiting map[int]chan struct{}
}

// labLogBytes bounds the log of a durable server, which writes its whole log with
// each batch of messages.
const labLogBytes = 64 << 10

func newLab(dir string, tcp bool) (_ *lab, err error) {
	l := &lab{}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	connect := l.simulated()
	if tcp {
		if connect, err = l.overTCP(); err != nil {
			return nil, err
		}
	}
	for i := range 3 {
		s := &labServer{
			persister: raft.MakePersister(), applyCh: make(chan raft.ApplyMsg), compact: dir != "",
			stop: make(chan struct{}), waiting: make(map[int]chan struct{}),
		}
		var flush func() error
		if dir != "" {
			d, err := disk.Open(filepath.Join(dir, fmt.Sprint(i)))
			if err != nil {
				return nil, err
			}
			s.persister, flush = d.Persister(), d.Flush
		}
		ends, serve := connect(i, flush)
		s.rf = raft.Make(ends, i, s.persister, s.applyCh)
		rs := labrpc.MakeServer()
		rs.AddService(labrpc.MakeService(s.rf))
		if err := serve(rs); err != nil {
			return nil, err
		}
		l.servers = append(l.servers, s)
		go s.apply()
	}
	return l, nil
}

// A connector makes the ends of a server, and the function that starts to serve.
type connector func(i int, flush func() error) ([]*labrpc.ClientEnd, func(*labrpc.Server) error)

// simulated connects servers on the simulated network.
func (l *lab) simulated() connector {
	network := labrpc.MakeNetwork()
	l.close = append(l.close, network.Cleanup)
	return func(i int, _ func() error) ([]*labrpc.ClientEnd, func(*labrpc.Server) error) {
		ends := make([]*labrpc.ClientEnd, 3)
		for j := range ends {
			name := [2]int{i, j}
			ends[j] = network.MakeEnd(name)
			network.Connect(name, j)
			network.Enable(name, true)
		}
		return ends, func(rs *labrpc.Server) error { network.AddServer(i, rs); return nil }
	}
}

// overTCP connects servers over loopback connections, as in processes of their own.
func (l *lab) overTCP() (connector, error) {
	listeners := make([]net.Listener, 3)
	for i := range listeners {
		var err error
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
		l.close = append(l.close, func() { _ = listeners[i].Close() })
	}
	return func(i int, flush func() error) ([]*labrpc.ClientEnd, func(*labrpc.Server) error) {
		tn := labrpc.MakeTCPNetwork(labrpc.TCPOptions{BeforeSend: flush})
		l.close = append(l.close, tn.Close)
		ends := make([]*labrpc.ClientEnd, 3)
		for j := range ends {
			ends[j] = tn.MakeEnd(listeners[j].Addr().String())
		}
		return ends, func(rs *labrpc.Server) error { _, err := tn.Serve(listeners[i], rs); return err }
	}, nil
}

// apply is the goroutine of the service.
func (s *labServer) apply() {
	for {
		select {
		case m := <-s.applyCh:
			if !m.CommandValid {
				continue
			}
			s.mu.Lock()
			s.applied = m.CommandIndex
			if done := s.waiting[m.CommandIndex]; done != nil {
				close(done)
				delete(s.waiting, m.CommandIndex)
			}
			s.mu.Unlock()
			if s.compact && s.persister.RaftStateSize() > labLogBytes {
				s.rf.Snapshot(m.CommandIndex, []byte("nothing"))
			}
		case <-s.stop:
			return
		}
	}
}

var errLabLeader = errors.New("the server lost its leadership, or the command waits for too long")

// propose starts a command and waits until the command is applied here.
func (s *labServer) propose(command []byte) error {
	index, term, isLeader := s.rf.Start(command)
	if !isLeader {
		return errLabLeader
	}
	done := make(chan struct{})
	s.mu.Lock()
	if s.applied >= index {
		close(done)
	} else {
		s.waiting[index] = done
	}
	s.mu.Unlock()
	timeout := time.NewTimer(10 * time.Second)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
		return errLabLeader
	}
	if now, isLeader := s.rf.GetState(); !isLeader || now != term {
		return errLabLeader // another command may have taken the index
	}
	return nil
}

func (l *lab) Propose(command []byte) error {
	s := l.leading()
	if s == nil {
		return errors.New("no leader")
	}
	return s.propose(command)
}

func (l *lab) leading() *labServer {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leader == nil {
		for _, s := range l.servers {
			if _, isLeader := s.rf.GetState(); isLeader {
				l.leader = s
			}
		}
	}
	return l.leader
}

func (l *lab) Close() {
	for _, s := range l.servers {
		s.rf.Kill()
	}
	for _, f := range l.close {
		f()
	}
	for _, s := range l.servers {
		close(s.stop)
	}
}
