package shardkv

import "raftlab/shardctrler"

// execute applies a command. The lock is held.
func (kv *ShardKV) execute(op Op) CommandReply {
	switch op.Kind {
	case opNoop:
	case opConfig:
		kv.reconfigure(op.Config)
	case opInsert:
		kv.insert(op.Ticket, op.Shard)
	case opDrop:
		delete(kv.st.Outgoing, op.Ticket)
	case opClean:
		delete(kv.st.Obsolete, op.Ticket)
	default:
		return kv.command(op)
	}
	return CommandReply{Err: OK}
}

// command executes a client's command, if the shard is here.
func (kv *ShardKV) command(op Op) CommandReply {
	shard, ok := kv.st.Shards[key2shard(op.Key)]
	if !ok {
		return CommandReply{Err: ErrWrongGroup}
	}
	if op.Kind == "Get" {
		value, ok := shard.Data[op.Key]
		if !ok {
			return CommandReply{Err: ErrNoKey}
		}
		return CommandReply{Err: OK, Value: value}
	}
	if op.Seq > shard.LastSeq[op.ClientID] {
		shard.LastSeq[op.ClientID] = op.Seq
		if op.Kind == "Put" {
			shard.Data[op.Key] = op.Value
		} else {
			shard.Data[op.Key] += op.Value
		}
	}
	return CommandReply{Err: OK}
}

// reconfigure enters the next configuration. All shards of the present one must have
// arrived.
func (kv *ShardKV) reconfigure(next shardctrler.Config) {
	if next.Num != kv.st.Config.Num+1 || len(kv.st.Incoming) > 0 {
		return
	}
	last := kv.st.Config
	kv.st.Config = next
	for shard := range shardctrler.NShards {
		from, to := last.Shards[shard], next.Shards[shard]
		if from == to {
			continue
		}
		source, parked := kv.st.Parked[shard]
		delete(kv.st.Parked, shard)
		if from != 0 {
			source = Source{Ticket{next.Num, shard}, last.Groups[from]}
		}
		if from == kv.gid {
			kv.st.Outgoing[source.Ticket] = kv.st.Shards[shard]
			delete(kv.st.Shards, shard)
		}
		switch {
		case to == 0:
			kv.st.Parked[shard] = source
		case to != kv.gid:
		case from == 0 && !parked:
			kv.st.Shards[shard] = Shard{}.clone()
		default:
			kv.st.Incoming[shard] = source
		}
	}
}

// insert begins to serve a shard that has been pulled.
func (kv *ShardKV) insert(ticket Ticket, content Shard) {
	source, ok := kv.st.Incoming[ticket.Shard]
	if !ok || ticket != source.Ticket {
		return
	}
	delete(kv.st.Incoming, ticket.Shard)
	kv.st.Shards[ticket.Shard] = content.clone()
	kv.st.Obsolete[ticket] = source.Servers
}
