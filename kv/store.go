package kv

import (
	"fmt"
	"io"

	"github.com/tidwall/btree"

	"raftlab/internal/msgpack"
)

// Limits bound what a store takes, in bytes; 0 means no limit. They are part of
// the state machine: every replica has the same.
type Limits struct {
	Key   int
	Value int
}

// Store is the state: the keys with their values and versions. It is not safe
// for concurrent use, but for what Snapshot returns.
type Store struct {
	limits  Limits
	pairs   btree.Map[string, Pair] // copies in constant time, which is what makes snapshots cheap
	version uint64                  // of the last write
}

// NewStore returns an empty store.
func NewStore(limits Limits) *Store { return &Store{limits: limits} }

// Copy returns a store that is as this one is now; either can be changed and
// leaves the other alone. It takes constant time: they share what neither changes.
func (s *Store) Copy() *Store {
	return &Store{limits: s.limits, pairs: *s.pairs.Copy(), version: s.version}
}

// Len returns the number of keys.
func (s *Store) Len() int { return s.pairs.Len() }

// Version returns the version of the last write; 0: there was none.
func (s *Store) Version() uint64 { return s.version }

// Apply carries out an operation.
func (s *Store) Apply(op Op) Result {
	r := s.apply(op)
	r.Tag = op.Tag
	return r
}

func (s *Store) apply(op Op) Result {
	if op.Kind == KindScan {
		return s.scan(op)
	}
	old, found := s.pairs.Get(op.Key)
	switch {
	case op.Kind == KindGet && !found, op.Kind == KindDelete && !found && !op.Conditional:
		return Result{Code: NotFound}
	case op.Kind == KindGet:
		return Result{Value: old.Value, Version: old.Version}
	case op.Conditional && op.Version != old.Version:
		return Result{Code: VersionMismatch, Version: old.Version}
	}
	switch op.Kind {
	case KindPut:
		return s.set(op.Key, op.Value)
	case KindAppend:
		return s.set(op.Key, old.Value+op.Value)
	case KindDelete:
		return s.remove(op.Key)
	}
	return Result{Code: Invalid}
}

func (s *Store) set(key, value string) Result {
	if s.limits.Key > 0 && len(key) > s.limits.Key || s.limits.Value > 0 && len(value) > s.limits.Value {
		return Result{Code: TooLarge}
	}
	s.version++
	s.pairs.Set(key, Pair{Key: key, Value: value, Version: s.version})
	return Result{Version: s.version}
}

func (s *Store) remove(key string) Result {
	if _, found := s.pairs.Delete(key); !found {
		return Result{Code: NotFound}
	}
	s.version++ // so that a version of the key is not used again if it returns
	return Result{}
}

func (s *Store) scan(op Op) Result {
	limit := op.Limit
	if limit <= 0 || limit > MaxScan {
		limit = MaxScan
	}
	var r Result
	size := 0
	s.pairs.Ascend(op.Key, func(key string, p Pair) bool {
		if op.End != "" && key >= op.End {
			return false
		}
		size += len(key) + len(p.Value)
		if len(r.Pairs) == limit || size > MaxScanBytes && len(r.Pairs) > 0 {
			r.More = true
			return false
		}
		r.Pairs = append(r.Pairs, p)
		return true
	})
	return r
}

// storeHead begins an encoded store; its pairs follow, in the order of their keys
// and in batches.
type storeHead struct {
	Format  uint8
	Version uint64
	Pairs   int
}

// batchSize is how many pairs are encoded as one value. Encoding pairs one by one
// takes three times as long.
const batchSize = 256

// batchBytes is the size of keys and values from which on a batch has fewer pairs,
// because the encoder holds a whole batch in memory.
const batchBytes = 256 << 10

// storeFormat is the encoding that this file writes and reads.
const storeFormat = 1

// Snapshot returns a function that writes the store as it is now. The store may
// be changed meanwhile: the copy is made at once, in constant time, and the two
// share what neither changes.
func (s *Store) Snapshot() func(io.Writer) error {
	frozen := s.Copy()
	return func(w io.Writer) error {
		header := storeHead{Format: storeFormat, Version: frozen.version, Pairs: frozen.Len()}
		if err := msgpack.Write(w, &header); err != nil {
			return err
		}
		return frozen.batches(func(batch []Pair) error { return msgpack.Write(w, batch) })
	}
}

// batches calls do for all pairs, in the order of their keys, some at a time.
func (s *Store) batches(do func([]Pair) error) (err error) {
	batch, size := make([]Pair, 0, batchSize), 0
	s.pairs.Scan(func(_ string, p Pair) bool {
		batch = append(batch, p)
		if size += len(p.Key) + len(p.Value); len(batch) == batchSize || size >= batchBytes {
			err = do(batch)
			batch, size = batch[:0], 0
		}
		return err == nil
	})
	if err == nil && len(batch) > 0 {
		err = do(batch)
	}
	return err
}

// Restore replaces the store by an encoded one; nil is the empty store. After
// an error it is unchanged.
func (s *Store) Restore(snapshot []byte) error {
	fresh := NewStore(s.limits)
	if len(snapshot) > 0 {
		if err := fresh.decode(snapshot); err != nil {
			return fmt.Errorf("kv: decoding a store of %d bytes: %w", len(snapshot), err)
		}
	}
	*s = *fresh
	return nil
}

func (s *Store) decode(data []byte) error {
	var head storeHead
	rest, err := msgpack.DecodeVersion(data, storeFormat, &head)
	if err != nil {
		return err
	}
	if head.Pairs < 0 {
		return fmt.Errorf("%d pairs", head.Pairs)
	}
	batch := make([]Pair, 0, batchSize)
	for s.pairs.Len() < head.Pairs {
		clear(batch) // what an encoded pair lacks must not be the one's before
		batch = batch[:0]
		if rest, err = msgpack.DecodePrefix(rest, &batch); err != nil {
			return fmt.Errorf("after pair %d of %d: %w", s.pairs.Len(), head.Pairs, err)
		}
		if len(batch) == 0 || s.pairs.Len()+len(batch) > head.Pairs {
			return fmt.Errorf("a batch of %d pairs after pair %d of %d", len(batch), s.pairs.Len(), head.Pairs)
		}
		if err := s.load(batch, head.Version); err != nil {
			return err
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("%d bytes follow the %d pairs", len(rest), head.Pairs)
	}
	s.version = head.Version
	return nil
}

// load adds pairs that come in the order of their keys.
func (s *Store) load(batch []Pair, version uint64) error {
	for _, p := range batch {
		if last, _, ok := s.pairs.Max(); ok && p.Key <= last {
			return fmt.Errorf("key %.40q follows %.40q", p.Key, last)
		}
		if p.Version == 0 || p.Version > version {
			return fmt.Errorf("key %.40q has version %d, the store %d", p.Key, p.Version, version)
		}
		s.pairs.Load(p.Key, p)
	}
	return nil
}
