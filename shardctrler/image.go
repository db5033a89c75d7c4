package shardctrler

import (
	"crypto/sha256"
	"fmt"

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
