package wal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/crc64"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/memstore"
	"raftlab/raft/node"
	"raftlab/raft/wal"
	"raftlab/raft/wal/simdisk"
)

// newLog makes a log on a simulated disk.
func newLog(t *testing.T) (*simdisk.Disk, node.Storage) {
	t.Helper()
	disk := simdisk.New()
	require.NoError(t, wal.CreateIn(disk, smallSegments))
	return disk, reopen(t, disk)
}

func reopen(t *testing.T, disk *simdisk.Disk) node.Storage {
	t.Helper()
	store, err := openIn(disk, smallSegments)
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// put appends an entry of n bytes to a group.
func put(s node.Storage, id node.GroupID, n int) error {
	state, err := s.Load(id)
	if err != nil {
		return err
	}
	e := core.Entry{Index: state.LastIndex + 1, Term: 1, Data: bytes.Repeat([]byte{byte(state.LastIndex)}, n)}
	return s.Save([]node.Update{{Group: id, HardState: &core.HardState{CurrentTerm: 1}, Entries: []core.Entry{e}}})
}

// compact writes a snapshot of a group at its log's end and drops the log.
func compact(t *testing.T, s node.Storage, id node.GroupID) {
	t.Helper()
	state, err := s.Load(id)
	require.NoError(t, err)
	compactTo(t, s, id, state.LastIndex)
}

// compactTo writes a snapshot of a group at an index and drops the log up to there.
func compactTo(t *testing.T, s node.Storage, id node.GroupID, index uint64) {
	t.Helper()
	header, err := writeSnapshot(s, id, node.SnapshotHeader{Index: index, Term: 1, Configuration: []byte("members")}, fmt.Appendf(nil, "up to %d", index))
	require.NoError(t, err)
	require.NoError(t, s.Save([]node.Update{{Group: id, Snapshot: &header, CompactTo: header.Index}}))
}

func TestFullDisk(t *testing.T) {
	disk, store := newLog(t)
	require.NoError(t, put(store, 1, 100))
	disk.SetCapacity(100 << 10)
	var err error
	saved := 1
	for ; saved < 1000; saved++ {
		if err = put(store, 1, 1000); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Less(t, saved, 110)
	before := digest(t, store) // reads go on
	require.ErrorIs(t, put(store, 1, 1000), syscall.ENOSPC, "again")
	w, err := store.CreateSnapshot(1, node.SnapshotHeader{Index: 1, Term: 1})
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 200_000))
	require.ErrorIs(t, err, syscall.ENOSPC)
	w.Abort()
	require.Equal(t, before, digest(t, store))

	require.NoError(t, store.Close())
	store = reopen(t, disk)
	require.Equal(t, before, digest(t, store), "a log on a full disk opens")
	disk.SetCapacity(-1)
	require.NoError(t, put(store, 1, 1000))
	state, err := store.Load(1)
	require.NoError(t, err)
	require.Equal(t, uint64(saved+1), state.LastIndex)
}

// A snapshot without room leaves the log as it was, wherever the room ends. A finished
// snapshot needs no more room.
func TestSnapshotWithoutRoom(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 20_000)
	known := node.SnapshotHeader{Index: 1, Term: 1, Size: uint64(len(body)), Checksum: crc64.Checksum(body, crc64.MakeTable(crc64.ECMA))}
	limits := map[string]func(*simdisk.Disk){
		"no block":       func(d *simdisk.Disk) { d.SetCapacity(d.Used()) },
		"some blocks":    func(d *simdisk.Disk) { d.SetCapacity(d.Used() + 100_000) },
		"all but footer": func(d *simdisk.Disk) { d.SetCapacity(d.Used() + int64(len(body)) + 20) },
		"no name":        func(d *simdisk.Disk) { d.FailNames(syscall.ENOSPC) },
	}
	for name, limit := range limits {
		for _, header := range []node.SnapshotHeader{{Index: 1, Term: 1}, known} {
			for _, finish := range []bool{false, true} {
				disk, store := newLog(t)
				require.NoError(t, put(store, 1, 100))
				before := digest(t, store)
				w, err := store.CreateSnapshot(1, header)
				require.NoError(t, err)
				limit(disk)
				if _, err = w.Write(body); err == nil && finish {
					err = w.Finish()
				} else if err == nil {
					_, err = w.Commit()
				}
				require.ErrorIs(t, err, node.ErrNoRoom, name)
				require.ErrorIs(t, err, syscall.ENOSPC, name)
				w.Abort()
				names, err := disk.List()
				require.NoError(t, err)
				require.NotContains(t, strings.Join(names, " "), ".snap")
				require.Equal(t, before, digest(t, store))
				disk.SetCapacity(-1)
				disk.FailNames(nil)
				named, err := writeSnapshot(store, 1, header, body)
				require.NoError(t, err)
				require.NoError(t, store.Save([]node.Update{{Group: 1, Snapshot: &named, CompactTo: 1}}))
				require.NoError(t, put(store, 1, 100))
				require.NoError(t, store.Close())
				reopen(t, disk)
			}
		}
	}
}

// A file system may tell of a full disk as late as the sync. The file of the snapshot is
// then given up. Any other failed sync, and one of the directory, is no lack of room.
func TestSnapshotWhoseSyncFails(t *testing.T) {
	for _, broken := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO} {
		disk, store := newLog(t)
		require.NoError(t, put(store, 1, 100))
		w, err := store.CreateSnapshot(1, node.SnapshotHeader{Index: 1, Term: 1})
		require.NoError(t, err)
		disk.FailSync(broken)
		_, err = w.Commit()
		require.ErrorIs(t, err, broken)
		require.Equal(t, broken != syscall.EIO, errors.Is(err, node.ErrNoRoom))
		disk.FailSync(nil)
		require.NoError(t, put(store, 1, 100))
		header, err := writeSnapshot(store, 1, node.SnapshotHeader{Index: 2, Term: 1}, []byte("later"))
		require.NoError(t, err)
		require.NoError(t, store.Save([]node.Update{{Group: 1, Snapshot: &header}}))
		disk = disk.Crash(simdisk.Loss{Writes: simdisk.Lose, Names: simdisk.Lose})
		state, err := reopen(t, disk).Load(1)
		require.NoError(t, err)
		require.EqualValues(t, 2, state.Snapshot.Index)
	}
}

// After a failed sync nothing is acknowledged any more, even if later syncs would
// succeed. What Open then shows is durable, although the kernel took it for
// written.
func TestFailedSync(t *testing.T) {
	disk, store := newLog(t)
	require.NoError(t, put(store, 1, 100))
	before := digest(t, store)
	broken := errors.New("the disk is broken")
	disk.FailSync(broken)
	require.ErrorIs(t, put(store, 1, 100), broken)
	disk.FailSync(nil)
	require.ErrorIs(t, put(store, 1, 100), broken)
	require.ErrorIs(t, store.Remove(1), broken)
	require.Equal(t, before, digest(t, store), "reads go on")
	require.NoError(t, store.Close())

	lost := reopen(t, disk.Clone(simdisk.Loss{Writes: simdisk.Lose, Names: simdisk.Lose}))
	require.Equal(t, before, digest(t, lost))

	store = reopen(t, disk) // the process starts again, and the machine has gone on
	shown := digest(t, store)
	require.NotEqual(t, before, shown)
	lost = reopen(t, disk.Clone(simdisk.Loss{Writes: simdisk.Lose, Names: simdisk.Lose}))
	require.Equal(t, shown, digest(t, lost))
}

// The power goes while Open repeats the last write after a failed sync. The mark
// behind that write must not become durable first.
func TestCrashWhileOpeningAfterAFailedSync(t *testing.T) {
	r := testkit.Rand(t)
	for range 60 {
		for n := range 8 {
			disk, store := newLog(t)
			require.NoError(t, put(store, 1, 100))
			disk.FailSync(syscall.EIO)
			require.Error(t, put(store, 1, 5000))
			disk.FailSync(nil)
			require.NoError(t, store.Close())
			disk.StopAfter(n)
			shown := uint64(1)
			if store, err := openIn(disk, smallSegments); err == nil {
				state, err := store.Load(1)
				require.NoError(t, err)
				shown = state.LastIndex
				_ = store.Close()
			}
			disk = disk.Crash(simdisk.Loss{Writes: simdisk.Scatter, Names: simdisk.Scatter, Rand: r})
			store, err := openIn(disk, smallSegments)
			require.NoError(t, err, "after %d changes", n)
			state, err := store.Load(1)
			require.NoError(t, err)
			require.GreaterOrEqual(t, state.LastIndex, shown)
			require.NoError(t, store.Close())
		}
	}
}

// A command may have the bytes of a batch. They are no batch of the log, also if
// they are found behind the log's end.
func TestForgedBatch(t *testing.T) {
	other, store := newLog(t)
	for range 20 {
		require.NoError(t, put(store, 1, 100))
	}
	source, err := other.Open("0000000000000001.wal")
	require.NoError(t, err)
	batches := make([]byte, 3000)
	_, err = source.ReadAt(batches, 4096)
	require.NoError(t, err)

	disk, store := newLog(t)
	require.NoError(t, put(store, 1, 100))
	want := digest(t, store)
	disk.Record()
	state, err := store.Load(1)
	require.NoError(t, err)
	e := core.Entry{Index: state.LastIndex + 1, Term: 1, Data: bytes.Repeat(batches, 3)}
	require.NoError(t, store.Save([]node.Update{{Group: 1, Entries: []core.Entry{e}}}))
	journal := disk.Journal() // the janitor's too
	written := journal[slices.IndexFunc(journal, func(op simdisk.Op) bool { return bytes.Contains(op.Data, batches) })]
	require.NoError(t, store.Close())

	torn, store := newLog(t)
	require.NoError(t, put(store, 1, 100))
	torn = torn.Crash(simdisk.Loss{Writes: simdisk.Lose, Names: simdisk.Lose})
	target, err := torn.Open(written.Name)
	require.NoError(t, err)
	const later = 8192 // the page behind that of the header
	_, err = target.WriteAt(written.Data[later-written.Offset:], later)
	require.NoError(t, err)
	require.Equal(t, want, digest(t, reopen(t, torn)))
}

// A store answers from memory while its disk hangs.
func TestHangingDisk(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		disk, store := newLog(t)
		require.NoError(t, put(store, 1, 100))
		time.Sleep(time.Second) // the janitor has finished
		disk.Hang()
		saved := make(chan error)
		go func() { saved <- put(store, 1, 100) }()
		time.Sleep(time.Second)
		state, err := store.Load(1)
		require.NoError(t, err)
		require.Equal(t, uint64(1), state.LastIndex)
		_, err = store.Groups()
		require.NoError(t, err)
		require.Positive(t, store.Usage().Log)
		select {
		case err := <-saved:
			t.Fatalf("Save returned %v while the disk hangs", err)
		default:
		}
		disk.Resume()
		require.NoError(t, <-saved)
		require.NoError(t, store.Close())
	})
}

func TestReadErrors(t *testing.T) {
	disk, store := newLog(t)
	for range 50 {
		require.NoError(t, put(store, 1, 1000))
	}
	disk.FailRead(func(string, int64, int) error { return syscall.EIO })
	_, err := store.Entries(1, 3, 5, 1000)
	require.ErrorIs(t, err, syscall.EIO)
	require.NotErrorIs(t, err, node.ErrDamaged)
	disk.FailRead(nil)
	_, err = store.Entries(1, 3, 5, 1000)
	require.NoError(t, err)
	require.NoError(t, store.Close())
	disk.FailRead(func(name string, _ int64, n int) error {
		if n > 4096 {
			return syscall.EIO
		}
		return nil
	})
	_, err = openIn(disk, smallSegments)
	require.ErrorIs(t, err, syscall.EIO, "what cannot be read is not taken for the end of the log")
	disk.FailRead(nil)
	store = reopen(t, disk)
	state, err := store.Load(1)
	require.NoError(t, err)
	require.Equal(t, uint64(50), state.LastIndex)
}

// fullLog makes a log of several segments with two groups, and returns the disk after
// the close.
func fullLog(t *testing.T) *simdisk.Disk {
	disk, store := newLog(t)
	for i := range 60 {
		require.NoError(t, put(store, node.GroupID(1+i%2), 1000))
	}
	compact(t, store, 2)
	require.NoError(t, put(store, 1, 1000))
	require.NoError(t, store.Close())
	return disk
}

func segmentsOf(t *testing.T, disk *simdisk.Disk) []string {
	names, err := disk.List()
	require.NoError(t, err)
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".wal") })
}

func flip(b []byte) { b[0] ^= 0x40 }

// One bit that changed anywhere in the log's records is found, and the place is
// named. A log that was closed has no interrupted write at its end.
func TestDamageIsRefused(t *testing.T) {
	disk := fullLog(t)
	kept := simdisk.Loss{Writes: simdisk.Keep, Names: simdisk.Keep}
	segments := segmentsOf(t, disk)
	require.Greater(t, len(segments), 3)
	store := reopen(t, disk.Clone(kept))
	want := digest(t, store)
	r := testkit.Rand(t)
	refused := 0
	for range 400 {
		damaged := disk.Clone(kept)
		name := segments[r.IntN(len(segments))]
		offset := r.Int64N(smallSegments.SegmentBytes)
		damaged.Damage(name, offset, flip)
		store, err := openIn(damaged, smallSegments)
		if err != nil {
			require.ErrorIs(t, err, node.ErrDamaged)
			require.Contains(t, err.Error(), name)
			require.Contains(t, err.Error(), "offset")
			refused++
			continue
		}
		require.Equal(t, want, digest(t, store), "%s, offset %d", name, offset) // padding, or not used
		require.NoError(t, store.Close())
	}
	require.Greater(t, refused, 100)
}

// The last batch may have been acknowledged, although no later one proves it. One
// changed bit in it is no interrupted write.
func TestDamageOfTheLastBatchIsRefused(t *testing.T) {
	testkit.Run(t, damageTheLastBatch)
}

func damageTheLastBatch(t *testing.T) {
	disk, store := newLog(t)
	require.NoError(t, put(store, 1, 100))
	testkit.Settle() // until the janitor has made the next segment, so that all later writes are batches
	for range 20 {
		disk.Record()
		require.NoError(t, put(store, 1, 300))
		journal := disk.Journal()
		last := journal[slices.IndexFunc(journal, func(op simdisk.Op) bool { return op.Kind == simdisk.WriteFile })]
		if last.Offset%4096+400 > 4096 {
			continue // goes on in a page with content that is not known
		}
		for at := int64(0); at < 340; at += 7 {
			damaged := disk.Clone(simdisk.Loss{Writes: simdisk.Keep, Names: simdisk.Keep})
			damaged.Damage(last.Name, last.Offset+at, flip)
			_, err := openIn(damaged, smallSegments)
			require.ErrorIs(t, err, node.ErrDamaged, "byte %d of the batch at %d", at, last.Offset)
		}
	}
}

func TestMissingAndForeignFilesAreRefused(t *testing.T) {
	full := fullLog(t)
	kept := simdisk.Loss{Writes: simdisk.Keep, Names: simdisk.Keep}
	other, store := newLog(t)
	for range 60 {
		require.NoError(t, put(store, 1, 1000))
	}
	require.NoError(t, store.Close())
	segments := segmentsOf(t, full)
	names, err := full.List()
	require.NoError(t, err)
	snapshot := names[slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, ".snap") })]
	for name, spoil := range map[string]func(d *simdisk.Disk) error{
		"no first segment":  func(d *simdisk.Disk) error { return d.Remove(segments[0]) },
		"no second segment": func(d *simdisk.Disk) error { return d.Remove(segments[1]) },
		"no segment": func(d *simdisk.Disk) error {
			for _, name := range segments {
				if err := d.Remove(name); err != nil {
					return err
				}
			}
			return nil
		},
		"segments in each other's place":       func(d *simdisk.Disk) error { return d.Rename(segments[1], segments[2]) },
		"a segment of another log of the host": func(d *simdisk.Disk) error { return copyFile(other, d, segments[1]) },
		"no snapshot":                          func(d *simdisk.Disk) error { return d.Remove(snapshot) },
		"a snapshot's footer": func(d *simdisk.Disk) error {
			f, err := d.Open(snapshot)
			if err != nil {
				return err
			}
			size, err := f.Size()
			d.Damage(snapshot, size-20, flip)
			return errors.Join(err, f.Close())
		},
		"the lock file": func(d *simdisk.Disk) error { d.Damage("LOCK", 12, flip); return nil },
	} {
		disk := full.Clone(kept)
		require.NoError(t, spoil(disk), name)
		_, err := openIn(disk, smallSegments)
		require.ErrorIs(t, err, node.ErrDamaged, name)
	}

	stranger := smallSegments
	stranger.Identity.Host = 9
	foreign := simdisk.New()
	require.NoError(t, wal.CreateIn(foreign, stranger))
	disk := full.Clone(kept)
	require.NoError(t, copyFile(foreign, disk, segments[0]))
	_, err = openIn(disk, smallSegments)
	require.ErrorIs(t, err, node.ErrStranger, "a segment of another host")
	_, err = openIn(full.Clone(kept), stranger)
	require.ErrorIs(t, err, node.ErrStranger)
}

// A segment without its end is refused, wherever the file ends. A batch that is missing
// there would pass for one that was never written.
func TestCutSegmentsAreRefused(t *testing.T) {
	kept := simdisk.Loss{Writes: simdisk.Keep, Names: simdisk.Keep}
	large, store := newLog(t)
	require.NoError(t, put(store, 1, 100))
	require.NoError(t, put(store, 1, 40_000)) // in a segment of its own, which has grown
	require.NoError(t, put(store, 1, 100))
	require.NoError(t, store.Close())
	for name, disk := range map[string]*simdisk.Disk{"full": fullLog(t), "large": large} {
		for _, segment := range segmentsOf(t, disk) {
			file, err := disk.Open(segment)
			require.NoError(t, err)
			whole, err := file.Size()
			require.NoError(t, errors.Join(err, file.Close()))
			sizes := []int64{0, 1, whole - 1}
			for size := int64(512); size < whole; size += 512 {
				sizes = append(sizes, size)
			}
			for _, size := range sizes {
				cut := disk.Clone(kept)
				cut.Truncate(segment, size)
				_, err := openIn(cut, smallSegments)
				require.ErrorIs(t, err, node.ErrDamaged, "%s: %s of %d bytes", name, segment, size)
				require.Contains(t, err.Error(), segment)
			}
		}
	}
}

// A segment of an earlier version does not tell its size. The log opens, and a segment that
// was cut within a page is refused.
func TestSegmentsWithoutASize(t *testing.T) {
	disk := fullLog(t)
	kept := simdisk.Loss{Writes: simdisk.Keep, Names: simdisk.Keep}
	store := reopen(t, disk.Clone(kept))
	want := digest(t, store)
	require.NoError(t, store.Close())
	last := int64(-1) // place of the last byte in the newest segment
	segments := segmentsOf(t, disk)
	for _, name := range segments {
		disk.Damage(name, 0, func(b []byte) {
			// The header is an array whose last element is the size, of three bytes.
			length := binary.LittleEndian.Uint32(b) - 3
			body := b[8 : 8+length]
			body[0]--
			clear(b[8+length:][:3])
			binary.LittleEndian.PutUint32(b, length)
			binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
			if end := int64(len(bytes.TrimRight(b, "\x00"))); end > 4096 {
				last = end
			}
		})
	}
	store, err := openIn(disk.Clone(kept), smallSegments)
	require.NoError(t, err)
	require.Equal(t, want, digest(t, store))
	require.NoError(t, store.Close())

	// The last segment with a batch is the one before the one made ahead.
	disk.Truncate(segments[len(segments)-2], (last+7)&^7)
	_, err = openIn(disk, smallSegments)
	require.ErrorIs(t, err, node.ErrDamaged)
	require.ErrorContains(t, err, segments[len(segments)-2])
}

// copyFile puts a file of one disk in the place of one of another disk.
func copyFile(from, to *simdisk.Disk, name string) error {
	source, err := from.Open(name)
	if err != nil {
		return err
	}
	size, err := source.Size()
	if err != nil {
		return err
	}
	data := make([]byte, size)
	if _, err := source.ReadAt(data, 0); err != nil {
		return err
	}
	to.Damage(name, 0, func(b []byte) { copy(b, data) })
	return errors.Join(source.Close(), nil)
}

// Damage that is done while a log is open is found by the reads.
func TestDamageIsFoundByReads(t *testing.T) {
	disk, store := newLog(t)
	for range 60 {
		require.NoError(t, put(store, 1, 1000))
	}
	disk.Damage(segmentsOf(t, disk)[0], 8000, flip)
	_, err := store.Entries(1, 1, 60, 1<<20)
	require.ErrorIs(t, err, node.ErrDamaged)
	require.Contains(t, err.Error(), "0000000000000001.wal, offset")
	_, err = store.Entries(1, 40, 60, 1<<20)
	require.NoError(t, err)

	header, err := writeSnapshot(store, 1, node.SnapshotHeader{Index: 5, Term: 1}, make([]byte, 200_000))
	require.NoError(t, err)
	require.NoError(t, store.Save([]node.Update{{Group: 1, Snapshot: &header}}))
	disk.Damage("0000000000000001.snap", 150_000, flip)
	r, err := store.OpenSnapshot(1)
	require.NoError(t, err)
	part := make([]byte, 1000)
	_, err = r.ReadAt(part, 10)
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, io.NewSectionReader(r, 0, 200_000))
	require.ErrorIs(t, err, node.ErrDamaged)
	require.LessOrEqual(t, n, int64(150_000))
	require.NoError(t, r.Close())
}

// A group that is idle does not keep the log of a busy one.
func TestIdleGroupsDoNotPinSegments(t *testing.T) {
	disk, store := newLog(t)
	for id := node.GroupID(2); id < 40; id++ {
		for range 3 {
			require.NoError(t, put(store, id, 50))
		}
	}
	compact(t, store, 3)
	compactTo(t, store, 4, 2) // in the middle of a stretch of entries
	compactTo(t, store, 5, 2)
	require.NoError(t, store.Save([]node.Update{{Group: 5, Entries: []core.Entry{{Index: 3, Term: 1, Data: []byte("replaced")}}}}))
	idle := map[node.GroupID]node.State{}
	for id := node.GroupID(2); id < 40; id++ {
		state, err := store.Load(id)
		require.NoError(t, err)
		idle[id] = state
	}
	largest := int64(0)
	for range 60 {
		for range 20 {
			require.NoError(t, put(store, 1, 1000))
		}
		compact(t, store, 1)
		largest = max(largest, store.Usage().Log)
	}
	testkit.WaitFor(t, 10*time.Second, "a log of a few segments", func() bool {
		require.NoError(t, put(store, 1, 10))
		return store.Usage().Log <= 8*smallSegments.SegmentBytes
	})
	t.Logf("1.2 MB written; the log occupied up to %d KiB", largest>>10)
	for range 2 {
		for id, want := range idle {
			state, err := store.Load(id)
			require.NoError(t, err)
			require.Equal(t, want, state)
			if state.LastIndex > state.CompactedIndex {
				entries, err := store.Entries(id, state.CompactedIndex+1, 3, 1000)
				require.NoError(t, err)
				require.Len(t, entries, int(3-state.CompactedIndex))
			}
		}
		require.NoError(t, store.Close())
		store = reopen(t, disk)
	}
	testkit.WaitFor(t, 10*time.Second, "the first segments to go", func() bool {
		return segmentsOf(t, disk)[0] > "0000000000000010.wal"
	})
}

// Damage in the oldest segment keeps the segment, and is reported once for each new
// segment, not for each Save. The log goes on.
func TestDamagedSegmentIsNotMoved(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		disk, store := newLog(t)
		require.NoError(t, put(store, 2, 1000))
		require.NoError(t, store.Close())
		var warnings bytes.Buffer
		opts := smallSegments
		opts.Logger = slog.New(slog.NewTextHandler(&warnings, nil))
		store, err := openIn(disk, opts)
		require.NoError(t, err)
		disk.Damage("0000000000000001.wal", 4096+200, flip)
		for range 30 {
			for range 20 {
				require.NoError(t, put(store, 1, 1000))
			}
			compact(t, store, 1)
			time.Sleep(time.Millisecond) // for the janitor
		}
		require.NoError(t, store.Close()) // the janitor has ended
		require.Equal(t, "0000000000000001.wal", segmentsOf(t, disk)[0])
		require.Contains(t, warnings.String(), "damaged")
		require.LessOrEqual(t, strings.Count(warnings.String(), "damaged"), len(segmentsOf(t, disk)))
	})
}

// A batch may be larger than a segment.
func TestLargeBatch(t *testing.T) {
	disk, store := newLog(t)
	for _, n := range []int{10, 100_000, 5, 300_000, 16 << 10, 12 << 10} {
		require.NoError(t, put(store, 1, n))
	}
	want := digest(t, store)
	require.NoError(t, store.Close())
	store = reopen(t, disk)
	require.Equal(t, want, digest(t, store))
	compact(t, store, 1)
	for range 40 {
		require.NoError(t, put(store, 1, 1000))
	}
	compact(t, store, 1)
	testkit.WaitFor(t, 10*time.Second, "the large segments to go", func() bool {
		require.NoError(t, put(store, 1, 10))
		return store.Usage().Log <= 8*smallSegments.SegmentBytes
	})
}

// Many operations with segments that are used again and again, compared with a model.
// After each of them the log comes to rest.
func TestLongRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &workload{t: t, rand: testkit.Rand(t), disk: simdisk.New(), model: memstore.New(smallSegments.Identity)}
		require.NoError(t, wal.CreateIn(w.disk, smallSegments))
		t.Cleanup(func() { _ = w.store.Close() })
		w.open()
		for range 20 * testkit.SoakFactor() {
			w.run(150)
			synctest.Wait() // does not return while records are moved to and fro
			require.Equal(t, digest(t, w.model), digest(t, w.store))
			require.NoError(t, w.store.Close())
			w.disk = w.disk.Crash(simdisk.Loss{Writes: simdisk.Lose, Names: simdisk.Lose, Rand: w.rand})
			w.open()
		}
		require.NoError(t, w.store.Close())
	})
}

func TestOptions(t *testing.T) {
	for name, opts := range map[string]wal.Options{
		"no identity":    {},
		"no host":        {Identity: node.Identity{Cluster: "c"}},
		"long name":      {Identity: node.Identity{Cluster: strings.Repeat("c", 256), Host: 1}},
		"small segments": {Identity: smallSegments.Identity, SegmentBytes: 1000},
		"large segments": {Identity: smallSegments.Identity, SegmentBytes: 2 << 30},
		"negative":       {Identity: smallSegments.Identity, SegmentBytes: -1},
	} {
		disk := simdisk.New()
		require.Error(t, wal.CreateIn(disk, opts), name)
		names, err := disk.List()
		require.NoError(t, err)
		require.Empty(t, names, name)
	}
}

func TestCreateAndOpenTwice(t *testing.T) {
	disk := simdisk.New()
	_, err := wal.OpenIn(disk, smallSegments)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, wal.CreateIn(disk, smallSegments))
	require.ErrorIs(t, wal.CreateIn(disk, smallSegments), fs.ErrExist)
	store := reopen(t, disk)
	_, err = wal.OpenIn(disk, smallSegments)
	require.ErrorIs(t, err, node.ErrInUse)
	require.NoError(t, put(store, 1, 10))
	require.NoError(t, store.Close())
	require.NoError(t, disk.Remove("LOCK"))
	require.ErrorIs(t, wal.CreateIn(disk, smallSegments), fs.ErrExist, "a log without its LOCK is not overwritten")
}

// A log opens with another segment size than before.
func TestOtherSegmentSize(t *testing.T) {
	disk, store := newLog(t)
	opts := smallSegments
	for i := range 6 {
		for range 30 {
			require.NoError(t, put(store, 1, 1000))
		}
		if i%2 == 1 {
			compact(t, store, 1)
		}
		want := digest(t, store)
		require.NoError(t, store.Close())
		opts.SegmentBytes = smallSegments.SegmentBytes * int64(1+rand.IntN(3))
		var err error
		store, err = openIn(disk, opts)
		require.NoError(t, err)
		require.Equal(t, want, digest(t, store))
	}
	require.NoError(t, store.Close())
}
