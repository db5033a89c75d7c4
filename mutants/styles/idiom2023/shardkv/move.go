package shardkv

import (
	"fmt"
	"time"

	"raftlab/labrpc"
)

// configLoop lets the leader look for the next configuration.
func (kv *ShardKV) configLoop() {
	for !kv.killed() {
		time.Sleep(pollPeriod)
		if _, isLeader := kv.rf.GetState(); !isLeader {
			continue
		}
		kv.mu.Lock()
		num := kv.st.Config.Num
		ready := len(kv.st.Incoming) == 0
		kv.mu.Unlock()
		if !ready {
			continue
		}
		if next := kv.ctrler.Query(num + 1); next.Num == num+1 {
			kv.propose(Op{Kind: opConfig, Config: next})
		}
	}
}

// moveLoop starts a task for each shard to pull and each shard to have deleted.
func (kv *ShardKV) moveLoop() {
	for !kv.killed() {
		time.Sleep(pollPeriod)
		term, isLeader := kv.rf.GetState()
		if !isLeader {
			continue
		}
		kv.mu.Lock()
		if term != kv.noopTerm {
			kv.noopTerm = term
			kv.rf.Start(Op{Kind: opNoop})
		}
		for _, source := range kv.st.Incoming {
			kv.task("pull", source.Ticket, func() { kv.pull(source.Ticket, source.Servers) })
		}
		for ticket, servers := range kv.st.Obsolete {
			kv.task("clean", ticket, func() { kv.clean(ticket, servers) })
		}
		kv.mu.Unlock()
	}
}

// task runs f in a goroutine, unless the same task is under way. The lock is held.
func (kv *ShardKV) task(what string, ticket Ticket, f func()) {
	name := fmt.Sprint(what, ticket)
	if kv.busy[name] {
		return
	}
	kv.busy[name] = true
	go func() {
		f()
		kv.mu.Lock()
		defer kv.mu.Unlock()
		delete(kv.busy, name)
	}()
}

func (kv *ShardKV) end(name string) *labrpc.ClientEnd {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	if kv.ends[name] == nil {
		kv.ends[name] = kv.makeEnd(name)
	}
	return kv.ends[name]
}

// pull asks the old owner's servers for a shard.
func (kv *ShardKV) pull(ticket Ticket, servers []string) {
	for _, name := range servers {
		var reply FetchReply
		if kv.end(name).Call("ShardKV.Fetch", &ticket, &reply) && reply.Err == OK {
			kv.propose(Op{Kind: opInsert, Ticket: ticket, Shard: reply.Shard})
			return
		}
	}
}

// clean tells the old owner that the shard has arrived.
func (kv *ShardKV) clean(ticket Ticket, servers []string) {
	for _, name := range servers {
		var reply DropReply
		if kv.end(name).Call("ShardKV.Drop", &ticket, &reply) && reply.Err == OK {
			kv.propose(Op{Kind: opClean, Ticket: ticket})
			return
		}
	}
}

// Fetch hands out a shard. A shard that has left does not change any more, so each
// replica that has the shard may answer.
func (kv *ShardKV) Fetch(ticket *Ticket, reply *FetchReply) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	content, ok := kv.st.Outgoing[*ticket]
	if !ok {
		reply.Err = ErrNotReady
		return
	}
	reply.Err = OK
	reply.Shard = content
}

// Drop deletes a shard that the new owner has.
func (kv *ShardKV) Drop(ticket *Ticket, reply *DropReply) {
	reply.Err = kv.propose(Op{Kind: opDrop, Ticket: *ticket}).Err
}
