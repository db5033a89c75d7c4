package shardstore

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"raftlab/internal/kvstore"
	"raftlab/internal/msgpack"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// Backup is a copy of a store with groups. A backup has each shard once, so no key stands
// in two groups.
type Backup struct {
	Groups int
	// Owners are the groups that had the newest data of the shards, by shard; 0 for a shard
	// without data.
	Owners   [shardctrler.NShards]int
	Extracts [shardctrler.NShards]*shardkv.Extract
}

// Backup returns a copy of the store. Each shard has the effects of every command that was
// acknowledged before the call. A transaction is in all its shards or in none. The shards
// are otherwise of different moments of the call. The groups serve meanwhile. If
// transactions do not pause, the processes begin none for some milliseconds.
func (p *Part) Backup(ctx context.Context) (*Backup, error) {
	var held time.Time
	defer func() {
		if !held.IsZero() {
			p.hold(0)
		}
	}()
	for wait := firstBackupPause; ; wait = min(2*wait, lastBackupPause) {
		b, err := p.tryBackup(ctx)
		if err == nil || !errors.Is(err, errTransactions) {
			return b, err
		}
		if time.Since(held) > backupHold/2 {
			held = time.Now()
			p.hold(backupHold)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: backup: %w", kvstore.ErrNoLeader, err)
		}
	}
}

const (
	// backupHold is longer than a transaction takes, unless a group of it is down.
	backupHold       = 3 * time.Second
	firstBackupPause = 5 * time.Millisecond
	lastBackupPause  = 200 * time.Millisecond
)

// errTransactions is matched by the error of a backup that transactions were in the way of.
var errTransactions = errors.New("transactions do not pause")

// tryBackup returns a copy if no transaction of several shards is under way.
//
// The shards are read twice. The first time no coordinator has an unfinished transaction.
// Earlier transactions are therefore in all their shards the second time. The second time no
// coordinator has begun another one. A coordinator is the first shard of a transaction, and
// is read after the other shards. So its log has the beginning of each transaction whose
// effect another shard was read with, and there is none.
func (p *Part) tryBackup(ctx context.Context) (*Backup, error) {
	first, err := p.extractAll(ctx)
	if err != nil {
		return nil, err
	}
	for shard, e := range first.Extracts {
		if e.Unfinished > 0 {
			return nil, fmt.Errorf("%w: %d that began in shard %d are under way", errTransactions, e.Unfinished, shard)
		}
	}
	b, err := p.extractAll(ctx)
	if err != nil {
		return nil, err
	}
	for shard, e := range b.Extracts {
		if before := first.Extracts[shard].Next; e.Next != before {
			return nil, fmt.Errorf("%w: %d have begun in shard %d meanwhile", errTransactions, e.Next-before, shard)
		}
	}
	return b, nil
}

// extractAll reads all shards, the last one first.
func (p *Part) extractAll(ctx context.Context) (*Backup, error) {
	b := &Backup{Groups: p.cfg.Groups}
	for shard := len(b.Extracts) - 1; shard >= 0; shard-- {
		var err error
		if b.Extracts[shard], b.Owners[shard], err = p.extract(ctx, shard); err != nil {
			return nil, fmt.Errorf("backup of shard %d: %w", shard, err)
		}
	}
	return b, nil
}

// extract reads a shard, at the group that has the newest data.
func (p *Part) extract(ctx context.Context, shard int) (*shardkv.Extract, int, error) {
	for {
		for _, r := range p.likely(shard) {
			e, err := r.shards.Extract(ctx, shard)
			if err != nil {
				return nil, 0, fmt.Errorf("group %s: %w: %w", r.group(), kvstore.ErrNoLeader, err)
			}
			if e != nil {
				return e, r.gid, nil
			}
		}
		select {
		case <-time.After(settledPoll):
		case <-ctx.Done():
			return nil, 0, fmt.Errorf("%w: no group has the shard", kvstore.ErrNoLeader)
		}
	}
}

// likely returns the replicas of all groups of shards. Those come first that have the
// shard, as far as they know.
func (p *Part) likely(shard int) []*replica {
	var have, others []*replica
	for _, r := range p.replicas {
		switch {
		case r.shards == nil:
		case hasShard(r.shards.Status().Shards, shard):
			have = append(have, r)
		default:
			others = append(others, r)
		}
	}
	return append(have, others...)
}

func hasShard(all []shardkv.ShardStatus, shard int) bool {
	for _, s := range all {
		if s.Shard == shard {
			return true
		}
	}
	return false
}

// hold has all processes begin no transactions for some time. Processes that do not answer
// go on.
func (p *Part) hold(d time.Duration) {
	for _, name := range p.processes() {
		if name == p.cfg.Name {
			process{p}.Hold(d, new(bool))
			continue
		}
		p.running.Go(func() { p.direct(name).Call("process.Hold", d, new(bool)) }) // ends with the call
	}
}

// Hold is the RPC handler that has this process begin no transactions for some time.
func (s process) Hold(d time.Duration, _ *bool) {
	for _, r := range s.part.replicas {
		if r.shards != nil {
			r.shards.HoldTransactions(min(d, backupHold))
		}
	}
}

// NewState is the state of a group of a new store.
type NewState interface {
	// WriteSnapshot writes the state as the snapshot of a log up to index.
	WriteSnapshot(w io.Writer, index uint64) error
}

// NewStates returns the states of the groups of a new store with the content of the backup,
// by group. The state of the controllers is that of group 0. With as many groups as before,
// each shard stays with its group. Otherwise all groups get shards.
func (b *Backup) NewStates(groups int, processes []string) (map[int]NewState, error) {
	if groups < 1 || groups > MaxGroups {
		return nil, fmt.Errorf("%d groups; want 1 to %d", groups, MaxGroups)
	}
	named := make(map[int][]string)
	same := groups == b.Groups && !slices.Contains(b.Owners[:], 0)
	for gid := 1; gid <= groups; gid++ {
		if !same || slices.Contains(b.Owners[:], gid) {
			named[gid] = servers(processes, GroupName(gid))
		}
	}
	config, err := shardctrler.FirstConfig(named, b.Owners)
	if err != nil {
		return nil, err
	}
	states := make(map[int]NewState)
	if states[0], err = shardctrler.ImageOf(config); err != nil {
		return nil, err
	}
	for gid := 1; gid <= groups; gid++ {
		if states[gid], err = shardkv.ImageOf(gid, config, b.Extracts[:], kvstore.Limits); err != nil {
			return nil, err
		}
	}
	return states, nil
}

// A backup file is backupMagic, the header, the ten shards and a SHA-256 of all of these.
// Before the header and each shard stands the length in eight bytes.
const (
	backupMagic  = "raftlab store with groups\n"
	backupFormat = 1
	maxHeader    = 1 << 16
)

// ErrBackup is matched by the error of a file that is not a whole backup.
var ErrBackup = errors.New("the backup is damaged")

// backupHeader is the encoding of a Backup without the shards.
type backupHeader struct {
	Format uint8
	Groups int
	Owners [shardctrler.NShards]int
}

// Write writes a backup file.
func (b *Backup) Write(w io.Writer) error {
	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), 1<<20)
	_, _ = out.WriteString(backupMagic) // Flush has the error
	header, err := msgpack.Encode(&backupHeader{backupFormat, b.Groups, b.Owners})
	if err != nil {
		return err
	}
	writePart(out, header)
	for shard, e := range b.Extracts {
		encoded, err := e.Encode()
		if err != nil {
			return fmt.Errorf("encoding shard %d: %w", shard, err)
		}
		writePart(out, encoded)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	_, err = w.Write(sum.Sum(nil))
	return err
}

func writePart(out *bufio.Writer, part []byte) {
	_, _ = out.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
	_, _ = out.Write(part)
}

// IsBackup reports whether a file begins like a backup of a store with groups.
func IsBackup(file io.ReaderAt) bool {
	begin := make([]byte, len(backupMagic))
	_, err := file.ReadAt(begin, 0)
	return err == nil && string(begin) == backupMagic
}

// ReadBackup reads a backup file of some size, and its SHA-256. ReadBackup compares the
// checksum before the decoding. The error of a damaged file matches [ErrBackup].
func ReadBackup(file io.ReaderAt, size int64) (*Backup, [sha256.Size]byte, error) {
	var stored [sha256.Size]byte
	body := size - sha256.Size
	if body < 0 || !IsBackup(file) {
		return nil, stored, fmt.Errorf("%w: the file of %d bytes is no backup of a store with groups", ErrBackup, size)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(file, 0, body)); err != nil {
		return nil, stored, err
	}
	if _, err := file.ReadAt(stored[:], body); err != nil {
		return nil, stored, err
	}
	if found := sum.Sum(nil); !bytes.Equal(found, stored[:]) {
		return nil, stored, fmt.Errorf("%w: the SHA-256 of the content is %x; want %x", ErrBackup, found, stored)
	}
	at := int64(len(backupMagic))
	b, err := readBackup(io.NewSectionReader(file, at, body-at), body-at)
	if err != nil {
		return nil, stored, fmt.Errorf("%w: %w", ErrBackup, err)
	}
	return b, stored, nil
}

// readBackup reads the content behind the magic.
func readBackup(in io.Reader, left int64) (*Backup, error) {
	encoded, err := readPart(in, &left)
	if err != nil {
		return nil, err
	}
	if len(encoded) > maxHeader {
		return nil, fmt.Errorf("the header has %d bytes; the limit is %d", len(encoded), maxHeader)
	}
	var h backupHeader
	rest, err := msgpack.DecodeVersion(encoded, backupFormat, &h)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the header: %w", err)
	case len(rest) > 0:
		return nil, fmt.Errorf("%d bytes follow the header", len(rest))
	case h.Groups < 1 || h.Groups > MaxGroups:
		return nil, fmt.Errorf("%d groups; want 1 to %d", h.Groups, MaxGroups)
	}
	b := &Backup{Groups: h.Groups, Owners: h.Owners}
	for shard := range b.Extracts {
		if owner := h.Owners[shard]; owner < 0 || owner > h.Groups {
			return nil, fmt.Errorf("shard %d is of group %d; want 0 to %d", shard, owner, h.Groups)
		}
		encoded, err := readPart(in, &left)
		if err != nil {
			return nil, fmt.Errorf("shard %d: %w", shard, err)
		}
		if b.Extracts[shard], err = shardkv.DecodeExtract(shard, encoded, kvstore.Limits); err != nil {
			return nil, err
		}
	}
	if left > 0 {
		return nil, fmt.Errorf("%d bytes follow the last shard", left)
	}
	return b, nil
}

// readPart reads a length and as many bytes, of which left are there.
func readPart(in io.Reader, left *int64) ([]byte, error) {
	var length [8]byte
	if _, err := io.ReadFull(in, length[:]); err != nil {
		return nil, err
	}
	*left -= int64(len(length))
	n := binary.BigEndian.Uint64(length[:])
	if n > uint64(*left) {
		return nil, fmt.Errorf("a part of %d bytes; %d are left", n, *left)
	}
	*left -= int64(n)
	part := make([]byte, n)
	_, err := io.ReadFull(in, part)
	return part, err
}
