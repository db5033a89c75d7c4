package datadir

import (
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"io/fs"
	"time"

	"raftlab/internal/etcdapi"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/wal"
)

// group is the group of a member's host.
const group node.GroupID = 1

// replayBytes bounds the log entries in memory during a replay.
const replayBytes = 1 << 20

// attempts bounds the readings of the directory of a running member, whose files change
// during the reading.
const attempts = 8

// ErrDamaged is matched by the error of a directory with damaged content. The error names
// the file and the offset.
var ErrDamaged = node.ErrDamaged

// ErrInUse is matched by the error of a directory whose member runs.
var ErrInUse = node.ErrInUse

// content is the content of a data directory, with all entries of the log applied.
type content struct {
	manifest Manifest
	raft     node.State
	// entries is the number of entries in the log. commands is the number of replayed
	// commands.
	entries, commands uint64
	configuration     core.Configuration
	configIndex       uint64
	machine           *etcdapi.Machine
}

// lastTerm returns the term of the last entry.
func (c *content) lastTerm() uint64 {
	term, _ := c.raft.Term(c.raft.LastIndex)
	return term
}

// read reads a data directory without changing a byte. The files of a running member
// change meanwhile, so an error there counts only if a second reading meets the same
// error.
func read(dir string) (*content, error) {
	var before string
	for attempt := 1; ; attempt++ {
		c, err := readOnce(dir)
		if err == nil {
			return c, nil
		}
		if busy, _ := inUse(dir); !busy || attempt == attempts || err.Error() == before {
			return c, err
		}
		before = err.Error()
		time.Sleep(50 * time.Millisecond)
	}
}

// readOnce returns the content. Beside an error readOnce returns the readable part.
func readOnce(dir string) (c *content, err error) {
	c = &content{}
	if c.manifest, err = Read(dir); err != nil {
		return c, err
	}
	if c.manifest.Groups > 0 {
		return c, fmt.Errorf("%s: %w: %d; the command reads stores without groups", dir, ErrGroups, c.manifest.Groups)
	}
	files, err := freeze(c.manifest.LogPath(dir))
	if errors.Is(err, fs.ErrNotExist) && !c.manifest.Ready {
		return c, fmt.Errorf("%s: the member has not run yet: %w", dir, err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: the log is lost: %w", ErrDamaged, err)
	}
	if err != nil {
		return c, err
	}
	store, err := wal.OpenIn(files, wal.Options{Identity: c.manifest.Identity()})
	if err != nil {
		return c, err
	}
	return c, errors.Join(c.load(store), store.Close())
}

// load reads the group.
func (c *content) load(store *wal.Store) (err error) {
	if c.raft, err = store.Load(group); err != nil {
		return err
	}
	c.machine = etcdapi.NewMachine(core.NodeID(c.manifest.ID))
	if c.raft.Snapshot.Index > 0 {
		if err := c.restore(store); err != nil {
			return err
		}
	}
	return c.replay(store)
}

// restore reads the snapshot, and all of its body.
func (c *content) restore(store *wal.Store) (err error) {
	r, err := store.OpenSnapshot(group)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	h := r.Header()
	sum := crc64.New(crc64.MakeTable(crc64.ECMA))
	if _, err := io.Copy(sum, io.NewSectionReader(r, 0, int64(h.Size))); err != nil {
		return err
	}
	if sum.Sum64() != h.Checksum {
		return fmt.Errorf("%w: the snapshot at index %d has the checksum %016x; want %016x", ErrDamaged, h.Index, sum.Sum64(), h.Checksum)
	}
	if err := c.machine.Restore(io.NewSectionReader(r, 0, int64(h.Size))); err != nil {
		return fmt.Errorf("%w: the snapshot at index %d: %w", ErrDamaged, h.Index, err)
	}
	return c.configure(h.Index, h.Configuration)
}

// configure takes over a configuration of the log or of the snapshot.
func (c *content) configure(index uint64, data []byte) error {
	configuration, err := core.DecodeConfiguration(data)
	if err != nil {
		return fmt.Errorf("%w: the configuration at index %d: %w", ErrDamaged, index, err)
	}
	c.configuration, c.configIndex = configuration, index
	return nil
}

// replay reads all entries of the log, and applies those behind the snapshot.
func (c *content) replay(store *wal.Store) error {
	for next := c.raft.CompactedIndex + 1; next <= c.raft.LastIndex; {
		entries, err := store.Entries(group, next, c.raft.LastIndex, replayBytes)
		if err != nil {
			return err
		}
		var commands []node.Command
		for _, e := range entries {
			if c.entries++; e.Index <= c.raft.Snapshot.Index {
				continue
			}
			switch e.Type {
			case core.ConfigurationEntry:
				if err := c.configure(e.Index, e.Data); err != nil {
					return err
				}
			case core.Command:
				if err := check(&e); err != nil {
					return err
				}
				commands = append(commands, node.Command{Index: e.Index, Term: e.Term, Data: e.Data})
			}
		}
		c.commands += uint64(len(commands))
		c.machine.Apply(commands)
		next += uint64(len(entries))
	}
	return nil
}

// check refuses an entry that this version cannot apply.
func check(e *core.Entry) error {
	err := etcdapi.CheckEntry(e.Data)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, etcdapi.ErrFormat):
		return fmt.Errorf("entry %d of term %d: %w", e.Index, e.Term, err)
	}
	return fmt.Errorf("%w: entry %d of term %d: %w", ErrDamaged, e.Index, e.Term, err)
}
