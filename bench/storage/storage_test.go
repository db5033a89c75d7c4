// Package storage measures well-kept logs behind the calls that a host of raftlab
// makes: a Save of updates of some groups, durable when it returns.
//
//	go test ./storage -run Logs -v -full
package storage

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble"
	hraft "github.com/hashicorp/raft"
	hwal "github.com/hashicorp/raft-wal"
	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"raftlab/raft/boltstore"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/wal"
)

// saver is the part of node.Storage that is on the path of a proposal.
type saver interface {
	Save(updates []node.Update) error
	Close() error
}

// kinds are the logs in the order in which each round measures them.
var kinds = []struct {
	name string
	open func(dir string) (saver, error)
}{
	{"raftlab/raft/wal", openOurs},
	{"raftlab/raft/boltstore", openBolt},
	{"hashicorp/raft-wal", openHashicorp},
	{"etcd wal", openEtcd},
	{"pebble", openPebble},
	{"write+fdatasync", openRaw},
}

func openOurs(dir string) (saver, error) {
	opts := wal.Options{Identity: node.Identity{Cluster: "bench", Host: 1}}
	if err := wal.Create(dir, opts); err != nil {
		return nil, err
	}
	return wal.Open(dir, opts)
}

func openBolt(path string) (saver, error) {
	opts := boltstore.Options{Identity: node.Identity{Cluster: "bench", Host: 1}}
	if err := boltstore.Create(path, opts); err != nil {
		return nil, err
	}
	return boltstore.Open(path, opts)
}

// hashicorp/raft-wal and etcd's wal hold one log, so the groups' entries go into
// one sequence, with the group and the index before the data.
type hashicorp struct {
	log  *hwal.WAL
	last uint64
	logs []*hraft.Log
}

func openHashicorp(dir string) (saver, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	log, err := hwal.Open(dir)
	return &hashicorp{log: log}, err
}

func tag(group node.GroupID, e *core.Entry) []byte {
	tagged := make([]byte, 0, 16+len(e.Data))
	tagged = binary.BigEndian.AppendUint64(tagged, uint64(group))
	tagged = binary.BigEndian.AppendUint64(tagged, e.Index)
	return append(tagged, e.Data...)
}

func (h *hashicorp) Save(updates []node.Update) error {
	h.logs = h.logs[:0]
	for i := range updates {
		for k := range updates[i].Entries {
			e := &updates[i].Entries[k]
			h.last++
			h.logs = append(h.logs, &hraft.Log{Index: h.last, Term: e.Term, Data: tag(updates[i].Group, e)})
		}
	}
	return h.log.StoreLogs(h.logs)
}

func (h *hashicorp) Close() error { return h.log.Close() }

type etcd struct {
	log  *etcdwal.WAL
	last uint64
}

func openEtcd(dir string) (saver, error) {
	log, err := etcdwal.Create(zap.NewNop(), dir, nil)
	return &etcd{log: log}, err
}

func (d *etcd) Save(updates []node.Update) error {
	var entries []*raftpb.Entry
	for i := range updates {
		for k := range updates[i].Entries {
			e := &updates[i].Entries[k]
			d.last++
			entries = append(entries, &raftpb.Entry{Index: proto.Uint64(d.last), Term: proto.Uint64(e.Term), Data: tag(updates[i].Group, e)})
		}
	}
	return d.log.Save(&raftpb.HardState{}, entries)
}

func (d *etcd) Close() error { return d.log.Close() }

type pebbles struct{ db *pebble.DB }

func openPebble(dir string) (saver, error) {
	db, err := pebble.Open(dir, &pebble.Options{})
	return pebbles{db}, err
}

func (p pebbles) Save(updates []node.Update) error {
	b := p.db.NewBatch()
	defer b.Close()
	var key [16]byte
	for i := range updates {
		binary.BigEndian.PutUint64(key[:], uint64(updates[i].Group))
		for k := range updates[i].Entries {
			e := &updates[i].Entries[k]
			binary.BigEndian.PutUint64(key[8:], e.Index)
			if err := b.Set(key[:], e.Data, nil); err != nil {
				return err
			}
		}
	}
	return b.Commit(pebble.Sync)
}

func (p pebbles) Close() error { return p.db.Close() }

// raw writes the data alone, into a file that has its full size.
type raw struct {
	file   *os.File
	offset int64
	buf    []byte
}

func openRaw(dir string) (saver, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	file, err := os.Create(filepath.Join(dir, "raw"))
	if err != nil {
		return nil, err
	}
	if _, err := file.Write(make([]byte, rawBytes)); err != nil {
		return nil, err
	}
	return &raw{file: file}, file.Sync()
}

const rawBytes = 64 << 20

func (r *raw) Save(updates []node.Update) error {
	r.buf = r.buf[:0]
	for i := range updates {
		for k := range updates[i].Entries {
			r.buf = append(r.buf, updates[i].Entries[k].Data...)
		}
	}
	if r.offset+int64(len(r.buf)) > rawBytes {
		r.offset = 0
	}
	if _, err := r.file.WriteAt(r.buf, r.offset); err != nil {
		return err
	}
	r.offset += int64(len(r.buf))
	return datasync(r.file)
}

func (r *raw) Close() error { return r.file.Close() }

// shapes are the Saves that are measured: C updates of one entry each.
var shapes = []struct{ updates, bytes int }{{1, 128}, {256, 128}, {1, 1024}, {256, 1024}}

var full = flag.Bool("full", false, "measure long enough for figures, about a minute; otherwise only try each log")

// effort returns how many rounds there are, and Saves in each.
func effort() (rounds, saves int) {
	if *full {
		return 21, 60
	}
	return 1, 5
}

// TestLogs measures all logs in turn, round by round, so that a slow moment of the
// machine hits each. It prints the median of the rounds.
func TestLogs(t *testing.T) {
	rounds, saves := effort()
	for _, shape := range shapes {
		results := make([][]time.Duration, len(kinds))
		cpu := make([]time.Duration, len(kinds))
		logs := make([]saver, len(kinds))
		for i, kind := range kinds {
			log, err := kind.open(filepath.Join(t.TempDir(), "log"))
			if err != nil {
				t.Fatalf("%s: %v", kind.name, err)
			}
			defer log.Close()
			logs[i] = log
		}
		next := make([]uint64, len(kinds))
		data := make([]byte, shape.bytes)
		for range rounds {
			for i, log := range logs {
				before := cpuTime()
				results[i] = append(results[i], measure(t, log, &next[i], saves, shape.updates, data))
				cpu[i] += cpuTime() - before
			}
		}
		for i, kind := range kinds {
			slices.Sort(results[i])
			t.Logf("C=%-3d %4d B  %-22s %s", shape.updates, shape.bytes, kind.name, describe(results[i], cpu[i]/time.Duration(rounds*saves)))
		}
	}
}

func describe(sorted []time.Duration, cpu time.Duration) string {
	return fmt.Sprintf("us a Save: median %5.0f, first quarter %5.0f, CPU %4.0f", micro(sorted[len(sorted)/2]), micro(sorted[len(sorted)/4]), micro(cpu))
}

func micro(d time.Duration) float64 { return float64(d) / 1e3 }

// measure returns the time of a Save.
func measure(t *testing.T, log saver, next *uint64, saves, n int, data []byte) time.Duration {
	t.Helper()
	updates := make([]node.Update, n)
	entries := make([]core.Entry, n)
	start := time.Now()
	for range saves {
		*next++
		for k := range updates {
			entries[k] = core.Entry{Index: *next, Term: 1, Data: data}
			updates[k] = node.Update{Group: node.GroupID(k + 1), Entries: entries[k : k+1]}
		}
		if err := log.Save(updates); err != nil {
			t.Fatal(err)
		}
	}
	return time.Since(start) / time.Duration(saves)
}
