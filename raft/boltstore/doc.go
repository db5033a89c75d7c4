// Package boltstore keeps a Raft server's persistent state in one bbolt file: it
// is the [raft.Storage] for servers that must survive the loss of power.
//
//	err := boltstore.Create("replica-1.bolt")          // once
//	store, err := boltstore.Open("replica-1.bolt", boltstore.Options{})
//	rf, err := raft.Open(peers, me, store, applyCh, raft.Options{})
//
// # In the file
//
// Three buckets. "state" holds one record, the head: hard state, what the
// snapshot is, and where the log ends. "log" holds a record for each entry,
// under its index. "chunks" holds snapshots in pieces of 256 KiB, under the
// snapshot's last index and the piece's number. A record is a version, a
// msgpack value (go-msgpack) and a CRC-32C.
//
// The checksum of a log record continues that of the record before it, and the
// head holds the last one. So a log that opens is the log that was saved, from
// the first entry to the last: not with a piece missing, and not with an older
// record in the place of a newer one.
//
// # What is one step
//
// [Store.Save] is one transaction, which is on disk when it returns. A snapshot
// is written in a transaction for each piece, so that Save never waits for more
// than one of them; then a last transaction makes it the snapshot. A crash at
// any moment leaves the old one or the new one, and what was left over
// goes when the file is opened next.
//
// # A damaged file
//
// bbolt trusts its pages: a damaged one can make it crash, or lose a part of
// the tree without a word. [Open] therefore reads the whole file before bbolt
// may write to it, first page by page, then record by record. What is not as it
// was written is an error that matches [ErrCorrupt], and the file is left as it is.
package boltstore
