package raft_test

import (
	"bytes"
	"fmt"
	"hash/crc64"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

func TestPersisterKeepsBothBlobs(t *testing.T) {
	var ps raft.Persister // the zero value works
	if ps.ReadRaftState() != nil || ps.ReadSnapshot() != nil || ps.RaftStateSize() != 0 || ps.SnapshotSize() != 0 {
		t.Fatal("an empty persister holds something")
	}
	check := func(state, snapshot string) {
		t.Helper()
		if got := string(ps.ReadRaftState()); got != state || ps.RaftStateSize() != len(state) {
			t.Errorf("state %q (%d bytes); want %q", got, ps.RaftStateSize(), state)
		}
		if got := string(ps.ReadSnapshot()); got != snapshot || ps.SnapshotSize() != len(snapshot) {
			t.Errorf("snapshot %q (%d bytes); want %q", got, ps.SnapshotSize(), snapshot)
		}
	}
	ps.Save([]byte("state"), []byte("snapshot"))
	check("state", "snapshot")
	ps.SaveRaftState([]byte("newer")) // the snapshot survives
	check("newer", "snapshot")
	ps.SaveStateAndSnapshot([]byte("s"), nil)
	check("s", "")
}

func TestPersisterSharesNothing(t *testing.T) {
	state, snapshot := []byte("state"), []byte("snapshot")
	ps := raft.MakePersister()
	ps.Save(state, snapshot)
	state[0], snapshot[0] = 'X', 'X'
	ps.ReadRaftState()[0], ps.ReadSnapshot()[0] = 'Y', 'Y'
	before := ps.Copy()
	ps.Save([]byte("later"), []byte("later"))
	before.SaveRaftState([]byte("of the copy"))
	if got := string(ps.ReadRaftState()); got != "later" {
		t.Errorf("the original holds %q", got)
	}
	if got := string(before.ReadRaftState()); got != "of the copy" {
		t.Errorf("the copy holds %q", got)
	}
	if got := string(before.ReadSnapshot()); got != "snapshot" {
		t.Errorf("the copy's snapshot is %q", got)
	}
}

// storedLog is a storage and what it should hold, by the obvious way.
type storedLog struct {
	t    *testing.T
	ps   *raft.Persister
	st   node.Storage
	want core.Persistent
	term uint64
}

func newStoredLog(t *testing.T) *storedLog {
	ps := raft.MakePersister()
	st, err := raft.OpenPersister(ps)
	require.NoError(t, err)
	return &storedLog{t: t, ps: ps, st: st, term: 1}
}

func (l *storedLog) last() uint64 {
	return l.want.Snapshot.LastIncludedIndex + uint64(len(l.want.Entries))
}

// save overwrites the log from index on.
func (l *storedLog) save(index uint64, commands ...any) {
	l.t.Helper()
	var entries []core.Entry
	for i, command := range commands {
		data, err := labgob.Marshal(command)
		require.NoError(l.t, err)
		entries = append(entries, core.Entry{Index: index + uint64(i), Term: l.term, Data: data})
	}
	hs := core.HardState{CurrentTerm: l.term, VotedFor: core.NodeID(l.term % 3)}
	require.NoError(l.t, l.st.Save([]node.Update{{Group: 1, HardState: &hs, Entries: entries}}))
	keep := index - l.want.Snapshot.LastIncludedIndex - 1
	l.want.HardState = hs
	l.want.Entries = append(slices.Clone(l.want.Entries[:keep]), entries...)
}

func (l *storedLog) compact(index uint64) {
	l.t.Helper()
	n := index - l.want.Snapshot.LastIncludedIndex
	snap := core.Snapshot{LastIncludedIndex: index, LastIncludedTerm: l.want.Entries[n-1].Term, Data: fmt.Append(nil, "snapshot ", index)}
	l.saveSnapshot(snap, index)
	l.want.Snapshot, l.want.Entries = snap, l.want.Entries[n:]
}

// saveSnapshot writes a snapshot and makes it the newest one.
func (l *storedLog) saveSnapshot(snap core.Snapshot, compactTo uint64) {
	l.t.Helper()
	w, err := l.st.CreateSnapshot(1, node.SnapshotHeader{Index: snap.LastIncludedIndex, Term: snap.LastIncludedTerm})
	require.NoError(l.t, err)
	_, err = w.Write(snap.Data)
	require.NoError(l.t, err)
	header, err := w.Commit()
	require.NoError(l.t, err)
	require.NoError(l.t, l.st.Save([]node.Update{{Group: 1, Snapshot: &header, CompactTo: compactTo}}))
}

// install replaces the whole log by a leader's snapshot.
func (l *storedLog) install() {
	l.t.Helper()
	l.term++
	snap := core.Snapshot{LastIncludedIndex: l.last() + 5, LastIncludedTerm: l.term, Data: []byte("the leader's")}
	l.saveSnapshot(snap, 0)
	l.want.Snapshot, l.want.Entries = snap, nil
}

// check reads a persister anew and compares.
func (l *storedLog) check(ps *raft.Persister, want core.Persistent) {
	l.t.Helper()
	st, err := raft.OpenPersister(ps)
	require.NoError(l.t, err)
	got, snap := load(l.t, st)
	if got.HardState != want.HardState {
		l.t.Fatalf("hard state %+v; want %+v", got.HardState, want.HardState)
	}
	if snap.LastIncludedIndex != want.Snapshot.LastIncludedIndex || snap.LastIncludedTerm != want.Snapshot.LastIncludedTerm || !bytes.Equal(snap.Data, want.Snapshot.Data) {
		l.t.Fatalf("snapshot %+v; want %+v", snap, want.Snapshot)
	}
	if !slices.EqualFunc(got.Entries, want.Entries, func(a, b core.Entry) bool {
		return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type && bytes.Equal(a.Data, b.Data)
	}) {
		l.t.Fatalf("%d entries %v\nwant %d %v", len(got.Entries), got.Entries, len(want.Entries), want.Entries)
	}
}

// load reads all that a storage has.
func load(t *testing.T, st node.Storage) (got core.Persistent, snap core.Snapshot) {
	t.Helper()
	state, err := st.Load(1)
	require.NoError(t, err)
	got.HardState = state.HardState
	require.Equal(t, state.Snapshot.Index, state.CompactedIndex)
	require.Equal(t, state.Snapshot.Term, state.CompactedTerm)
	for next := state.CompactedIndex + 1; next <= state.LastIndex; {
		entries, err := st.Entries(1, next, state.LastIndex, 100)
		require.NoError(t, err)
		require.NotEmpty(t, entries)
		for _, e := range entries {
			term, ok := state.Term(e.Index)
			require.True(t, ok && term == e.Term, "the state has term %d at %d", term, e.Index)
		}
		got.Entries = append(got.Entries, entries...)
		next += uint64(len(entries))
	}
	r, err := st.OpenSnapshot(1)
	if state.Snapshot.Index == 0 {
		require.ErrorIs(t, err, node.ErrNoSnapshot)
		return got, snap
	}
	require.NoError(t, err)
	header := r.Header()
	require.Equal(t, state.Snapshot, header)
	snap = core.Snapshot{LastIncludedIndex: header.Index, LastIncludedTerm: header.Term, Data: make([]byte, header.Size)}
	_, err = r.ReadAt(snap.Data, 0)
	require.NoError(t, err)
	require.Equal(t, header.Checksum, crc64.Checksum(snap.Data, crc64.MakeTable(crc64.ECMA)))
	return got, snap
}

// TestStoredLogAtRandom appends, overwrites and compacts at random, and compares
// what the persister holds, and earlier copies of it, with a plain slice.
func TestStoredLogAtRandom(t *testing.T) {
	r := testkit.Rand(t)
	for range 20 * testkit.SoakFactor() {
		l := newStoredLog(t)
		type moment struct {
			ps   *raft.Persister
			want core.Persistent
		}
		var copies []moment
		for range 60 {
			switch base := l.want.Snapshot.LastIncludedIndex; {
			case r.IntN(10) == 0:
				l.install()
			case r.IntN(3) == 0 && len(l.want.Entries) > 0:
				l.compact(base + 1 + r.Uint64N(uint64(len(l.want.Entries))))
			default:
				at := l.last() + 1
				if r.IntN(3) == 0 && len(l.want.Entries) > 0 {
					l.term++
					at = base + 1 + r.Uint64N(uint64(len(l.want.Entries)))
				}
				l.save(at, randomCommands(r)...)
			}
			l.check(l.ps, l.want)
			copies = append(copies, moment{l.ps.Copy(), l.want})
		}
		for _, m := range copies {
			l.check(m.ps, m.want)
		}
	}
}

func randomCommands(r *rand.Rand) []any {
	commands := make([]any, 1+r.IntN(4))
	for i := range commands {
		switch r.IntN(4) {
		case 0:
			commands[i] = r.IntN(1000)
		case 1:
			commands[i] = ""
		case 2:
			commands[i] = randomString(r, r.IntN(300))
		default:
			commands[i] = structCommand{"append", randomString(r, 3), r.IntN(10)}
		}
	}
	return commands
}

// TestStateIsCompact limits the state for what fits between two snapshots.
func TestStateIsCompact(t *testing.T) {
	for name, command := range map[string]func(int) any{
		"int":    func(k int) any { return 1_000_000_007 * (k + 1) },
		"string": func(k int) any { return fmt.Sprintf("command %d", k) },
		"struct": func(k int) any { return structCommand{"append", fmt.Sprint("key", k), k} },
	} {
		t.Run(name, func(t *testing.T) {
			l := newStoredLog(t)
			for k := range 35 {
				l.save(l.last()+1, command(k))
			}
			l.compact(10)
			if n := l.ps.RaftStateSize(); n >= maxStateBytes || n != int(l.st.Usage().Log) {
				t.Errorf("25 commands take %d bytes, %d by Usage; want less than %d", n, l.st.Usage().Log, maxStateBytes)
			}
		})
	}
}

// TestDamagedState cuts and changes a stored state: it is refused, with a
// message that says what is wrong, or holds what it held.
func TestDamagedState(t *testing.T) {
	l := newStoredLog(t)
	for k := range 20 {
		l.save(l.last()+1, structCommand{"put", "key", k})
	}
	l.compact(5)
	state := l.ps.ReadRaftState()
	for n := 1; n < len(state); n++ {
		ps := raft.MakePersister()
		ps.Save(state[:n], l.ps.ReadSnapshot())
		if st, err := raft.OpenPersister(ps); err == nil {
			got, _ := st.Load(1)
			t.Fatalf("the first %d of %d bytes are taken for a state that ends at %d", n, len(state), got.LastIndex)
		}
	}
	for _, garbage := range []string{"\x90", "\xc0", "garbage", "\x95\x01", string(state) + "\x00", strings.Repeat("\xff", 100)} {
		ps := raft.MakePersister()
		ps.SaveRaftState([]byte(garbage))
		if _, err := raft.OpenPersister(ps); err == nil {
			t.Errorf("%.20q is taken for a state", garbage)
		}
	}
}

// TestMakeRefusesGarbage starts a server on a state that is none.
func TestMakeRefusesGarbage(t *testing.T) {
	ps := raft.MakePersister()
	ps.SaveRaftState([]byte("not a Raft state"))
	defer func() {
		said := fmt.Sprint(recover())
		if !strings.Contains(said, "server 0") || !strings.Contains(said, "cannot be read") {
			t.Errorf("Make on garbage panicked with %q", said)
		}
		if string(ps.ReadRaftState()) != "not a Raft state" {
			t.Error("the state was overwritten")
		}
	}()
	raft.Make([]*labrpc.ClientEnd{labrpc.MakeNetwork().MakeEnd(0)}, 0, ps, make(chan raft.ApplyMsg))
}

// FuzzOpenPersister reads arbitrary states: they are refused or can be used.
func FuzzOpenPersister(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x95\x01\x01\x01\x00\x00"))
	f.Fuzz(func(t *testing.T, state []byte) {
		ps := raft.MakePersister()
		ps.SaveRaftState(state)
		st, err := raft.OpenPersister(ps)
		if err != nil {
			return
		}
		saved, err := st.Load(1)
		require.NoError(t, err)
		require.NoError(t, st.Save([]node.Update{{Group: 1, Entries: []core.Entry{{Index: saved.LastIndex + 1, Term: 1}}}}))
		if _, err := raft.OpenPersister(ps); err != nil {
			t.Fatalf("a state that was read and added to cannot be read: %v", err)
		}
	})
}
