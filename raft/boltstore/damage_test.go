//go:build !wasip1

package boltstore_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"raftlab/internal/testkit"
	"raftlab/raft"
	"raftlab/raft/boltstore"
	"raftlab/raft/core"
)

// specimen is a healthy file with a history: branch pages, inlined and other
// buckets, free pages, a snapshot in pieces.
func specimen(t *testing.T) (file []byte, holds contents) {
	path := create(t)
	store := open(t, path)
	steps := []error{
		store.Save(raft.Update{HardState: &core.HardState{CurrentTerm: 1, VotedFor: 2}, Entries: run(1, 400, 1)}),
		store.SaveSnapshot(core.Snapshot{LastIncludedIndex: 40, LastIncludedTerm: 1, Data: []byte("an older one")}),
		store.Save(raft.Update{HardState: &core.HardState{CurrentTerm: 2}, Entries: run(390, 420, 2)}),
		store.SaveSnapshot(core.Snapshot{LastIncludedIndex: 50, LastIncludedTerm: 1, Data: bytes.Repeat([]byte("state"), 3000)}),
		store.Save(raft.Update{HardState: &core.HardState{CurrentTerm: 3, VotedFor: 3}, Entries: run(421, 421, 3)}),
	}
	holds = mustRead(t, store)
	if err := errors.Join(append(steps, store.Close())...); err != nil {
		t.Fatal(err)
	}
	return readFile(t, path), holds
}

// patient opens damaged copies of a file.
type patient struct {
	*testing.T
	path            string
	file            []byte
	holds           contents
	refused, opened int
}

func newPatient(t *testing.T) *patient {
	file, holds := specimen(t)
	return &patient{T: t, path: filepath.Join(t.TempDir(), "replica-2.bolt"), file: file, holds: holds}
}

// open opens a damaged copy. Either that is refused, with the file left as it
// was, or nothing that counts was damaged.
func (p *patient) open(what string, offset int, damaged []byte) {
	p.Helper()
	if err := os.WriteFile(p.path, damaged, 0o600); err != nil {
		p.Fatal(err)
	}
	store, err := boltstore.Open(p.path, own, boltstore.Options{})
	if err != nil {
		p.refused++
		if !errors.Is(err, boltstore.ErrCorrupt) || !strings.Contains(err.Error(), p.path) {
			p.Fatalf("%s at %d: error %q; want ErrCorrupt with the file's name", what, offset, err)
		}
		if !bytes.Equal(readFile(p, p.path), damaged) {
			p.Fatalf("%s at %d: the file was changed", what, offset)
		}
		return
	}
	p.opened++
	defer store.Close()
	if found := mustRead(p, store); !found.equal(p.holds) {
		p.Fatalf("%s at %d went unnoticed: %v\nwant %v", what, offset, found, p.holds)
	}
	if p.opened%8 != 0 {
		return
	}
	// It can also be written to, and read again.
	next := p.holds.Entries[len(p.holds.Entries)-1].Index + 1
	if err := store.Save(raft.Update{Entries: run(next, next+20, 9)}); err != nil {
		p.Fatalf("%s at %d: Save: %v", what, offset, err)
	}
	after := mustRead(p, store)
	if err := store.Close(); err != nil {
		p.Fatal(err)
	}
	store, err = boltstore.Open(p.path, own, boltstore.Options{})
	if err != nil {
		p.Fatalf("%s at %d, after a Save: %v", what, offset, err)
	}
	defer store.Close()
	if again := mustRead(p, store); !again.equal(after) || len(again.Entries) != len(p.holds.Entries)+21 {
		p.Fatalf("%s at %d, after a Save: %v\nwant %v", what, offset, again, after)
	}
}

func TestTruncatedFile(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	for length := range len(p.file) {
		if length%997 == 0 || length%4096 < 2 || length < 200 && length%7 == 0 {
			p.open("cut", length, p.file[:length])
		}
	}
	if p.refused < 20 {
		t.Errorf("%d were refused, %d opened", p.refused, p.opened)
	}
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
	if p.refused < 100 {
		t.Errorf("%d were refused, %d opened", p.refused, p.opened)
	}
}

// offsets chooses places in a page: many in its header and first elements, where
// it is described, and some anywhere.
func offsets(rng *rand.Rand, pageSize int) []int {
	chosen := rng.Perm(64)[:min(64, 20*testkit.SoakFactor())]
	for range 8 * testkit.SoakFactor() {
		chosen = append(chosen, rng.IntN(pageSize))
	}
	return chosen
}

// TestSwappedPages puts a page in the place of another: whole pages, of which
// each is as it was once written.
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
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, file := range [][]byte{nil, []byte("k=v\n"), bytes.Repeat([]byte("not a database "), 10000), readFile(t, foreign)} {
		path := filepath.Join(dir, "replica.bolt")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := boltstore.Open(path, own, boltstore.Options{}); !errors.Is(err, boltstore.ErrCorrupt) {
			t.Errorf("%d bytes that are none of ours: error %v; want ErrCorrupt", len(file), err)
		}
		if !bytes.Equal(readFile(t, path), file) {
			t.Errorf("%d bytes that are none of ours were changed", len(file))
		}
	}
}

func TestMissingAndExisting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replica.bolt")
	if _, err := boltstore.Open(path, own, boltstore.Options{}); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, boltstore.ErrCorrupt) {
		t.Errorf("opening a missing file: error %v; want fs.ErrNotExist", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Errorf("opening made a file")
	}
	if err := boltstore.Create(path, own); err != nil {
		t.Fatal(err)
	}
	before := readFile(t, path)
	if err := boltstore.Create(path, own); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creating it twice: error %v; want fs.ErrExist", err)
	}
	if !bytes.Equal(readFile(t, path), before) {
		t.Errorf("the second Create changed the file")
	}
	if left, _ := filepath.Glob(path + "?*"); left != nil {
		t.Errorf("left over: %v", left)
	}
}

func TestLocked(t *testing.T) {
	path := create(t)
	store := open(t, path)
	start := time.Now()
	_, err := boltstore.Open(path, own, boltstore.Options{Timeout: 50 * time.Millisecond})
	if !errors.Is(err, boltstore.ErrLocked) || !strings.Contains(err.Error(), path) {
		t.Fatalf("opening it twice: error %v; want ErrLocked with the file's name", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("that took %v", took)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

// TestFileCutWhileOpen takes the file's end away under a running store: reading
// what is no longer there is an error, not a crash of the process.
func TestFileCutWhileOpen(t *testing.T) {
	path := create(t)
	store := open(t, path)
	if err := store.Save(raft.Update{Entries: run(1, 1000, 1)}); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, int64(2*os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Load(); !errors.Is(err, boltstore.ErrCorrupt) {
		t.Errorf("Load returned %v; want ErrCorrupt", err)
	}
}

// A creation that a crash interrupted is begun anew, whatever it left.
func TestCreateAfterACrash(t *testing.T) {
	for name, left := range map[string][]byte{"empty": nil, "torn": bytes.Repeat([]byte{0xed}, 5000), "one page": make([]byte, 4096)} {
		path := filepath.Join(t.TempDir(), "store.bolt")
		if err := os.WriteFile(path+".new", left, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := boltstore.Create(path, own); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		store, err := boltstore.Open(path, own, boltstore.Options{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}
