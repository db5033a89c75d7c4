package datadir

import (
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"io/fs"
	"math"
	"time"

	"raftlab/internal/etcdapi"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/wal"
)

// group is the group of a host in a store without groups.
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
	replica                   // of a store without groups
	machine  *etcdapi.Machine // of a store without groups
	groups   []*groupContent  // of a store with groups, the controllers last
}

// replica is the log and Raft's state of a group.
type replica struct {
	raft node.State
	// entries is the number of entries in the log. commands is the number of replayed
	// commands.
	entries, commands uint64
	configuration     core.Configuration
	configIndex       uint64
}

// machine is the state machine of a group.
type machine interface {
	// restore takes over the body of a snapshot.
	restore(body *io.SectionReader) error
	// apply executes committed entries of the type core.Command.
	apply(entries []core.Entry) error
}

// lastTerm returns the term of the last entry.
func (c *replica) lastTerm() uint64 {
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
		return c, OfOwner(dir, err)
	}
	return c, errors.Join(c.load(store), store.Close())
}

// load reads all groups.
func (c *content) load(store *wal.Store) error {
	if c.manifest.Groups > 0 {
		return c.loadGroups(store)
	}
	c.machine = etcdapi.NewMachine(core.NodeID(c.manifest.ID))
	return c.replica.load(store, group, math.MaxUint64, etcdMachine{c.machine})
}

// etcdMachine is the state machine of a store without groups.
type etcdMachine struct{ *etcdapi.Machine }

func (m etcdMachine) restore(body *io.SectionReader) error { return m.Restore(body) }

func (m etcdMachine) apply(entries []core.Entry) error {
	commands := make([]node.Command, len(entries))
	for i, e := range entries {
		if err := check(&e); err != nil {
			return err
		}
		commands[i] = node.Command{Index: e.Index, Term: e.Term, Data: e.Data}
	}
	m.Apply(commands)
	return nil
}

// load reads a group. m executes the commands up to index last.
func (c *replica) load(store *wal.Store, id node.GroupID, last uint64, m machine) (err error) {
	if c.raft, err = store.Load(id); err != nil {
		return err
	}
	if c.raft.Snapshot.Index > 0 {
		if err := c.restore(store, id, m); err != nil {
			return err
		}
	}
	return c.replay(store, id, last, m)
}

// restore reads the snapshot, and all of its body.
func (c *replica) restore(store *wal.Store, id node.GroupID, m machine) (err error) {
	r, err := store.OpenSnapshot(id)
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
	if err := m.restore(io.NewSectionReader(r, 0, int64(h.Size))); err != nil {
		return fmt.Errorf("%w: the snapshot at index %d: %w", ErrDamaged, h.Index, err)
	}
	return c.configure(h.Index, h.Configuration)
}

// configure takes over a configuration of the log or of the snapshot.
func (c *replica) configure(index uint64, data []byte) error {
	configuration, err := core.DecodeConfiguration(data)
	if err != nil {
		return fmt.Errorf("%w: the configuration at index %d: %w", ErrDamaged, index, err)
	}
	c.configuration, c.configIndex = configuration, index
	return nil
}

// replay reads all entries of the log. m applies those behind the snapshot, up to index
// last.
func (c *replica) replay(store *wal.Store, id node.GroupID, last uint64, m machine) error {
	for next := c.raft.CompactedIndex + 1; next <= c.raft.LastIndex; {
		entries, err := store.Entries(id, next, c.raft.LastIndex, replayBytes)
		if err != nil {
			return err
		}
		var commands []core.Entry
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
				if e.Index <= last {
					commands = append(commands, e)
				}
			}
		}
		c.commands += uint64(len(commands))
		if err := m.apply(commands); err != nil {
			return err
		}
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
