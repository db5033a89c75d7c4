// Package versions has the state of the key/value services of the 2025 edition.
package versions

import (
	"fmt"
	"maps"

	"raftlab/labgob"
	"raftlab/y2025/kvsrv1/rpc"
)

// Value is the value of a key.
type Value struct {
	Value   string
	Version rpc.Tversion
}

// Store holds the values of the keys. The caller guards a Store.
type Store map[string]Value

// Get reads a key.
func (s Store) Get(args rpc.GetArgs) rpc.GetReply {
	v, found := s[args.Key]
	if !found {
		return rpc.GetReply{Err: rpc.ErrNoKey}
	}
	return rpc.GetReply{Value: v.Value, Version: v.Version, Err: rpc.OK}
}

// Put sets a key's value if the key has the version of args. A missing key has
// version 0.
func (s Store) Put(args rpc.PutArgs) rpc.PutReply {
	switch v, found := s[args.Key]; {
	case args.Version != v.Version && !found:
		return rpc.PutReply{Err: rpc.ErrNoKey}
	case args.Version != v.Version:
		return rpc.PutReply{Err: rpc.ErrVersion}
	}
	s[args.Key] = Value{args.Value, args.Version + 1}
	return rpc.PutReply{Err: rpc.OK}
}

// Copy returns an independent copy.
func (s Store) Copy() Store { return maps.Clone(s) }

// Encode returns the encoding of a state, such as a Store.
func Encode(state any) []byte {
	data, err := labgob.Encode(state)
	if err != nil {
		panic(fmt.Sprintf("versions: encoding a %T: %v", state, err)) // plain data has an encoding
	}
	return data
}

// Decode decodes the encoding of a state into the variable at state.
func Decode(data []byte, state any) error { return labgob.Decode(data, state) }
