package shardkv

import (
	"maps"
	"time"

	"raftlab/shardctrler"
)

// whileLeader calls work again and again while this server leads its group.
func (kv *ShardKV) whileLeader(work func()) {
	for !kv.killed() {
		if _, isLeader := kv.rf.GetState(); isLeader {
			work()
		}
		time.Sleep(pollInterval)
	}
}

// commitOldTerms proposes an empty command in each new term of leadership, because
// entries of earlier terms cannot commit without an entry of the current term.
func (kv *ShardKV) commitOldTerms() {
	done := 0
	for !kv.killed() {
		if term, isLeader := kv.rf.GetState(); isLeader && term != done {
			if _, term, isLeader = kv.rf.Start(Op{Kind: emptyKind}); isLeader {
				done = term
			}
		}
		time.Sleep(pollInterval)
	}
}

// pollConfig proposes the next config after all shards of the current config have moved.
func (kv *ShardKV) pollConfig() {
	kv.mu.Lock()
	num, settled := kv.config.Num, kv.settled()
	kv.mu.Unlock()
	if !settled {
		return
	}
	if next := kv.sm.Query(num + 1); next.Num == num+1 {
		kv.execute(Op{Kind: configKind, Config: next})
	}
}

func (kv *ShardKV) settled() bool {
	for _, s := range kv.shards {
		if s.State != Absent && s.State != Serving {
			return false
		}
	}
	return true
}

func (kv *ShardKV) applyConfig(next shardctrler.Config) outcome {
	if next.Num != kv.config.Num+1 || !kv.settled() {
		return outcome{err: OK}
	}
	for i := range kv.shards {
		s := &kv.shards[i]
		was, is := kv.config.Shards[i] == kv.gid, next.Shards[i] == kv.gid
		switch {
		case is && !was && kv.config.Shards[i] == 0:
			*s = Shard{State: Serving, Data: make(map[string]string)}
		case is && !was:
			*s = Shard{State: Pulling, Data: make(map[string]string)}
		case was && !is && next.Shards[i] == 0:
			*s = Shard{State: Absent}
		case was && !is:
			s.State = Leaving
		}
	}
	kv.last, kv.config = kv.config, next
	return outcome{err: OK}
}

// inState groups the shards in a state by the owner in the last config.
func (kv *ShardKV) inState(state ShardState) (num int, byOwner map[int][]int, last shardctrler.Config) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	byOwner = make(map[int][]int)
	for i, s := range kv.shards {
		if s.State == state {
			gid := kv.last.Shards[i]
			byOwner[gid] = append(byOwner[gid], i)
		}
	}
	return kv.config.Num, byOwner, kv.last
}

// eachOwner calls ask for all old owners concurrently, and waits for the calls.
func eachOwner(byOwner map[int][]int, ask func(gid int, shards []int)) {
	done := make(chan bool, len(byOwner))
	for gid, shards := range byOwner {
		go func() {
			ask(gid, shards)
			done <- true
		}()
	}
	for range byOwner {
		<-done
	}
}

func (kv *ShardKV) pullShards() {
	num, byOwner, last := kv.inState(Pulling)
	eachOwner(byOwner, func(gid int, shards []int) {
		for _, name := range last.Groups[gid] {
			var reply PullReply
			args := &PullArgs{Num: num, Shards: shards}
			if kv.make_end(name).Call("ShardKV.Pull", args, &reply) && reply.Err == OK {
				kv.execute(Op{Kind: insertKind, Num: num, Data: reply.Data, LastSeq: reply.LastSeq})
				return
			}
		}
	})
}

// Pull returns shards that the group has lost in config args.Num. Lost shards do not
// change, so every server of the group may answer.
func (kv *ShardKV) Pull(args *PullArgs, reply *PullReply) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	reply.Err = ErrNotReady
	if kv.config.Num != args.Num {
		return
	}
	data := make(map[int]map[string]string)
	for _, i := range args.Shards {
		if kv.shards[i].State != Leaving {
			return
		}
		data[i] = maps.Clone(kv.shards[i].Data)
	}
	reply.Data, reply.LastSeq = data, maps.Clone(kv.lastSeq)
	reply.Err = OK
}

func (kv *ShardKV) applyInsert(op Op) outcome {
	if op.Num != kv.config.Num {
		return outcome{err: OK}
	}
	for i, data := range op.Data {
		if kv.shards[i].State == Pulling {
			kv.shards[i] = Shard{State: Cleaning, Data: make(map[string]string)}
			maps.Copy(kv.shards[i].Data, data)
		}
	}
	for client, seq := range op.LastSeq {
		kv.lastSeq[client] = max(kv.lastSeq[client], seq)
	}
	return outcome{err: OK}
}

func (kv *ShardKV) cleanShards() {
	num, byOwner, last := kv.inState(Cleaning)
	eachOwner(byOwner, func(gid int, shards []int) {
		for _, name := range last.Groups[gid] {
			var reply DeleteReply
			args := &DeleteArgs{Num: num, Shards: shards}
			if kv.make_end(name).Call("ShardKV.Delete", args, &reply) && reply.Err == OK {
				kv.execute(Op{Kind: cleanKind, Num: num, Shards: shards})
				return
			}
		}
	})
}

// Delete drops shards after the arrival at the new owner.
func (kv *ShardKV) Delete(args *DeleteArgs, reply *DeleteReply) {
	kv.mu.Lock()
	over := kv.config.Num > args.Num
	kv.mu.Unlock()
	if over {
		reply.Err = OK // no group goes on with copies left behind
		return
	}
	reply.Err = kv.execute(Op{Kind: deleteKind, Num: args.Num, Shards: args.Shards}).err
}

func (kv *ShardKV) applyDelete(op Op) outcome {
	if op.Num > kv.config.Num {
		return outcome{err: ErrNotReady}
	}
	for _, i := range op.Shards {
		if op.Num == kv.config.Num && kv.shards[i].State == Leaving {
			kv.shards[i] = Shard{State: Absent}
		}
	}
	return outcome{err: OK}
}

func (kv *ShardKV) applyClean(op Op) outcome {
	for _, i := range op.Shards {
		if op.Num == kv.config.Num && kv.shards[i].State == Cleaning {
			kv.shards[i].State = Serving
		}
	}
	return outcome{err: OK}
}
