//go:build !wasip1

package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"raftlab/raft/boltstore"
)

// manifest is what a data directory was made with.
type manifest struct {
	Format   int `json:"format"`
	Replicas int `json:"replicas"`
	// Complete says that the data files were all made. Before that the cluster
	// never ran; after it a missing file is a lost one.
	Complete bool `json:"complete"`
}

const (
	manifestFormat = 1
	manifestName   = "raftlab.json"
)

// readManifest returns fs.ErrNotExist, wrapped, if there is none.
func readManifest(dir string) (manifest, error) {
	path := filepath.Join(dir, manifestName)
	data, err := os.ReadFile(path)
	if err != nil {
		return manifest{}, err
	}
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("the manifest %s cannot be read: %w", path, err)
	}
	if m.Format != manifestFormat || m.Replicas < 1 || m.Replicas > MaxReplicas {
		return m, fmt.Errorf("the manifest %s has format %d with %d replicas; this program reads format %d with 1 to %d replicas",
			path, m.Format, m.Replicas, manifestFormat, MaxReplicas)
	}
	return m, nil
}

// write puts the manifest in place whole, or not at all.
func (m manifest) write(dir string) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, manifestName)
	file, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	_, err = file.Write(append(data, '\n'))
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// prepare makes a new data directory, or checks that an old one was made for so
// many replicas; 0: as many as it was made for, and [DefaultReplicas] in a new
// one. It returns how many there are.
func prepare(dir string, replicas int) (int, error) {
	m, err := readManifest(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if m, err = begin(dir, replicas); err != nil {
			return 0, err
		}
	}
	if err != nil {
		return 0, err
	}
	if replicas != 0 && replicas != m.Replicas {
		return 0, fmt.Errorf("%w: the data directory %s was made for %d replicas, and cannot be used with %d",
			ErrReplicas, dir, m.Replicas, replicas)
	}
	if m.Complete {
		return m.Replicas, nil
	}
	for n := 1; n <= m.Replicas; n++ {
		// A file from an earlier attempt is empty: the cluster never ran.
		if err := boltstore.Create(dataFile(dir, n)); err != nil && !errors.Is(err, fs.ErrExist) {
			return 0, err
		}
	}
	m.Complete = true
	return m.Replicas, m.write(dir)
}

// begin writes the manifest of a new directory.
func begin(dir string, replicas int) (manifest, error) {
	if found, _ := filepath.Glob(filepath.Join(dir, "replica-*.bolt")); len(found) > 0 {
		return manifest{}, fmt.Errorf("the data directory %s holds %s, but no manifest %s; restore it, or choose another directory",
			dir, filepath.Base(found[0]), manifestName)
	}
	if replicas == 0 {
		replicas = DefaultReplicas
	}
	m := manifest{Format: manifestFormat, Replicas: replicas}
	return m, m.write(dir)
}

// dataFile is the path of a replica's data file.
func dataFile(dir string, n int) string {
	return filepath.Join(dir, fmt.Sprintf("replica-%d.bolt", n))
}
