package shardgrp

import (
	"raftlab/y2025/internal/versions"
	"raftlab/y2025/kvsrv1/rpc"
	"raftlab/y2025/shardkv1/shardcfg"
)

// phase is the state of a shard at a group.
type phase int

const (
	absent  phase = iota // another group has the shard, or none
	serving              // the group serves the shard
	frozen               // the shard is about to move away
)

// shard is one shard at a group.
type shard struct {
	Phase phase
	// Num is the newest configuration in which the group got or gave up the shard. A
	// request with a lower number comes from an old controller, and is refused.
	Num   shardcfg.Tnum
	Store versions.Store
}

// freeze begins the move of a shard away from the group, and returns the state. A
// repeated freeze returns the same state, or nothing after remove.
func (s *shard) freeze(num shardcfg.Tnum) ([]byte, rpc.Err) {
	switch {
	case num < s.Num || num == s.Num && s.Phase == serving:
		return nil, rpc.ErrVersion
	case num == s.Num && s.Phase == absent:
		return nil, rpc.OK
	case s.Phase == absent:
		return nil, rpc.ErrWrongGroup
	}
	s.Phase, s.Num = frozen, num
	return versions.Encode(s.Store), rpc.OK
}

// install makes the group serve the shard. A repeated install changes nothing, because
// the group may have served writes since.
func (s *shard) install(state []byte, num shardcfg.Tnum) rpc.Err {
	switch {
	case num < s.Num:
		return rpc.ErrVersion
	case num == s.Num:
		return rpc.OK
	}
	store := make(versions.Store)
	if len(state) > 0 {
		if err := versions.Decode(state, &store); err != nil {
			return rpc.ErrVersion // no group has sent this state
		}
	}
	*s = shard{Phase: serving, Num: num, Store: store}
	return rpc.OK
}

// remove deletes a frozen shard. A repeated remove changes nothing.
func (s *shard) remove(num shardcfg.Tnum) rpc.Err {
	switch {
	case s.Phase == absent && num >= s.Num:
		return rpc.OK
	case s.Phase != frozen || num != s.Num:
		return rpc.ErrVersion
	}
	*s = shard{Num: num}
	return rpc.OK
}
