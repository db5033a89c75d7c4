//go:build linux

package histories

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/porcupine"
)

// good is a record without faults.
func good() *record {
	history := []event{
		{revision: 2, key: "a", value: "1", create: 2, version: 1, at: 15},
		{revision: 3, key: "b", value: "2", create: 3, version: 1, at: 25},
		{revision: 3, key: "a", value: "3", create: 2, version: 2, at: 25},
		{revision: 4, key: "b", deleted: true, at: 35},
		{revision: 5, key: "l", value: "4", create: 5, version: 1, lease: 9, at: 45},
		{revision: 6, key: "l", deleted: true, at: 145},
	}
	return &record{
		history: history, last: 6,
		operations: []operation{
			{kind: "put", client: 1, call: 10, ret: 20, known: true, revision: 2, changes: []change{{key: "a", value: "1"}}},
			{kind: "txn", client: 1, call: 21, ret: 30, changes: []change{{key: "b", value: "2"}, {key: "a", value: "3"}}},
			{kind: "get", client: 2, call: 26, ret: 29, known: true, revision: 3, read: true, pairs: []pair{{"a", "3", 3}, {"b", "2", 3}}},
			{kind: "delete", client: 2, call: 31, ret: 40, changes: []change{{key: "b", deleted: true}}},
			{kind: "stale", client: 3, call: 36, ret: 39, known: true, revision: 2, read: true, stale: true, pairs: []pair{{"a", "1", 2}}},
			{kind: "put", client: 3, call: 40, ret: 46, known: true, revision: 5, changes: []change{{key: "l", value: "4"}}},
			{kind: "put", client: 3, call: 47, ret: 48, changes: []change{{key: "a", value: "lost"}}},
		},
		watches: []watched{
			{name: "all", from: 2, events: slices.Clone(history)},
			{name: "b", prefix: "b", from: 4, events: slices.Clone(history[3:4])},
		},
		holds: []hold{{lease: 9, key: "l", ttl: 100 * time.Nanosecond, renewed: 40}},
	}
}

// The checker accepts a good record, and names each fault of a bad one.
func TestChecker(t *testing.T) {
	require.Empty(t, good().check())
	for says, spoil := range map[string]func(r *record){
		"not linearizable":          func(r *record) { r.operations[0].call, r.operations[0].ret = 32, 33 },
		"a stale linearizable read": func(r *record) { r.operations[4].stale = false },
		"has [{a 1 2}]; want":       func(r *record) { r.operations[2].pairs = []pair{{"a", "1", 2}} },
		"before its write": func(r *record) {
			r.operations[4].revision, r.operations[4].ret, r.operations[4].pairs = 5, 39, []pair{{"a", "3", 3}, {"l", "4", 5}}
		},
		"revision 4 follows 2":             func(r *record) { r.history = slices.Delete(r.history, 1, 3) },
		"it ends at revision 6; want 7":    func(r *record) { r.last = 7 },
		"deletes b, which does not exist":  func(r *record) { r.history[1].key = "c" },
		"is version 3 of 2; want 2 of 2":   func(r *record) { r.history[2].version = 3 },
		"the history has []":               func(r *record) { r.operations[0].revision = 9 },
		"as another operation has":         func(r *record) { r.operations = append(r.operations, r.operations[0]) },
		"a part of txn":                    func(r *record) { r.operations[1].changes[1].value = "x" },
		"which no client has asked for":    func(r *record) { r.operations[3].changes[0].key = "x" },
		"puts l=4, which no client":        func(r *record) { r.operations = slices.Delete(r.operations, 5, 6) },
		"replaces {b 2 3}":                 func(r *record) { r.operations[5].prev = []pair{{"b", "2", 3}} },
		"event 1 is":                       func(r *record) { e := r.watches[0].events; e[1], e[2] = e[2], e[1] },
		"event 2 of 6 is missing":          func(r *record) { r.watches[0].events = r.watches[0].events[:2] },
		"want no event":                    func(r *record) { w := &r.watches[1]; w.events = append(w.events, w.events[0]) },
		"ended 95ns before its time":       func(r *record) { r.holds[0].renewed = 140 },
		"lease 9 was gone 40ns before its": func(r *record) { r.holds[0].gone = 100 },
	} {
		r := good()
		spoil(r)
		problems := r.check()
		if says == "a stale linearizable read" {
			says = "not linearizable"
		}
		require.Condition(t, func() bool {
			return slices.ContainsFunc(problems, func(p string) bool { return contains(p, says) })
		}, "%s: %v", says, problems)
	}
	r := good()
	r.holds[0].revoked, r.holds[0].renewed = true, 140
	require.Empty(t, r.check(), "a revoked lease ends at any time")
	require.Equal(t, porcupine.Pending, good().pendingOf(1), "an operation without an answer")
}

// pendingOf returns when an operation returned, after the check.
func (r *record) pendingOf(i int) int64 {
	r.check()
	return r.operations[i].ret
}
