package stack

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"raftlab/raft/boltstore"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/wal"
	"raftlab/sim/world"
)

// crashes loses the power of a disk again and again, in the middle of the work
// of run, which stop ends if errors do not. After each loss, check looks at what
// is left.
func crashes(t *testing.T, d *world.Disk, run, stop func() error, check func()) {
	t.Helper()
	require.NoError(t, d.SetFaults(world.DiskFaults{SyncTime: time.Millisecond, SyncJitter: 2 * time.Millisecond}))
	for range 15 {
		ended := make(chan error, 1)
		go func() { ended <- run() }()
		time.Sleep(time.Duration(rand.IntN(40_000)) * time.Microsecond)
		require.NoError(t, d.PowerLoss())
		stop()
		if err := <-ended; world.Active() {
			require.Error(t, err)
		}
		check()
	}
}

// TestBoltSurvivesPowerLoss commits transactions to bbolt.
func TestBoltSurvivesPowerLoss(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "db")
	open := func() *bbolt.DB {
		db, err := bbolt.Open(path, 0o600, nil)
		require.NoError(t, err)
		return db
	}
	db := open() // bbolt does not sync the directory, so the file is there before
	d, err := world.NewDisk(dir)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	db = open()
	next, acked := uint64(1), uint64(0)
	run := func() error {
		for ; ; next++ {
			err := db.Update(func(tx *bbolt.Tx) error {
				b, err := tx.CreateBucketIfNotExists([]byte("b"))
				if err != nil {
					return err
				}
				return b.Put(binary.BigEndian.AppendUint64(nil, next), make([]byte, rand.IntN(6000)))
			})
			if err != nil {
				return err
			}
			acked = next
		}
	}
	crashes(t, d, run, func() error { return db.Close() }, func() {
		db = open()
		require.NoError(t, db.View(func(tx *bbolt.Tx) error {
			for err := range tx.Check() {
				t.Error(err)
			}
			b := tx.Bucket([]byte("b"))
			for i := uint64(1); i <= acked; i++ {
				if b.Get(binary.BigEndian.AppendUint64(nil, i)) == nil {
					return fmt.Errorf("transaction %d of %d is lost", i, acked)
				}
			}
			return nil
		}))
	})
	require.Greater(t, acked, uint64(10))
}

// TestStoragesSurvivePowerLoss saves entries in the storages of raft/node.
func TestStoragesSurvivePowerLoss(t *testing.T) {
	id := node.Identity{Cluster: "c", Host: 1}
	for name, open := range map[string]func(dir string, create bool) (node.Storage, error){
		"wal": func(dir string, create bool) (node.Storage, error) {
			opt := wal.Options{Identity: id, SegmentBytes: 16 << 10}
			if create {
				if err := wal.Create(dir, opt); err != nil {
					return nil, err
				}
			}
			return wal.Open(dir, opt)
		},
		"boltstore": func(dir string, create bool) (node.Storage, error) {
			opt := boltstore.Options{Identity: id}
			path := filepath.Join(dir, "store")
			if create {
				if err := boltstore.Create(path, opt); err != nil {
					return nil, err
				}
			}
			return boltstore.Open(path, opt)
		},
	} {
		t.Run(name, func(t *testing.T) { storage(t, open) })
	}
}

func storage(t *testing.T, open func(dir string, create bool) (node.Storage, error)) {
	d, err := world.NewDisk(t.TempDir())
	require.NoError(t, err)
	dir := filepath.Join(d.Dir(), "store")
	require.NoError(t, os.Mkdir(dir, 0o700))
	root, err := os.Open(d.Dir())
	require.NoError(t, err)
	require.NoError(t, root.Sync())
	require.NoError(t, root.Close())
	s, err := open(dir, true)
	require.NoError(t, err)
	acked, tried := uint64(0), uint64(0)
	entry := func(i uint64) core.Entry {
		data := make([]byte, 8+i*131%4000)
		binary.BigEndian.PutUint64(data, i)
		return core.Entry{Index: i, Term: 1, Data: data}
	}
	run := func() error {
		for {
			u := node.Update{Group: 1, HardState: &core.HardState{CurrentTerm: 1, VotedFor: 1}}
			for range 1 + rand.IntN(3) {
				tried = max(tried, acked+uint64(len(u.Entries))+1)
				u.Entries = append(u.Entries, entry(acked+uint64(len(u.Entries))+1))
			}
			if err := s.Save([]node.Update{u}); err != nil {
				return err
			}
			acked += uint64(len(u.Entries))
		}
	}
	check := func() {
		s, err = open(dir, false)
		require.NoError(t, err)
		state, err := s.Load(1)
		require.NoError(t, err)
		require.GreaterOrEqual(t, state.LastIndex, acked)
		require.LessOrEqual(t, state.LastIndex, tried)
		for i := uint64(1); i <= state.LastIndex; i++ {
			got, err := s.Entries(1, i, i, 1<<20)
			require.NoError(t, err)
			require.Equal(t, entry(i), got[0])
		}
		acked = state.LastIndex
	}
	crashes(t, d, run, func() error { return s.Close() }, check)
	require.Greater(t, acked, uint64(10))
	require.NoError(t, s.Close())
}

// TestCarelessStoreIsCaught loses what a store did not sync.
func TestCarelessStoreIsCaught(t *testing.T) {
	if !world.Active() {
		t.Skip("runs in a simulated world")
	}
	d, err := world.NewDisk(t.TempDir())
	require.NoError(t, err)
	path := filepath.Join(d.Dir(), "db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
	require.NoError(t, err)
	for i := range 100 {
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				return err
			}
			return b.Put(binary.BigEndian.AppendUint64(nil, uint64(i)), make([]byte, 3000))
		})
		require.NoError(t, err)
	}
	require.NoError(t, d.PowerLoss())
	db.Close()
	db, err = bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal("the file does not open: ", err)
	}
	db.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket([]byte("b")); b == nil || b.Inspect().KeyN != 100 {
			t.Error("transactions are lost")
		}
		return nil
	})
}
