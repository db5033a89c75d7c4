package library

import (
	"context"
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

// etcdNodes are members with the library's own Node, which has a goroutine and
// channels around the core. Each message and each proposal is a Ready of its own
// unless the goroutine is behind.
type etcdNodes struct {
	members []*etcdMember
	leader  *etcdMember
	number  atomic.Uint64
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
}

type etcdMember struct {
	node    raft.Node
	storage *raft.MemoryStorage
	inbox   chan []*pb.Message
	leads   atomic.Bool
	waiting sync.Map // number of the command -> chan struct{}
}

func startEtcdNodes(string) (cluster, error) {
	raft.SetLogger(&raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)})
	e := &etcdNodes{}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	peers := []raft.Peer{{ID: 1}, {ID: 2}, {ID: 3}}
	for _, p := range peers {
		m := &etcdMember{storage: raft.NewMemoryStorage(), inbox: make(chan []*pb.Message, 1024)}
		m.node = raft.StartNode(&raft.Config{
			ID: p.ID, ElectionTick: 10, HeartbeatTick: 1, Storage: m.storage, MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 256,
			CheckQuorum: true, PreVote: true, MaxUncommittedEntriesSize: 1 << 30,
		}, peers)
		e.members = append(e.members, m)
	}
	for _, m := range e.members {
		e.running.Go(func() { e.stepAll(m) })
		e.running.Go(func() { e.run(m) })
	}
	return e, nil
}

// stepAll is the goroutine that hands messages to the core.
func (e *etcdNodes) stepAll(m *etcdMember) {
	for {
		select {
		case <-e.ctx.Done():
			return
		case batch := <-m.inbox:
			for _, message := range batch {
				_ = m.node.Step(e.ctx, message)
			}
		}
	}
}

// run is the goroutine that carries out what the core wants.
func (e *etcdNodes) run(m *etcdMember) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-ticker.C:
			m.node.Tick()
		case rd := <-m.node.Ready():
			e.handle(m, rd)
			m.node.Advance()
		}
	}
}

func (e *etcdNodes) handle(m *etcdMember, rd raft.Ready) {
	if rd.SoftState != nil {
		m.leads.Store(rd.SoftState.RaftState == raft.StateLeader)
	}
	if !raft.IsEmptyHardState(rd.HardState) {
		_ = m.storage.SetHardState(rd.HardState)
	}
	_ = m.storage.Append(rd.Entries)
	for to := range e.members {
		var batch []*pb.Message
		for _, message := range rd.Messages {
			if message.GetTo() == uint64(to+1) {
				batch = append(batch, message)
			}
		}
		if len(batch) > 0 {
			select {
			case e.members[to].inbox <- batch:
			default: // full; Raft sends again
			}
		}
	}
	for _, entry := range rd.CommittedEntries {
		data := entry.GetData()
		if entry.GetType() == pb.EntryConfChange {
			cc := new(pb.ConfChange)
			if err := proto.Unmarshal(data, cc); err == nil {
				m.node.ApplyConfChange(cc)
			}
		} else if len(data) >= 8 {
			if done, ok := m.waiting.LoadAndDelete(binary.LittleEndian.Uint64(data)); ok {
				close(done.(chan struct{}))
			}
		}
	}
}

func (e *etcdNodes) Propose(command []byte) error {
	if e.leader == nil {
		for _, m := range e.members {
			if m.leads.Load() {
				e.leader = m
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
	if err := e.leader.node.Propose(e.ctx, command); err != nil {
		return err
	}
	<-done
	return nil
}

func (e *etcdNodes) Close() {
	for _, m := range e.members {
		m.node.Stop()
	}
	e.cancel()
	e.running.Wait()
}
