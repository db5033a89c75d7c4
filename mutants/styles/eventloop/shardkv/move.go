package shardkv

// fetchConfig proposes the next config.
func (kv *ShardKV) fetchConfig() {
	if !kv.leads() {
		return
	}
	kv.mu.Lock()
	wanted := kv.state.wanted()
	kv.mu.Unlock()
	next := kv.ctrler.Query(wanted)
	kv.mu.Lock()
	defer kv.mu.Unlock()
	if kv.state.follows(next) {
		kv.propose(NewConfig{next}, func() bool { return kv.state.Config.Num >= next.Num })
	}
}

// proposeNothing returns work that proposes an empty command once in each term.
func (kv *ShardKV) proposeNothing() func() {
	last := 0
	return func() {
		if term, leads := kv.rf.GetState(); leads && term > last {
			if _, term, leads = kv.rf.Start(Nothing{term}); leads {
				last = term
			}
		}
	}
}

// pushShards returns work that sends departing shards to the new owners. Each shard has
// one push at a time, so a dead owner delays no other shard.
func (kv *ShardKV) pushShards() func() {
	pushed := map[int]bool{} // guarded by kv.mu
	return func() {
		if !kv.leads() {
			return
		}
		kv.mu.Lock()
		defer kv.mu.Unlock()
		for shard, stints := range kv.state.Stints {
			if len(stints) == 0 || !stints[0].Held || stints[0].Until == 0 || pushed[shard] {
				continue
			}
			pushed[shard] = true
			arrival := &Arrival{stints[0].Until, shard, stints[0].Box.copy()}
			servers := stints[0].Servers
			go func() {
				kv.push(arrival, servers)
				kv.mu.Lock()
				delete(pushed, shard)
				kv.mu.Unlock()
			}()
		}
	}
}

// push asks the servers of the new owner in turn until one server has the shard.
func (kv *ShardKV) push(arrival *Arrival, servers []string) {
	for _, server := range servers {
		reply := Reply{}
		if kv.end(server).Call("ShardKV.Arrive", arrival, &reply) && reply.Code == done {
			kv.mu.Lock()
			defer kv.mu.Unlock()
			departure := Departure{arrival.Num, arrival.Shard}
			kv.propose(departure, func() bool { return kv.state.going(departure) == nil })
			return
		}
	}
}

// Arrive takes a shard from the old owner, and answers done after the group has committed the arrival.
func (kv *ShardKV) Arrive(a *Arrival, reply *Reply) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	if kv.state.Config.Num < a.Num {
		return // the group has not reached the config yet
	}
	arrived := func() bool { return kv.state.coming(*a) == nil }
	if arrived() || kv.propose(*a, arrived) {
		reply.Code = done
	}
}
