// Package boltstore is the former raft/boltstore, for users that have not moved to the
// [raftlab/raft/boltstore.Store] of raft/node yet. It is about to go.
//
// It keeps a Raft server's persistent state in one bbolt file. A
// [Store] is the [raft.Storage] for servers that must survive the loss of power.
//
//	id := boltstore.Identity{Cluster: "4d1c", Replica: 1, Replicas: 3}
//	err := boltstore.Create("replica-1.bolt", id)          // once
//	store, err := boltstore.Open("replica-1.bolt", id, boltstore.Options{})
//	rf, err := raft.Open(peers, me, store, applyCh, raft.Options{})
//
// # In the file
//
// The file has three buckets. Bucket "state" holds three records: the head with
// the hard state, the snapshot's description and the end of the log; the identity
// of the file; and the sequences of the peers' files. Bucket "log" holds a record
// for each entry, under the index. Bucket "chunks" holds snapshots in chunks of 256
// KiB, under the snapshot's last index and the chunk's number. A record is a
// version, a msgpack value (go-msgpack) and a CRC-32C.
//
// The checksum of a log record continues the checksum of the record before, and
// the head holds the last checksum. So a log that opens is the saved log from the
// first entry to the last. A missing record, or an older record in the place of a
// newer one, breaks the chain.
//
// # Transactions
//
// [Store.Save] is one transaction, and returns when the transaction is on disk. A
// snapshot takes one transaction for each chunk, so Save waits for one chunk at
// most. A last transaction puts the new snapshot into the head. A crash at any
// moment leaves the old snapshot or the new one. The next opening removes the rest.
//
// # A damaged file
//
// bbolt trusts its pages. A damaged page can crash bbolt, or hide a part of the
// tree. [Open] therefore reads the whole file before bbolt may write, first page by
// page, then record by record. Any damage is an error that matches [ErrCorrupt], and
// Open leaves the file as it is.
//
// # A foreign or an older file
//
// Open refuses the file of another identity ([ErrIdentity]). Every update has a
// number, [Store.Sequence], and a file records the sequences of its peers' files
// ([Options.PeerSequences]). A replica with a lower sequence than its peers have
// recorded runs on an older copy of its file. The replica may then have forgotten
// acknowledged entries and votes, and its host must not start the replica.
//
// # A file that changes under a running store
//
// A file that is cut, removed, replaced or unreadable ends the use of the store
// with an error, and never the process. One race remains: a file that is cut
// within the milliseconds of Open, after Open has read the whole file.
//
// # The size of the file
//
// A file keeps the space of removed records for later ones. [Store.Compact] and
// [Options.CompactBytes] give the space back.
package boltstore
