package coretest

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"

	"raftlab/raft/core"
)

// duty is what the host of a server does next with a Ready.
type duty uint8

const (
	takeReady     duty = iota // and send Ready.Messages
	save                      // HardState, Snapshot and Entries, in one step
	sendAfterSave             // send Ready.AfterSave
	reportSaved               // call Saved
	apply                     // hand out what NextToApply has
)

// server is a core with its host, disk and service.
type server struct {
	id   core.NodeID
	disk core.Persistent // survives crashes
	life int             // how often it was started

	core    *core.Core // nil: down
	duty    duty
	ready   core.Ready
	stalled bool
	print   uint64 // of ready.Entries when they were handed out
	service service
}

func (s *server) start(cfg core.Config) error {
	saved := s.disk
	saved.Entries = slices.Clone(s.disk.Entries)
	c, err := core.New(cfg, saved)
	if err != nil {
		return err
	}
	s.life++
	s.core, s.duty, s.ready = c, takeReady, core.Ready{}
	s.service = service{}
	if s.disk.Snapshot.LastIncludedIndex > 0 {
		s.service.restore(s.disk.Snapshot.Data)
	}
	return nil
}

func (s *server) takeReady() {
	s.ready = s.core.Ready()
	s.print = fingerprint(s.ready.Entries)
}

// save puts a Ready on the disk, as its documentation says.
func (s *server) save() error {
	rd, d := s.ready, &s.disk
	if fingerprint(rd.Entries) != s.print {
		return fmt.Errorf("entries changed after they were handed out to be saved")
	}
	if rd.HardState != nil {
		d.HardState = *rd.HardState
	}
	if snap := rd.Snapshot; snap != nil {
		d.Snapshot, d.Entries = *snap, nil
	}
	if len(rd.Entries) == 0 {
		return nil
	}
	first := rd.Entries[0].Index
	keep := int(first) - int(d.Snapshot.LastIncludedIndex) - 1
	if keep < 0 || keep > len(d.Entries) {
		return fmt.Errorf("entries to save begin at %d; the disk ends at %d", first,
			int(d.Snapshot.LastIncludedIndex)+len(d.Entries))
	}
	d.Entries = append(slices.Clip(d.Entries[:keep]), rd.Entries...)
	return nil
}

// saveSnapshot saves the service's state and says whether there was a need to.
func (s *server) saveSnapshot() bool {
	term, err := s.core.SnapshotTerm(s.service.index)
	if err != nil {
		return false // nothing applied since the last one, or a newer one came from the leader
	}
	s.disk.Entries = after(s.disk.Entries, s.service.index)
	s.disk.Snapshot = core.Snapshot{
		LastIncludedIndex: s.service.index,
		LastIncludedTerm:  term,
		Data:              s.service.snapshot(),
	}
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

// service is a state machine whose state tells its whole history: a hash over
// everything that was applied, in order.
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

// fingerprint tells one run of entries from another.
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
