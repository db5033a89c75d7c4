package simdisk

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Fate is the effect of a crash on unsynced changes.
type Fate uint8

const (
	// Keep keeps everything. The process was killed, and the machine goes on.
	Keep Fate = iota
	// Lose loses all unsynced changes.
	Lose
	// Tear keeps the first unsynced changes, up to some sector of some write,
	// or up to some change of names.
	Tear
	// Scatter keeps some sectors, whichever, and loses the others. Names are
	// torn.
	Scatter
	// Garble fills some sectors with noise and keeps the others. Names are kept.
	Garble
	// Misdirect puts the last write of all at another sector of the file, and
	// keeps the writes before. Names are kept.
	Misdirect
)

// String returns the name of the fate.
func (f Fate) String() string {
	return [...]string{"Keep", "Lose", "Tear", "Scatter", "Garble", "Misdirect"}[f]
}

// Loss describes a crash.
type Loss struct {
	Writes Fate // of files, since the last Sync of each
	Names  Fate // changes since the last Sync of the directory
	Rand   *rand.Rand
}

const sector = 512

// Crash ends the use of the disk and returns a disk with the remains. Nothing
// hangs, fails or is locked there, and the capacity is not limited.
func (d *Disk) Crash(loss Loss) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crashed = true
	if d.hangs != nil {
		close(d.hangs)
		d.hangs = nil
	}
	return d.content.lose(loss)
}

// Clone returns a disk as this one would be after a crash, and leaves this one in
// use.
func (d *Disk) Clone(loss Loss) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.content.lose(loss)
}

// Unsynced reports whether the disk has unsynced changes. Otherwise each crash leaves the
// same content.
func (d *Disk) Unsynced() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.content.files {
		if len(f.writes) > 0 {
			return true
		}
	}
	return len(d.content.changes) > 0
}

func (c *content) lose(loss Loss) *Disk {
	next := New()
	changes := c.changes
	switch loss.Names {
	case Lose:
		changes = nil
	case Tear, Scatter:
		changes = changes[:loss.Rand.IntN(len(changes)+1)]
	}
	names := maps.Clone(c.durable)
	for _, op := range changes {
		rename(names, op)
	}
	last := c.lastWrite()
	for _, name := range slices.Sorted(maps.Keys(names)) { // sorted: the seed decides
		number := names[name]
		data := c.files[number].lose(loss, last)
		next.content.files[number] = &file{data: data, durable: slices.Clone(data)}
	}
	next.content.names, next.content.durable = names, maps.Clone(names)
	next.content.last = c.last
	return next
}

// lastWrite returns the file with the newest unsynced write.
func (c *content) lastWrite() *file {
	for _, number := range slices.Backward(slices.Sorted(maps.Keys(c.files))) {
		if f := c.files[number]; len(f.writes) > 0 {
			return f
		}
	}
	return nil
}

// lose returns the remains of a file after a crash.
func (f *file) lose(loss Loss, last *file) []byte {
	data := slices.Clone(f.durable)
	switch loss.Writes {
	case Keep:
		return slices.Clone(f.data)
	case Lose:
		return data
	case Tear:
		n := loss.Rand.IntN(len(f.writes) + 1)
		for _, w := range f.writes[:n] {
			data = overlay(data, w)
		}
		if n < len(f.writes) {
			for _, s := range sectors(f.writes[n])[:loss.Rand.IntN(len(sectors(f.writes[n])))] {
				data = overlay(data, s)
			}
		}
		return data
	case Misdirect:
		for i, w := range f.writes {
			if i == len(f.writes)-1 && f == last {
				w.Offset += misplaced(loss.Rand, w.Offset, int64(len(f.data)))
			}
			data = overlay(data, w)
		}
		return data
	}
	for _, w := range f.writes {
		for _, s := range sectors(w) {
			switch {
			case loss.Rand.IntN(2) == 0:
				data = overlay(data, s)
			case loss.Writes == Garble && len(s.Data) == sector:
				data = overlay(data, noise(loss.Rand, s))
			case loss.Writes == Garble:
				data = overlay(data, s) // a part of the sector was synced
			}
		}
	}
	return data
}

// misplaced returns by how much a write misses, a multiple of a sector.
func misplaced(r *rand.Rand, offset, size int64) int64 {
	return r.Int64N(size/sector+1)*sector - offset/sector*sector
}

func noise(r *rand.Rand, s Op) Op {
	s.Data = make([]byte, len(s.Data))
	for i := range s.Data {
		s.Data[i] = byte(r.Uint32())
	}
	return s
}

// sectors splits a write at sector boundaries.
func sectors(w Op) []Op {
	var parts []Op
	for rest := w; len(rest.Data) > 0; {
		n := min(len(rest.Data), sector-int(rest.Offset%sector))
		part := rest
		part.Data = rest.Data[:n]
		parts = append(parts, part)
		rest.Data, rest.Offset = rest.Data[n:], rest.Offset+int64(n)
	}
	return parts
}
