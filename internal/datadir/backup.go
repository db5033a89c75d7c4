package datadir

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"raftlab/internal/durable"
	"raftlab/internal/etcdapi"
	"raftlab/internal/shardstore"
	"raftlab/kv"
	"raftlab/mvcc"
)

// BackupReport describes a backup.
type BackupReport struct {
	File     string `json:"file"`
	Bytes    int64  `json:"bytes"`
	SHA256   string `json:"sha256"` // at the end of the file
	Revision int64  `json:"revision"`
	Keys     int    `json:"keys"`
	Leases   int    `json:"leases"`
	// Groups is the number of groups of a store with groups. Revision and Leases are then
	// 0, and Shards has the shards.
	Groups int                 `json:"groups,omitempty"`
	Shards []BackupShardReport `json:"shards,omitempty"`

	view   *mvcc.View
	groups *shardstore.Backup
}

// BackupShardReport is a shard in a backup.
type BackupShardReport struct {
	Shard int    `json:"shard"`
	Group string `json:"group"` // that had the newest data; "" if there was none
	Keys  int    `json:"keys"`
}

// View returns the store in the backup, nil for a store with groups.
func (r *BackupReport) View() *mvcc.View { return r.view }

// Pairs passes the pairs of a store with groups to do, by shard and in the order of the
// keys.
func (r *BackupReport) Pairs(do func(group string, shard int, p kv.Pair)) {
	for _, s := range r.Shards {
		r.groups.Extracts[s.Shard].Pairs(func(p kv.Pair) { do(s.Group, s.Shard, p) })
	}
}

// Backup writes the state in the data directories of stopped members. The backup has all
// entries of the log, with the uncommitted ones. Of a store without groups the directory of
// one member is given, and of a store with groups those of a majority. The error matches
// [ErrInUse] if a member runs. See [WriteBackup] for the file.
func Backup(dirs []string, path string, replace bool) (r *BackupReport, err error) {
	held, err := lockAll(dirs)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	all, err := readAll(dirs)
	if err != nil {
		return nil, err
	}
	first := all[0]
	if first.manifest.Groups > 0 {
		present, err := presentProcesses(dirs, all)
		if err != nil {
			return nil, err
		}
		if most := len(present); 2*len(all) <= most {
			return nil, fmt.Errorf("%w: the directories of %d of %d processes; a backup needs those of %d, because the others may have acknowledged writes that these do not have (raftlab recover goes without)", ErrMinority, len(all), most, most/2+1)
		}
		b := assemble(dirs, all).backup
		return WriteBackup(path, replace, b.Write)
	}
	return WriteBackup(path, replace, first.machine.WriteBackup)
}

// WriteBackup puts a backup in place at path. write writes the content. WriteBackup
// makes the content durable, reads the file again, and compares all checksums, before the
// file gets its name. If a file is there already, and replace is not set, the error
// matches fs.ErrExist and the file stays.
func WriteBackup(path string, replace bool, write func(io.Writer) error) (_ *BackupReport, err error) {
	if _, err := os.Lstat(path); err == nil && !replace {
		return nil, &os.PathError{Op: "writing the backup", Path: path, Err: fs.ErrExist}
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.unfinished")
	if err != nil {
		return nil, err
	}
	temporary := file.Name()
	defer func() {
		file.Close() // closed already, if all went well
		if e := os.Remove(temporary); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}()
	out := bufio.NewWriterSize(file, 1<<20)
	if err := errors.Join(write(out), out.Flush()); err != nil {
		return nil, err
	}
	if err := file.Sync(); err != nil {
		return nil, err
	}
	r, err := describe(file)
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	r.File = path
	return r, place(temporary, path, replace)
}

// place gives a file its name.
func place(temporary, path string, replace bool) error {
	if replace {
		return durable.Replace(temporary, path)
	}
	err := os.Link(temporary, path) // fails if path is taken meanwhile
	switch {
	case err == nil:
		return durable.SyncDir(filepath.Dir(path))
	case errors.Is(err, fs.ErrExist):
		return err
	}
	return durable.Replace(temporary, path) // the file system has no links
}

// describe reads a backup as a whole.
func describe(file *os.File) (*BackupReport, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	r := &BackupReport{File: file.Name(), Bytes: info.Size()}
	if shardstore.IsBackup(file) {
		return r, r.describeGroups(file)
	}
	m, digest, err := etcdapi.ReadBackup(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	v := m.View()
	r.SHA256, r.view = fmt.Sprintf("%x", digest), v
	r.Revision, r.Keys, r.Leases = v.Revision(), v.Keys(), v.LeaseCount()
	return r, nil
}

// describeGroups reads the backup of a store with groups as a whole.
func (r *BackupReport) describeGroups(file *os.File) error {
	b, digest, err := shardstore.ReadBackup(file, r.Bytes)
	if err != nil {
		return fmt.Errorf("%s: %w", r.File, err)
	}
	r.SHA256, r.Groups, r.groups = fmt.Sprintf("%x", digest), b.Groups, b
	for shard, e := range b.Extracts {
		s := BackupShardReport{Shard: shard, Keys: e.Keys()}
		if owner := b.Owners[shard]; owner > 0 {
			s.Group = shardstore.GroupName(owner)
		}
		r.Keys += s.Keys
		r.Shards = append(r.Shards, s)
	}
	return nil
}

// VerifyBackup checks a backup file as a whole.
func VerifyBackup(path string) (*BackupReport, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return describe(file)
}
