package raft_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// alone starts server 0 of three, whose peers are not there.
func alone(t *testing.T) *raft.Raft {
	network := labrpc.MakeNetworkSeed(testkit.Seed(t))
	t.Cleanup(network.Cleanup)
	ends := []*labrpc.ClientEnd{network.MakeEnd(0), network.MakeEnd(1), network.MakeEnd(2)}
	rf := raft.Make(ends, 0, raft.MakePersister(), make(chan raft.ApplyMsg))
	t.Cleanup(rf.Kill)
	return rf
}

// A request that names no peer as its sender gets the zero reply and changes nothing.
func TestStrangersAreRefused(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rf := alone(t)
		for _, id := range []core.NodeID{0, 1, 4, 1 << 63, 1<<64 - 1} {
			vote := core.RequestVoteReply{Term: 9}
			rf.RequestVote(&core.RequestVote{Term: 5, CandidateID: id}, &vote)
			require.Equal(t, core.RequestVoteReply{Term: 9}, vote, "candidate %d", id)
			var reply core.AppendEntriesReply
			rf.AppendEntries(&core.AppendEntries{Term: 5, LeaderID: id}, &reply)
			require.Zero(t, reply, "leader %d", id)
			var installed core.InstallSnapshotReply
			rf.InstallSnapshot(&core.InstallSnapshot{Term: 5, LeaderID: id, LastIncludedIndex: 1, LastIncludedTerm: 1}, &installed)
			require.Zero(t, installed, "leader %d", id)
		}
		term, _ := rf.GetState()
		require.Less(t, term, 5)
		var vote core.RequestVoteReply
		rf.RequestVote(&core.RequestVote{Term: 5, CandidateID: 2}, &vote)
		require.True(t, vote.VoteGranted)
	})
}

// A malformed request gets the zero reply.
func TestMalformedRequestEnds(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		var reply core.AppendEntriesReply
		alone(t).AppendEntries(&core.AppendEntries{Term: 1, LeaderID: 2, Entries: []core.Entry{{Index: 7, Term: 1}}}, &reply)
		require.Zero(t, reply)
	})
}

// A server that cannot read a committed command stops and says why.
func TestUnreadableCommandStopsTheServer(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		rf := alone(t)
		var reply core.AppendEntriesReply
		args := &core.AppendEntries{Term: 1, LeaderID: 2, LeaderCommit: 1, Entries: []core.Entry{{Index: 1, Term: 1, Data: []byte("garbage")}}}
		rf.AppendEntries(args, &reply)
		require.True(t, reply.Success)
		testkit.WaitFor(t, time.Second, "Err", func() bool { return rf.Err() != nil })
		require.ErrorContains(t, rf.Err(), "the command at index 1")
		reply = core.AppendEntriesReply{}
		rf.AppendEntries(args, &reply)
		require.Zero(t, reply)
		_, _, isLeader := rf.Start("command")
		require.False(t, isLeader)
		rf.Kill()
		require.NoError(t, rf.Err())
	})
}

// Changed announces that a server leads, and its end.
func TestChanged(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		network := labrpc.MakeNetworkSeed(testkit.Seed(t))
		t.Cleanup(network.Cleanup)
		rf := raft.Make([]*labrpc.ClientEnd{network.MakeEnd(0)}, 0, raft.MakePersister(), make(chan raft.ApplyMsg))
		for {
			changed := rf.Changed()
			if _, isLeader := rf.GetState(); isLeader {
				break
			}
			<-changed
		}
		changed := rf.Changed()
		rf.Kill()
		_, isLeader := rf.GetState()
		require.False(t, isLeader)
		<-changed
	})
}

// A damaged snapshot never becomes the newest one, and a closed storage is of no use.
func TestStorageRefuses(t *testing.T) {
	l := newStoredLog(t)
	l.save(1, "a", "b", "c")
	w, err := l.st.CreateSnapshot(1, node.SnapshotHeader{Index: 2, Term: 1, Size: 4, Checksum: 1})
	require.NoError(t, err)
	_, err = w.Write([]byte("body"))
	require.NoError(t, err)
	header, err := w.Commit()
	require.ErrorIs(t, err, node.ErrDamaged)
	require.ErrorIs(t, l.st.Save([]node.Update{{Group: 1, Snapshot: &header}}), node.ErrUpdate)
	l.compact(1)
	_, err = l.st.Entries(1, 1, 3, 100)
	require.ErrorIs(t, err, node.ErrCompacted)
	_, err = l.st.Entries(1, 2, 4, 100)
	require.ErrorIs(t, err, node.ErrNotStored)
	require.NoError(t, l.st.Close())
	require.ErrorIs(t, l.st.Save(nil), node.ErrStorageClosed)
	_, err = l.st.Load(1)
	require.ErrorIs(t, err, node.ErrStorageClosed)
	_, err = l.st.OpenSnapshot(1)
	require.ErrorIs(t, err, node.ErrStorageClosed)
	l.check(l.ps, l.want)
}
