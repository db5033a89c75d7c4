package coretest

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"

	"raftlab/raft/core"
)

// duty is a host's next step with a Ready.
type duty uint8

const (
	takeReady     duty = iota // and send Ready.Messages
	save                      // HardState, Snapshot and Entries, in one step
	sendAfterSave             // send Ready.AfterSave
	reportSaved               // call Saved
	apply                     // apply NextToApply and LoadToApply
	load                      // read the entries of Loads
)

// server is a core with its host, disk and service.
type server struct {
	id   core.NodeID
	disk core.Persistent // survives crashes, with a log that may begin before the snapshot's end
	life int             // number of starts

	core     *core.Core // nil while the server is down
	duty     duty
	ready    core.Ready
	stalled  bool
	print    uint64 // of ready.Entries when they were handed out
	service  service
	baseTerm uint64 // of the entry before the first one on the disk
	loads    []core.Load
	slow     bool           // the entries of loads wait, see SlowLoads
	late     []lateLoad     // these entries
	partial  []byte         // the received chunks of a snapshot
	corrupt  bool           // the next chunk is written down wrongly
	reads    map[uint64]int // committed entries at the start of each read, by id
	lastID   uint64

	silence   int      // ticks since the leader was heard
	transfers int      // ticks since the begin of a transfer
	lengths   []uint64 // a leader's log at its last ticks, oldest first
	leads     uint64   // the term of these
}

// lateLoad is a load with the entries that the host has read.
type lateLoad struct {
	core.Load
	entries []core.Entry
}

func (s *server) start(cfg core.Config) error {
	saved := s.disk
	if cfg.MaxCachedBytes > 0 {
		saved.Entries, saved.Stored = nil, s.describe()
	} else {
		s.disk.Entries = after(s.disk.Entries, s.disk.Snapshot.LastIncludedIndex)
		saved.Entries = slices.Clone(s.disk.Entries)
	}
	c, err := core.New(cfg, saved)
	if err != nil {
		return err
	}
	s.life++
	s.core, s.duty, s.ready, s.loads, s.late, s.partial = c, takeReady, core.Ready{}, nil, nil, nil
	s.reads, s.lastID = map[uint64]int{}, 0
	s.service = service{}
	if s.disk.Snapshot.LastIncludedIndex > 0 {
		s.service.restore(s.disk.Snapshot.Data)
	}
	return nil
}

// describe describes the log on the disk, without its entries.
func (s *server) describe() *core.StoredLog {
	log := &core.StoredLog{}
	es := s.disk.Entries
	if snap := s.disk.Snapshot; len(es) == 0 || es[0].Index == snap.LastIncludedIndex+1 {
		log.CompactedIndex, log.CompactedTerm = snap.LastIncludedIndex, snap.LastIncludedTerm
	} else if es[0].Index > 1 {
		log.CompactedIndex, log.CompactedTerm = es[0].Index-1, s.baseTerm
	}
	log.LastIndex = log.CompactedIndex
	for _, e := range es {
		if n := len(log.Terms); n == 0 || log.Terms[n-1].Term != e.Term {
			log.Terms = append(log.Terms, core.TermRun{First: e.Index, Term: e.Term})
		}
		if e.Type == core.ConfigurationEntry {
			log.Configurations = append(log.Configurations, e)
		}
		log.LastIndex = e.Index
	}
	return log
}

// stored returns the entries of a range from the disk, at most maxBytes of them,
// but at least one if there is one.
func (s *server) stored(r core.Range, maxBytes int) []core.Entry {
	var found []core.Entry
	for _, e := range s.disk.Entries {
		if e.Index < r.First || e.Index > r.Last {
			continue
		}
		if maxBytes -= len(e.Data) + 16; maxBytes < 0 && len(found) > 0 {
			break
		}
		found = append(found, e)
	}
	return found
}

func (s *server) takeReady() {
	s.ready = s.core.Ready()
	s.print = fingerprint(s.ready.Entries)
}

// save puts a Ready on the disk, as package core prescribes.
func (s *server) save() error {
	rd, d := s.ready, &s.disk
	if fingerprint(rd.Entries) != s.print {
		return fmt.Errorf("entries changed after they were handed out to be saved")
	}
	if rd.HardState != nil {
		d.HardState = *rd.HardState
	}
	for _, chunk := range rd.Chunks {
		s.saveChunk(chunk)
	}
	if snap := rd.Snapshot; snap != nil {
		d.Snapshot, d.Entries = *snap, nil
		if snap.Data == nil {
			d.Snapshot.Data = slices.Clone(s.partial)
		}
	}
	if len(rd.Entries) == 0 {
		return nil
	}
	first, base := rd.Entries[0].Index, d.Snapshot.LastIncludedIndex
	if len(d.Entries) > 0 {
		base = d.Entries[0].Index - 1
	}
	keep := int(first) - int(base) - 1
	if keep < 0 || keep > len(d.Entries) {
		return fmt.Errorf("entries to save begin at %d; the disk has %d entries behind %d", first, len(d.Entries), base)
	}
	d.Entries = append(slices.Clip(d.Entries[:keep]), rd.Entries...)
	return nil
}

// saveChunk writes a chunk down, and rejects a complete snapshot with damage.
func (s *server) saveChunk(chunk core.SnapshotChunk) {
	data := slices.Clone(chunk.Data)
	if s.corrupt && len(data) > 0 {
		data[0]++
		s.corrupt = false
	}
	s.partial = append(s.partial[:chunk.Offset:chunk.Offset], data...)
	if chunk.Done && checksum(s.partial) != chunk.Checksum {
		s.core.RejectSnapshot()
	}
}

func checksum(data []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(data)
	return h.Sum64()
}

// saveSnapshot saves the service's state and returns false if there is nothing new
// to save. The log keeps trailing entries before the snapshot's end.
func (s *server) saveSnapshot(trailing uint64) bool {
	header, err := s.core.SnapshotHeader(s.service.index)
	if err != nil || header.LastIncludedIndex <= s.disk.Snapshot.LastIncludedIndex {
		return false // nothing is newer than the last snapshot
	}
	header.Data = s.service.snapshot()
	keep := header.LastIncludedIndex - min(trailing, header.LastIncludedIndex)
	old := s.disk.Snapshot
	if len(s.disk.Entries) > 0 {
		keep = max(keep, s.disk.Entries[0].Index-1)
	} else {
		keep = max(keep, old.LastIncludedIndex)
	}
	if old.LastIncludedIndex == keep {
		s.baseTerm = old.LastIncludedTerm
	}
	s.disk.Snapshot = header
	for _, e := range s.disk.Entries {
		if e.Index == keep {
			s.baseTerm = e.Term
		}
	}
	s.disk.Entries = after(s.disk.Entries, keep)
	return true
}

// after returns the entries behind index.
func after(entries []core.Entry, index uint64) []core.Entry {
	i := 0
	for i < len(entries) && entries[i].Index <= index {
		i++
	}
	return slices.Clone(entries[i:])
}

// service is a state machine with a hash over all applied entries as its state.
type service struct {
	index uint64
	state uint64
}

func (s *service) apply(e core.Entry) {
	s.index = e.Index
	h := fnv.New64a()
	_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, s.state))
	_, _ = h.Write([]byte{byte(e.Type)})
	_, _ = h.Write(e.Data)
	s.state = h.Sum64()
}

func (s *service) snapshot() []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, s.index), s.state)
}

func (s *service) restore(data []byte) {
	s.index = binary.LittleEndian.Uint64(data)
	s.state = binary.LittleEndian.Uint64(data[8:])
}

// fingerprint hashes entries.
func fingerprint(entries []core.Entry) uint64 {
	const prime = 1099511628211
	h := uint64(14695981039346656037)
	for _, e := range entries {
		h = (h ^ e.Index) * prime
		h = (h ^ e.Term) * prime
		for _, b := range e.Data {
			h = (h ^ uint64(b)) * prime
		}
	}
	return h
}
