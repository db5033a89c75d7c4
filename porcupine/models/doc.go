// Package models holds ready sequential specifications for package porcupine.
//
//   - [Register] and [CASRegister] are one value, with read, write, and compare-and-swap.
//   - [KV] is the key/value store of the labs, with get, put and append. [WithKVHint] gives the hint
//     of KV to another model of this store.
//   - [KVVersioned] is a store whose writes answer versions, with delete, and compare-and-swap by
//     version. [KVStore] adds scans over all keys.
//   - [Queue], [Set] and [Lock] are the classic objects, with many names each.
//   - [ListAppend] is a set of lists with append and whole reads.
//
// Every model but the two registers partitions a history by key. A pending operation needs no
// output, because each model knows the possible effects. No answer to an unknown Op is legal.
//
// A model is a variable of type [porcupine.Model]. A program can copy and adapt it:
//
//	m := models.KV
//	m.DescribeOperation = mine
package models

import (
	"slices"

	"raftlab/porcupine"
)

// byKey returns partition functions for a model with one key in each operation. The parts are in
// the order of their first operations.
func byKey[K comparable](key func(input any) K) (func([]porcupine.Operation) [][]porcupine.Operation, func([]porcupine.Event) [][]porcupine.Event) {
	operations := func(history []porcupine.Operation) [][]porcupine.Operation {
		return group(history, func(o *porcupine.Operation) K { return key(o.Input) })
	}
	events := func(history []porcupine.Event) [][]porcupine.Event {
		keys := make(map[int]K) // id -> key of the call
		return group(history, func(e *porcupine.Event) K {
			if e.Kind == porcupine.CallEvent {
				keys[e.Id] = key(e.Value)
			}
			return keys[e.Id]
		})
	}
	return operations, events
}

// group splits elements by key. A first pass counts, so that each part is allocated once.
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
