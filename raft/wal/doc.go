// Package wal keeps all groups of a host in one log on disk. The package is the
// [node.Storage] for hosts whose state has to survive the loss of power.
//
//	opts := wal.Options{Identity: node.Identity{Cluster: "orders", Host: 1}}
//	err := wal.Create("/var/lib/orders", opts) // once
//	store, err := wal.Open("/var/lib/orders", opts)
//	host, err := node.NewHost(node.HostConfig{Storage: store, ...})
//
// # One write, one sync
//
// [Store.Save] takes the updates of any number of groups, encodes them as one
// batch, writes the batch at the end of the log and syncs the file once. Files
// have their full size from the beginning, and the log reuses old files. So a
// sync writes data, and no metadata of the file system.
//
// # Files
//
// A directory belongs to one host and has these files:
//
//	LOCK                           the owner of the log; locked while the log is open
//	000000000000002a.wal           segment 42 of the log
//	0000000000000007.snap          the body of a snapshot
//	next.tmp, *.snap.unfinished    work that was interrupted; Open removes them
//
// Each file names the format's version, the cluster and the host. Records are
// msgpack values. The newest segment is written, and one more is made ahead.
//
// # Recovery
//
// A batch has a number, a checksum, the checksum of the batch before, and a
// salt. The salt is a random number, drawn anew for each use of a file. The
// checksums form a chain, so an opened log is the written log, from the first
// batch to the last. A batch of a file's former use has another salt and is
// ignored.
//
// The store writes a batch only when the batch before is durable. So if a
// broken batch has a successor, the broken batch was durable and is damaged.
// [Open] refuses the log with [node.ErrDamaged] and names the file and the
// offset. A broken batch without a successor is an interrupted write. Save had
// not returned, so Open ignores the batch. Open and [Store.Close] append a
// batch of their own, so a durable batch before never counts as an interrupted
// write. A disk writes whole sectors. Each batch ends with a mark that has the
// salt, and each write fills the last page with zeros. So Open also refuses a
// broken last batch if no lost sector explains the damage.
// One ambiguity remains. If the process is killed, and the very last batch is
// damaged before the next Open in a page other than the batch's first one, Open
// takes the damage for an interrupted write.
//
// Every read of a snapshot or of entries verifies checksums.
//
// # Memory
//
// For each group the store keeps the hard state, the runs of terms, and one
// index point for about 64 KiB of log. Entries are read from the files.
//
// # Space
//
// The store frees segments without live records, oldest first. If more than
// about half of the log is waste, the store appends the live records of the
// oldest segment to the log again. So a group that is idle for a year does not
// pin a year of the log. One goroutine in the background does this work, makes
// segments ahead and removes old snapshots.
//
// # Failures
//
// If there is no room for another segment, the error of Save matches
// syscall.ENOSPC, nothing is changed, and a later Save may succeed. After a
// failed write or sync of the log, the store takes no more writes, but reads go
// on. The kernel may have dropped the unwritten pages, so a second sync would
// prove nothing. The next [Open] reads the disk anew and repeats the last
// write.
package wal
