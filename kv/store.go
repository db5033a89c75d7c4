package kv

import (
	"fmt"
	"io"

	"github.com/tidwall/btree"

	"raftlab/internal/msgpack"
)

// Limits bound keys and values, in bytes; 0 means no limit. Limits are a part of the
// state machine, so every replica must have the same.
type Limits struct {
	Key   int
	Value int
}

// Store holds the keys with their values and versions. A Store is not safe for
// concurrent use, except for the function that Snapshot returns.
type Store struct {
	limits  Limits
	pairs   btree.Map[string, Pair] // copies in constant time, which is what makes snapshots cheap
	version uint64                  // of the last write
}

// NewStore returns an empty store.
func NewStore(limits Limits) *Store { return &Store{limits: limits} }

// Copy returns an independent copy of the store in constant time. The copies share
// their unchanged parts.
func (s *Store) Copy() *Store {
	return &Store{limits: s.limits, pairs: *s.pairs.Copy(), version: s.version}
}

// Len returns the number of keys.
func (s *Store) Len() int { return s.pairs.Len() }

// Version returns the version of the last write; 0: no write yet.
func (s *Store) Version() uint64 { return s.version }

// Apply executes an operation.
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

// header begins an encoded store. The pairs follow in batches, in the order of the
// keys.
type header struct {
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

// storeFormat is the version of the format that this file writes and reads.
const storeFormat = 1

// Snapshot returns a function that writes the current store. Snapshot takes a copy
// in constant time, so the store may change before the function is called.
func (s *Store) Snapshot() func(io.Writer) error {
	frozen := s.Copy()
	return func(w io.Writer) error {
		h := header{Format: storeFormat, Version: frozen.version, Pairs: frozen.Len()}
		if err := msgpack.Write(w, &h); err != nil {
			return err
		}
		return frozen.batches(func(batch []Pair) error { return msgpack.Write(w, batch) })
	}
}

// batches passes all pairs to do, in batches and in the order of the keys.
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

// Restore replaces the store by an encoded store; nil is the empty store. After an
// error the store is unchanged.
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
	var h header
	rest, err := msgpack.DecodeVersion(data, storeFormat, &h)
	if err != nil {
		return err
	}
	if h.Pairs < 0 {
		return fmt.Errorf("%d pairs", h.Pairs)
	}
	batch := make([]Pair, 0, batchSize)
	for s.pairs.Len() < h.Pairs {
		clear(batch) // what an encoded pair lacks must not be the one's before
		batch = batch[:0]
		if rest, err = msgpack.DecodePrefix(rest, &batch); err != nil {
			return fmt.Errorf("after pair %d of %d: %w", s.pairs.Len(), h.Pairs, err)
		}
		if len(batch) == 0 || s.pairs.Len()+len(batch) > h.Pairs {
			return fmt.Errorf("a batch of %d pairs after pair %d of %d", len(batch), s.pairs.Len(), h.Pairs)
		}
		if err := s.load(batch, h.Version); err != nil {
			return err
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("%d bytes follow the %d pairs", len(rest), h.Pairs)
	}
	s.version = h.Version
	return nil
}

// load adds pairs, which must come in the order of their keys.
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
