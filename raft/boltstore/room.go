//go:build !wasip1

package boltstore

import (
	"fmt"
	"math"
	"time"

	"go.etcd.io/bbolt"

	"raftlab/internal/durable"
	"raftlab/raft/node"
)

// A full disk costs a store its snapshots first. After a failed write of bbolt the content
// of the file is unknown, and the store is of no use any more. So before a transaction the
// store allocates blocks of the disk behind the pages that bbolt uses. bbolt writes new
// pages there, and overwrites only pages that have blocks. A piece of a snapshot is written
// only if the blocks behind the piece have room for the log's next transactions. Otherwise
// the piece is refused, and bbolt has done nothing.
//
// The blocks lie behind the end of the file and do not change the size. Where the system
// cannot allocate such blocks, any failed write ends the writing for good.

// demand says what a transaction does without room for more pages.
type demand int

const (
	usesReserve demand = iota // is tried anyway
	needsRoom                 // is refused
)

// reserveBytes is the room for the log behind the pages of the last snapshot. pieceRoom is
// more than the new pages of a piece of a snapshot: the content of chunkPieces in pages
// that may be half empty, and the pages of the tree above.
const (
	reserveBytes = 4 << 20
	pieceRoom    = 3 << 20
)

// roomRetry is the least time between two attempts to renew the reserve of the log. An
// attempt on a full disk may take long.
const roomRetry = time.Second

// room is the part of a file that has blocks.
type room struct {
	end   int64     // all pages before end have blocks
	retry time.Time // before, the log does not try again
}

// allocate allocates blocks of a file. Tests replace it.
var allocate = durable.Allocate

// makeRoom allocates blocks for the next transaction behind the used part of the file. The
// error matches node.ErrNoRoom.
func (d *database) makeRoom(used int64, room demand) error {
	r := &d.room
	least, want := used+reserveBytes, used+reserveBytes+pieceRoom
	if room == needsRoom {
		least = want
	}
	if d.unsynced || r.end >= least || room == usesReserve && time.Now().Before(r.retry) {
		return nil
	}
	err := allocate(d.file, used, want-used)
	switch {
	case err == nil:
		r.end = want
	case !durable.NoRoom(err):
		r.end = math.MaxInt64 // the system knows no such blocks
	case room == needsRoom:
		return fmt.Errorf("%w: %w", node.ErrNoRoom, err)
	default:
		r.retry = time.Now().Add(roomRetry)
	}
	return nil
}

// makeReserve makes the reserve of a database that takes the place of another.
func (d *database) makeReserve() error {
	return d.view(func(tx *bbolt.Tx) error { return d.makeRoom(tx.Size(), needsRoom) })
}
