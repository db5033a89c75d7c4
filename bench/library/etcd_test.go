package library

import (
	"encoding/binary"
	"errors"
	"io"
	"log"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"
)

// etcd-io/raft is a core without a runtime. The driver in this file is a goroutine
// for each member. It drains its queues before it asks for Ready, proposes all
// waiting commands in one message, and uses its memory again. A driver that ran the
// core on the clients' goroutines was no faster.

type etcdProposal struct {
	number  uint64
	command []byte
	result  []byte
	err     error
	done    chan struct{}
}

// etcdNode is a member.
type etcdNode struct {
	// async saves on a goroutine of its own (Config.AsyncStorageWrites), beside
	// the core.
	async   bool
	id      uint64
	raw     *raft.RawNode
	storage *raft.MemoryStorage
	log     *etcdwal.WAL // nil in memory
	saves   *etcdSaver   // nil without async
	send    func(to uint64, messages []*pb.Message)
	leads   atomic.Bool
	waiting atomic.Int32 // proposals without a result

	mu    sync.Mutex
	inbox etcdInbox
	wake  chan struct{} // of capacity 1: the inbox has something
	stop  chan struct{}
	ended sync.WaitGroup

	// Only the member's goroutine touches these.
	current   etcdInbox
	proposed  []*etcdProposal // in the order of the log
	compacted uint64
}

type etcdInbox struct {
	messages  []*pb.Message
	proposals []*etcdProposal
	ticks     int
}

func (in *etcdInbox) reset() {
	clear(in.messages)
	clear(in.proposals)
	*in = etcdInbox{messages: in.messages[:0], proposals: in.proposals[:0]}
}

type etcd struct {
	nodes  []*etcdNode
	leader *etcdNode
	number atomic.Uint64
	idle   sync.Pool
	close  func()
}

// newEtcd makes three members that do not run yet.
func newEtcd(async bool) (*etcd, error) {
	raft.SetLogger(&raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)})
	e := &etcd{close: func() {}}
	e.idle.New = func() any { return &etcdProposal{done: make(chan struct{}, 1)} }
	peers := []raft.Peer{{ID: 1}, {ID: 2}, {ID: 3}}
	for _, p := range peers {
		n := &etcdNode{async: async, id: p.ID, storage: raft.NewMemoryStorage(), wake: make(chan struct{}, 1), stop: make(chan struct{})}
		raw, err := raft.NewRawNode(&raft.Config{
			ID: p.ID, ElectionTick: 10, HeartbeatTick: 1, Storage: n.storage, MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 256,
			CheckQuorum: true, PreVote: true, MaxUncommittedEntriesSize: 1 << 30, AsyncStorageWrites: async,
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
	return e, nil
}

func startEtcdInMemory(string) (cluster, error) {
	e, err := newEtcd(false)
	if err != nil {
		return nil, err
	}
	for _, n := range e.nodes {
		n.send = func(to uint64, messages []*pb.Message) {
			e.nodes[to-1].put(func(in *etcdInbox) { in.messages = append(in.messages, messages...) })
		}
	}
	e.run()
	return e, nil
}

func (e *etcd) run() {
	for _, n := range e.nodes {
		n.ended.Go(n.run)
		if n.saves != nil {
			n.ended.Go(func() { n.saves.run(n) })
		}
	}
}

// run is the member's goroutine.
func (n *etcdNode) run() {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-n.stop:
			return
		case <-ticker.C:
			n.put(func(in *etcdInbox) { in.ticks++ })
		case <-n.wake:
			if n.waiting.Load() >= 4 {
				runtime.Gosched() // for larger batches
			}
			n.work()
		}
	}
}

// put adds input and wakes the member's goroutine.
func (n *etcdNode) put(add func(*etcdInbox)) {
	n.mu.Lock()
	add(&n.inbox)
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// work runs the core until there is no more input.
func (n *etcdNode) work() {
	for {
		n.mu.Lock()
		if len(n.inbox.messages)+len(n.inbox.proposals)+n.inbox.ticks == 0 {
			n.mu.Unlock()
			return
		}
		n.inbox, n.current = n.current, n.inbox
		n.mu.Unlock()
		n.step(&n.current)
		n.current.reset()
		for n.raw.HasReady() {
			n.handle(n.raw.Ready())
		}
	}
}

func (n *etcdNode) step(in *etcdInbox) {
	for range in.ticks {
		n.raw.Tick()
	}
	for _, m := range in.messages {
		_ = n.raw.Step(m)
	}
	if len(in.proposals) == 0 {
		return
	}
	entries, pointers := make([]pb.Entry, len(in.proposals)), make([]*pb.Entry, len(in.proposals))
	for i, p := range in.proposals {
		entries[i].Data = p.command
		pointers[i] = &entries[i]
	}
	err := n.raw.Step(&pb.Message{Type: pb.MsgProp.Enum(), From: proto.Uint64(n.id), Entries: pointers})
	if err == nil {
		n.proposed = append(n.proposed, in.proposals...)
		return
	}
	for _, p := range in.proposals {
		n.settle(p, nil, err)
	}
}

func (n *etcdNode) settle(p *etcdProposal, result []byte, err error) {
	p.result, p.err = result, err
	n.waiting.Add(-1)
	p.done <- struct{}{}
}

func (n *etcdNode) handle(rd raft.Ready) {
	if rd.SoftState != nil {
		n.leads.Store(rd.SoftState.RaftState == raft.StateLeader)
		if !n.leads.Load() {
			for _, p := range n.proposed {
				n.settle(p, nil, errors.New("leadership lost"))
			}
			n.proposed = n.proposed[:0]
		}
	}
	if n.async {
		n.deliver(rd.Messages)
		return
	}
	if n.leads.Load() { // a leader sends beside its own save (thesis 10.2.1)
		n.deliver(rd.Messages)
		n.save(rd.HardState, rd.Entries)
	} else {
		n.save(rd.HardState, rd.Entries)
		n.deliver(rd.Messages)
	}
	n.apply(rd.CommittedEntries)
	n.raw.Advance(rd)
}

func (n *etcdNode) save(state *pb.HardState, entries []*pb.Entry) {
	if n.log != nil {
		if err := n.log.Save(state, entries); err != nil {
			panic(err)
		}
	}
	if !raft.IsEmptyHardState(state) {
		_ = n.storage.SetHardState(state)
	}
	_ = n.storage.Append(entries)
}

// deliver sends messages, those for one member together.
func (n *etcdNode) deliver(messages []*pb.Message) {
	for to := uint64(1); to <= 3; to++ {
		batch := messages
		if len(messages) > 1 {
			batch = nil
			for _, m := range messages {
				if m.GetTo() == to {
					batch = append(batch, m)
				}
			}
		}
		if len(batch) > 0 && batch[0].GetTo() == to {
			if to == n.id {
				n.put(func(in *etcdInbox) { in.messages = append(in.messages, batch...) })
			} else {
				n.send(to, batch)
			}
		}
	}
	for _, m := range messages {
		switch m.GetTo() {
		case raft.LocalAppendThread:
			n.saves.add(m)
		case raft.LocalApplyThread:
			n.apply(m.GetEntries())
			for _, r := range m.GetResponses() {
				_ = n.raw.Step(r)
			}
		}
	}
}

func (n *etcdNode) apply(committed []*pb.Entry) {
	for _, entry := range committed {
		data := entry.GetData()
		switch {
		case entry.GetType() == pb.EntryConfChange:
			cc := new(pb.ConfChange)
			if err := proto.Unmarshal(data, cc); err == nil {
				n.raw.ApplyConfChange(cc)
			}
		case len(n.proposed) > 0 && len(data) >= 8 && binary.LittleEndian.Uint64(data) == n.proposed[0].number:
			p := n.proposed[0]
			n.proposed[0] = nil
			n.proposed = n.proposed[1:]
			n.settle(p, data[:8], nil)
		}
	}
	if len(committed) > 0 {
		n.compact(committed[len(committed)-1].GetIndex())
	}
}

// compact keeps the log in memory short, as a snapshot would.
func (n *etcdNode) compact(applied uint64) {
	const kept = 50_000
	if applied < n.compacted+2*kept {
		return
	}
	to := applied - kept
	if n.leads.Load() {
		n.raw.WithProgress(func(_ uint64, _ raft.ProgressType, pr tracker.Progress) { to = min(to, pr.Match) })
	}
	if to > n.compacted && n.storage.Compact(to) == nil {
		n.compacted = to
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
	p := e.idle.Get().(*etcdProposal)
	p.number, p.command = e.number.Add(1), command
	binary.LittleEndian.PutUint64(command, p.number)
	e.leader.waiting.Add(1)
	e.leader.put(func(in *etcdInbox) { in.proposals = append(in.proposals, p) })
	<-p.done
	err := p.err
	p.command, p.result = nil, nil
	e.idle.Put(p)
	return err
}

func (e *etcd) Close() {
	for _, n := range e.nodes {
		close(n.stop)
	}
	for _, n := range e.nodes {
		n.ended.Wait()
	}
	e.close()
}
