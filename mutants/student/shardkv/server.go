// Package shardkv is a student's sharded key/value service.
package shardkv

import (
	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/mutants/student/replica"
	"raftlab/mutants/student/shardctrler"
	"raftlab/raft"
)

// ShardKV is one server of a group.
type ShardKV struct {
	me      int
	gid     int
	rf      *raft.Raft
	ctl     *shardctrler.Clerk
	makeEnd func(string) *labrpc.ClientEnd
	//lab:begin 4B The shards of this group, and what is on the way.
	*replica.Server

	// Guarded by the replica.
	config  shardctrler.Config
	holders [shardctrler.NShards]int // the latest group of each shard, or 0
	shards  map[int]Shard            // of this group, by number
	waits   map[int]bool             // shards of this group that have not arrived
	sending []Transfer               // shards that have not arrived at their new groups
	//lab:end
}

//lab:begin 4B The commands of your log, and the RPC that moves a shard.

// A Shard has the data of a shard. The sessions belong to the shard, because a client
// repeats a request at the shard's new group.
type Shard struct {
	Data     map[string]string
	Sessions replica.Sessions
}

// Reconfigure is the command that begins the next configuration.
type Reconfigure struct{ Config shardctrler.Config }

// Transfer moves a shard to its group in configuration Num. Transfer is an RPC, and the
// command with which the new group takes the shard.
type Transfer struct {
	Num   int
	Index int // of the shard
	Shard Shard
	To    []string // the servers of the new group
}

// TransferReply answers a Transfer.
type TransferReply struct{ Err Err }

// Delivered is the command that deletes a shard at its old group.
type Delivered struct{ Num, Index int }

//lab:end

// StartServer starts server me of group gid. The server takes a snapshot when the Raft
// state reaches maxraftstate bytes, or never if maxraftstate is -1.
func StartServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister, maxraftstate int, gid int,
	ctrlers []*labrpc.ClientEnd, make_end func(string) *labrpc.ClientEnd) *ShardKV {
	labgob.Register(OpArgs{})
	//lab:begin 4B Register the other commands of your log.
	labgob.Register(Reconfigure{})
	labgob.Register(Transfer{})
	labgob.Register(Delivered{})
	//lab:end
	applyCh := make(chan raft.ApplyMsg)
	kv := &ShardKV{me: me, gid: gid, rf: raft.Make(servers, me, persister, applyCh), ctl: shardctrler.MakeClerk(ctrlers), makeEnd: make_end}
	//lab:begin 4B Load the snapshot of the persister. Start goroutines that read applyCh, follow the controller and move shards.
	kv.shards, kv.waits = make(map[int]Shard), make(map[int]bool)
	kv.Server = replica.New(kv.rf, applyCh, persister, maxraftstate, kv)
	go kv.follow()
	go kv.deliver()
	//lab:end
	return kv
}

// Kill stops the server.
func (kv *ShardKV) Kill() {
	//lab:begin 4B Stop your goroutines, too.
	//lab:stub kv.ctl.Close()
	//lab:stub kv.rf.Kill()
	kv.ctl.Close()
	kv.Server.Kill()
	//lab:end
}

// Do handles the request of a clerk.
func (kv *ShardKV) Do(args *OpArgs, reply *OpReply) {
	//lab:begin 4B Refuse keys of other groups. Replicate the operation, and answer when it has been applied.
	//lab:stub reply.Err = ErrWrongLeader
	kv.Look(func() { reply.Err = kv.serves(args.Key) })
	if reply.Err != OK {
		return
	}
	reply.Err = ErrWrongLeader
	if result, ok := kv.Submit(*args); ok {
		*reply = result.(OpReply)
	}
	//lab:end
}

//lab:begin 4B Apply operations, changes of the configuration and transfers, in the order of the log.

// serves reports whether this group has the shard of a key now.
func (kv *ShardKV) serves(key string) Err {
	index := key2shard(key)
	switch {
	case kv.config.Shards[index] != kv.gid:
		return ErrWrongGroup
	case kv.waits[index]:
		return ErrNotReady
	}
	return OK
}

// Apply applies a command.
func (kv *ShardKV) Apply(command any) any {
	switch command := command.(type) {
	case OpArgs:
		return kv.operate(command)
	case Reconfigure:
		kv.reconfigure(command.Config)
	case Transfer:
		return kv.take(command)
	case Delivered:
		for i, t := range kv.sending {
			if t.Num == command.Num && t.Index == command.Index {
				kv.sending = append(kv.sending[:i:i], kv.sending[i+1:]...)
				break
			}
		}
	}
	return nil
}

func (kv *ShardKV) operate(op OpArgs) OpReply {
	// The configuration may have changed since Do looked.
	if err := kv.serves(op.Key); err != OK {
		return OpReply{Err: err}
	}
	shard := kv.shards[key2shard(op.Key)]
	if op.Kind == "Get" {
		return OpReply{OK, shard.Data[op.Key]} // a session would keep the value
	}
	return OpReply{OK, shard.Sessions.Once(op.Client, op.Seq, func() string {
		switch op.Kind {
		case "Put":
			shard.Data[op.Key] = op.Value
		case "Append":
			shard.Data[op.Key] += op.Value
		}
		return ""
	})}
}

// reconfigure begins a configuration. Shards that leave wait in kv.sending, and no
// operation reaches them any more. A shard without a group stays where it was.
func (kv *ShardKV) reconfigure(next shardctrler.Config) {
	if next.Num != kv.config.Num+1 || len(kv.waits) > 0 {
		return
	}
	kv.config = next
	for index, owner := range next.Shards {
		before := kv.holders[index]
		if owner == 0 || owner == before {
			continue
		}
		kv.holders[index] = owner
		switch {
		case owner == kv.gid && before == 0:
			kv.shards[index] = Shard{}.copy()
		case owner == kv.gid:
			kv.waits[index] = true
		case before == kv.gid:
			kv.sending = append(kv.sending, Transfer{next.Num, index, kv.shards[index], next.Groups[owner]})
			delete(kv.shards, index)
		}
	}
}

// take accepts a shard, once. The answer is OK if the old group may delete the shard.
func (kv *ShardKV) take(t Transfer) Err {
	if t.Num > kv.config.Num {
		return ErrNotReady
	}
	if t.Num == kv.config.Num && kv.waits[t.Index] {
		delete(kv.waits, t.Index)
		kv.shards[t.Index] = t.Shard.copy()
	}
	return OK
}

// copy returns an independent copy. The command in the log must not change.
func (s Shard) copy() Shard {
	data := make(map[string]string)
	for key, value := range s.Data {
		data[key] = value
	}
	return Shard{data, s.Sessions.Copy()}
}

//lab:end

//lab:begin 4B Take snapshots, and load snapshots.

// Save writes a snapshot.
func (kv *ShardKV) Save(e *labgob.LabEncoder) {
	for _, v := range []any{kv.config, kv.holders, kv.shards, kv.waits, kv.sending} {
		e.Encode(v)
	}
}

// Restore reads a snapshot.
func (kv *ShardKV) Restore(d *labgob.LabDecoder) {
	kv.config, kv.shards, kv.waits, kv.sending = shardctrler.Config{}, nil, nil, nil
	for _, v := range []any{&kv.config, &kv.holders, &kv.shards, &kv.waits, &kv.sending} {
		if d.Decode(v) != nil {
			panic("the snapshot is not a sharded service's")
		}
	}
	for index, shard := range kv.shards {
		kv.shards[index] = shard.copy() // an empty map comes back as nil
	}
}

//lab:end
