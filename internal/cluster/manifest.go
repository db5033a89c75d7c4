//go:build !wasip1

package cluster

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"raftlab/internal/datadir"
	"raftlab/internal/durable"
	"raftlab/raft/boltstore"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// manifest describes the store of a data directory.
type manifest struct {
	Format   int    `json:"format"`
	Cluster  string `json:"cluster"` // drawn at random, and in every data file
	Replicas int    `json:"replicas"`
	Groups   int    `json:"groups,omitempty"` // 0 in a store without groups
	// Complete is set when all data files exist. Before, the cluster has never run.
	// Later, a missing file is a lost one.
	Complete bool `json:"complete"`
}

const (
	// groupsFormat is the format of a store with groups, and formerFormat that of a store
	// without groups before the API of etcd. The two are the same number.
	groupsFormat = 3
	formerFormat = 3
	// storeFormat is the format of a store without groups.
	storeFormat  = 4
	manifestName = "raftlab.json"
)

// formatOf returns the format of a store.
func formatOf(groups int) int {
	if groups == 0 {
		return storeFormat
	}
	return groupsFormat
}

// former reports whether the store has to be converted before it opens.
func (m manifest) former() bool { return m.Format == formerFormat && m.Groups == 0 }

// readManifest reads and checks the manifest. Without a manifest the error matches
// fs.ErrNotExist.
func readManifest(dir string) (manifest, error) {
	path := filepath.Join(dir, manifestName)
	data, err := os.ReadFile(path)
	if err != nil {
		return manifest{}, err
	}
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("the manifest %s cannot be read: %w%s", path, err, restoreAdvice(dir))
	}
	if m.Format != formatOf(m.Groups) && !m.former() {
		return m, fmt.Errorf("the manifest %s has format %d; this program reads formats %d and %d", path, m.Format, groupsFormat, storeFormat)
	}
	if m.Cluster == "" || m.Replicas < 1 || m.Replicas > MaxReplicas || m.Groups < 0 || m.Groups > MaxGroups {
		return m, fmt.Errorf("the manifest %s names cluster %q with %d replicas and %d groups; want a name, 1 to %d replicas and up to %d groups%s",
			path, m.Cluster, m.Replicas, m.Groups, MaxReplicas, MaxGroups, restoreAdvice(dir))
	}
	return m, nil
}

// write replaces the manifest.
func (m manifest) write(dir string) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, manifestName), append(data, '\n'), 0o600)
}

// restoreAdvice rebuilds a lost manifest from the identities of the data files. The
// advice is empty if the files do not agree.
func restoreAdvice(dir string) string {
	files, err := dataFiles(dir)
	if err != nil || len(files) == 0 {
		return ""
	}
	m := manifest{Complete: true}
	groups := map[string]bool{}
	for _, name := range files {
		id, part, err := boltstore.Identify(filepath.Join(dir, name))
		format, group, replicas, ok := parsePart(part)
		if err != nil || !ok || m.Cluster != "" && (m.Cluster != id.Cluster || m.Replicas != replicas || m.Format != format) {
			return ""
		}
		m.Format, m.Cluster, m.Replicas = format, id.Cluster, replicas
		groups[group] = true
	}
	if !groups[""] {
		delete(groups, controllers)
		m.Groups = len(groups)
	}
	data, err := json.Marshal(m)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("; by its data files it was %s", data)
}

// dataFile matches the names of data files, of stores with groups and without.
var dataFile = regexp.MustCompile(`^((group-[0-9]+|controller)-)?replica-[0-9]+\.bolt$`)

// dataFiles returns the names of the data files in a directory.
func dataFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		if dataFile.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// prepare makes a new data directory, or compares an old one with the numbers of
// replicas and groups. 0 means the number in the manifest, and in a new directory
// [DefaultReplicas] and no groups. prepare returns the manifest.
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
	}
	if err := m.checkStrays(dir); err != nil || m.Complete {
		return m, err
	}
	for _, set := range m.sets(dir) {
		for i, file := range set.files {
			if err := createPristine(file, m.fileOptions(set.group, i)); err != nil {
				return m, err
			}
		}
	}
	m.Complete = true
	return m, m.write(dir)
}

// raftGroup is the id of the only Raft group in a data file.
const raftGroup node.GroupID = 1

// hostID is the id of the replica at place peer of its group.
func hostID(peer int) core.NodeID { return core.NodeID(peer + 1) }

// fileOptions names the data file of the replica at place peer of a group.
func (m manifest) fileOptions(group string, peer int) boltstore.Options {
	return boltstore.Options{
		Identity: node.Identity{Cluster: m.Cluster, Host: hostID(peer)},
		Part:     partOf(m.Format, group, m.Replicas),
	}
}

// partOf is the part of the store that a data file holds.
func partOf(format int, group string, replicas int) string {
	if format == storeFormat {
		return fmt.Sprintf("store of %d replicas", replicas)
	}
	return fmt.Sprintf("group %q of %d replicas", group, replicas)
}

// parsePart is the inverse of partOf.
func parsePart(part string) (format int, group string, replicas int, ok bool) {
	if n, _ := fmt.Sscanf(part, "store of %d replicas", &replicas); n == 1 {
		format = storeFormat
	} else {
		_, _ = fmt.Sscanf(part, "group %q of %d replicas", &group, &replicas)
		format = groupsFormat
	}
	return format, group, replicas, part == partOf(format, group, replicas)
}

// checkStrays refuses data files without a place in the manifest, because nobody
// would serve their state.
func (m manifest) checkStrays(dir string) error {
	found, err := dataFiles(dir)
	if err != nil {
		return err
	}
	var named []string
	for _, set := range m.sets(dir) {
		for _, file := range set.files {
			named = append(named, filepath.Base(file))
		}
	}
	for _, name := range found {
		if !slices.Contains(named, name) {
			return fmt.Errorf("the manifest %s names %d replicas and %s, but the directory holds %s too; restore the manifest, or move the file away%s",
				filepath.Join(dir, manifestName), m.Replicas, groupsInWords(m.Groups), name, restoreAdvice(dir))
		}
	}
	return nil
}

// createPristine makes a data file. A file from an earlier attempt must be empty,
// since the cluster never ran.
func createPristine(file string, opts boltstore.Options) error {
	err := boltstore.Create(file, opts)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	store, err := boltstore.Open(file, opts)
	if err != nil {
		return err
	}
	at, err := store.Position(raftGroup)
	if err == nil && at != (boltstore.Position{}) {
		err = fmt.Errorf("the manifest says that the cluster never ran, but %s has state: restore the manifest", file)
	}
	return errors.Join(err, store.Close())
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
	switch _, err := os.Stat(filepath.Join(dir, datadir.ManifestName)); {
	case err == nil:
		return manifest{}, fmt.Errorf("%w: %s has %s; run the member with raftlab serve --name, or choose another directory", ErrMember, dir, datadir.ManifestName)
	case !errors.Is(err, fs.ErrNotExist):
		return manifest{}, err
	}
	found, err := dataFiles(dir)
	if err != nil {
		return manifest{}, err
	}
	if len(found) > 0 {
		return manifest{}, fmt.Errorf("the data directory %s holds %s, but no manifest %s; restore the manifest, or choose another directory%s",
			dir, found[0], manifestName, restoreAdvice(dir))
	}
	if replicas == 0 {
		replicas = DefaultReplicas
	}
	name := make([]byte, 16)
	if _, err := rand.Read(name); err != nil {
		return manifest{}, err
	}
	m := manifest{Format: formatOf(groups), Cluster: hex.EncodeToString(name), Replicas: replicas, Groups: groups}
	return m, m.write(dir)
}

// set is the replicas of one Raft group.
type set struct {
	group string   // the gid, "controller", or "" in a store without groups
	files []string // data files, by replica
}

// controllers is the group of the servers of the configuration service.
const controllers = "controller"

// sets returns the groups of a store in dir.
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
