// Package kvraft is a student's replicated key/value service.
package kvraft

import (
	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/mutants/student/replica"
	"raftlab/raft"
)

// KVServer is one server of the service.
type KVServer struct {
	me int
	rf *raft.Raft
	//lab:begin 3A The state of the service, and who waits for which command.
	*replica.Server

	// Guarded by the replica.
	data     map[string]string
	sessions replica.Sessions
	//lab:end
}

// StartKVServer starts server me. The server takes a snapshot when the Raft state reaches
// maxraftstate bytes, or never if maxraftstate is -1.
func StartKVServer(servers []*labrpc.ClientEnd, me int, persister *raft.Persister, maxraftstate int) *KVServer {
	labgob.Register(OpArgs{})
	applyCh := make(chan raft.ApplyMsg)
	kv := &KVServer{me: me, rf: raft.Make(servers, me, persister, applyCh)}
	//lab:begin 3A Start a goroutine that reads applyCh.
	//lab:begin 3B Load the snapshot of the persister.
	kv.data, kv.sessions = make(map[string]string), make(replica.Sessions)
	kv.Server = replica.New(kv.rf, applyCh, persister, maxraftstate, kv)
	//lab:end
	//lab:end
	return kv
}

// Kill stops the server.
func (kv *KVServer) Kill() {
	//lab:begin 3A Stop your goroutines, too.
	//lab:stub kv.rf.Kill()
	kv.Server.Kill()
	//lab:end
}

// Do handles the request of a clerk.
func (kv *KVServer) Do(args *OpArgs, reply *OpReply) {
	//lab:begin 3A Replicate the operation, and answer when it has been applied.
	//lab:stub reply.Err = ErrWrongLeader
	reply.Err = ErrWrongLeader
	if value, ok := kv.Submit(*args); ok {
		reply.Err, reply.Value = OK, value.(string)
	}
	//lab:end
}

//lab:begin 3A Apply committed operations in order, each once.

// Apply applies an operation.
func (kv *KVServer) Apply(command any) any {
	op := command.(OpArgs)
	if op.Kind == "Get" {
		return kv.data[op.Key] // a session would keep the value
	}
	return kv.sessions.Once(op.Client, op.Seq, func() string {
		switch op.Kind {
		case "Put":
			kv.data[op.Key] = op.Value
		case "Append":
			kv.data[op.Key] += op.Value
		}
		return ""
	})
}

//lab:end

//lab:begin 3B Take snapshots, and load snapshots.

// Save writes a snapshot.
func (kv *KVServer) Save(e *labgob.LabEncoder) {
	e.Encode(kv.data)
	e.Encode(kv.sessions)
}

// Restore reads a snapshot.
func (kv *KVServer) Restore(d *labgob.LabDecoder) {
	kv.data, kv.sessions = nil, nil
	if d.Decode(&kv.data) != nil || d.Decode(&kv.sessions) != nil {
		panic("the snapshot is not a key/value service's")
	}
}

//lab:end
