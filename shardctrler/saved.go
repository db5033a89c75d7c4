package shardctrler

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// saved is a history as it is in a snapshot: the oldest configuration, and what
// each later one changes, so that a group's servers are written once.
type saved struct {
	Format uint8
	Oldest Config
	Steps  []step
}

// step is the difference between a configuration and the one before it.
type step struct {
	Shards [NShards]int
	Joined map[int][]string
	Left   []int
}

// savedFormat is the encoding that this file writes and reads.
const savedFormat = 1

var msgpack = func() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{WriteExt: true}
	h.StructToArray = true
	h.Canonical = true // maps in the order of their keys
	return h
}()

// stepTo returns how next differs from c.
func (c Config) stepTo(next Config) step {
	s := step{Shards: next.Shards, Joined: make(map[int][]string)}
	for gid, servers := range next.Groups {
		if _, member := c.Groups[gid]; !member {
			s.Joined[gid] = servers
		}
	}
	for gid := range c.Groups {
		if _, stays := next.Groups[gid]; !stays {
			s.Left = append(s.Left, gid)
		}
	}
	slices.Sort(s.Left)
	return s
}

// take returns the configuration that differs from c by a step.
func (c Config) take(s step) Config {
	next := Config{Num: c.Num + 1, Shards: s.Shards, Groups: c.members()}
	for _, gid := range s.Left {
		delete(next.Groups, gid)
	}
	for gid, servers := range s.Joined {
		next.Groups[gid] = servers
	}
	return next
}

// Snapshot returns a function that writes the history as it is now.
func (h *history) Snapshot() func(io.Writer) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	configs := h.configs
	return func(w io.Writer) error {
		s := saved{Format: savedFormat, Oldest: configs[0]}
		for i, c := range configs[1:] {
			s.Steps = append(s.Steps, configs[i].stepTo(c))
		}
		return codec.NewEncoder(w, msgpack).Encode(&s)
	}
}

// Restore replaces the history by an encoded one; nil is the initial one. After
// an error it is unchanged.
func (h *history) Restore(snapshot []byte) error {
	configs := newHistory().configs
	if len(snapshot) > 0 {
		var err error
		if configs, err = decodeHistory(snapshot); err != nil {
			return fmt.Errorf("shardctrler: decoding a history of %d bytes: %w", len(snapshot), err)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.replace(configs)
	return nil
}

func decodeHistory(data []byte) ([]Config, error) {
	var s saved
	dec := codec.NewDecoderBytes(data, msgpack)
	if err := dec.Decode(&s); err != nil {
		return nil, err
	}
	switch {
	case s.Format != savedFormat:
		return nil, fmt.Errorf("format %d; this program reads %d", s.Format, savedFormat)
	case dec.NumBytesRead() != len(data):
		return nil, errors.New("more follows the last configuration")
	}
	configs := []Config{s.Oldest}
	for i, step := range s.Steps {
		configs = append(configs, configs[i].take(step))
	}
	return configs, nil
}
