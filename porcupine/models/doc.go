// Package models holds ready sequential specifications for package porcupine.
//
//   - [Register] and [CASRegister]: one value, read, written, compared and swapped.
//   - [KV]: the key/value store of the labs: get, put, append. [WithKVHint] makes a model of
//     it that somebody else wrote as fast.
//   - [KVVersioned]: a store whose writes return versions, with delete and
//     compare-and-swap by version; [KVStore] adds scans over all keys.
//   - [Queue], [Set], [Lock]: the classic objects, each over many named ones.
//   - [ListAppend]: lists that are appended to and read whole.
//
// Every model but the two registers partitions a history by key. A pending
// operation (one that never returned) needs no output: each model knows what
// it may have done.
//
// A model is a variable of type [porcupine.Model], to be copied and adapted:
//
//	m := models.KV
//	m.DescribeOperation = mine
package models

import (
	"slices"

	"raftlab/porcupine"
)

// byKey returns partition functions for a model whose operations each have
// one key. Parts are in the order of their first operations.
func byKey[K comparable](key func(input any) K) (func([]porcupine.Operation) [][]porcupine.Operation, func([]porcupine.Event) [][]porcupine.Event) {
	operations := func(history []porcupine.Operation) [][]porcupine.Operation {
		return group(history, func(o *porcupine.Operation) K { return key(o.Input) })
	}
	events := func(history []porcupine.Event) [][]porcupine.Event {
		keys := make(map[int]K) // of the calls so far, by id
		return group(history, func(e *porcupine.Event) K {
			if e.Kind == porcupine.CallEvent {
				keys[e.Id] = key(e.Value)
			}
			return keys[e.Id]
		})
	}
	return operations, events
}

// group splits elements by key. It counts first, so that each part is
// allocated once.
func group[E any, K comparable](elements []E, key func(*E) K) [][]E {
	index := make(map[K]int)
	groupOf := make([]int32, len(elements))
	var sizes []int
	for i := range elements {
		k := key(&elements[i])
		g, ok := index[k]
		if !ok {
			g = len(sizes)
			index[k] = g
			sizes = append(sizes, 0)
		}
		groupOf[i] = int32(g)
		sizes[g]++
	}
	groups := make([][]E, len(sizes))
	for g, size := range sizes {
		groups[g] = slices.Grow([]E(nil), size)
	}
	for i, g := range groupOf {
		groups[g] = append(groups[g], elements[i])
	}
	return groups
}
