package models

import (
	"fmt"
	"hash/maphash"
	"maps"
	"math"
	"slices"
	"strings"

	"raftlab/porcupine"
)

// A VersionedOp is an operation of [KVVersioned] or [KVStore].
type VersionedOp uint8

// The operations of KVVersioned and KVStore.
const (
	VersionedGet    VersionedOp = iota // answers the value and the version
	VersionedPut                       // sets the value, answers the new version
	VersionedAppend                    // appends to the value (or to "" for an absent key), answers the new version
	VersionedDelete                    // removes the key, answers whether the key was present
	VersionedCAS                       // sets the value if the key has the expected version
	VersionedScan                      // answers all keys and values (KVStore only)
)

// VersionedInput is the input of an operation of [KVVersioned] or [KVStore].
type VersionedInput struct {
	Op      VersionedOp
	Key     string // for all operations but a scan
	Value   string // for a put, an append or a compare-and-swap
	Version uint64 // that a compare-and-swap expects; 0 expects that the key is absent
}

// VersionedOutput is the output of an operation of [KVVersioned] or [KVStore].
type VersionedOutput struct {
	Value string // of a get that found the key
	// Version is the version of the key for a get, the new version for a write, and the actual
	// version for a failed compare-and-swap. An absent key has version 0. The version 0 of a write
	// or a failed compare-and-swap means "not told".
	Version uint64
	OK      bool              // for a get or delete, the key was present, and for a compare-and-swap, it took effect
	Scan    map[string]string // for a scan, the value of each key
}

// KVVersioned is a key/value store in which every write gives its key a higher version than all
// earlier ones, such as a store that numbers all writes. Inputs are VersionedInput and outputs
// VersionedOutput. All answered versions must fit one order of the writes, so the check is stricter
// and faster than a check of values alone.
var KVVersioned = newKVVersioned()

// versioned is the state of one key. After a pending write, the version is unknown until an
// operation answers it.
type versioned struct {
	present bool
	value   string
	version uint64 // 0 if absent or unknown
	floor   uint64 // the version and all later ones are greater
}

func newKVVersioned() porcupine.Model {
	m := porcupine.Model{
		Init: func() any { return versioned{} },
		Step: func(state, input, output any) (bool, any) {
			return state.(versioned).step(input.(VersionedInput), output.(VersionedOutput))
		},
		StepPending: func(state, input any) []any {
			if next, ok := state.(versioned).stepPending(input.(VersionedInput)); ok {
				return []any{next}
			}
			return nil
		},
		DescribeOperation: describeVersioned,
		DescribeState:     func(state any) string { return state.(versioned).String() },
		Hint:              &porcupine.Hint{Order: versionedOrder, Expires: versionedExpires, Resolve: resolveVersioned},
	}
	m.Partition, m.PartitionEvent = byKey(func(input any) string { return input.(VersionedInput).Key })
	return m
}

// versionedOrder places an operation by the version that the operation wrote or found. For one key,
// a write comes before the operations that found its version, and those come before the next write.
func versionedOrder(input, output any) (porcupine.Place, bool) {
	in, out := input.(VersionedInput), output.(VersionedOutput)
	found, wrote := uint64(0), uint64(0)
	switch in.Op {
	case VersionedGet:
		if out.OK {
			found = out.Version
		}
	case VersionedPut, VersionedAppend:
		wrote = out.Version
	case VersionedCAS:
		switch {
		case !out.OK:
			found = out.Version
		case out.Version != 0:
			wrote = out.Version
		default:
			found = in.Version
		}
	}
	if max(found, wrote) == 0 || max(found, wrote) > math.MaxUint64/2 {
		return porcupine.Place{}, false
	}
	if wrote > 0 {
		return porcupine.Place{Sequence: in.Key, Number: 2 * wrote}, true
	}
	return porcupine.Place{Sequence: in.Key, Number: 2*found + 1}, true
}

// versionedExpires places a pending compare-and-swap right after the expected version.
func versionedExpires(input any) (porcupine.Place, bool) {
	in := input.(VersionedInput)
	if in.Op != VersionedCAS || in.Version == 0 || in.Version > math.MaxUint64/4 {
		return porcupine.Place{}, false
	}
	return porcupine.Place{Sequence: in.Key, Number: 2*in.Version + 1}, true
}

// is says whether the key may have the version, and returns the state with the version known.
func (s versioned) is(version uint64) (bool, versioned) {
	switch {
	case !s.present:
		return version == 0, s
	case s.version != 0:
		return version == s.version, s
	}
	known := s
	known.version, known.floor = version, version
	return version > s.floor, known
}

// write returns the state after a write with the answered version, or 0 if the version is unknown.
func (s versioned) write(value string, version uint64) (bool, versioned) {
	if version == 0 {
		return true, versioned{present: true, value: value, floor: s.floor}
	}
	return version > s.floor, versioned{present: true, value: value, version: version, floor: version}
}

func (s versioned) step(in VersionedInput, out VersionedOutput) (bool, versioned) {
	switch in.Op {
	case VersionedGet:
		if out.OK != s.present || out.Value != s.value {
			return false, s
		}
		return s.is(out.Version)
	case VersionedPut:
		return s.write(in.Value, out.Version)
	case VersionedAppend:
		return s.write(s.value+in.Value, out.Version)
	case VersionedDelete:
		return out.OK == s.present, versioned{floor: s.floor}
	case VersionedCAS:
		return s.stepCAS(in, out)
	}
	return false, s
}

func (s versioned) stepCAS(in VersionedInput, out VersionedOutput) (bool, versioned) {
	if !out.OK {
		unknown := s.present && s.version == 0
		if out.Version == 0 {
			return unknown || in.Version != s.version, s
		}
		ok, known := s.is(out.Version)
		return ok && out.Version != in.Version, known
	}
	ok, known := s.is(in.Version)
	if !ok {
		return false, s
	}
	return known.write(in.Value, out.Version)
}

func (s versioned) stepPending(in VersionedInput) (versioned, bool) {
	switch in.Op {
	case VersionedPut:
		_, next := s.write(in.Value, 0)
		return next, true
	case VersionedAppend:
		_, next := s.write(s.value+in.Value, 0)
		return next, true
	case VersionedDelete:
		return versioned{floor: s.floor}, s.present
	case VersionedCAS:
		ok, known := s.is(in.Version)
		_, next := known.write(in.Value, 0)
		return next, ok
	}
	return s, false
}

func (s versioned) String() string {
	switch {
	case !s.present:
		return "absent"
	case s.version == 0:
		return fmt.Sprintf("%q, version above %d", s.value, s.floor)
	}
	return fmt.Sprintf("%q, version %d", s.value, s.version)
}

// KVStore is [KVVersioned] with scans. A scan sees all keys at once, so a history with a scan is
// one part, and its check takes much longer. A history without scans is partitioned by key. A scan
// is a VersionedInput with Op VersionedScan.
var KVStore = newKVStore()

func newKVStore() porcupine.Model {
	seed := maphash.MakeSeed()
	m := porcupine.Model{
		Init:  func() any { return map[string]versioned{} },
		Step:  stepStore,
		Equal: func(a, b any) bool { return maps.Equal(a.(map[string]versioned), b.(map[string]versioned)) },
		Hash: func(state any) uint64 {
			var sum uint64
			for key, s := range state.(map[string]versioned) {
				sum += maphash.Comparable(seed, key) ^ maphash.Comparable(seed, s)
			}
			return sum
		},
		StepPending: func(state, input any) []any {
			store, in := state.(map[string]versioned), input.(VersionedInput)
			if next, ok := store[in.Key].stepPending(in); ok {
				return []any{withKey(store, in.Key, next)}
			}
			return nil
		},
		DescribeOperation: describeVersioned,
		DescribeState:     describeStore,
		Hint:              &porcupine.Hint{Order: versionedOrder, Expires: versionedExpires, Resolve: resolveVersioned},
	}
	operations, events := byKey(func(input any) string { return input.(VersionedInput).Key })
	m.Partition = func(history []porcupine.Operation) [][]porcupine.Operation {
		if slices.ContainsFunc(history, func(o porcupine.Operation) bool { return isScan(o.Input) }) {
			return [][]porcupine.Operation{history}
		}
		return operations(history)
	}
	m.PartitionEvent = func(history []porcupine.Event) [][]porcupine.Event {
		if slices.ContainsFunc(history, func(e porcupine.Event) bool { return e.Kind == porcupine.CallEvent && isScan(e.Value) }) {
			return [][]porcupine.Event{history}
		}
		return events(history)
	}
	return m
}

func isScan(input any) bool { return input.(VersionedInput).Op == VersionedScan }

func stepStore(state, input, output any) (bool, any) {
	store, in, out := state.(map[string]versioned), input.(VersionedInput), output.(VersionedOutput)
	if in.Op != VersionedScan {
		before := store[in.Key]
		ok, next := before.step(in, out)
		if !ok || next == before {
			return ok, state
		}
		return true, withKey(store, in.Key, next)
	}
	found := 0
	for key, s := range store {
		if value, ok := out.Scan[key]; ok != s.present || value != s.value {
			return false, state
		}
		if s.present {
			found++
		}
	}
	return found == len(out.Scan), state
}

func withKey(store map[string]versioned, key string, s versioned) map[string]versioned {
	next := maps.Clone(store)
	next[key] = s
	return next
}

func describeStore(state any) string {
	store := state.(map[string]versioned)
	var texts []string
	for _, key := range slices.Sorted(maps.Keys(store)) {
		if store[key].present {
			texts = append(texts, fmt.Sprintf("%q: %v", key, store[key]))
		}
	}
	return "{" + strings.Join(texts, ", ") + "}"
}

func describeVersioned(input, output any) string {
	in := input.(VersionedInput)
	version := func(o VersionedOutput) string { return fmt.Sprintf("version %d", o.Version) }
	switch in.Op {
	case VersionedGet:
		return fmt.Sprintf("get(%q)%s", in.Key, answer(output, func(o VersionedOutput) string {
			if !o.OK {
				return "absent"
			}
			return fmt.Sprintf("%q, version %d", o.Value, o.Version)
		}))
	case VersionedPut:
		return fmt.Sprintf("put(%q, %q)%s", in.Key, in.Value, answer(output, version))
	case VersionedAppend:
		return fmt.Sprintf("append(%q, %q)%s", in.Key, in.Value, answer(output, version))
	case VersionedDelete:
		return fmt.Sprintf("delete(%q)%s", in.Key, answer(output, func(o VersionedOutput) string { return fmt.Sprint(o.OK) }))
	case VersionedCAS:
		return fmt.Sprintf("cas(%q, version %d, %q)%s", in.Key, in.Version, in.Value, answer(output, func(o VersionedOutput) string {
			return fmt.Sprintf("%v, version %d", o.OK, o.Version)
		}))
	}
	if in.Op == VersionedScan {
		return "scan()" + answer(output, func(o VersionedOutput) string { return fmt.Sprint(o.Scan) })
	}
	return unknownOp(uint8(in.Op))
}
