package mvcc_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/mvcc"
)

// A store counts the operations that are executed, and no others.
func TestOperationCounts(t *testing.T) {
	t.Parallel()
	s := mvcc.New()
	put := func(key string) mvcc.Op { return mvcc.Op{Put: &mvcc.PutRequest{Key: key, Value: "four"}} }
	_, err := s.Put(mvcc.PutRequest{Key: "a", Value: "b"})
	require.NoError(t, err)
	_, err = s.Put(mvcc.PutRequest{Key: "a", Lease: 9})
	require.ErrorIs(t, err, mvcc.ErrLeaseNotFound)
	_, err = s.Txn(mvcc.TxnRequest{
		Then: []mvcc.Op{put("b"), {Range: &mvcc.RangeRequest{Key: "b"}}, {Txn: &mvcc.TxnRequest{Then: []mvcc.Op{put("cc")}, Else: []mvcc.Op{put("d")}}}},
		Else: []mvcc.Op{put("e")},
	})
	require.NoError(t, err)
	_, err = s.Txn(mvcc.TxnRequest{Then: []mvcc.Op{put("f")}})
	require.NoError(t, err)
	_, err = s.Delete(mvcc.DeleteRequest{Key: "a", End: "c"})
	require.NoError(t, err)
	require.NoError(t, s.GrantLease(1, 10))
	_, err = s.RevokeLease(1)
	require.NoError(t, err)
	_, err = s.View().Txn(mvcc.TxnRequest{Then: []mvcc.Op{{Range: &mvcc.RangeRequest{Key: "b"}}}})
	require.NoError(t, err)
	want := mvcc.Counts{Puts: 4, Deletes: 1, Ranges: 1, Txns: 1, PutBytes: 2 + 5 + 6 + 5, Grants: 1, Revocations: 1}
	require.Equal(t, want, s.Counts())
	require.Equal(t, mvcc.Counts{Puts: 8, Deletes: 2, Ranges: 2, Txns: 2, PutBytes: 36, Grants: 2, Revocations: 2}, want.Add(want))
}
