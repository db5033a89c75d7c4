package member

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"go.yaml.in/yaml/v3"

	"raftlab/internal/durable"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/wal"
)

// Names in the data directory.
const (
	manifestName = "member.yaml"
	logName      = "log"
)

// manifestFormat is the version of the data directory's format.
const manifestFormat = 1

// manifest says whose data a directory holds.
type manifest struct {
	Format  int    `yaml:"format"`
	Cluster string `yaml:"cluster"`
	Name    string `yaml:"name"`
	ID      string `yaml:"id"` // hexadecimal, as clients of etcd write ids
	// Joined is set for a member that was added to a running cluster.
	Joined bool `yaml:"joined"`
	// Ready is set before the member runs for the first time. A log that is missing
	// later is lost.
	Ready bool `yaml:"ready"`
}

// Errors of a data directory.
var (
	// ErrFormat is matched by the error of a data directory of another version.
	ErrFormat = errors.New("the data directory has another format")
	// ErrOwner is matched by the error of a data directory of another member or cluster.
	ErrOwner = errors.New("the data directory belongs to another member")
	// ErrNoData is matched by the error of a member without data, and without the first
	// members or a cluster to join.
	ErrNoData = errors.New("the data directory is empty")
)

func (m *manifest) identity() (node.Identity, error) {
	id, err := strconv.ParseUint(m.ID, 16, 64)
	if err != nil || id == 0 {
		return node.Identity{}, fmt.Errorf("the id %q is not a hexadecimal number above 0", m.ID)
	}
	return node.Identity{Cluster: m.Cluster, Host: core.NodeID(id)}, nil
}

// readManifest returns the manifest of a data directory. Without a manifest the error
// matches fs.ErrNotExist.
func readManifest(dir string) (manifest, error) {
	var m manifest
	path := filepath.Join(dir, manifestName)
	data, err := os.ReadFile(path)
	if err != nil {
		return m, err
	}
	if err := yaml.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("%s: %w", path, err)
	}
	if m.Format != manifestFormat {
		return m, fmt.Errorf("%s: %w: format %d; this version reads format %d", path, ErrFormat, m.Format, manifestFormat)
	}
	if _, err := m.identity(); err != nil {
		return m, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

func (m *manifest) write(dir string) error {
	data, err := yaml.Marshal(m)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, manifestName), data, 0o600)
}

// directory is a data directory in use.
type directory struct {
	storage *wal.Store
	joined  bool // the member was added to a running cluster
	fresh   bool // no member has run on the directory before
}

// openDirectory opens the data directory, and makes a new one. newID returns the id of
// a new member.
func openDirectory(o *Options, newID func() (core.NodeID, error)) (*directory, error) {
	m, err := readManifest(o.Data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if m, err = makeManifest(o, newID); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case m.Cluster != o.ClusterName || m.Name != o.Name:
		return nil, fmt.Errorf("%s: %w: to member %q of cluster %q; this is %q of %q", o.Data, ErrOwner, m.Name, m.Cluster, o.Name, o.ClusterName)
	}
	identity, err := m.identity()
	if err != nil {
		return nil, err
	}
	opts := wal.Options{Identity: identity, Logger: o.Logger}
	path := filepath.Join(o.Data, logName)
	if !m.Ready {
		if err := wal.Create(path, opts); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	storage, err := wal.Open(path, opts)
	if err != nil {
		if m.Ready && errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: the log is lost; remove the member from the cluster and add a new one: %w", node.ErrDamaged, err)
		}
		return nil, err
	}
	return &directory{storage, m.Joined, !m.Ready}, nil
}

// begin notes that the member of a fresh directory runs from now on.
func begin(dir string) error {
	m, err := readManifest(dir)
	if err != nil {
		return err
	}
	m.Ready = true
	return m.write(dir)
}

// makeManifest begins a new data directory.
func makeManifest(o *Options, newID func() (core.NodeID, error)) (manifest, error) {
	if err := os.MkdirAll(o.Data, 0o700); err != nil {
		return manifest{}, err
	}
	found, err := os.ReadDir(o.Data)
	if err != nil {
		return manifest{}, err
	}
	for _, entry := range found {
		if entry.Name() != manifestName+".new" { // left by an interrupted start
			return manifest{}, fmt.Errorf("%s: %w: it has %s and no %s", o.Data, ErrOwner, entry.Name(), manifestName)
		}
	}
	id, err := newID()
	if err != nil {
		return manifest{}, err
	}
	m := manifest{Format: manifestFormat, Cluster: o.ClusterName, Name: o.Name, Joined: len(o.Join) > 0, ID: strconv.FormatUint(uint64(id), 16)}
	return m, m.write(o.Data)
}
