package shardkv

import (
	"sync"

	"raftlab/shardctrler"
)

// pollConfig asks for the next configuration, unless shards of this one are missing.
func (kv *ShardKV) pollConfig() {
	kv.mu.Lock()
	waiting, next := len(kv.incoming) > 0, kv.config.Num+1
	kv.mu.Unlock()
	if waiting {
		return
	}
	if config := kv.configClerk.Query(next); config.Num == next {
		kv.rf.Start(config)
	}
}

func (kv *ShardKV) applyConfig(config shardctrler.Config) {
	if config.Num != kv.config.Num+1 || len(kv.incoming) > 0 {
		return
	}
	kv.previous, kv.config = kv.config, config
	lost := kv.myShards
	kv.myShards = make(map[int]bool)
	for shard, gid := range config.Shards {
		if gid != kv.gid {
			continue
		}
		if lost[shard] || kv.previous.Shards[shard] == 0 {
			kv.myShards[shard] = true
			delete(lost, shard)
		} else {
			kv.incoming[shard] = kv.previous.Num
		}
	}
	for shard := range lost {
		content := make(map[string]string)
		for key, value := range kv.db {
			if key2shard(key) == shard {
				content[key] = value
				delete(kv.db, key)
			}
		}
		if config.Shards[shard] == 0 {
			continue // nobody will ask for it
		}
		if kv.parked[kv.previous.Num] == nil {
			kv.parked[kv.previous.Num] = make(map[int]map[string]string)
		}
		kv.parked[kv.previous.Num][shard] = content
	}
}

// pullShards asks the old owners for the missing shards.
func (kv *ShardKV) pullShards() {
	kv.mu.Lock()
	var wg sync.WaitGroup
	for shard, num := range kv.incoming {
		wg.Add(1)
		go func(servers []string, args MigrateArgs) {
			defer wg.Done()
			for _, server := range servers {
				var reply MigrateReply
				if kv.make_end(server).Call("ShardKV.Migrate", &args, &reply) && reply.Err == OK {
					kv.rf.Start(reply)
					return
				}
			}
		}(kv.previous.Groups[kv.previous.Shards[shard]], MigrateArgs{Shard: shard, ConfigNum: num})
	}
	kv.mu.Unlock()
	wg.Wait()
}

// Migrate hands out a parked shard.
func (kv *ShardKV) Migrate(args *MigrateArgs, reply *MigrateReply) {
	if _, isLeader := kv.rf.GetState(); !isLeader {
		reply.Err = ErrWrongLeader
		return
	}
	kv.mu.Lock()
	defer kv.mu.Unlock()
	content, ok := kv.parked[args.ConfigNum][args.Shard]
	if !ok {
		reply.Err = ErrNotReady
		return
	}
	reply.Err, reply.Shard, reply.ConfigNum = OK, args.Shard, args.ConfigNum
	reply.Data = make(map[string]string)
	for key, value := range content {
		reply.Data[key] = value
	}
	reply.LastCommand = make(map[int64]int)
	for client, command := range kv.lastCommand {
		reply.LastCommand[client] = command
	}
}

func (kv *ShardKV) applyShard(m MigrateReply) {
	if num, ok := kv.incoming[m.Shard]; !ok || num != m.ConfigNum {
		return
	}
	delete(kv.incoming, m.Shard)
	kv.myShards[m.Shard] = true
	for key, value := range m.Data {
		kv.db[key] = value
	}
	for client, command := range m.LastCommand {
		if kv.lastCommand[client] < command {
			kv.lastCommand[client] = command
		}
	}
	if kv.garbage[m.ConfigNum] == nil {
		kv.garbage[m.ConfigNum] = make(map[int]bool)
	}
	kv.garbage[m.ConfigNum][m.Shard] = true
}

// cleanShards tells old owners what they may drop.
func (kv *ShardKV) cleanShards() {
	kv.mu.Lock()
	var all []CleanArgs
	for num, shards := range kv.garbage {
		for shard := range shards {
			all = append(all, CleanArgs{Shard: shard, ConfigNum: num})
		}
	}
	kv.mu.Unlock()
	var wg sync.WaitGroup
	for _, args := range all {
		config := kv.cleanClerk.Query(args.ConfigNum)
		wg.Add(1)
		go func(servers []string, args CleanArgs) {
			defer wg.Done()
			for _, server := range servers {
				var reply CleanReply
				if kv.make_end(server).Call("ShardKV.Clean", &args, &reply) && reply.Err == OK {
					kv.rf.Start(CleanedOp(args))
					return
				}
			}
		}(config.Groups[config.Shards[args.Shard]], args)
	}
	wg.Wait()
}

// Clean drops a parked shard.
func (kv *ShardKV) Clean(args *CleanArgs, reply *CleanReply) {
	kv.mu.Lock()
	index, _, isLeader := kv.rf.Start(CleanOp(*args))
	if !isLeader {
		kv.mu.Unlock()
		reply.Err = ErrWrongLeader
		return
	}
	ch := kv.notifyChannel(index)
	kv.mu.Unlock()
	kv.await(index, ch)

	kv.mu.Lock()
	defer kv.mu.Unlock()
	if _, still := kv.parked[args.ConfigNum][args.Shard]; still || kv.config.Num <= args.ConfigNum {
		reply.Err = ErrTimeout
		return
	}
	reply.Err = OK
}
