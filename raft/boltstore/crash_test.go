//go:build !wasip1

package boltstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/boltstore"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// sector is the part of a file that a disk writes whole or not at all.
const sector = 512

// crashes makes the files that a loss of power may leave. The file is taken before
// each sync: any sectors that were written since the last sync may be lost.
type crashes struct {
	*testing.T
	rand   *rand.Rand
	dir    string
	synced []byte // the file after the last sync
	images []image
}

// image is a file after a crash.
type image struct {
	file  []byte
	whole bool // nothing is lost
	// misdirected: a page went to another place.
	misdirected bool
}

func (c *crashes) sync(path string) error {
	now, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	c.synced = append(c.synced, make([]byte, len(now)-len(c.synced))...)
	var written []int // sectors
	for at := 0; at < len(now); at += sector {
		if !bytes.Equal(now[at:at+sector], c.synced[at:at+sector]) {
			written = append(written, at)
		}
	}
	with := func(keep func(at int) bool) []byte {
		file := bytes.Clone(c.synced)
		for _, at := range written {
			if keep(at) {
				copy(file[at:], now[at:at+sector])
			}
		}
		return file
	}
	page := os.Getpagesize()
	isMeta := func(at int) bool { return at < 2*page }
	lost := written[c.rand.IntN(len(written))]
	c.images = append(c.images,
		image{file: now, whole: true},
		image{file: with(func(at int) bool { return !isMeta(at) })}, // a prefix of the writes
		image{file: with(func(at int) bool { return isMeta(at) })},  // the meta page overtakes all others
		image{file: with(func(at int) bool { return at != lost })},  // one page is torn
		image{file: with(func(int) bool { return c.rand.IntN(2) == 0 })},
	)
	for p := 2; p < len(now)/page; p++ { // one page is lost
		if !bytes.Equal(now[p*page:][:page], c.synced[p*page:][:page]) && (len(written) < 8*page/sector || c.rand.IntN(8) == 0) {
			c.images = append(c.images, image{file: with(func(at int) bool { return at/page != p })})
		}
	}
	stray := bytes.Clone(now)
	copy(stray[lost/page*page:][:page], c.synced[lost/page*page:])
	copy(stray[c.rand.IntN(len(now)/page)*page:], now[lost/page*page:][:page])
	c.images = append(c.images, image{file: stray, misdirected: true})
	c.synced = now
	return nil
}

// check opens the images taken since the last check. Each has the content before or
// after; an image to which nothing is missing has the content after.
func (c *crashes) check(name, before, after string) (wentBack int) {
	for i, im := range c.images {
		what := fmt.Sprintf("%s, image %d of %d", name, i+1, len(c.images))
		path := filepath.Join(c.dir, "image.bolt")
		require.NoError(c, os.WriteFile(path, im.file, 0o600))
		store, err := boltstore.Open(path, ownOptions())
		if im.misdirected && errors.Is(err, node.ErrDamaged) {
			continue
		}
		require.NoError(c, err, what)
		found := digest(c, store)
		switch found {
		case after:
		case before:
			require.False(c, im.whole, "%s: nothing is lost, but the update", what)
			wentBack++
		default:
			c.Fatalf("%s holds\n%s\nbefore:\n%s\nafter:\n%s", what, found, before, after)
		}
		if i%5 == 0 {
			c.goOn(store, path, what)
		} else {
			require.NoError(c, store.Close())
		}
	}
	c.images = nil
	return wentBack
}

// goOn checks that a store works after a crash.
func (c *crashes) goOn(store *boltstore.Store, path, what string) {
	save(c, store, node.Update{Group: 77, Entries: run(1, 40, 1)})
	want := digest(c, store)
	requireClean(c, store, path)
	again, err := boltstore.Open(path, ownOptions())
	require.NoError(c, err, what)
	require.Equal(c, want, digest(c, again), what)
	require.NoError(c, again.Close())
}

// TestCrash loses power during each sync of a run.
func TestCrash(t *testing.T) {
	defer boltstore.SmallTransactions()()
	path := create(t)
	store := open(t, path)
	c := &crashes{T: t, rand: testkit.Rand(t), dir: t.TempDir(), synced: readFile(t, path)}
	defer boltstore.OnSync(func(of string) error {
		if of != path {
			return nil // an image's store
		}
		return c.sync(of)
	})()
	large := bytes.Repeat([]byte("snapshot"), 9000)
	var header *node.SnapshotHeader
	hard := func(term uint64) *core.HardState { return &core.HardState{CurrentTerm: term, VotedFor: 2} }
	wentBack := 0
	var many []node.Update // so that the heads have pages of their own
	for id := node.GroupID(100); id < 160; id++ {
		many = append(many, node.Update{Group: id, HardState: hard(1)})
	}
	vote := func() { // alone
		many[30].HardState = hard(many[30].HardState.CurrentTerm + 1)
		save(t, store, many[30])
	}
	for i, op := range []func(){
		func() {
			save(t, store, node.Update{Group: 1, HardState: hard(1), Entries: run(1, 300, 1)},
				node.Update{Group: 2, Entries: run(1, 100, 1)}, node.Update{Group: 3, HardState: hard(4)})
		},
		func() { header = write(t, store, 1, 250, 1, large) },
		func() { save(t, store, node.Update{Group: 1, Snapshot: header, CompactTo: 240}) },
		func() { save(t, store, many...) },
		vote, vote, vote, vote, vote, vote, vote, vote,
		func() {
			save(t, store, node.Update{Group: 1, HardState: hard(2), Entries: run(260, 270, 2)},
				node.Update{Group: 2, Entries: []core.Entry{{Index: 90, Term: 2, Data: large}}})
		},
		func() { header = write(t, store, 1, 20000, 3, large[5:]) },
		func() { save(t, store, node.Update{Group: 1, Snapshot: header, Entries: run(20001, 20002, 3)}) },
		func() { require.NoError(t, store.Remove(2)) },
		func() { save(t, store, node.Update{Group: 2, Entries: run(1, 2, 3)}) },
	} {
		before := digest(t, store)
		after := ""
		func() {
			defer store.PauseCleaner()()
			op()
			after = digest(t, store)
			wentBack += c.check(fmt.Sprintf("operation %d", i), before, after)
		}()
		store.Settle()
		c.check(fmt.Sprintf("the cleaning after operation %d", i), after, after)
	}
	require.Greater(t, wentBack, 20)
}

// An interrupted Close leaves the content, and the file of a store that was not
// closed opens.
func TestCrashWithoutClose(t *testing.T) {
	path := create(t)
	store := open(t, path)
	save(t, store, node.Update{Group: 1, Entries: run(1, 10, 1)})
	copied := copyOf(t, store, path)
	again := open(t, copied)
	require.Equal(t, digest(t, store), digest(t, again))
}

// A transaction that was acknowledged and is damaged later is not taken for an
// interrupted one, even if the store was not closed.
func TestDamagedLastTransaction(t *testing.T) {
	path := create(t)
	store := open(t, path)
	save(t, store, node.Update{Group: 1, HardState: &core.HardState{CurrentTerm: 1}})
	before := readFile(t, path)
	save(t, store, node.Update{Group: 1, HardState: &core.HardState{CurrentTerm: 2}, Entries: run(1, 3, 2)})
	file := readFile(t, path)
	page := os.Getpagesize()
	damaged := 0
	for at := 2 * page; at < len(file); at += page {
		if bytes.Equal(file[at:at+page], before[at:min(at+page, len(before))]) {
			continue
		}
		damaged++
		broken := bytes.Clone(file)
		copy(broken[at:at+page], before[at:])
		other := filepath.Join(t.TempDir(), "copy")
		require.NoError(t, os.WriteFile(other, broken, 0o600))
		_, err := boltstore.Open(other, ownOptions())
		require.ErrorIs(t, err, node.ErrDamaged)
		require.Equal(t, broken, readFile(t, other), "the file was changed")
	}
	require.Positive(t, damaged)
}

// A page that the disk does not return says nothing of the transaction, which may be
// acknowledged. Open leaves the file alone, and a later Open finds everything.
func TestUnreadablePageIsNoInterruption(t *testing.T) {
	path := create(t)
	store := open(t, path)
	save(t, store, node.Update{Group: 1, HardState: &core.HardState{CurrentTerm: 1}})
	save(t, store, node.Update{Group: 1, HardState: &core.HardState{CurrentTerm: 2, VotedFor: 3}})
	want := digest(t, store)
	file := readFile(t, path)
	for slot := range 2 { // the loss of power came before the marks were durable
		clear(file[slot*os.Getpagesize()+512:][:16])
	}
	other := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.WriteFile(other, file, 0o600))
	failed := false
	undo := boltstore.OnRead(func(path string) error {
		if failed || path != other {
			return nil
		}
		failed = true
		return &fs.PathError{Op: "read", Path: path, Err: syscall.EIO}
	})
	_, err := boltstore.Open(other, ownOptions())
	undo()
	require.ErrorIs(t, err, syscall.EIO)
	require.Equal(t, file, readFile(t, other), "the file was changed")
	require.Equal(t, want, digest(t, open(t, other)))
}

// Identify reads the file of a host that lost power, as Open does.
func TestIdentifyAfterACrash(t *testing.T) {
	path := create(t)
	store := open(t, path)
	save(t, store, node.Update{Group: 1, HardState: &core.HardState{CurrentTerm: 1}})
	before := readFile(t, path)
	save(t, store, node.Update{Group: 1, HardState: &core.HardState{CurrentTerm: 2}})
	file := readFile(t, path)
	page := os.Getpagesize()
	for slot := range 2 {
		clear(file[slot*page+512:][:16])
	}
	for at := 2 * page; at < len(before); at += page {
		crashed := bytes.Clone(file)
		copy(crashed[at:], before[at:at+page])
		other := filepath.Join(t.TempDir(), "copy")
		require.NoError(t, os.WriteFile(other, crashed, 0o600))
		id, _, err := boltstore.Identify(other)
		require.NoError(t, err, "page %d is lost", at/page)
		require.Equal(t, ownOptions().Identity, id)
		require.Equal(t, crashed, readFile(t, other), "the file was changed")
	}
}

// copyOf copies the file of a store between two transactions of the cleaner, whose
// pages would otherwise get mixed. The caller makes no transaction meanwhile.
func copyOf(t *testing.T, store *boltstore.Store, path string) string {
	t.Helper()
	defer store.PauseCleaner()()
	other := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.WriteFile(other, readFile(t, path), 0o600))
	return other
}
