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
	Groups   int `json:"groups,omitempty"` // of a sharded store; 0: one that is not
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
		return m, fmt.Errorf(`the manifest %s cannot be read: %w; put it back as it was: {"format":%d,"replicas":N,"groups":N,"complete":true}, without groups if the store has none`, path, err, manifestFormat)
	}
	if m.Format != manifestFormat || m.Replicas < 1 || m.Replicas > MaxReplicas || m.Groups < 0 || m.Groups > MaxGroups {
		return m, fmt.Errorf("the manifest %s has format %d with %d replicas and %d groups; this program reads format %d with 1 to %d replicas and up to %d groups",
			path, m.Format, m.Replicas, m.Groups, manifestFormat, MaxReplicas, MaxGroups)
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
// many replicas and groups; 0: as many as it was made for, and in a new one
// [DefaultReplicas] and no groups. It returns what it was made for.
func prepare(dir string, replicas, groups int) (manifest, error) {
	m, err := readManifest(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if m, err = begin(dir, replicas, groups); err != nil {
			return m, err
		}
	}
	switch {
	case err != nil:
		return m, err
	case replicas != 0 && replicas != m.Replicas:
		return m, fmt.Errorf("%w: the data directory %s was made with --replicas %d, and cannot be used with %d",
			ErrReplicas, dir, m.Replicas, replicas)
	case groups != 0 && groups != m.Groups:
		return m, fmt.Errorf("%w: the data directory %s was made for %s, and cannot be used with %d",
			ErrGroups, dir, groupsInWords(m.Groups), groups)
	case m.Complete:
		return m, nil
	}
	for _, set := range m.sets(dir) {
		for _, file := range set.files {
			// A file from an earlier attempt is empty: the cluster never ran.
			if err := boltstore.Create(file); err != nil && !errors.Is(err, fs.ErrExist) {
				return m, err
			}
		}
	}
	m.Complete = true
	return m, m.write(dir)
}

func groupsInWords(n int) string {
	switch n {
	case 0:
		return "a store without groups"
	case 1:
		return "1 group"
	}
	return fmt.Sprintf("%d groups", n)
}

// begin writes the manifest of a new directory.
func begin(dir string, replicas, groups int) (manifest, error) {
	if found, _ := filepath.Glob(filepath.Join(dir, "*replica-*.bolt")); len(found) > 0 {
		return manifest{}, fmt.Errorf("the data directory %s holds %s, but no manifest %s; restore it, or choose another directory",
			dir, filepath.Base(found[0]), manifestName)
	}
	if replicas == 0 {
		replicas = DefaultReplicas
	}
	m := manifest{Format: manifestFormat, Replicas: replicas, Groups: groups}
	return m, m.write(dir)
}

// set is the replicas of one Raft group.
type set struct {
	group string   // its gid, "controller", or "" in a store without groups
	files []string // each replica's data file, in order
}

// controllers is the group of the servers of the configuration service.
const controllers = "controller"

// sets returns the groups that a store in dir consists of.
func (m manifest) sets(dir string) []set {
	files := func(prefix string) []string {
		all := make([]string, m.Replicas)
		for i := range all {
			all[i] = filepath.Join(dir, fmt.Sprintf("%sreplica-%d.bolt", prefix, i+1))
		}
		return all
	}
	if m.Groups == 0 {
		return []set{{files: files("")}}
	}
	var all []set
	for gid := 1; gid <= m.Groups; gid++ {
		all = append(all, set{group: fmt.Sprint(gid), files: files(fmt.Sprintf("group-%d-", gid))})
	}
	return append(all, set{group: controllers, files: files(controllers + "-")})
}
