package library

import (
	"encoding/binary"
	"errors"
	"io"
	"log"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// etcdNode drives a RawNode with one goroutine, which takes everything that waits
// before it asks for Ready: the faster of the usual two drivers.
type etcdNode struct {
	raw     *raft.RawNode
	storage *raft.MemoryStorage
	peers   []*etcdNode // by id-1
	id      uint64
	leads   atomic.Bool

	mu       sync.Mutex
	messages []*pb.Message
	commands [][]byte
	wake     chan struct{}
	stop     chan struct{}
	ended    chan struct{}

	waiting sync.Map // command number -> chan struct{}
}

type etcd struct {
	nodes  []*etcdNode
	leader *etcdNode
	number atomic.Uint64
}

func startEtcdInMemory(string) (cluster, error) {
	raft.SetLogger(&raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)})
	e := &etcd{}
	var peers []raft.Peer
	for id := uint64(1); id <= 3; id++ {
		peers = append(peers, raft.Peer{ID: id})
	}
	for id := uint64(1); id <= 3; id++ {
		n := &etcdNode{id: id, storage: raft.NewMemoryStorage(), wake: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{})}
		raw, err := raft.NewRawNode(&raft.Config{
			ID: id, ElectionTick: 10, HeartbeatTick: 1, Storage: n.storage, MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 256,
			CheckQuorum: true, PreVote: true, MaxUncommittedEntriesSize: 1 << 30,
		})
		if err != nil {
			return nil, err
		}
		if err := raw.Bootstrap(peers); err != nil {
			return nil, err
		}
		n.raw = raw
		e.nodes = append(e.nodes, n)
	}
	for _, n := range e.nodes {
		n.peers = e.nodes
		go n.run()
	}
	return e, nil
}

func (n *etcdNode) run() {
	defer close(n.ended)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-n.stop:
			return
		case <-ticker.C:
			n.raw.Tick()
		case <-n.wake:
		}
		n.mu.Lock()
		messages, commands := n.messages, n.commands
		n.messages, n.commands = nil, nil
		n.mu.Unlock()
		for i := range messages {
			_ = n.raw.Step(messages[i])
		}
		for _, c := range commands {
			_ = n.raw.Propose(c)
		}
		for n.raw.HasReady() {
			n.handle(n.raw.Ready())
		}
	}
}

func (n *etcdNode) handle(rd raft.Ready) {
	if rd.SoftState != nil {
		n.leads.Store(rd.SoftState.RaftState == raft.StateLeader)
	}
	if !raft.IsEmptyHardState(rd.HardState) {
		_ = n.storage.SetHardState(rd.HardState)
	}
	_ = n.storage.Append(rd.Entries)
	for _, m := range rd.Messages {
		n.peers[m.GetTo()-1].receive(m)
	}
	for _, entry := range rd.CommittedEntries {
		switch {
		case entry.GetType() == pb.EntryConfChange:
			cc := new(pb.ConfChange)
			if err := proto.Unmarshal(entry.GetData(), cc); err == nil {
				n.raw.ApplyConfChange(cc)
			}
		case len(entry.GetData()) > 0:
			if ch, ok := n.waiting.LoadAndDelete(binary.LittleEndian.Uint64(entry.GetData())); ok {
				close(ch.(chan struct{}))
			}
		}
	}
	n.raw.Advance(rd)
}

func (n *etcdNode) receive(m *pb.Message) {
	n.mu.Lock()
	n.messages = append(n.messages, m)
	n.mu.Unlock()
	n.signal()
}

func (n *etcdNode) signal() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (e *etcd) Propose(command []byte) error {
	if e.leader == nil {
		for _, n := range e.nodes {
			if n.leads.Load() {
				e.leader = n
			}
		}
		if e.leader == nil {
			return errors.New("no leader")
		}
	}
	number := e.number.Add(1)
	binary.LittleEndian.PutUint64(command, number)
	done := make(chan struct{})
	e.leader.waiting.Store(number, done)
	e.leader.mu.Lock()
	e.leader.commands = append(e.leader.commands, command)
	e.leader.mu.Unlock()
	e.leader.signal()
	select {
	case <-done:
		return nil
	case <-time.After(10 * time.Second):
		return errors.New("no answer for 10 s")
	}
}

func (e *etcd) Close() {
	for _, n := range e.nodes {
		close(n.stop)
		<-n.ended
	}
}
