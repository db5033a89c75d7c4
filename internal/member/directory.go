//go:build !wasip1

package member

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"raftlab/internal/datadir"
	"raftlab/internal/shardstore"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/wal"
)

// Errors of a data directory.
var (
	// ErrOwner is matched by the error of a data directory of another member or cluster.
	ErrOwner = errors.New("the data directory belongs to another member")
	// ErrNoData is matched by the error of a member without data, and without the first
	// members or a cluster to join.
	ErrNoData = errors.New("the data directory is empty")
)

// directory is a data directory in use.
type directory struct {
	datadir.Manifest
	storage *wal.Store
	fresh   bool // no member has run on the directory before
}

// newcomer is who a member without data becomes.
type newcomer struct {
	id core.NodeID
	// number is that of the cluster which the member joins.
	number datadir.Number
	// roster are the processes of the store with groups that the member joins, and replaces
	// is the id of the one whose place the member takes.
	roster   []shardstore.Member
	replaces datadir.Number
}

// openDirectory opens the data directory, and makes a new one. begin returns who a new
// member becomes.
func openDirectory(o *Options, begin func() (newcomer, error)) (*directory, error) {
	m, err := datadir.Read(o.Data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if m, err = makeManifest(o, begin); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case m.Cluster != o.ClusterName || m.Name != o.Name:
		return nil, fmt.Errorf("%s: %w: to member %q of cluster %q; this is %q of %q", filepath.Join(o.Data, datadir.ManifestName), ErrOwner, m.Name, m.Cluster, o.Name, o.ClusterName)
	}
	if err := o.checkGroups(&m); err != nil {
		return nil, err
	}
	opts := wal.Options{Identity: m.Identity(), Logger: o.Logger}
	path := m.LogPath(o.Data)
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
		return nil, datadir.OfOwner(o.Data, err)
	}
	return &directory{m, storage, !m.Ready}, nil
}

// run notes that the member of a fresh directory runs from now on.
func (d *directory) run(dir string) error {
	d.Ready = true
	return d.Write(dir)
}

// makeManifest begins a new data directory.
func makeManifest(o *Options, begin func() (newcomer, error)) (datadir.Manifest, error) {
	if err := os.MkdirAll(o.Data, 0o700); err != nil {
		return datadir.Manifest{}, err
	}
	if found, err := datadir.Foreign(o.Data); err != nil || found != "" {
		if found != "" {
			err = fmt.Errorf("%s: %w: it has %s and no %s", o.Data, ErrOwner, found, datadir.ManifestName)
		}
		return datadir.Manifest{}, err
	}
	n, err := begin()
	if err != nil {
		return datadir.Manifest{}, err
	}
	m := datadir.Manifest{Cluster: o.ClusterName, ClusterNumber: n.number, Name: o.Name, Joined: len(o.Join) > 0 || o.Existing, ID: datadir.Number(n.id)}
	if o.Groups > 0 {
		m.Groups, m.Members = o.Groups, slices.Sorted(maps.Keys(o.Cluster))
		if m.Joins = m.Joined; m.Joins {
			m.Replaces, m.ReplacesID = o.Replace, n.replaces
			m.SetRoster(n.roster)
		}
	}
	return m, m.Write(o.Data)
}

// errAdminGroups is the error of Options.Admin for a store with groups.
var errAdminGroups = wrong("--admin is for a member of a store without groups, and the store has groups")

// checkGroups compares the settings with the groups and the members in the manifest.
func (o *Options) checkGroups(m *datadir.Manifest) error {
	if o.Groups != 0 && o.Groups != m.Groups {
		return fmt.Errorf("%w: the data directory %s was made for %s, and cannot be used with %d", datadir.ErrGroups, o.Data, groupsInWords(m.Groups), o.Groups)
	}
	if m.Groups > 0 && o.Admin {
		return errAdminGroups
	}
	if m.Joins && len(o.Join) == 0 {
		return wrong("the process of the data directory %s has not joined the store yet; name the store with --join", o.Data)
	}
	names := slices.Sorted(maps.Keys(o.Cluster))
	if m.Groups == 0 || len(names) == 0 || slices.Equal(names, m.Members) {
		return nil
	}
	if len(m.Processes) == 0 {
		return wrong("--cluster names %s, and the data directory %s the members %s; a process learns of later changes from the others, without --cluster", strings.Join(names, ", "), o.Data, strings.Join(m.Members, ", "))
	}
	o.Logger.Warn("--cluster does not name the present processes; its other names are not used", "names", names, "processes", m.Members)
	return nil
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
