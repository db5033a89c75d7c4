package shardkv

import (
	"sync"

	"raftlab/shardctrler"
)

// pollConfig proposes the next configuration when no shard is on its way.
func (kv *ShardKV) pollConfig() {
	kv.mu.Lock()
	next, settled := kv.config.Num+1, kv.settled()
	kv.mu.Unlock()
	if !settled {
		return
	}
	if config := kv.ctrler.Query(next); config.Num == next {
		kv.rf.Start(ConfigOp{config})
	}
}

func (kv *ShardKV) settled() bool {
	for _, s := range kv.shards {
		if s.Status != Serving && s.Status != Elsewhere {
			return false
		}
	}
	return true
}

func (kv *ShardKV) applyConfig(config shardctrler.Config) {
	if config.Num != kv.config.Num+1 || !kv.settled() {
		return
	}
	kv.last, kv.config = kv.config, config
	for i := range kv.shards {
		before, now := kv.last.Shards[i], config.Shards[i]
		switch {
		case before == now:
		case now == kv.gid && before == 0:
			kv.shards[i] = emptyShard(Serving)
		case now == kv.gid:
			kv.shards[i] = emptyShard(Pulling)
		case before == kv.gid && now == 0:
			kv.shards[i] = emptyShard(Elsewhere)
		case before == kv.gid:
			kv.shards[i].Status = Leaving
		}
	}
}

// byLastOwner returns the shards with a status, by their last group.
func (kv *ShardKV) byLastOwner(status Status) (num int, found map[int][]int, groups map[int][]string) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	found = map[int][]int{}
	for i, s := range kv.shards {
		if s.Status == status {
			gid := kv.last.Shards[i]
			found[gid] = append(found[gid], i)
		}
	}
	return kv.config.Num, found, kv.last.Groups
}

func (kv *ShardKV) pollMissing() {
	num, missing, groups := kv.byLastOwner(Pulling)
	var all sync.WaitGroup
	for gid, shards := range missing {
		all.Add(1)
		go func() {
			defer all.Done()
			for _, server := range groups[gid] {
				var reply PullReply
				if kv.makeEnd(server).Call("ShardKV.Pull", &MoveArgs{num, shards}, &reply) && reply.Err == OK {
					kv.rf.Start(InsertOp{num, reply.Content})
					return
				}
			}
		}()
	}
	all.Wait()
}

// Pull answers with the content of leaving shards.
func (kv *ShardKV) Pull(args *MoveArgs, reply *PullReply) {
	_, leads := kv.rf.GetState()
	kv.mu.Lock()
	defer kv.mu.Unlock()
	if !leads {
		reply.Err = ErrWrongLeader
		return
	}
	if kv.config.Num != args.Num {
		reply.Err = ErrNotYet
		return
	}
	reply.Err, reply.Content = OK, map[int]Shard{}
	for _, i := range args.Shards {
		if kv.shards[i].Status == Leaving {
			reply.Content[i] = kv.shards[i].clone()
		}
	}
}

func (kv *ShardKV) applyInsert(op InsertOp) {
	if op.Num != kv.config.Num {
		return
	}
	for i, s := range op.Content {
		if kv.shards[i].Status == Pulling {
			kv.shards[i] = s.clone()
			kv.shards[i].Status = Collecting
		}
	}
}

func (kv *ShardKV) pollCollecting() {
	num, collecting, groups := kv.byLastOwner(Collecting)
	var all sync.WaitGroup
	for gid, shards := range collecting {
		all.Add(1)
		go func() {
			defer all.Done()
			for _, server := range groups[gid] {
				var reply ForgetReply
				if kv.makeEnd(server).Call("ShardKV.Forget", &MoveArgs{num, shards}, &reply) && reply.Err == OK {
					kv.rf.Start(CollectedOp{num, shards})
					return
				}
			}
		}()
	}
	all.Wait()
}

// Forget drops shards after the next owner has taken them.
func (kv *ShardKV) Forget(args *MoveArgs, reply *ForgetReply) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	if kv.config.Num < args.Num {
		reply.Err = ErrNotYet
		return
	}
	reply.Err = kv.submit(ForgetOp(*args), func() bool {
		if kv.config.Num > args.Num {
			return true
		}
		for _, i := range args.Shards {
			if kv.shards[i].Status == Leaving {
				return false
			}
		}
		return true
	})
}

func (kv *ShardKV) applyForget(op ForgetOp) {
	if op.Num != kv.config.Num {
		return
	}
	for _, i := range op.Shards {
		if kv.shards[i].Status == Leaving {
			kv.shards[i] = emptyShard(Elsewhere)
		}
	}
}

func (kv *ShardKV) applyCollected(op CollectedOp) {
	if op.Num != kv.config.Num {
		return
	}
	for _, i := range op.Shards {
		if kv.shards[i].Status == Collecting {
			kv.shards[i].Status = Serving
		}
	}
}
