// Package wal keeps all groups of a host in one log on disk. It is the
// [node.Storage] for hosts that must survive the loss of power.
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
// have their full size from the beginning, and files that the log does not need
// any more are used again. So a sync writes data, and no metadata of the file
// system.
//
// # Files
//
// A directory belongs to one host and has these files:
//
//	LOCK                           locked while the log is open; whose log it is
//	000000000000002a.wal           segment 42 of the log
//	0000000000000007.snap          the body of a snapshot
//	next.tmp, *.snap.unfinished    work that was interrupted; Open removes them
//
// Each file names its format's version, the cluster and the host. Records are
// msgpack values. The newest segment is written, and one more is made ahead.
//
// # What is believed
//
// A batch has a number, a checksum, the checksum of the batch before, and the
// salt of its segment, a random number that is drawn each time that a file is
// used. The checksums are a chain: the log that opens is the log that was
// written, from the first batch to the last. A batch of a file's former use has
// another salt and is never believed.
//
// A batch is written when the one before is durable. So if a batch is not whole
// and a later one is there, the first was durable and is damaged: [Open] refuses
// the log with [node.ErrDamaged] and names the file and the offset. If no later
// one is there, the batch is a write that was interrupted. Save had not returned,
// and the batch does not count. Open and [Store.Close] write a mark, so that the
// last batch before a mark is never taken for an interrupted one. One case is
// left: the last batch that was written before the process was killed is
// damaged before the log is opened again. It cannot be told from an interrupted
// write.
//
// Snapshots are checked block by block while they are read, and entries when
// they are read.
//
// # What takes memory
//
// For each group the store keeps its hard state, the runs of terms, and a point
// for about every 64 KiB of the log in which the group has entries. Entries are
// read from the files.
//
// # What takes space
//
// A segment is freed when no group needs anything in it, oldest first. If more
// than about half of the log is waste, what the oldest segment still has is
// written again at the log's end. So a group that is idle for a year does not
// keep a year of the log. This work, like the making of segments and the removal
// of snapshots, is done by one goroutine in the background.
//
// # Failures
//
// If there is no room for another segment, Save fails with an error that matches
// syscall.ENOSPC, nothing is changed, and a later Save may succeed. After a write
// or a sync of the log has failed, the store takes no more writes: the kernel may
// have dropped what it could not write, so a second sync would prove nothing.
// Reads go on. [Open] finds out what is on the disk.
package wal
