package library

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	hraft "github.com/hashicorp/raft"
	hbolt "github.com/hashicorp/raft-boltdb/v2"
	hwal "github.com/hashicorp/raft-wal"
)

type hashiFSM struct{}

func (hashiFSM) Apply(l *hraft.Log) any { return l.Data[:8] }

func (f hashiFSM) ApplyBatch(logs []*hraft.Log) []any {
	results := make([]any, len(logs))
	for i, l := range logs {
		if len(l.Data) >= 8 {
			results[i] = l.Data[:8]
		}
	}
	return results
}
func (hashiFSM) Snapshot() (hraft.FSMSnapshot, error) { return hashiSnapshot{}, nil }
func (hashiFSM) Restore(r io.ReadCloser) error        { return r.Close() }

type hashiSnapshot struct{}

func (hashiSnapshot) Persist(sink hraft.SnapshotSink) error { return sink.Close() }
func (hashiSnapshot) Release()                              {}

type hashicorp struct {
	rafts  []*hraft.Raft
	leader *hraft.Raft
	stores []hashiStore
}

func hashiConfig(id string) *hraft.Config {
	cfg := hraft.DefaultConfig()
	cfg.LocalID = hraft.ServerID(id)
	cfg.Logger = hclog.New(&hclog.LoggerOptions{Output: io.Discard})
	cfg.MaxAppendEntries = 1024
	cfg.BatchApplyCh = true
	return cfg
}

func (h *hashicorp) start(ids []string, addresses []hraft.ServerAddress, make func(i int) (hraft.LogStore, hraft.StableStore, hraft.SnapshotStore, hraft.Transport, error)) error {
	var servers []hraft.Server
	for i := range ids {
		servers = append(servers, hraft.Server{ID: hraft.ServerID(ids[i]), Address: addresses[i]})
	}
	for i := range ids {
		logs, stable, snaps, trans, err := make(i)
		if err != nil {
			return err
		}
		cfg := hashiConfig(ids[i])
		if err := hraft.BootstrapCluster(cfg, logs, stable, snaps, trans, hraft.Configuration{Servers: servers}); err != nil {
			return err
		}
		r, err := hraft.NewRaft(cfg, hashiFSM{}, logs, stable, snaps, trans)
		if err != nil {
			return err
		}
		h.rafts = append(h.rafts, r)
	}
	return nil
}

func startHashicorpInMemory(string) (cluster, error) {
	h := &hashicorp{}
	var ids []string
	var addresses []hraft.ServerAddress
	var transports []*hraft.InmemTransport
	for i := range 3 {
		ids = append(ids, fmt.Sprint(i+1))
		a, tr := hraft.NewInmemTransport("")
		addresses, transports = append(addresses, a), append(transports, tr)
	}
	for i, a := range transports {
		for j, b := range transports {
			if i != j {
				a.Connect(addresses[j], b)
			}
		}
	}
	return h, h.start(ids, addresses, func(i int) (hraft.LogStore, hraft.StableStore, hraft.SnapshotStore, hraft.Transport, error) {
		store := hraft.NewInmemStore()
		return store, store, hraft.NewInmemSnapshotStore(), transports[i], nil
	})
}

// hashiStore is a log and a store of the hard state.
type hashiStore interface {
	hraft.LogStore
	hraft.StableStore
}

func openWAL(dir string) (hashiStore, error) { return hwal.Open(dir) }
func openBolt(dir string) (hashiStore, error) {
	return hbolt.NewBoltStore(filepath.Join(dir, "raft.db"))
}

func startHashicorp(open func(dir string) (hashiStore, error)) func(dir string) (cluster, error) {
	return func(dir string) (cluster, error) { return newHashicorp(dir, open) }
}

func newHashicorp(dir string, open func(dir string) (hashiStore, error)) (cluster, error) {
	h := &hashicorp{}
	var ids []string
	var addresses []hraft.ServerAddress
	var transports []*hraft.NetworkTransport
	for i := range 3 {
		ids = append(ids, fmt.Sprint(i+1))
		tr, err := hraft.NewTCPTransport("127.0.0.1:0", nil, 3, 10*time.Second, io.Discard)
		if err != nil {
			return nil, err
		}
		transports, addresses = append(transports, tr), append(addresses, tr.LocalAddr())
	}
	return h, h.start(ids, addresses, func(i int) (hraft.LogStore, hraft.StableStore, hraft.SnapshotStore, hraft.Transport, error) {
		path := filepath.Join(dir, ids[i])
		if err := os.MkdirAll(path, 0o755); err != nil {
			return nil, nil, nil, nil, err
		}
		log, err := open(path)
		if err != nil {
			return nil, nil, nil, nil, err
		}
		h.stores = append(h.stores, log)
		return log, log, hraft.NewDiscardSnapshotStore(), transports[i], nil
	})
}

func (h *hashicorp) Propose(command []byte) error {
	if h.leader == nil {
		for _, r := range h.rafts {
			if r.State() == hraft.Leader {
				h.leader = r
			}
		}
		if h.leader == nil {
			return errors.New("no leader")
		}
	}
	return h.leader.Apply(command, 10*time.Second).Error()
}

func (h *hashicorp) Close() {
	for _, r := range h.rafts {
		_ = r.Shutdown().Error()
	}
	for _, s := range h.stores {
		if c, ok := s.(io.Closer); ok {
			_ = c.Close()
		}
	}
}
