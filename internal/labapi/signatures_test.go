package labapi_test

import (
	"io"
	"reflect"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/raft"
)

// The labs' signatures, as assignments that do not compile when one changes.
var (
	_ func([]*labrpc.ClientEnd, int, *raft.Persister, chan raft.ApplyMsg) *raft.Raft = raft.Make

	_ interface {
		Start(command any) (index int, term int, isLeader bool)
		GetState() (term int, isLeader bool)
		Snapshot(index int, snapshot []byte)
		CondInstallSnapshot(lastIncludedTerm int, lastIncludedIndex int, snapshot []byte) bool
		PersistBytes() int
		Kill()
	} = (*raft.Raft)(nil)

	_ = raft.ApplyMsg{
		CommandValid: true, Command: any(nil), CommandIndex: int(0),
		SnapshotValid: true, Snapshot: []byte(nil), SnapshotTerm: int(0), SnapshotIndex: int(0),
	}

	_ func() *raft.Persister = raft.MakePersister
	_ interface {
		Copy() *raft.Persister
		Save(raftstate []byte, snapshot []byte)
		SaveStateAndSnapshot(raftstate []byte, snapshot []byte)
		SaveRaftState(raftstate []byte)
		ReadRaftState() []byte
		ReadSnapshot() []byte
		RaftStateSize() int
		SnapshotSize() int
	} = (*raft.Persister)(nil)

	_ func() *labrpc.Network = labrpc.MakeNetwork
	_ interface {
		MakeEnd(endname any) *labrpc.ClientEnd
		Connect(endname any, servername any)
		Enable(endname any, enabled bool)
		AddServer(servername any, rs *labrpc.Server)
		DeleteServer(servername any)
		DeleteEnd(endname any)
		Reliable(yes bool)
		IsReliable() bool
		LongReordering(yes bool)
		LongDelays(yes bool)
		IsLongDelays() bool
		GetCount(servername any) int
		GetTotalCount() int
		GetTotalBytes() int64
		Cleanup()
	} = (*labrpc.Network)(nil)
	_ func() *labrpc.Server = labrpc.MakeServer
	_ interface {
		AddService(svc *labrpc.Service)
		GetCount() int
	} = (*labrpc.Server)(nil)
	_ func(any) *labrpc.Service = labrpc.MakeService
	_ interface {
		Call(svcMeth string, args any, reply any) bool
	} = (*labrpc.ClientEnd)(nil)

	_ func(any)                                       = labgob.Register
	_ func(string, any)                               = labgob.RegisterName
	_ func(io.Writer) *labgob.LabEncoder              = labgob.NewEncoder
	_ func(io.Reader) *labgob.LabDecoder              = labgob.NewDecoder
	_ interface{ Encode(e any) error }                = (*labgob.LabEncoder)(nil)
	_ interface{ EncodeValue(v reflect.Value) error } = (*labgob.LabEncoder)(nil)
	_ interface{ Decode(e any) error }                = (*labgob.LabDecoder)(nil)
)
