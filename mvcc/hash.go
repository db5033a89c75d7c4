package mvcc

import (
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Hash is a hash of the versions of a store up to a revision.
type Hash struct {
	Sum       uint32
	Revision  int64 // up to which versions are hashed
	Compacted int64 // revision of the last compaction, -1 before the first one
}

// HashKV returns the hash of all versions and tombstones up to a revision that the last
// compaction leaves; 0 is the current revision. Replicas whose hashes have the same
// Revision and Compacted have the same Sum, however far each has released compacted
// versions, and whether or not a replica began with a snapshot. HashKV reads the whole
// view.
func (v *View) HashKV(revision int64) (Hash, error) {
	limit, err := v.state.readable(revision)
	if err != nil {
		return Hash{}, err
	}
	h := Hash{Revision: min(limit, v.state.revision), Compacted: v.state.compacted}
	var fields []byte
	v.state.keys.Scan(func(key string, r record) bool {
		for i := v.state.firstKept(r); i < r.count(); i++ {
			e := r.at(i)
			if e.ModRevision > h.Revision {
				break
			}
			fields = binary.AppendUvarint(fields[:0], uint64(len(key)))
			fields = append(fields, key...)
			fields = e.appendFields(fields)
			h.Sum = crc32.Update(h.Sum, castagnoli, append(fields, e.Value...))
		}
		return true
	})
	return h, nil
}
