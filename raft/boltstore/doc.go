// Package boltstore keeps the Raft groups of a host in one bbolt file. A [Store] is a
// [node.Storage], as the logs of raft/wal are. The package suits a host whose state
// should be a single file: easy to check, repair and move.
//
//	opts := boltstore.Options{Identity: node.Identity{Cluster: "4d1c", Host: 1}}
//	err := boltstore.Create("host-1.bolt", opts) // once
//	store, err := boltstore.Open("host-1.bolt", opts)
//	host, err := node.NewHost(node.HostConfig{Storage: store, ...})
//
// # In the file
//
// The file has five buckets. Bucket "heads" holds a record for each group: the hard
// state and the bounds of the log. Bucket "logs" holds a record for each entry, under
// the group and the index. Bucket "snapshots" holds the header of each group's newest
// snapshot, and bucket "bodies" the bodies, in pieces of 16 KiB. Bucket "state" holds
// the identity of the file, the sequences of the peers' files, and one record on the
// whole file. A record is a version, a msgpack value (go-msgpack) and a CRC-32C.
//
// The checksums form a tree. The checksum of an entry's record continues the one
// of the record before, and a head holds the last. The record on the whole file
// holds a sum over all heads, and the number of the transaction. So a file that opens
// has every record of one transaction, from the first entry of each group to the
// last. A missing record, or an older page in the place of a newer one, breaks the
// tree.
//
// # Transactions
//
// [Store.Save] is one transaction for all groups, with one sync. bbolt by itself
// syncs twice, before and after the write of its meta page. The checksums make the
// first of the two superfluous: after a crash Open recognizes a transaction of which
// parts are missing, and goes back to the one before. A mark beside the meta page,
// written after the sync, keeps Open from doing so with a transaction that was
// acknowledged. The kernel makes the mark durable with the next sync, or by itself
// within seconds. Until then damage to exactly the last transaction, together with a
// loss of power, looks like an interrupted transaction.
//
// # A full disk
//
// A full disk costs a store its snapshots first. Before a transaction the store has the
// file system set blocks aside behind the used pages. If a piece of a snapshot finds no
// room there, or leaves less than 4 MiB for the log, Write, Finish or Commit fails with an
// error that matches [node.ErrNoRoom]. The store has written nothing of the piece then and
// goes on. This needs Linux and a file system with fallocate, such as ext4, XFS and tmpfs.
// Elsewhere, and once the log has used up the 4 MiB, a full disk is a failure. A file
// system that writes each page to a new place, such as Btrfs, may fail earlier.
//
// # Failures
//
// A failed write or sync ends the writing for good, and [Store.Copy] and [Store.Compact]
// fail too. After a failed sync the kernel may keep the unwritten pages in memory and
// call them clean. A later sync would then succeed without writing the pages. Open
// therefore writes the pages of a transaction without a mark again, before Open syncs
// and marks the transaction. The pages of the transaction before stay as they are.
//
// A body takes one transaction for each MiB, so Save waits for one MiB at most. Old
// entries and bodies are removed by a goroutine of the store, the cleaner, in
// transactions of bounded size.
//
// # A damaged file
//
// bbolt trusts its pages. A damaged page can crash bbolt, or hide a part of the
// tree. [Open] therefore reads the whole file before bbolt may write, page by page and
// record by record. Any damage is an error that matches [node.ErrDamaged] and
// names the page or the record, and Open leaves the file as it is. Later reads check
// the checksums of the records that they return.
//
// # A foreign or an older file
//
// Open refuses the file of another identity or of another [Options.Part]
// ([node.ErrStranger]). Every update has a number, [Store.Sequence], and a file can
// record the sequences of its peers' files ([Options.PeerSequences]). A host with a
// lower sequence than its peers have recorded runs on an older copy of its file.
// The host may then have forgotten acknowledged entries and votes, and must not start.
//
// # A file that changes under a running store
//
// A file that is cut, removed, replaced or unreadable ends the use of the store
// with an error, and never the process. One race remains: a file that is cut
// within the milliseconds of Open, after Open has read the whole file.
//
// # Copies and backups
//
// [Store.Copy] copies the file while the store is in use. The copy has the content of
// one transaction. Options that name the store's own identity, part and sequence make a
// backup:
//
//	err := store.Copy("backup.bolt", boltstore.CopyOptions{
//		Identity: store.Identity(), Part: store.Part(), Sequence: store.Sequence(),
//	})
//
// A program such as cp may copy a file only while no store has the file open. The
// cleaner writes to the file of an idle store too. A copy that is made meanwhile has
// pages of different transactions, and Open refuses the copy as damaged. A snapshot
// of the file system is no such copy. Open treats the snapshot as a file after a loss
// of power.
//
// # The size of the file
//
// A file keeps the space of removed records for later ones. [Store.Compact] and
// [Options.CompactBytes] give the space back.
package boltstore
