package datadir

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"raftlab/internal/durable"
	"raftlab/internal/shardstore"
	"raftlab/raft/core"
	"raftlab/raft/node"
)

// Names in a data directory.
const (
	ManifestName = "member.yaml"
	defaultLog   = "log"
)

// Formats of a data directory. Format 2 adds ClusterNumber and Log, format 3 a store with
// groups, format 4 a store with groups and a ClusterNumber, and format 5 a store with groups
// whose processes have changed. A directory has the oldest
// format that can express the content, so that an older version can open what it
// understands.
const (
	oldestFormat   = 1
	numberedFormat = 2
	groupsFormat   = 3
	bothFormat     = 4
	changedFormat  = 5
	newestFormat   = changedFormat
)

// Manifest names the owner of a data directory.
type Manifest struct {
	Format  int    `yaml:"format"`
	Cluster string `yaml:"cluster"`
	// ClusterNumber is 0 for a cluster that began without data.
	ClusterNumber Number `yaml:"cluster-number,omitempty"`
	Name          string `yaml:"name"`
	ID            Number `yaml:"id"`
	// Joined is set for a member that was added to a running cluster.
	Joined bool `yaml:"joined"`
	// Ready is set before the member runs for the first time. A log that is missing
	// later is lost.
	Ready bool `yaml:"ready"`
	// Log is the name of the log's directory, "log" if empty.
	Log string `yaml:"log,omitempty"`
	// Groups is the number of groups of a store with groups, 0 for a store without.
	// Members are the names of its processes, and Known those of the other processes
	// that have run.
	Groups  int      `yaml:"groups,omitempty"`
	Members []string `yaml:"members,omitempty"`
	Known   []string `yaml:"known,omitempty"`
	// Processes are the processes of a store with groups whose processes have changed since
	// the first start. Members has their names.
	Processes []Process `yaml:"processes,omitempty"`
	// Joins is set until the store has this process as a member. Replaces and ReplacesID are
	// the name and the id of the process whose place this one takes, "" for none.
	Joins      bool   `yaml:"joins,omitempty"`
	Replaces   string `yaml:"replaces,omitempty"`
	ReplacesID Number `yaml:"replaces-id,omitempty"`
}

// Process is a process of a store with groups.
type Process struct {
	Name    string `yaml:"name"`
	ID      Number `yaml:"id"`
	Address string `yaml:"address"`
}

// Roster returns the processes of a store with groups, with the addresses where those of
// the manifest have changed.
func (m *Manifest) Roster(addresses map[string]string) []shardstore.Member {
	var all []shardstore.Member
	for _, p := range m.Processes {
		all = append(all, shardstore.Member{Name: p.Name, ID: core.NodeID(p.ID), Address: cmp.Or(addresses[p.Name], p.Address)})
	}
	if len(all) > 0 {
		return all
	}
	for _, name := range m.Members {
		all = append(all, shardstore.Member{Name: name, ID: FirstID(m.Identity().Cluster, name), Address: addresses[name]})
	}
	return all
}

// SetRoster notes the processes of a store with groups, and reports whether they have
// changed.
func (m *Manifest) SetRoster(roster []shardstore.Member) bool {
	var all []Process
	var names []string
	for _, p := range roster {
		all = append(all, Process{p.Name, Number(p.ID), p.Address})
		names = append(names, p.Name)
	}
	if slices.Equal(all, m.Processes) {
		return false
	}
	m.Processes, m.Members = all, names
	return true
}

// Number is a number in hexadecimal. Clients of etcd write ids in this form.
type Number uint64

// String returns the number in hexadecimal.
func (n Number) String() string { return strconv.FormatUint(uint64(n), 16) }

// MarshalText implements encoding.TextMarshaler.
func (n Number) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *Number) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 16, 64)
	if err != nil || v == 0 {
		return fmt.Errorf("%q is not a hexadecimal number above 0", text)
	}
	*n = Number(v)
	return nil
}

// Errors of a data directory.
var (
	// ErrFormat is matched by the error of a data directory of another version.
	ErrFormat = errors.New("the data directory has another format")
	// ErrGroups is matched by the error of a data directory with another number of groups,
	// and of an operation that does not work on a store with groups.
	ErrGroups = errors.New("wrong number of groups")
	// ErrManifest is matched by the error of a manifest that cannot be read.
	ErrManifest = errors.New("the manifest is damaged")
)

// Identity returns the owner of the log.
func (m *Manifest) Identity() node.Identity {
	cluster := ClusterIdentity(m.Cluster, m.ClusterNumber)
	if m.Groups > 0 {
		cluster = GroupsIdentity(cluster, m.Groups)
	}
	return node.Identity{Cluster: cluster, Host: core.NodeID(m.ID)}
}

// GroupsIdentity returns the identity of a store with groups, given that of a store
// without. Processes with another number of groups, or without groups, refuse each other.
func GroupsIdentity(cluster string, groups int) string {
	return fmt.Sprintf("%s with groups: %d", cluster, groups)
}

// ClusterIdentity returns the name of a cluster, with the number of a restored or
// recovered cluster. Logs and members compare identities.
func ClusterIdentity(name string, number Number) string {
	if number == 0 {
		return name
	}
	return name + "#" + number.String()
}

// FirstID returns the id of a first member of a cluster.
func FirstID(identity, name string) core.NodeID {
	sum := sha256.Sum256([]byte(identity + "\x00" + name))
	return core.NodeID(max(binary.BigEndian.Uint64(sum[:8])>>1, 1)) // a number that every client's int64 holds
}

// LogPath returns the path of the log in the data directory dir.
func (m *Manifest) LogPath(dir string) string {
	name := m.Log
	if name == "" {
		name = defaultLog
	}
	return filepath.Join(dir, name)
}

// Read returns the manifest of a data directory. Without a manifest the error matches
// fs.ErrNotExist.
func Read(dir string) (Manifest, error) {
	path := filepath.Join(dir, ManifestName)
	data, err := os.ReadFile(path)
	if err != nil {
		return Manifest{}, err
	}
	var m Manifest
	if err = checkSum(data); err == nil {
		m, err = decode(data)
	}
	if err != nil {
		return m, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// sumPrefix begins the first line of a manifest, with the checksum of the rest. A manifest
// of an earlier version has no such line, and takes the line for a comment. A manifest
// that was cut would otherwise be one with other settings.
const sumPrefix = "# checksum "

func sumLine(rest []byte) string {
	return fmt.Sprintf("%s%08x\n", sumPrefix, crc32.Checksum(rest, crc32.MakeTable(crc32.Castagnoli)))
}

func checkSum(data []byte) error {
	if !bytes.HasPrefix(data, []byte(sumPrefix)) {
		return nil
	}
	line, rest, _ := bytes.Cut(data, []byte("\n"))
	if string(line)+"\n" != sumLine(rest) {
		return fmt.Errorf("%w: it does not have the checksum of its first line; if somebody has edited it, remove that line", ErrManifest)
	}
	return nil
}

// OfOwner returns the error of opening a log. The error of another member's log names the
// manifest, too.
func OfOwner(dir string, err error) error {
	if errors.Is(err, node.ErrStranger) {
		return fmt.Errorf("%s is not of the log's member: %w", filepath.Join(dir, ManifestName), err)
	}
	return err
}

func decode(data []byte) (Manifest, error) {
	var version struct {
		Format int `yaml:"format"`
	}
	var m Manifest
	if err := yaml.Unmarshal(data, &version); err != nil {
		return m, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if version.Format < oldestFormat || version.Format > newestFormat {
		return m, fmt.Errorf("%w: format %d; this version of raftlab reads formats %d to %d", ErrFormat, version.Format, oldestFormat, newestFormat)
	}
	if err := yaml.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	switch {
	case m.Cluster == "" || m.Name == "":
		return m, fmt.Errorf("%w: it names member %q of cluster %q", ErrManifest, m.Name, m.Cluster)
	case m.Groups < 0 || m.Groups > shardstore.MaxGroups || m.Groups > 0 && !m.Joins && len(m.Processes) == 0 && !slices.Contains(m.Members, m.Name):
		return m, fmt.Errorf("%w: it has %d groups, and the members %v", ErrManifest, m.Groups, m.Members)
	case m.ID == 0:
		return m, fmt.Errorf("%w: the member has no id", ErrManifest)
	case strings.ContainsAny(m.Log, `/\`) || strings.HasPrefix(m.Log, "."):
		return m, fmt.Errorf("%w: the log's directory is %q; want a name", ErrManifest, m.Log)
	}
	return m, nil
}

// Write replaces the manifest of a data directory.
func (m *Manifest) Write(dir string) error {
	numbered := m.ClusterNumber != 0 || m.Log != ""
	switch {
	case len(m.Processes) > 0:
		m.Format = changedFormat
	case m.Groups > 0 && numbered:
		m.Format = bothFormat
	case m.Groups > 0:
		m.Format = groupsFormat
	case numbered:
		m.Format = numberedFormat
	default:
		m.Format = oldestFormat
	}
	data, err := yaml.Marshal(m)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, ManifestName), append([]byte(sumLine(data)), data...), 0o600)
}

// Foreign returns the name of a file in a directory that has no manifest, "" for an
// empty directory. A temporary manifest, which an interrupted start leaves, does not
// count. The directory lost+found of a file system does not, either.
func Foreign(dir string) (string, error) {
	found, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, entry := range found {
		if name := entry.Name(); name != ManifestName+".new" && name != "lost+found" {
			return name, nil
		}
	}
	return "", nil
}
