package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"io/fs"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
	"raftlab/raft/node/storagetest"
	"raftlab/raft/wal"
	"raftlab/raft/wal/simdisk"
)

var smallSegments = wal.Options{Identity: node.Identity{Cluster: "test", Host: 1}, SegmentBytes: 16 << 10}

func TestStorageOnSimulatedDisk(t *testing.T) {
	storagetest.Run(t, uint64(testkit.Seed(t)), func(*testing.T) storagetest.Open {
		return storageIn(simdisk.New(), smallSegments.SegmentBytes)
	})
}

// Room for the log is the rest of a segment and the next segment.
func TestStorageOnFullSimulatedDisk(t *testing.T) {
	storagetest.RunOnFullDisk(t, uint64(testkit.Seed(t)), func(*testing.T) (storagetest.Open, func(int64)) {
		disk := simdisk.New()
		return storageIn(disk, 1<<20), func(more int64) {
			if more >= 0 {
				more += disk.Used()
			}
			disk.SetCapacity(more)
		}
	})
}

// storageIn opens the log on a disk. The first opening creates the log.
func storageIn(disk *simdisk.Disk, segmentBytes int64) storagetest.Open {
	created := false
	return func(id node.Identity) (node.Storage, error) {
		opts := wal.Options{Identity: id, SegmentBytes: segmentBytes}
		if !created {
			created = true
			if err := wal.CreateIn(disk, opts); err != nil {
				return nil, err
			}
		}
		return openIn(disk, opts)
	}
}

func openIn(disk *simdisk.Disk, opts wal.Options) (node.Storage, error) {
	store, err := wal.OpenIn(disk, opts)
	if err != nil {
		return nil, err
	}
	return store, nil
}

// digest describes all that a storage holds.
func digest(t *testing.T, s node.Storage) string {
	t.Helper()
	groups, err := s.Groups()
	require.NoError(t, err)
	var out []byte
	for _, id := range groups {
		state, err := s.Load(id)
		require.NoError(t, err)
		out = fmt.Appendf(out, "group %d %+v\n", id, state)
		if state.LastIndex > state.CompactedIndex {
			entries, err := s.Entries(id, state.CompactedIndex+1, state.LastIndex, 1<<30)
			require.NoError(t, err)
			for _, e := range entries {
				out = appendNumbers(out, e.Index, e.Term, uint64(e.Type), crc64.Checksum(e.Data, crc64.MakeTable(crc64.ECMA)))
			}
		}
		if state.Snapshot.Index > 0 {
			out = fmt.Appendf(out, "body %x\n", body(t, s, id))
		}
	}
	return string(out)
}

// appendNumbers adds a line of numbers.
func appendNumbers(out []byte, numbers ...uint64) []byte {
	for _, n := range numbers {
		out = append(strconv.AppendUint(out, n, 16), ' ')
	}
	return append(out, '\n')
}

func body(t *testing.T, s node.Storage, id node.GroupID) uint64 {
	t.Helper()
	r, err := s.OpenSnapshot(id)
	require.NoError(t, err)
	data, err := io.ReadAll(io.NewSectionReader(r, 0, int64(r.Header().Size)))
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return crc64.Checksum(data, crc64.MakeTable(crc64.ECMA))
}

// workload drives a log beside a model.
type workload struct {
	t     *testing.T
	rand  *rand.Rand
	disk  *simdisk.Disk
	store node.Storage
	model *memstore.Store
	acks  []ack
}

// ack is what the log holds once an operation has returned.
type ack struct {
	ops    int // of the disk
	digest string
}

func (w *workload) ack() {
	w.acks = append(w.acks, ack{len(w.disk.Journal()), digest(w.t, w.model)})
}

func (w *workload) open() {
	w.t.Helper()
	var err error
	w.store, err = openIn(w.disk, smallSegments)
	require.NoError(w.t, err)
	require.Equal(w.t, digest(w.t, w.model), digest(w.t, w.store))
}

func startWorkload(t *testing.T, r *rand.Rand) *workload {
	w := &workload{t: t, rand: r, disk: simdisk.New(), model: memstore.New(smallSegments.Identity)}
	w.disk.Record()
	require.NoError(t, wal.CreateIn(w.disk, smallSegments))
	w.ack()
	w.open()
	return w
}

// run does some random operations.
func (w *workload) run(n int) {
	for range n {
		switch r := w.rand.IntN(40); {
		case r == 0:
			require.NoError(w.t, w.store.Close())
			w.open()
		case r == 1:
			id := node.GroupID(1 + w.rand.IntN(4))
			require.NoError(w.t, w.model.Remove(id))
			require.NoError(w.t, w.store.Remove(id))
		default:
			w.save()
		}
		w.ack()
	}
}

func (w *workload) save() {
	var updates []node.Update
	for _, i := range w.rand.Perm(4)[:1+w.rand.IntN(3)] {
		if i == 3 && w.rand.IntN(6) > 0 {
			continue // group 4 is idle for long, and keeps most of its log
		}
		u := w.update(node.GroupID(i + 1))
		if w.model.Save([]node.Update{u}) == nil { // what the model refuses is left out
			updates = append(updates, u)
		}
	}
	require.NoError(w.t, w.store.Save(updates))
}

// update makes an update that may not fit.
func (w *workload) update(id node.GroupID) node.Update {
	state, err := w.model.Load(id)
	require.NoError(w.t, err)
	u := node.Update{Group: id, HardState: &core.HardState{CurrentTerm: w.rand.Uint64N(100)}}
	if w.rand.IntN(6) == 0 && (id != 4 || w.rand.IntN(4) == 0) {
		index := state.Snapshot.Index + 1 + w.rand.Uint64N(state.LastIndex-state.Snapshot.Index+3)
		term, ok := state.Term(index)
		if !ok || w.rand.IntN(4) == 0 {
			term = state.HardState.CurrentTerm + 5 // received
		}
		header := node.SnapshotHeader{Index: index, Term: term, Configuration: []byte("members")}
		data := make([]byte, w.rand.IntN(2000))
		h1, err1 := writeSnapshot(w.model, id, header, data)
		h2, err2 := writeSnapshot(w.store, id, header, data)
		require.NoError(w.t, errors.Join(err1, err2))
		require.Equal(w.t, h1, h2)
		u.Snapshot, u.CompactTo = &h1, index-w.rand.Uint64N(min(index, 3))
		return u
	}
	first := state.LastIndex + 1
	if w.rand.IntN(8) == 0 {
		first -= w.rand.Uint64N(4)
	}
	term := max(state.CompactedTerm, 1)
	if n := len(state.Terms); n > 0 {
		term = state.Terms[n-1].Term
	}
	for i := range uint64(w.rand.IntN(6)) {
		if w.rand.IntN(10) == 0 {
			term++
		}
		data := make([]byte, w.rand.IntN(400))
		if w.rand.IntN(300) == 0 {
			data = make([]byte, smallSegments.SegmentBytes) // in a segment of its own
		}
		for k := range data {
			data[k] = byte(w.rand.Uint32())
		}
		u.Entries = append(u.Entries, core.Entry{Index: first + i, Term: term, Type: core.EntryType(w.rand.IntN(20) / 18), Data: data})
	}
	return u
}

func writeSnapshot(s node.Storage, id node.GroupID, header node.SnapshotHeader, data []byte) (node.SnapshotHeader, error) {
	w, err := s.CreateSnapshot(id, header)
	if err != nil {
		return header, err
	}
	if _, err := w.Write(data); err != nil {
		return header, err
	}
	return w.Commit()
}

// Every prefix of the writes and syncs of a run is a moment at which the power
// may go. What Save, Remove and Create have acknowledged is there afterwards, and
// nothing else but the one call that had not returned. Noise and misdirected
// writes are no interrupted writes, and a misdirected one may hit durable data.
// Then the log is right or refused.
func TestEveryCrashRecovers(t *testing.T) {
	r := testkit.Rand(t)
	steps := 50
	if testkit.Soak() {
		steps = 150
	}
	for range testkit.SoakFactor() {
		w := startWorkload(t, r)
		w.run(steps)
		testkit.WaitFor(t, 10*time.Second, "the idle group's first segments to go", func() bool {
			w.run(5)
			return segmentsOf(t, w.disk)[0] > "0000000000000002.wal"
		})
		w.run(20)
		require.NoError(t, w.store.Close())
		w.ack()
		journal := w.disk.Journal()
		t.Logf("%d operations of the disk, %d acknowledgements", len(journal), len(w.acks))
		disk := simdisk.New()
		damaged := 0
		for n := 0; ; n++ {
			for fate := simdisk.Keep; fate <= simdisk.Misdirect; fate++ {
				loss := simdisk.Loss{Writes: fate, Names: fate, Rand: r}
				if n%4 == 0 {
					loss.Names = simdisk.Fate(r.IntN(3))
				}
				if checkCrash(t, disk.Clone(loss), loss, n, w.acks) {
					damaged++
				}
				if !disk.Unsynced() {
					break // the other fates leave the same content
				}
			}
			if n == len(journal) {
				break
			}
			if t.Failed() {
				t.Fatalf("after %d operations, the last of them: %v", n, journal[max(0, n-8):n])
			}
			disk.Apply(journal[n])
		}
		require.Positive(t, damaged, "misdirected writes never hit anything")
		t.Logf("%d of the logs with noise or a misdirected write were refused", damaged)
	}
}

// checkCrash opens the log after a crash. It says whether the log was refused as
// damaged.
func checkCrash(t *testing.T, disk *simdisk.Disk, loss simdisk.Loss, ops int, acks []ack) (damaged bool) {
	t.Helper()
	before := disk.Clone(simdisk.Loss{Writes: simdisk.Keep, Names: simdisk.Keep})
	disk.Record()
	store, err := openIn(disk, smallSegments)
	switch {
	case loss.Writes >= simdisk.Garble && errors.Is(err, node.ErrDamaged):
		return true
	case errors.Is(err, fs.ErrNotExist) && ops < acks[0].ops:
		if err := wal.CreateIn(disk, smallSegments); err != nil {
			t.Errorf("%v/%v: Create after an interrupted Create: %v", loss.Writes, loss.Names, err)
		}
		return false
	case err != nil:
		t.Errorf("%v/%v: %v", loss.Writes, loss.Names, err)
		return false
	}
	got := digest(t, store)
	known := 0
	for known+1 < len(acks) && acks[known+1].ops <= ops {
		known++
	}
	if got != acks[known].digest && (known+1 == len(acks) || got != acks[known+1].digest) {
		t.Errorf("%v/%v: the log has\n%s\nwant\n%s", loss.Writes, loss.Names, got, acks[known].digest)
	}
	checkCrashWhileOpening(t, before, disk.Journal(), got, loss.Rand)
	checkGoesOn(t, disk, store, loss)
	return false
}

// checkCrashWhileOpening crashes once more while the log is opened.
func checkCrashWhileOpening(t *testing.T, disk *simdisk.Disk, opening []simdisk.Op, want string, r *rand.Rand) {
	t.Helper()
	if r.IntN(3) > 0 {
		return
	}
	for _, op := range opening[:r.IntN(len(opening)+1)] {
		disk.Apply(op)
	}
	loss := simdisk.Loss{Writes: simdisk.Fate(r.IntN(int(simdisk.Garble))), Names: simdisk.Fate(r.IntN(3)), Rand: r}
	store, err := openIn(disk.Crash(loss), smallSegments)
	if err != nil {
		t.Errorf("%v/%v while the log was opened: %v", loss.Writes, loss.Names, err)
		return
	}
	if got := digest(t, store); got != want {
		t.Errorf("%v/%v while the log was opened: it has\n%s\nwant\n%s", loss.Writes, loss.Names, got, want)
	}
	require.NoError(t, store.Close())
}

// checkGoesOn writes to the recovered log, crashes again and reads.
func checkGoesOn(t *testing.T, disk *simdisk.Disk, store node.Storage, loss simdisk.Loss) {
	t.Helper()
	update := []node.Update{{Group: 99, HardState: &core.HardState{CurrentTerm: 1}, Entries: []core.Entry{{Index: 1, Term: 1, Data: []byte("new")}}}}
	if err := store.Save(update); err != nil {
		t.Errorf("Save after the recovery: %v", err)
		return
	}
	want := digest(t, store)
	disk = disk.Crash(simdisk.Loss{Writes: simdisk.Fate(loss.Rand.IntN(int(simdisk.Garble))), Names: simdisk.Fate(loss.Rand.IntN(3)), Rand: loss.Rand})
	_ = store.Close() // ends its goroutine; the disk is gone
	again, err := openIn(disk, smallSegments)
	if err != nil {
		t.Errorf("the second recovery: %v", err)
		return
	}
	if got := digest(t, again); got != want {
		t.Errorf("the second recovery has\n%s\nwant\n%s", got, want)
	}
	require.NoError(t, again.Close())
}

// A batch may be whole though its write was interrupted: the disk lost only the
// zeros behind the batch. In a reused file the sectors behind have old content
// then. Such a log is not damaged, wherever in a sector the batch ends.
func TestWholeBatchOfAnInterruptedWrite(t *testing.T) {
	r := testkit.Rand(t)
	disk := simdisk.New()
	disk.Record()
	require.NoError(t, wal.CreateIn(disk, smallSegments))
	store := reopen(t, disk)
	for i := range 250 {
		journal := disk.Journal()
		last := journal[len(journal)-2] // the write before the last sync
		end := int(last.Offset) + len(bytes.TrimRight(last.Data, "\x00"))
		const overhead = 80 // of a batch with one entry, about
		require.NoError(t, put(store, 1, 1024-end%512-overhead+r.IntN(48)))
		if i%16 == 0 {
			compact(t, store, 1)
			testkit.WaitFor(t, 10*time.Second, "old segments to be free", func() bool {
				require.NoError(t, put(store, 1, 100)) // says what the log still needs
				return len(segmentsOf(t, disk)) <= 6
			})
		}
	}
	require.NoError(t, store.Close())
	var writes []simdisk.Op
	for _, op := range disk.Journal() {
		if op.Kind == simdisk.WriteFile {
			writes = append(writes, op)
		}
	}
	again := simdisk.New()
	tried := 0
	for _, op := range disk.Journal() {
		again.Apply(op)
		if op.Kind != simdisk.WriteFile {
			continue
		}
		writes = writes[1:]
		if len(writes) == 0 || writes[0].Name != op.Name || !strings.HasSuffix(op.Name, ".wal") || writes[0].Offset%512 > 48 {
			continue // the batch does not end near the beginning of a sector
		}
		tried++
		for range 12 {
			store, err := openIn(again.Clone(simdisk.Loss{Writes: simdisk.Scatter, Rand: r}), smallSegments)
			require.NoError(t, err, "after %v", op)
			require.NoError(t, store.Close())
		}
	}
	require.Positive(t, tried)
}
