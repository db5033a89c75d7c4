package shardctrler

import (
	"crypto/sha256"
	"fmt"
	"io"

	"raftlab/rsm"
)

// Image is the state of the service without a server, for programs that read the
// service's log. An Image is used by one goroutine at a time.
type Image struct {
	history *history
	replica *rsm.Replica[Command, Result]
}

// NewImage returns the state in a snapshot, or the initial state for an empty snapshot.
func NewImage(snapshot []byte) (*Image, error) {
	h := newHistory()
	replica, err := rsm.New(h, snapshot, rsm.Options{})
	if err != nil {
		return nil, err
	}
	return &Image{h, replica}, nil
}

// Apply applies the command at index of the log. Commands within the snapshot change
// nothing.
func (m *Image) Apply(index uint64, command []byte) error { return m.replica.Replay(index, command) }

// Newest returns the newest configuration.
func (m *Image) Newest() Config {
	m.history.mu.Lock()
	defer m.history.mu.Unlock()
	return m.history.newest()
}

// Sum returns a hash of the kept configurations. The servers have the same sum after the
// same entry of the log.
func (m *Image) Sum() [sha256.Size]byte {
	m.history.mu.Lock()
	defer m.history.mu.Unlock()
	h := sha256.New()
	for _, c := range m.history.configs {
		fmt.Fprintf(h, "%d %v %v\n", c.Num, c.Shards, c.Groups) // maps are printed in the order of the keys
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// WriteSnapshot writes the state as the snapshot of a log up to index.
func (m *Image) WriteSnapshot(w io.Writer, index uint64) error {
	return m.replica.WriteSnapshot(w, index)
}

// ImageOf returns the state of a new service whose first configuration is config.
func ImageOf(config Config) (*Image, error) {
	m, err := NewImage(nil)
	if err == nil {
		m.history.configs = append(m.history.configs, config)
	}
	return m, err
}

// FirstConfig returns the first configuration with the given groups. If the groups have all
// owners, these own their shards. Otherwise as few shards as possible get other owners.
func FirstConfig(groups map[int][]string, owners [NShards]int) (Config, error) {
	c, err := Config{Shards: owners}.join(groups)
	if err != nil {
		return c, err
	}
	for _, gid := range owners {
		if c.Groups[gid] == nil {
			return c, nil
		}
	}
	c.Shards = owners
	return c, nil
}
