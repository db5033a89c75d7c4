// Package rsm replicates a state machine on Raft, with the interface of the 2025
// edition. The package is a layer over the project's package rsm.
package rsm

import (
	"context"
	"fmt"
	"io"

	"raftlab/labgob"
	"raftlab/labrpc"
	replication "raftlab/rsm"
	"raftlab/rsm/labraft"
	"raftlab/y2025/kvsrv1/rpc"
	raft "raftlab/y2025/raft1"
	"raftlab/y2025/raftapi"
	tester "raftlab/y2025/tester1"
)

// StateMachine is the state of a service. An RSM never calls two methods at the same
// time.
type StateMachine interface {
	// DoOp executes a committed request and returns the result. The result and the new
	// state follow from the state and the request alone.
	DoOp(req any) any
	// Snapshot returns the encoded state.
	Snapshot() []byte
	// Restore replaces the state by an encoded one.
	Restore(data []byte)
}

// Op belongs to the course's interface: servers and harnesses register the type with
// labgob. The log of this package holds encoded requests instead.
type Op struct{}

// RSM is one server's copy of a replicated state machine. Any goroutine may call the
// methods.
type RSM struct {
	rf      raftapi.Raft
	replica *replication.Replica[[]byte, any]
}

// MakeRSM starts the server me of servers from the contents of persister, and returns
// without waiting. A persisted snapshot is restored first. With a positive
// maxraftstate a snapshot replaces the log when the log reaches so many bytes. MakeRSM
// panics if the contents of persister cannot be read.
func MakeRSM(servers []*labrpc.ClientEnd, me int, persister *tester.Persister, maxraftstate int, sm StateMachine) *RSM {
	replica, err := replication.New(machine{sm}, persister.ReadSnapshot(), replication.Options{SnapshotBytes: max(maxraftstate, 0)})
	if err != nil {
		panic(fmt.Sprintf("rsm: server %d: %v", me, err))
	}
	applyCh := make(chan raftapi.ApplyMsg)
	rf := raft.Make(servers, me, persister, applyCh)
	replica.Run(labraft.New(rf, applyCh))
	r := &RSM{rf: rf, replica: replica}
	if server, ok := rf.(interface{ Killed() <-chan struct{} }); ok {
		go r.endWith(server.Killed())
	}
	return r
}

// endWith is the goroutine that ends the replica when the Raft server is killed.
func (r *RSM) endWith(killed <-chan struct{}) {
	<-killed
	r.Kill()
}

// Raft returns the Raft server.
func (r *RSM) Raft() raftapi.Raft { return r.rf }

// Kill stops the replica and the Raft server, and returns without waiting. To kill the
// Raft server alone has the same effect. Kill may be called more than once.
func (r *RSM) Kill() { r.replica.Kill() }

// Submit proposes a request and returns the result when the request is committed and
// applied on this server. The type of req must be registered with labgob.
//
// Submit returns [rpc.ErrWrongLeader] if this server does not lead, loses the
// leadership meanwhile, or is killed. In the last two cases the request may or may not
// take effect.
func (r *RSM) Submit(req any) (rpc.Err, any) {
	command, err := labgob.Marshal(req)
	if err != nil {
		panic(fmt.Sprintf("rsm: Submit cannot encode a request of type %T: %v", req, err))
	}
	result, err := r.replica.Submit(context.Background(), 0, 0, command)
	if err != nil {
		return rpc.ErrWrongLeader, nil
	}
	return rpc.OK, result
}

// machine is the state machine of the replica. A command is an encoded request.
type machine struct{ sm StateMachine }

// Apply implements the project's StateMachine.
func (m machine) Apply(command []byte) any {
	req, err := labgob.Unmarshal(command)
	if err != nil {
		panic(fmt.Sprintf("rsm: decoding a request: %v", err))
	}
	return m.sm.DoOp(req)
}

// Snapshot implements the project's StateMachine.
func (m machine) Snapshot() func(io.Writer) error {
	data := m.sm.Snapshot()
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}

// Restore implements the project's StateMachine.
func (m machine) Restore(snapshot []byte) error {
	m.sm.Restore(append([]byte(nil), snapshot...))
	return nil
}
