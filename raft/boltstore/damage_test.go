//go:build !wasip1

package boltstore_test

import (
	"bytes"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"raftlab/internal/testkit"
	"raftlab/raft/boltstore"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// specimen is an intact file with a history, and the digest of the content. The file
// has branch pages, inlined and other buckets, free pages, several groups, and bodies
// in pieces.
func specimen(t *testing.T) (file []byte, holds string) {
	path := create(t)
	store := open(t, path)
	hard := func(term uint64) *core.HardState { return &core.HardState{CurrentTerm: term, VotedFor: 2} }
	save(t, store, node.Update{Group: 1, HardState: hard(1), Entries: run(1, 150, 1)}, node.Update{Group: 4, Entries: run(1, 20, 1)})
	snapshot(t, store, 1, 40, 1, []byte("an older one"))
	save(t, store, node.Update{Group: 1, HardState: hard(2), Entries: run(140, 160, 2)})
	snapshot(t, store, 1, 50, 1, bytes.Repeat([]byte("state"), 4000))
	snapshot(t, store, 4, 500, 1, []byte("received"))
	save(t, store, node.Update{Group: 1, HardState: hard(3), Entries: run(161, 161, 3)}, node.Update{Group: 9, HardState: hard(7)})
	store.Settle()
	holds = digest(t, store)
	require.NoError(t, store.Close())
	return readFile(t, path), holds
}

// patient opens damaged copies of a file.
type patient struct {
	*testing.T
	path            string
	file            []byte
	holds           string
	refused, opened int
}

func newPatient(t *testing.T) *patient {
	file, holds := specimen(t)
	return &patient{T: t, path: filepath.Join(t.TempDir(), "host-2.bolt"), file: file, holds: holds}
}

// open opens a damaged copy. Either Open refuses the copy and leaves it as it was,
// or the damage has reached no valid record.
func (p *patient) open(what string, offset int, damaged []byte) {
	p.Helper()
	require.NoError(p, os.WriteFile(p.path, damaged, 0o600))
	store, err := boltstore.Open(p.path, ownOptions())
	if err != nil {
		p.refused++
		require.ErrorIs(p, err, node.ErrDamaged, "%s, offset %d", what, offset)
		require.ErrorContains(p, err, p.path)
		require.True(p, bytes.Equal(readFile(p, p.path), damaged), "%s, offset %d: the file was changed", what, offset)
		return
	}
	p.opened++
	defer store.Close()
	require.Equal(p, p.holds, digest(p, store), "%s at %d went unnoticed", what, offset)
	if p.opened%8 != 0 {
		return
	}
	// The store can also write, and read again.
	save(p, store, node.Update{Group: 1, Entries: run(162, 182, 9)})
	after := digest(p, store)
	require.NoError(p, store.Close())
	store, err = boltstore.Open(p.path, ownOptions())
	require.NoError(p, err, "%s, offset %d, after a Save", what, offset)
	defer store.Close()
	require.Equal(p, after, digest(p, store), "%s at %d, after a Save", what, offset)
}

func TestTruncatedFile(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	for length := range len(p.file) {
		if length%997 == 0 || length%4096 < 2 || length < 200 && length%7 == 0 {
			p.open("cut", length, p.file[:length])
		}
	}
	require.GreaterOrEqual(t, p.refused, 20, "%d opened", p.opened)
}

func TestFlippedBits(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	rng := testkit.Rand(t)
	pageSize := os.Getpagesize()
	for start := 0; start < len(p.file); start += pageSize {
		for _, offset := range offsets(rng, pageSize) {
			damaged := bytes.Clone(p.file)
			damaged[start+offset] ^= 1 << rng.IntN(8)
			p.open("a flipped bit", start+offset, damaged)
		}
	}
	t.Logf("%d were refused, %d changed nothing that counts", p.refused, p.opened)
	require.GreaterOrEqual(t, p.refused, 60, "%d opened", p.opened)
}

// offsets chooses places in a page, many in the header and the first elements, and
// some anywhere.
func offsets(rng *rand.Rand, pageSize int) []int {
	chosen := rng.Perm(64)[:min(64, 10*testkit.SoakFactor())]
	for range 4 * testkit.SoakFactor() {
		chosen = append(chosen, rng.IntN(pageSize))
	}
	return chosen
}

// TestSwappedPages replaces a page by another whole page of the file.
func TestSwappedPages(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	rng := testkit.Rand(t)
	pageSize := os.Getpagesize()
	pages := len(p.file) / pageSize
	for to := range pages {
		for from := range pages {
			if to > 1 && rng.IntN(4) > 0 && !testkit.Soak() || bytes.Equal(p.file[from*pageSize:][:pageSize], p.file[to*pageSize:][:pageSize]) {
				continue
			}
			damaged := bytes.Clone(p.file)
			copy(damaged[to*pageSize:], p.file[from*pageSize:][:pageSize])
			p.open("a page copied", to*pageSize, damaged)
		}
	}
}

func TestNotOurFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	foreign := filepath.Join(dir, "foreign.bolt")
	db, err := bbolt.Open(foreign, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	for _, file := range [][]byte{nil, []byte("k=v\n"), bytes.Repeat([]byte("not a database "), 10000), readFile(t, foreign)} {
		path := filepath.Join(dir, "replica.bolt")
		require.NoError(t, os.WriteFile(path, file, 0o600))
		_, err := boltstore.Open(path, ownOptions())
		require.ErrorIs(t, err, node.ErrDamaged, "a foreign file of %d bytes", len(file))
		require.True(t, bytes.Equal(readFile(t, path), file), "a foreign file of %d bytes was changed", len(file))
	}
}

func TestMissingAndExisting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replica.bolt")
	_, err := boltstore.Open(path, ownOptions())
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NotErrorIs(t, err, node.ErrDamaged)
	require.NoFileExists(t, path, "Open made a file")
	require.NoError(t, boltstore.Create(path, ownOptions()))
	before := readFile(t, path)
	require.ErrorIs(t, boltstore.Create(path, ownOptions()), fs.ErrExist)
	require.True(t, bytes.Equal(readFile(t, path), before), "the second Create changed the file")
	left, err := filepath.Glob(path + "?*")
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestLocked(t *testing.T) {
	path := create(t)
	store := open(t, path)
	start := time.Now()
	_, err := boltstore.Open(path, boltstore.Options{Identity: own, Part: ownOptions().Part, Timeout: 50 * time.Millisecond})
	require.ErrorIs(t, err, node.ErrInUse)
	require.ErrorContains(t, err, path)
	require.Less(t, time.Since(start), 5*time.Second)
	require.NoError(t, store.Close())
	open(t, path)
}

// Create replaces the remains of an interrupted Create.
func TestCreateAfterACrash(t *testing.T) {
	for name, left := range map[string][]byte{"empty": nil, "torn": bytes.Repeat([]byte{0xed}, 5000), "one page": make([]byte, 4096)} {
		path := filepath.Join(t.TempDir(), "store.bolt")
		require.NoError(t, os.WriteFile(path+".new", left, 0o600))
		require.NoError(t, boltstore.Create(path, ownOptions()), name)
		store, err := boltstore.Open(path, ownOptions())
		require.NoError(t, err, name)
		require.NoError(t, store.Close())
	}
}
