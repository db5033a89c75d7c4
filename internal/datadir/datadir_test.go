//go:build unix

package datadir_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"raftlab/internal/datadir"
	"raftlab/internal/etcdapi"
	"raftlab/internal/member"
	"raftlab/internal/testkit"
	"raftlab/kv"
	"raftlab/mvcc"
)

// process is a member in this process.
type process struct {
	*testing.T
	*member.Member
	kv pb.KVClient
	pb.MaintenanceClient
	pb.ClusterClient
	lease pb.LeaseClient
}

// options returns the options of a member, with small segments of the log by many
// snapshots.
func options(dir, name string) member.Options {
	return member.Options{
		Name: name, Data: filepath.Join(dir, name), ClusterName: "test", Listen: "127.0.0.1:0",
		SnapshotEntries: 20, HeartbeatInterval: 10 * time.Millisecond, ElectionTimeout: 150 * time.Millisecond,
	}
}

// start starts a member, and closes it at the end of the test at the latest.
func start(t *testing.T, o member.Options) *process {
	t.Helper()
	m, err := member.Start(o)
	require.NoError(t, err)
	conn, err := grpc.NewClient(m.Address().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	require.NoError(t, err)
	t.Cleanup(func() {
		conn.Close()
		m.Close()
	})
	return &process{t, m, pb.NewKVClient(conn), pb.NewMaintenanceClient(conn), pb.NewClusterClient(conn), pb.NewLeaseClient(conn)}
}

func (p *process) put(key, value string, lease int64) {
	p.Helper()
	testkit.WaitFor(p, 20*time.Second, "a put", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_, err := p.kv.Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte(value), Lease: lease})
		return err == nil
	})
}

// all returns the keys with their revisions, and the store's revision.
func (p *process) all() (keys []string, revision int64) {
	p.Helper()
	testkit.WaitFor(p, 20*time.Second, "a range", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		r, err := p.kv.Range(ctx, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
		if err != nil {
			return false
		}
		keys = nil
		for _, kv := range r.Kvs {
			keys = append(keys, fmt.Sprintf("%s=%s@%d/%d", kv.Key, kv.Value, kv.ModRevision, kv.Lease))
		}
		revision = r.Header.Revision
		return true
	})
	return keys, revision
}

// single returns the options of a member that is a cluster of its own.
func single(t *testing.T) member.Options {
	o := options(t.TempDir(), "n1")
	o.ElectionTimeout = 2 * time.Second // the leader stays on a busy machine, or requests of the tests fail
	o.ListenPeer = testkit.FreeAddress(t)
	o.Cluster = map[string]string{"n1": o.ListenPeer}
	return o
}

// filled starts a single member and writes some of everything.
func filled(t *testing.T, o member.Options) *process {
	p := start(t, o)
	for i := range 30 {
		p.put(fmt.Sprintf("k%02d", i%10), fmt.Sprint(i), 0)
	}
	_, err := p.lease.LeaseGrant(t.Context(), &pb.LeaseGrantRequest{ID: 77, TTL: 1000})
	require.NoError(t, err)
	p.put("leased", "x", 77)
	_, err = p.kv.DeleteRange(t.Context(), &pb.DeleteRangeRequest{Key: []byte("k03")})
	require.NoError(t, err)
	_, err = p.kv.Compact(t.Context(), &pb.CompactionRequest{Revision: 10})
	require.NoError(t, err)
	return p
}

// tree returns the hashes of all files below a directory.
func tree(t *testing.T, dir string) map[string]string {
	all := make(map[string]string)
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		all[path] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	}))
	return all
}

// fetch writes the stream of Maintenance.Snapshot.
func (p *process) fetch(w io.Writer) error {
	stream, err := p.Snapshot(p.Context(), &pb.SnapshotRequest{})
	if err != nil {
		return err
	}
	for {
		piece, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(piece.Blob); err != nil {
			return err
		}
	}
}

// A backup of a running member and one of its directory restore the same store, as a
// cluster of other members that the old one does not reach.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	o := single(t)
	p := filled(t, o)
	want, revision := p.all()
	dir := t.TempDir()
	online, offline := filepath.Join(dir, "online"), filepath.Join(dir, "offline")
	report, err := datadir.WriteBackup(online, false, p.fetch)
	require.NoError(t, err)
	require.Equal(t, revision, report.Revision)
	require.Equal(t, 10, report.Keys)
	require.Equal(t, 1, report.Leases)
	_, err = datadir.Backup([]string{o.Data}, offline, false)
	require.ErrorIs(t, err, datadir.ErrInUse)
	require.NoError(t, p.Close())

	before := tree(t, o.Data)
	report, err = datadir.Backup([]string{o.Data}, offline, false)
	require.NoError(t, err)
	require.Equal(t, revision, report.Revision)
	require.Equal(t, before, tree(t, o.Data), "nothing changes")
	_, err = datadir.Backup([]string{o.Data}, offline, false)
	require.ErrorIs(t, err, fs.ErrExist)
	_, err = datadir.Backup([]string{o.Data}, offline, true)
	require.NoError(t, err)
	_, err = datadir.WriteBackup(offline, true, func(w io.Writer) error { _, err := w.Write(make([]byte, 1000)); return err })
	require.ErrorIs(t, err, etcdapi.ErrBackup, "a stream that is no backup")
	found, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, found, 2, "no temporary file stays, and the backups do")

	for _, file := range []string{online, offline} {
		_, err := datadir.VerifyBackup(file)
		require.NoError(t, err)
	}
	r := datadir.RestoreOptions{Cluster: "test", Members: map[string]string{"a": testkit.FreeAddress(t), "b": testkit.FreeAddress(t), "c": testkit.FreeAddress(t)}, Advance: 1000, Compact: true}
	dir = t.TempDir()
	var members []*process
	for name, address := range r.Members {
		r.Name = name
		o := options(dir, name)
		m, err := datadir.Restore(offline, o.Data, r)
		require.NoError(t, err)
		require.Equal(t, 2, mustRead(t, o.Data).Format)
		require.NotZero(t, m.ClusterNumber)
		_, err = datadir.Restore(offline, o.Data, r)
		require.ErrorIs(t, err, datadir.ErrNotEmpty)
		o.ListenPeer, o.Cluster = address, r.Members
		members = append(members, start(t, o))
	}
	for _, m := range members {
		got, raised := m.all()
		require.Equal(t, want, got)
		require.Equal(t, revision+1000, raised)
	}
	_, err = members[0].kv.Range(t.Context(), &pb.RangeRequest{Key: []byte("k01"), Revision: revision})
	require.ErrorContains(t, err, "compacted")

	// A new member learns the number of the restored cluster.
	joining := options(dir, "d")
	joining.ListenPeer, joining.Join = testkit.FreeAddress(t), []string{"http://" + members[0].Address().String()}
	members = append(members, start(t, joining))
	got, _ := members[3].all()
	require.Equal(t, want, got)
	require.Equal(t, mustRead(t, filepath.Join(dir, "a")).ClusterNumber, mustRead(t, joining.Data).ClusterNumber)

	// A member that was not restored does not begin beside the restored ones.
	fresh := options(t.TempDir(), "e")
	fresh.ListenPeer = testkit.FreeAddress(t)
	fresh.Cluster = map[string]string{"e": fresh.ListenPeer, "a": r.Members["a"]}
	_, err = member.Start(fresh)
	require.ErrorIs(t, err, member.ErrNoData)
	require.ErrorContains(t, err, "is not of this cluster")
}

func mustRead(t *testing.T, dir string) datadir.Manifest {
	m, err := datadir.Read(dir)
	require.NoError(t, err)
	return m
}

// The number of the new cluster follows from all that its members share, and from
// nothing else.
func TestNumberOfARestoredCluster(t *testing.T) {
	t.Parallel()
	o := single(t)
	p := filled(t, o)
	file := filepath.Join(t.TempDir(), "backup")
	_, err := datadir.WriteBackup(file, false, p.fetch)
	require.NoError(t, err)
	number := func(o datadir.RestoreOptions) datadir.Number {
		m, err := datadir.Restore(file, t.TempDir(), o)
		require.NoError(t, err)
		return m.ClusterNumber
	}
	base := datadir.RestoreOptions{Name: "a", Cluster: "test", Members: map[string]string{"a": "h:1", "b": "h:2"}}
	first := number(base)
	other := base
	other.Name = "b"
	require.Equal(t, first, number(other))
	for _, change := range []func(o *datadir.RestoreOptions){
		func(o *datadir.RestoreOptions) { o.Cluster = "other" },
		func(o *datadir.RestoreOptions) { o.Token = "second" },
		func(o *datadir.RestoreOptions) { o.Advance, o.Compact = 1, true },
		func(o *datadir.RestoreOptions) { o.Members = map[string]string{"a": "h:1", "b": "h:3"} },
	} {
		other := base
		change(&other)
		require.NotEqual(t, first, number(other))
	}
	other = base
	other.Name = "c"
	_, err = datadir.Restore(file, t.TempDir(), other)
	require.ErrorContains(t, err, `"c" is not among the members [a b]`)
	other = base
	other.Advance = -1
	_, err = datadir.Restore(file, t.TempDir(), other)
	require.ErrorContains(t, err, "cannot advance by -1")
}

// A backup with a changed byte, a shorter one, and files of others are refused.
func TestDamagedBackups(t *testing.T) {
	t.Parallel()
	o := single(t)
	p := filled(t, o)
	var whole bytes.Buffer
	require.NoError(t, p.fetch(&whole))
	data := whole.Bytes()
	path := filepath.Join(t.TempDir(), "backup")
	check := func(data []byte) error {
		require.NoError(t, os.WriteFile(path, data, 0o600))
		_, err := datadir.VerifyBackup(path)
		return err
	}
	require.NoError(t, check(data))
	for range 20 {
		changed := bytes.Clone(data)
		at := rand.IntN(len(data))
		changed[at] ^= 1 << rand.IntN(8)
		require.ErrorIs(t, check(changed), etcdapi.ErrBackup, "byte %d", at)
	}
	for _, n := range []int{0, 1, 31, 32, 512, len(data) - 512, len(data) - 1} {
		require.ErrorIs(t, check(data[:n]), etcdapi.ErrBackup, "%d bytes", n)
	}
	require.ErrorContains(t, check(data[:len(data)-32]), "checksum")
}

// A backup of an earlier version is a snapshot, zeros and a checksum. A newer format is
// refused by its number.
func TestBackupsOfEarlierVersions(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "backup")
	check := func(snapshot []byte) (*datadir.BackupReport, error) {
		body := append(bytes.Clone(snapshot), make([]byte, (512-len(snapshot)%512)%512)...)
		sum := sha256.Sum256(body)
		require.NoError(t, os.WriteFile(path, append(body, sum[:]...), 0o600))
		return datadir.VerifyBackup(path)
	}
	m, err := etcdapi.Import([]kv.Pair{{Key: "a", Value: "1", Version: 1}}, 1)
	require.NoError(t, err)
	body, err := m.Snapshot()
	require.NoError(t, err)
	var snapshot bytes.Buffer
	_, err = body.WriteTo(&snapshot)
	require.NoError(t, err)
	report, err := check(snapshot.Bytes())
	require.NoError(t, err)
	require.Equal(t, int64(2), report.Revision)
	require.Equal(t, "1", report.View().Get("a").Value)
	newer := snapshot.Bytes()
	newer[len("raftlab etcd")] = 9
	_, err = check(newer)
	require.ErrorIs(t, err, etcdapi.ErrFormat)
	require.ErrorContains(t, err, "version 9")
}

// Inspect and Verify read a running member's directory, and change nothing.
func TestInspectBesideARunningMember(t *testing.T) {
	t.Parallel()
	o := single(t)
	p := filled(t, o)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				_, _ = p.kv.Put(context.Background(), &pb.PutRequest{Key: []byte("busy"), Value: bytes.Repeat([]byte{'x'}, 20000)})
			}
		}
	}()
	for range 5 {
		r, err := datadir.Verify(o.Data)
		require.NoError(t, err)
		require.True(t, r.InUse)
	}
	close(stop)
	testkit.Receive(t, "the last write", done)
	require.NoError(t, p.Close())
	before := tree(t, o.Data)
	r, err := datadir.Verify(o.Data)
	require.NoError(t, err)
	require.Equal(t, before, tree(t, o.Data))
	require.False(t, r.InUse)
	require.Equal(t, "n1", r.Name)
	require.Equal(t, "test", r.Cluster)
	require.Equal(t, datadir.Number(etcdapi.ClusterID("test")), r.ClusterID)
	require.Equal(t, 11, r.Store.Keys)
	require.Equal(t, 1, r.Store.Leases)
	require.Equal(t, int64(10), r.Store.Compacted)
	require.NotZero(t, r.Log.Snapshot.Index)
	require.Len(t, r.Log.Members, 1)
	require.Equal(t, "n1", r.Log.Members[0].Name)
	require.Equal(t, "voter", r.Log.Members[0].Role)
	kv, err := r.Store.View().Range(mvcc.RangeRequest{Key: "leased"})
	require.NoError(t, err)
	require.Equal(t, int64(77), kv.KVs[0].Lease)
	require.NoError(t, datadir.Compare([]*datadir.Report{r, r}))
}

// A changed byte is named with its file, or does not count: the content stays the same.
func TestVerifyFindsDamage(t *testing.T) {
	t.Parallel()
	o := single(t)
	o.SnapshotEntries = 1000 // the log has all entries
	p := filled(t, o)
	require.NoError(t, p.Close())
	whole, err := datadir.Verify(o.Data)
	require.NoError(t, err)
	require.Zero(t, whole.Log.Snapshot.Index)
	log := filepath.Join(o.Data, "log", whole.Log.Segments[0].Name)
	data, err := os.ReadFile(log)
	require.NoError(t, err)
	end := len(bytes.TrimRight(data, "\x00"))
	found := 0
	const header = 4096 // of the file, mostly unused
	for range 20 {
		at := header + rand.IntN(end-header)
		changed := bytes.Clone(data)
		changed[at] ^= 0x10
		require.NoError(t, os.WriteFile(log, changed, 0o600))
		r, err := datadir.Verify(o.Data)
		if err == nil {
			require.Equal(t, whole.Store.Hash, r.Store.Hash, "byte %d", at)
			require.Equal(t, whole.Log.LastIndex, r.Log.LastIndex, "byte %d", at)
			continue
		}
		found++
		require.ErrorContains(t, err, filepath.Base(log), "byte %d", at)
		require.ErrorContains(t, err, "offset", "byte %d", at)
		require.Equal(t, "n1", r.Name, "what could be read is shown")
	}
	require.NotZero(t, found)
	require.NoError(t, os.WriteFile(log, data, 0o600))

	manifest := filepath.Join(o.Data, datadir.ManifestName)
	for content, want := range map[string]error{
		"format: 6\nname: n1\n": datadir.ErrFormat, "format: 1\nname: n1\ncluster: c\nid: xyz\n": datadir.ErrManifest,
		":": datadir.ErrManifest, "format: 2\nname: n1\ncluster: c\nid: a\nlog: ../x\n": datadir.ErrManifest,
	} {
		require.NoError(t, os.WriteFile(manifest, []byte(content), 0o600))
		_, err := datadir.Verify(o.Data)
		require.ErrorIs(t, err, want, content)
		require.ErrorContains(t, err, datadir.ManifestName, content)
	}
}

// A damaged snapshot is found, wherever the damage is.
func TestVerifyFindsADamagedSnapshot(t *testing.T) {
	t.Parallel()
	o := single(t)
	p := filled(t, o)
	var whole *datadir.Report
	testkit.WaitFor(t, time.Minute, "a snapshot, which is written beside the log", func() bool {
		require.NoError(t, p.Close())
		var err error
		whole, err = datadir.Verify(o.Data)
		require.NoError(t, err)
		if whole.Log.Snapshot.Index > 0 {
			return true
		}
		p = start(t, o)
		p.put("later", "x", 0)
		return false
	})
	path := filepath.Join(o.Data, "log", whole.Log.Snapshots[0].Name)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	for range 20 {
		at := rand.IntN(len(data))
		changed := bytes.Clone(data)
		changed[at] ^= 0x10
		require.NoError(t, os.WriteFile(path, changed, 0o600))
		_, err := datadir.Verify(o.Data)
		require.Error(t, err, "byte %d", at)
		require.True(t, strings.Contains(err.Error(), filepath.Base(path)), "byte %d: %v", at, err)
	}
	require.NoError(t, os.Remove(path))
	_, err = datadir.Verify(o.Data)
	require.ErrorIs(t, err, datadir.ErrDamaged)
}

// The survivor of three members serves alone, with all it had, and takes new members.
func TestRecover(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := map[string]string{"n1": testkit.FreeAddress(t), "n2": testkit.FreeAddress(t), "n3": testkit.FreeAddress(t)}
	all := make(map[string]member.Options)
	running := make(map[string]*process)
	for name, address := range first {
		o := options(dir, name)
		o.ListenPeer, o.Cluster = address, first
		all[name], running[name] = o, start(t, o)
	}
	for i := range 30 {
		running["n1"].put(fmt.Sprint("k", i), "v", 0)
	}
	want, revision := running["n2"].all()
	_, err := datadir.PlanRecovery([]string{all["n1"].Data})
	require.ErrorIs(t, err, datadir.ErrInUse)
	for _, p := range running {
		require.NoError(t, p.Close())
	}

	survivor := all["n2"]
	before := tree(t, survivor.Data)
	plan, err := datadir.PlanRecovery([]string{survivor.Data})
	require.NoError(t, err)
	require.Len(t, plan.Before.Log.Members, 3)
	_, err = member.Start(survivor)
	require.ErrorContains(t, err, "in use", "no member runs meanwhile")
	require.NoError(t, plan.Close())
	require.Equal(t, before, tree(t, survivor.Data), "a plan changes nothing")

	plan, err = datadir.PlanRecovery([]string{survivor.Data})
	require.NoError(t, err)
	require.NoError(t, plan.Run(0, false))
	require.NoError(t, plan.Close())
	former, err := os.ReadFile(filepath.Join(survivor.Data, plan.Kept))
	require.NoError(t, err)
	after := tree(t, survivor.Data)
	for path, sum := range before {
		if filepath.Base(path) != datadir.ManifestName {
			require.Equal(t, sum, after[path], "the former log stays")
		}
	}
	alone := start(t, survivor)
	got, now := alone.all()
	require.Equal(t, want, got)
	require.Equal(t, revision, now)
	alone.put("new", "x", 0)
	list, err := alone.MemberList(t.Context(), &pb.MemberListRequest{Linearizable: true})
	require.NoError(t, err)
	require.Len(t, list.Members, 1)
	require.Equal(t, uint64(plan.After.ClusterNumber), list.Header.ClusterId)

	// A member of the old cluster does not reach the new one.
	old := start(t, all["n1"])
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = old.kv.Put(ctx, &pb.PutRequest{Key: []byte("old"), Value: []byte("x")})
	require.Error(t, err)
	require.NoError(t, old.Close())
	joining := options(t.TempDir(), "n4")
	joining.ListenPeer, joining.Join = testkit.FreeAddress(t), []string{"http://" + alone.Address().String()}
	fourth := start(t, joining)
	got, _ = fourth.all()
	require.Len(t, got, 31)

	// The kept manifest is the way back.
	require.NoError(t, alone.Close())
	require.NoError(t, os.WriteFile(filepath.Join(survivor.Data, datadir.ManifestName), former, 0o600))
	r, err := datadir.Verify(survivor.Data)
	require.NoError(t, err)
	require.Equal(t, plan.Before.ID, r.ID)
	require.Equal(t, 30, r.Store.Keys)
}
