package shardctrler

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"raftlab/internal/msgpack"
)

// body is the encoding of a history in a snapshot. Each configuration after the
// oldest is stored as the difference to its predecessor, so the names of a group's
// servers are stored once.
type body struct {
	Format uint8
	Oldest Config
	Deltas []delta
}

// delta is the difference between a configuration and its predecessor.
type delta struct {
	Shards [NShards]int
	Joined map[int][]string
	Left   []int
}

// bodyFormat is the version of the encoding.
const bodyFormat = 1

// deltaTo returns the difference between c and its successor.
func (c Config) deltaTo(next Config) delta {
	d := delta{Shards: next.Shards, Joined: make(map[int][]string)}
	for gid, servers := range next.Groups {
		if _, member := c.Groups[gid]; !member {
			d.Joined[gid] = servers
		}
	}
	for gid := range c.Groups {
		if _, stays := next.Groups[gid]; !stays {
			d.Left = append(d.Left, gid)
		}
	}
	slices.Sort(d.Left)
	return d
}

// successor returns the configuration that differs from c by d.
func (c Config) successor(d delta) Config {
	next := Config{Num: c.Num + 1, Shards: d.Shards, Groups: c.members()}
	for _, gid := range d.Left {
		delete(next.Groups, gid)
	}
	for gid, servers := range d.Joined {
		next.Groups[gid] = servers
	}
	return next
}

// Snapshot returns a function that writes the present history.
func (h *history) Snapshot() func(io.Writer) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	configs := h.configs
	return func(w io.Writer) error {
		b := body{Format: bodyFormat, Oldest: configs[0]}
		for i, c := range configs[1:] {
			b.Deltas = append(b.Deltas, configs[i].deltaTo(c))
		}
		return msgpack.Write(w, &b)
	}
}

// Restore replaces the history by one that Snapshot wrote. An empty snapshot stands
// for the initial history. After an error the history is unchanged.
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
	var b body
	rest, err := msgpack.DecodeVersion(data, bodyFormat, &b)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, errors.New("more follows the last configuration")
	}
	configs := []Config{b.Oldest}
	for i, d := range b.Deltas {
		configs = append(configs, configs[i].successor(d))
	}
	return configs, nil
}
