package models

import (
	"slices"
	"strings"

	"raftlab/porcupine"
)

// resolveVersioned settles the pending writes of a history of KVVersioned or KVStore by the answers
// of completed operations (see [porcupine.Hint]).
//
// A pending write is seen if a completed operation read its value and no other operation can have
// written the value. A seen write took effect before the first such read returned, and wrote the
// version of the read. So a seen write becomes a completed one.
//
// A pending write is unseen if no completed operation read a value with the written one inside.
// Unseen writes differ only in their effect on versions, so all of them get one value, and the
// checker tries only one of them at a time. Otherwise a search tries every choice of unseen writes.
// With 137 of them, a history of 2,872 operations was undecided for minutes.
func resolveVersioned(history []porcupine.Operation) []porcupine.Operation {
	if !slices.ContainsFunc(history, isPendingWrite) {
		return history
	}
	r := versionedReads{first: make(map[keyValue]versionedRead), values: make(map[string][]string),
		writers: make(map[keyValue]int), appends: make(map[string]bool), refused: make(map[keyVersion]bool)}
	for i := range history {
		r.add(&history[i])
	}
	resolved := slices.Clone(history)
	blank := r.blank()
	work := 0
	for i := range resolved {
		o := &resolved[i]
		if !isPendingWrite(*o) {
			continue
		}
		in := needed(o.Input.(VersionedInput))
		if r.complete(o, in) {
			continue
		}
		unseen, cost := r.unseen(in)
		if work += cost; work > maxUnseenWork {
			return history
		}
		if unseen && in.Op != VersionedDelete {
			in.Value = blank
		}
		o.Input = in
	}
	return resolved
}

// maxUnseenWork bounds the bytes of reads to search for unseen values.
const maxUnseenWork = 1 << 28

// isPendingWrite says whether the operation is pending and may change a key.
func isPendingWrite(o porcupine.Operation) bool {
	op := o.Input.(VersionedInput).Op
	return o.Return == porcupine.Pending && op >= VersionedPut && op <= VersionedCAS
}

// needed returns the input with only the fields of its op.
func needed(in VersionedInput) VersionedInput {
	if in.Op == VersionedDelete {
		in.Value = ""
	}
	if in.Op != VersionedCAS {
		in.Version = 0
	}
	return in
}

type keyValue struct{ key, value string }

type keyVersion struct {
	key     string
	version uint64
}

// versionedRead is the knowledge from all reads of one value.
type versionedRead struct {
	ret     int64  // the first return
	version uint64 // the version of the value, 0 if unknown
}

// versionedReads collects the reads and writes of a history.
type versionedReads struct {
	first   map[keyValue]versionedRead
	values  map[string][]string // key -> the different values of reads
	writers map[keyValue]int    // counts the possible puts and swaps of the value
	refused map[keyVersion]bool // the expectations of swaps that failed without telling a version
	appends map[string]bool     // the keys with appends, whose values may stem from several writes
}

func (r *versionedReads) add(o *porcupine.Operation) {
	in := o.Input.(VersionedInput)
	if o.Return == porcupine.Pending {
		r.addWrite(in)
		return
	}
	out := o.Output.(VersionedOutput)
	switch {
	case in.Op == VersionedGet && out.OK:
		r.addRead(in.Key, out.Value, versionedRead{o.Return, out.Version})
	case in.Op == VersionedScan:
		for key, value := range out.Scan {
			r.addRead(key, value, versionedRead{ret: o.Return})
		}
	case in.Op != VersionedCAS || out.OK:
		r.addWrite(in)
	case out.Version == 0:
		r.refused[keyVersion{in.Key, in.Version}] = true
	}
}

func (r *versionedReads) addWrite(in VersionedInput) {
	switch in.Op {
	case VersionedPut, VersionedCAS:
		r.writers[keyValue{in.Key, in.Value}]++
	case VersionedAppend:
		r.appends[in.Key] = true
	}
}

func (r *versionedReads) addRead(key, value string, read versionedRead) {
	pair := keyValue{key, value}
	before, known := r.first[pair]
	if !known {
		r.values[key] = append(r.values[key], value)
		r.first[pair] = read
		return
	}
	before.ret = min(before.ret, read.ret)
	if before.version == 0 {
		before.version = read.version
	}
	r.first[pair] = before
}

// complete turns a seen write into a completed one and reports whether it did. The model lets a
// swap fail on any version while the actual one is unknown, so a write stays pending if its
// version would forbid such a failure.
func (r *versionedReads) complete(o *porcupine.Operation, in VersionedInput) bool {
	written := keyValue{in.Key, in.Value}
	read, seen := r.first[written]
	if !seen || in.Op == VersionedDelete || r.writers[written] > 1 || r.appends[in.Key] || read.ret < o.Call || r.refused[keyVersion{in.Key, read.version}] {
		return false
	}
	o.Return = read.ret
	o.Output = VersionedOutput{Version: read.version, OK: in.Op == VersionedCAS}
	return true
}

// unseen says whether the written value is in no value of a read, and returns the cost of the
// search.
func (r *versionedReads) unseen(in VersionedInput) (unseen bool, cost int) {
	if _, read := r.first[keyValue{in.Key, in.Value}]; read {
		return false, 0
	}
	if !r.appends[in.Key] {
		return true, 0
	}
	for _, value := range r.values[in.Key] {
		cost += len(value)
		if strings.Contains(value, in.Value) {
			return false, cost
		}
	}
	return true, cost
}

// blank returns a value that is in no value of a read.
func (r *versionedReads) blank() string {
	blank := "?"
	for _, values := range r.values {
		for _, value := range values {
			for strings.Contains(value, blank) {
				blank += "?"
			}
		}
	}
	return blank
}
