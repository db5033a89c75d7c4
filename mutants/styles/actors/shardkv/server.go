// Package shardkv has one goroutine with the state and the calls of Raft. A group pushes
// a lost shard to the next owner until the owner confirms.
package shardkv

import (
	"sync"
	"sync/atomic"
	"time"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/shardctrler"
)

const (
	patience      = 500 * time.Millisecond
	pushInterval  = 50 * time.Millisecond
	watchInterval = 80 * time.Millisecond
)

type request struct {
	command any
	term    int
	answer  chan Answer // has room for the answer
}

// ShardKV is a replica of a group.
type ShardKV struct {
	rf        *raft.Raft
	persister *raft.Persister
	limit     int
	gid       int
	makeEnd   func(string) *labrpc.ClientEnd
	applyCh   chan raft.ApplyMsg
	requests  chan request
	pushed    chan Parcel // pushes that have ended
	quit      chan struct{}
	once      sync.Once
	num       atomic.Int64 // of the configuration, for watch
}

// Run is the RPC of clients.
func (kv *ShardKV) Run(c Command, answer *Answer) { *answer = kv.ask(c) }

// Deliver is the RPC of the last owner of a shard.
func (kv *ShardKV) Deliver(d Delivery, answer *Answer) { *answer = kv.ask(d) }

// ask gives a command to the loop, and waits for the answer.
func (kv *ShardKV) ask(command any) Answer {
	r := request{command: command, answer: make(chan Answer, 1)}
	timeout := time.After(patience)
	select {
	case kv.requests <- r:
	case <-timeout:
		return Answer{}
	case <-kv.quit:
		return Answer{}
	}
	select {
	case answer := <-r.answer:
		return answer
	case <-timeout:
	case <-kv.quit:
	}
	return Answer{}
}

// A loop owns the state of a server.
type loop struct {
	*ShardKV
	st      *state
	waiting map[int]request
	pushing map[Parcel]bool
	begun   int // the last term with a Begin of this server
}

func (l *loop) run() {
	ticker := time.NewTicker(pushInterval)
	defer ticker.Stop()
	for {
		select {
		case <-l.quit:
			return
		case r := <-l.requests:
			l.begin(r)
		case msg := <-l.applyCh:
			l.apply(msg)
		case parcel := <-l.pushed:
			delete(l.pushing, parcel)
		case <-ticker.C:
			l.tick()
		}
	}
}

// begin answers a request without the log if the state decides the answer.
func (l *loop) begin(r request) {
	switch c := r.command.(type) {
	case Command:
		if _, ok := l.st.Owned[key2shard(c.Key)]; !ok {
			r.answer <- Answer{Outcome: WrongGroup}
			return
		}
	case Delivery:
		if l.st.Config.Num < c.Parcel.Num {
			r.answer <- Answer{}
			return
		}
		if l.st.Config.Num > c.Parcel.Num || !l.st.Expected[c.Parcel.Shard] {
			r.answer <- Answer{Outcome: Done} // it came before
			return
		}
	case shardctrler.Config:
		if c.Num != l.st.Config.Num+1 || len(l.st.Expected) > 0 {
			r.answer <- Answer{}
			return
		}
	}
	index, term, leads := l.rf.Start(r.command)
	if !leads {
		r.answer <- Answer{}
		return
	}
	if old, ok := l.waiting[index]; ok {
		old.answer <- Answer{}
	}
	r.term = term
	l.waiting[index] = r
}

func (l *loop) apply(msg raft.ApplyMsg) {
	if msg.SnapshotValid {
		l.st = load(msg.Snapshot)
		l.num.Store(int64(l.st.Config.Num))
		return
	}
	answer := l.st.apply(msg.Command, l.gid)
	l.num.Store(int64(l.st.Config.Num))
	if r, ok := l.waiting[msg.CommandIndex]; ok {
		delete(l.waiting, msg.CommandIndex)
		if !same(r.command, msg.Command) {
			answer = Answer{}
		}
		r.answer <- answer
	}
	if l.limit > 0 && l.persister.RaftStateSize() >= l.limit {
		l.rf.Snapshot(msg.CommandIndex, l.st.dump())
	}
}

// same reports whether the log has the command of a request.
func same(a, b any) bool {
	switch a := a.(type) {
	case Command:
		b, ok := b.(Command)
		return ok && a == b
	case Delivery:
		b, ok := b.(Delivery)
		return ok && a.Parcel == b.Parcel
	case shardctrler.Config:
		b, ok := b.(shardctrler.Config)
		return ok && a.Num == b.Num
	case Sent:
		return a == b
	}
	return false
}

// tick ends requests of an older term, and pushes outgoing shards to other groups.
func (l *loop) tick() {
	term, leads := l.rf.GetState()
	for index, r := range l.waiting {
		if !leads || r.term != term {
			delete(l.waiting, index)
			r.answer <- Answer{}
		}
	}
	if !leads {
		return
	}
	if l.begun != term {
		if _, started, ok := l.rf.Start(Begin{}); ok {
			l.begun = started
		}
	}
	for parcel, out := range l.st.Outgoing {
		if out.To != 0 && !l.pushing[parcel] {
			l.pushing[parcel] = true
			go l.push(parcel, out)
		}
	}
}

// push sends a shard to each server of the next owner until one confirms.
func (kv *ShardKV) push(parcel Parcel, out Outgoing) {
	d := Delivery{parcel, out.Content} // which nobody changes any more
	for _, server := range out.Servers {
		var answer Answer
		if kv.makeEnd(server).Call("ShardKV.Deliver", d, &answer) && answer.Outcome == Done {
			kv.ask(Sent{parcel})
			break
		}
	}
	select {
	case kv.pushed <- parcel:
	case <-kv.quit:
	}
}

// watch proposes configurations.
func (kv *ShardKV) watch(ctrler *shardctrler.Clerk) {
	for {
		select {
		case <-kv.quit:
			return
		case <-time.After(watchInterval):
		}
		if _, leads := kv.rf.GetState(); leads {
			next := int(kv.num.Load()) + 1
			if config := ctrler.Query(next); config.Num == next {
				kv.ask(config)
			}
		}
	}
}

// Kill ends the loop.
func (kv *ShardKV) Kill() {
	kv.once.Do(func() { close(kv.quit) })
	kv.rf.Kill()
}

// StartServer starts a replica of a group.
func StartServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister, maxraftstate int, gid int,
	ctrlers []*labrpc.ClientEnd, make_end func(string) *labrpc.ClientEnd) *ShardKV {
	labgob.Register(Command{})
	labgob.Register(Delivery{})
	labgob.Register(Sent{})
	labgob.Register(Begin{})
	labgob.Register(shardctrler.Config{})
	kv := &ShardKV{
		persister: persister,
		limit:     maxraftstate,
		gid:       gid,
		makeEnd:   make_end,
		applyCh:   make(chan raft.ApplyMsg),
		requests:  make(chan request),
		pushed:    make(chan Parcel),
		quit:      make(chan struct{}),
	}
	l := &loop{ShardKV: kv, st: load(persister.ReadSnapshot()), waiting: make(map[int]request), pushing: make(map[Parcel]bool)}
	kv.num.Store(int64(l.st.Config.Num))
	kv.rf = raft.Make(servers, me, persister, kv.applyCh)
	go l.run()
	go kv.watch(shardctrler.MakeClerk(ctrlers))
	return kv
}
