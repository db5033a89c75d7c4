package library

import (
	"errors"
	"sync"

	"raftlab/labrpc"
	"raftlab/raft"
)

// lab is three servers of package raft, the labs' face, on the labs' network.
type lab struct {
	network *labrpc.Network
	servers []*labServer
	leader  *labServer
	stop    chan struct{}
	running sync.WaitGroup
}

// labServer applies commands and wakes their proposers.
type labServer struct {
	rf      *raft.Raft
	applyCh chan raft.ApplyMsg

	mu      sync.Mutex
	applied int
	waiting map[int]chan struct{} // by index
}

func startLab(string) (cluster, error) {
	l := &lab{network: labrpc.MakeNetwork(), stop: make(chan struct{})}
	for i := range 3 {
		ends := make([]*labrpc.ClientEnd, 3)
		for j := range ends {
			name := [2]int{i, j}
			ends[j] = l.network.MakeEnd(name)
			l.network.Connect(name, j)
			l.network.Enable(name, true)
		}
		s := &labServer{applyCh: make(chan raft.ApplyMsg), waiting: make(map[int]chan struct{})}
		s.rf = raft.Make(ends, i, raft.MakePersister(), s.applyCh)
		server := labrpc.MakeServer()
		server.AddService(labrpc.MakeService(s.rf))
		l.network.AddServer(i, server)
		l.servers = append(l.servers, s)
		l.running.Go(func() { s.applyAll(l.stop) })
	}
	return l, nil
}

func (s *labServer) applyAll(stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case m := <-s.applyCh:
			s.mu.Lock()
			s.applied = m.CommandIndex
			if done := s.waiting[m.CommandIndex]; done != nil {
				close(done)
				delete(s.waiting, m.CommandIndex)
			}
			s.mu.Unlock()
		}
	}
}

func (l *lab) Propose(command []byte) error {
	if l.leader == nil {
		for _, s := range l.servers {
			if _, leads := s.rf.GetState(); leads {
				l.leader = s
			}
		}
		if l.leader == nil {
			return errors.New("no leader")
		}
	}
	s := l.leader
	index, _, leads := s.rf.Start(command)
	if !leads {
		return errors.New("the leader changed")
	}
	s.mu.Lock()
	if s.applied >= index {
		s.mu.Unlock()
		return nil
	}
	done := make(chan struct{})
	s.waiting[index] = done
	s.mu.Unlock()
	<-done
	return nil
}

func (l *lab) Close() {
	for _, s := range l.servers {
		s.rf.Kill()
	}
	l.network.Cleanup()
	close(l.stop)
	l.running.Wait()
}
