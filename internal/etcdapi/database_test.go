package etcdapi_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"raftlab/internal/auth"
	"raftlab/internal/boltfile"
	"raftlab/internal/etcdapi"
)

// backup returns the state in a file.
func backup(t *testing.T, file []byte) (*etcdapi.Machine, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backup")
	sum := sha256.Sum256(file)
	require.NoError(t, os.WriteFile(path, append(bytes.Clone(file), sum[:]...), 0o600))
	opened, err := os.Open(path)
	require.NoError(t, err)
	defer opened.Close()
	m, _, err := etcdapi.ReadBackup(opened)
	return m, err
}

// A backup keeps the whole store: changes, leases and users. Users log in, and tokens of
// the former cluster end.
func TestBackupIsADatabase(t *testing.T) {
	run(t, etcdapi.Config{}, func(c *cluster) {
		ctx, m := c.Context(), c.leader()
		for _, id := range []int64{7, -7} {
			_, err := pb.NewLeaseClient(m.conn).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: 600})
			require.NoError(t, err)
			_, err = pb.NewKVClient(m.conn).Put(ctx, &pb.PutRequest{Key: fmt.Appendf(nil, "leased %d", id), Value: []byte("v"), Lease: id})
			require.NoError(t, err)
		}
		for i := range 300 {
			m.put(t, fmt.Sprint("key ", i%100), string(bytes.Repeat([]byte("v"), i)))
		}
		_, err := pb.NewKVClient(m.conn).Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("a"), Value: []byte("1")}}},
			{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("b")}}},
			{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("key 1"), RangeEnd: []byte("key 2")}}},
		}})
		require.NoError(t, err)
		_, err = pb.NewKVClient(m.conn).Compact(ctx, &pb.CompactionRequest{Revision: 150})
		require.NoError(t, err)
		users := pb.NewAuthClient(m.conn)
		for _, name := range []string{"root", "alice"} {
			_, err = users.UserAdd(ctx, &pb.AuthUserAddRequest{Name: name, Password: "pass of " + name})
			require.NoError(t, err)
		}
		for _, name := range []string{"root", "keys"} {
			_, err = users.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: name})
			require.NoError(t, err)
		}
		for _, p := range []*authpb.Permission{
			{Key: []byte("k"), RangeEnd: []byte("l"), PermType: authpb.READ}, {Key: []byte("x"), PermType: authpb.WRITE}, {Key: []byte("z"), RangeEnd: []byte{0}, PermType: authpb.READWRITE},
		} {
			_, err = users.RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{Name: "keys", Perm: p})
			require.NoError(t, err)
		}
		for name, role := range map[string]string{"root": "root", "alice": "keys"} {
			_, err = users.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: name, Role: role})
			require.NoError(t, err)
		}
		_, err = users.AuthEnable(ctx, &pb.AuthEnableRequest{})
		require.NoError(t, err)

		before := m.server.Machine()
		var file bytes.Buffer
		require.NoError(t, before.WriteBackup(&file))
		after, err := backup(t, file.Bytes()[:file.Len()-sha256.Size])
		require.NoError(t, err)
		require.Equal(t, slices.Collect(before.View().Changes()), slices.Collect(after.View().Changes()))
		require.Equal(t, before.View().Leases(), after.View().Leases())
		want, err := before.View().HashKV(0)
		require.NoError(t, err)
		got, err := after.View().HashKV(0)
		require.NoError(t, err)
		require.Equal(t, want, got)
		former, state := before.Users(), after.Users()
		require.True(t, state.Enabled())
		require.Equal(t, former.Revision(), state.Revision())
		for _, role := range former.Roles() {
			want, _ := former.Role(role)
			got, _ := state.Role(role)
			require.Equal(t, want, got)
		}
		tokens, err := auth.NewTokens("", 0, 0)
		require.NoError(t, err)
		old, err := tokens.Authenticate(ctx, former, "alice", "pass of alice")
		require.NoError(t, err)
		_, _, err = tokens.Identify(state, old)
		require.ErrorIs(t, err, auth.ErrToken)
		token, err := tokens.Authenticate(ctx, state, "alice", "pass of alice")
		require.NoError(t, err)
		who, _, err := tokens.Identify(state, token)
		require.NoError(t, err)
		require.NoError(t, state.Permit(who, "key 1", "", auth.Read))
		require.ErrorIs(t, state.Permit(who, "key 1", "", auth.Write), auth.ErrPermissionDenied)
		var again bytes.Buffer
		require.NoError(t, after.WriteBackup(&again))
		require.Equal(t, file.Bytes(), again.Bytes(), "equal states have equal backups")
	})
}

// items are the keys and values of a bucket.
type items [][2]string

func (i items) seq() iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for _, one := range i {
			if !yield([]byte(one[0]), []byte(one[1])) {
				return
			}
		}
	}
}

// database returns a database with changes at the revisions 2 to 4, and with other buckets.
func database(t *testing.T, buckets map[string]items) []byte {
	t.Helper()
	var all []boltfile.Bucket
	for name, content := range buckets {
		all = append(all, boltfile.Bucket{Name: name, Items: content.seq()})
	}
	layout, err := boltfile.Layout(all...)
	require.NoError(t, err)
	var file bytes.Buffer
	_, err = layout.WriteTo(&file)
	require.NoError(t, err)
	return file.Bytes()
}

// etcdRevision returns a revision as etcd's server encodes it.
func etcdRevision(revision, sub uint64, end string) string {
	b := append(binary.BigEndian.AppendUint64(nil, revision), '_')
	return string(binary.BigEndian.AppendUint64(b, sub)) + end
}

func keyValue(t *testing.T, kv *mvccpb.KeyValue) string {
	t.Helper()
	b, err := proto.Marshal(kv)
	require.NoError(t, err)
	return string(b)
}

// A database of etcd may be in the middle of a compaction, may have keys of leases that
// are gone, and may have a raised revision.
func TestDatabaseOfEtcd(t *testing.T) {
	keys := items{
		{etcdRevision(2, 0, ""), keyValue(t, &mvccpb.KeyValue{Key: []byte("a"), Value: []byte("1"), CreateRevision: 2, ModRevision: 2, Version: 1, Lease: 5})},
		{etcdRevision(2, 1, ""), keyValue(t, &mvccpb.KeyValue{Key: []byte("b"), Value: []byte("1"), CreateRevision: 2, ModRevision: 2, Version: 1})},
		{etcdRevision(3, 0, ""), keyValue(t, &mvccpb.KeyValue{Key: []byte("a"), Value: []byte("2"), CreateRevision: 2, ModRevision: 3, Version: 2, Lease: 6})},
		{etcdRevision(4, 0, "t"), keyValue(t, &mvccpb.KeyValue{Key: []byte("b")})},
	}
	raised := append(slices.Clone(keys), [2]string{etcdRevision(1000, 0, ""), ""})
	m, err := backup(t, database(t, map[string]items{
		"key":   raised,
		"meta":  {{"consistent_index", "12345678"}, {"scheduledCompactRev", etcdRevision(3, 0, "")}},
		"lease": {{"12345678", "\x08\x05\x10\x3c"}},
		"test":  {{"x", "y"}},
	}))
	require.NoError(t, err)
	v := m.View()
	require.Equal(t, int64(1000), v.Revision())
	require.Equal(t, int64(3), v.Compacted())
	require.Equal(t, 1, v.Keys())
	require.Equal(t, "2", v.Get("a").Value)
	require.Zero(t, v.Get("a").Lease, "the lease 6 is gone")
	lease, ok := v.Lease(5)
	require.True(t, ok)
	require.Equal(t, int64(60), lease.TTL)
	require.Len(t, slices.Collect(v.Changes()), 3, "the first version of a is compacted")
	require.False(t, m.Users().Enabled())

	compacted, err := backup(t, database(t, map[string]items{"key": nil, "meta": {{"finishedCompactRev", etcdRevision(9, 0, "")}}}))
	require.NoError(t, err)
	require.Equal(t, int64(9), compacted.View().Revision(), "of a store whose last changes are compacted deletions")

	for name, buckets := range map[string]map[string]items{
		"a short revision":  {"key": {{"short", "x"}}},
		"another separator": {"key": {{etcdRevision(2, 0, "")[:8] + "-12345678", "x"}}},
		"no change":         {"key": {{etcdRevision(2, 0, ""), "\xff"}}},
		"another revision":  {"key": {{etcdRevision(3, 0, ""), keys[0][1]}}},
		"a lease":           {"lease": {{"12345678", "\x08"}}},
		"a user":            {"authUsers": {{"alice", "\xff"}}},
		"a role":            {"authRoles": {{"keys", "\xff"}}},
		"a permission":      {"authRoles": {{"keys", string(must(proto.Marshal(&authpb.Role{KeyPermission: []*authpb.Permission{{Key: []byte("b"), RangeEnd: []byte("a")}}})))}}},
	} {
		_, err := backup(t, database(t, buckets))
		require.ErrorIs(t, err, etcdapi.ErrBackup, name)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}
