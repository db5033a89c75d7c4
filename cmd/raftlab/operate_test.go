//go:build !wasip1

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
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
	"raftlab/internal/member"
	"raftlab/internal/testkit"
)

// operate runs a command in this process.
func operate(in string, args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	cmd := newRootCommand()
	cmd.SetIn(strings.NewReader(in))
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	code = run(context.Background(), cmd, args)
	return code, stdout.String(), stderr.String()
}

// alone starts a member that is a cluster of its own, with some keys, and returns the
// client URL.
func alone(t *testing.T, dir string) (*member.Member, string) {
	peer := testkit.FreeAddress(t)
	m, err := member.Start(member.Options{
		Name: "n1", Data: dir, ListenPeer: peer, Listen: "127.0.0.1:0", Cluster: map[string]string{"n1": peer},
		ElectionTimeout: 2 * time.Second, // the leader stays on a busy machine, or requests of the tests fail
	})
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	testkit.Receive(t, "a ready member", m.Ready())
	conn, err := grpc.NewClient(m.Address().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	for _, key := range []string{"a", "b"} {
		_, err := pb.NewKVClient(conn).Put(t.Context(), &pb.PutRequest{Key: []byte(key), Value: []byte("v")}, grpc.WaitForReady(true))
		require.NoError(t, err)
	}
	return m, "http://" + m.Address().String()
}

// An operator's day: a backup, a check, a restore, a loss, a recovery.
func TestOperatorCommands(t *testing.T) {
	t.Chdir(t.TempDir())
	m, url := alone(t, "n1.raftlab")
	code, out, errs := operate("", "backup", "b1", "--endpoint", url)
	require.Equal(t, exitOK, code, errs)
	require.Regexp(t, `^b1: \d+ bytes, revision 3, 2 keys, 0 leases, SHA-256 [0-9a-f]{64}\n$`, out)
	code, _, errs = operate("", "backup", "b1", "--endpoint", url)
	require.Equal(t, exitFailure, code)
	require.Contains(t, errs, "file already exists")
	code, _, errs = operate("", "backup", "b1", "--force", "--endpoint", url)
	require.Equal(t, exitOK, code, errs)
	code, _, errs = operate("", "backup", "b2", "--data", "n1.raftlab")
	require.Equal(t, exitFailure, code)
	require.Contains(t, errs, "in use")
	code, out, _ = operate("", "inspect", "b1", "--keys")
	require.Equal(t, exitOK, code)
	require.Contains(t, out, "b1: ")
	require.Contains(t, out, `key "a": revision 2, version 1, 1 byte`)
	code, out, _ = operate("", "inspect", "b1", "--keys", "--json")
	require.Equal(t, exitOK, code)
	var stored struct {
		Backup datadir.BackupReport
		Keys   []keyReport
	}
	require.NoError(t, json.Unmarshal([]byte(out), &stored))
	require.Equal(t, 2, stored.Backup.Keys)
	require.Len(t, stored.Keys, 2)
	code, out, _ = operate("", "inspect", "n1.raftlab")
	require.Equal(t, exitOK, code)
	require.Contains(t, out, "a member runs on it")
	require.NoError(t, m.Close())
	code, _, errs = operate("", "backup", "b2", "--endpoint", url, "--timeout", "1s")
	require.Equal(t, exitFailure, code)
	require.Contains(t, errs, url)

	code, out, errs = operate("", "verify", "n1.raftlab", "b1")
	require.Equal(t, exitOK, code, errs)
	require.Regexp(t, `(?m)^n1.raftlab: 2 segments, \d+ entries of the log and 0 snapshots are whole; revision 3, hash [0-9a-f]{8}$`, out)
	code, out, _ = operate("", "inspect", "n1.raftlab", "--json", "--keys", "--leases")
	require.Equal(t, exitOK, code)
	var inspected struct {
		Keys []struct{ Key string }
		datadir.Report
	}
	require.NoError(t, json.Unmarshal([]byte(out), &inspected))
	require.Equal(t, "n1", inspected.Report.Name)
	require.Len(t, inspected.Keys, 2)
	require.Equal(t, int64(3), inspected.Store.Revision)
	code, out, _ = operate("", "inspect", "n1.raftlab", "--keys")
	require.Equal(t, exitOK, code)
	require.Contains(t, out, `key "b": revision 3, version 1, 1 byte`)

	code, out, errs = operate("", "restore", "b1", "--name", "x", "--cluster", "x=127.0.0.1:1,y=127.0.0.1:2", "--data", "x", "--bump-revision", "100", "--mark-compacted")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "x: member x (")
	code, out, errs = operate("", "verify", "x")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "revision 103")
	code, _, errs = operate("", "verify", "x", "n1.raftlab")
	require.Equal(t, exitFailure, code)
	require.Contains(t, errs, "is of cluster")
	for args, says := range map[string]string{
		"restore b1 --name x --cluster x=h:1 --data x":                   "not empty",
		"restore b1 --name x":                                            "--cluster",
		"restore b1 --name z --cluster x=h:1":                            `"z" is not among`,
		"restore b1 --name x --cluster x=h:1 --data z --bump-revision 1": "--mark-compacted",
		"restore nothing --name x --cluster x=h:1 --data z":              "nothing",
		"backup b3 --data n1.raftlab --endpoint http://h:1":              "both are given",
		"backup b3 --endpoint h:1":                                       "want http://",
		"recover":                                                        "--data",
		"recover --data nothing":                                         "nothing",
		"inspect nothing":                                                "nothing",
	} {
		code, _, errs := operate("", strings.Fields(args)...)
		require.NotEqual(t, exitOK, code, args)
		require.Contains(t, errs, says, args)
	}

	before, err := os.ReadFile(filepath.Join("n1.raftlab", "member.yaml"))
	require.NoError(t, err)
	code, out, _ = operate("no\n", "recover", "--data", "n1.raftlab")
	require.Equal(t, exitRefused, code)
	require.Contains(t, out, "Writes that this member does not have are lost")
	after, err := os.ReadFile(filepath.Join("n1.raftlab", "member.yaml"))
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
	code, _, errs = operate("n1\n", "recover", "--data", "n1.raftlab")
	require.Equal(t, exitOK, code, errs)
	code, out, errs = operate("", "recover", "--data", "n1.raftlab", "--yes")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "is the only one of cluster raftlab")
	code, out, errs = operate("", "verify", "n1.raftlab")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "revision 3")

	damage(t, "b1", 100)
	code, _, errs = operate("", "verify", "b1")
	require.Equal(t, exitDamaged, code, errs)
	require.Contains(t, errs, "b1")
	found, err := filepath.Glob("n1.raftlab/log-*/*.snap")
	require.NoError(t, err)
	require.Len(t, found, 2, "of both recoveries")
	for _, file := range found {
		damage(t, file, 100)
	}
	code, _, errs = operate("", "verify", "n1.raftlab")
	require.Equal(t, exitDamaged, code)
	require.Contains(t, errs, ".snap, offset ")
	code, out, _ = operate("", "inspect", "n1.raftlab")
	require.Equal(t, exitDamaged, code)
	require.Contains(t, out, "snapshot")
}

// damage changes a byte of a file.
func damage(t *testing.T, name string, at int64) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	require.NoError(t, err)
	b[0] ^= 1
	_, err = f.WriteAt(b, at)
	require.NoError(t, err)
}

// The process of a removed member ends with 0, because a restart would not help.
func TestRemovedMember(t *testing.T) {
	t.Parallel()
	m, url := alone(t, t.TempDir())
	conn, err := grpc.NewClient(m.Address().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	members := pb.NewClusterClient(conn)
	type result struct {
		code int
		errs string
	}
	ended := make(chan result, 1)
	data, peer := t.TempDir(), testkit.FreeAddress(t)
	go func() {
		code, _, errs := operate("", "serve", "--name", "n2", "--data", data, "--join", url, "--listen-peer", peer, "--listen", "127.0.0.1:0",
			"--heartbeat", "10ms", "--election-timeout", "100ms")
		ended <- result{code, errs}
	}()
	testkit.WaitFor(t, busyPatience, "the member to vote, and to go", func() bool {
		list, err := members.MemberList(t.Context(), &pb.MemberListRequest{Linearizable: true})
		if err != nil || len(list.Members) < 2 || list.Members[0].IsLearner || list.Members[1].IsLearner {
			return false
		}
		for _, one := range list.Members {
			if one.Name == "n2" {
				_, err = members.MemberRemove(t.Context(), &pb.MemberRemoveRequest{ID: one.ID})
				return err == nil
			}
		}
		return false
	})
	r := testkit.Receive(t, "the end of the command", ended)
	require.Equal(t, exitOK, r.code, r.errs)
	require.Contains(t, r.errs, "a new member joins on an empty one")
}

// --force-new-cluster makes a member the only one, once. The flag may stay.
func TestForceNewCluster(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m, url := alone(t, filepath.Join(dir, "n1"))
	backup, data := filepath.Join(dir, "b"), filepath.Join(dir, "three")
	code, _, errs := operate("", "backup", backup, "--endpoint", url)
	require.Equal(t, exitOK, code, errs)
	require.NoError(t, m.Close())
	peer := testkit.FreeAddress(t)
	three := map[string]string{"n1": peer, "n2": "127.0.0.1:1", "n3": "127.0.0.1:2"}
	code, _, errs = operate("", "restore", backup, "--name", "n1", "--data", data, "--cluster", "n1="+peer+",n2=127.0.0.1:1,n3=127.0.0.1:2")
	require.Equal(t, exitOK, code, errs)
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	require.NoError(t, recoverMember(data, logger))
	require.Contains(t, log.String(), "members=3")
	after, err := datadir.Read(data)
	require.NoError(t, err)
	require.NoError(t, recoverMember(data, logger))
	require.Contains(t, log.String(), "has no effect")
	again, err := datadir.Read(data)
	require.NoError(t, err)
	require.Equal(t, after, again)
	started, err := member.Start(member.Options{Name: "n1", Data: data, ListenPeer: peer, Cluster: three, Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	testkit.Receive(t, "a ready member", started.Ready())
	require.NoError(t, started.Close())
	require.Error(t, recoverMember(filepath.Join(dir, "nowhere"), logger))
}
