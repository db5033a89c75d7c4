package mvcc_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/mvcc"
)

// A decoded command encodes to a command that decodes to an equal one, and no command
// makes a store panic.
func FuzzDecode(f *testing.F) {
	for _, c := range []mvcc.Command{
		{Put: &mvcc.PutRequest{Key: "a", Value: "1", PrevKV: true}},
		{Delete: &mvcc.DeleteRequest{Key: "a", End: "b"}},
		{Txn: &mvcc.TxnRequest{
			Compares: []mvcc.Compare{{Key: "a", Field: mvcc.FieldValue, Value: "1"}},
			Then:     []mvcc.Op{{Range: &mvcc.RangeRequest{Key: "a", Limit: 1}}, {Txn: &mvcc.TxnRequest{}}},
			Else:     []mvcc.Op{{Delete: &mvcc.DeleteRequest{Key: "a"}}, {Put: &mvcc.PutRequest{Key: "b"}}},
		}},
		{Compact: &mvcc.CompactCommand{Revision: 2}},
		{Grant: &mvcc.Lease{ID: 1, TTL: 5}},
		{Revoke: &mvcc.RevokeCommand{Lease: 1}},
		{Checkpoint: []mvcc.LeaseCheckpoint{{Lease: 1, Remaining: 2}}},
	} {
		data, err := c.Append(nil)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := mvcc.Decode(data)
		if err != nil {
			require.ErrorIs(t, err, mvcc.ErrCommand)
			return
		}
		again, err := c.Append(nil)
		require.NoError(t, err)
		decoded, err := mvcc.Decode(again)
		require.NoError(t, err)
		require.Equal(t, c, decoded)
		s := mvcc.New()
		put(t, s, "a", "1")
		_, err = s.Apply(c)
		if err == nil {
			restored(t, s.View())
		}
	})
}

// reseal sets the checksums of a snapshot's frames right, so that the content is
// decoded.
func reseal(data []byte) []byte {
	const magic = 15
	table := crc32.MakeTable(crc32.Castagnoli)
	data = bytes.Clone(data)
	for at := magic; at < len(data); {
		size, n := binary.Uvarint(data[at+1:])
		if n <= 0 || size > uint64(len(data)) || at+1+n+int(size)+4 > len(data) {
			break
		}
		at += 1 + n + int(size)
		binary.LittleEndian.PutUint32(data[at:], crc32.Checksum(data[:at], table))
		at += 4
	}
	return data
}

// A snapshot that is restored is written again with the same content.
func FuzzRestore(f *testing.F) {
	s := mvcc.New()
	require.NoError(f, s.GrantLease(1, 10))
	for _, key := range []string{"a", "b", "a"} {
		_, err := s.Put(mvcc.PutRequest{Key: key, Value: "v", Lease: 1})
		require.NoError(f, err)
	}
	_, err := s.Delete(mvcc.DeleteRequest{Key: "a"})
	require.NoError(f, err)
	for range 2 { // before and after a compaction
		var b bytes.Buffer
		_, err := s.View().WriteTo(&b)
		require.NoError(f, err)
		require.Equal(f, b.Bytes(), reseal(b.Bytes()))
		f.Add(b.Bytes())
		_ = s.Compact(4)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := mvcc.Restore(bytes.NewReader(reseal(data)))
		if err != nil {
			return
		}
		again := restored(t, s.View())
		one, err := s.View().HashKV(0)
		require.NoError(t, err)
		two, err := again.View().HashKV(0)
		require.NoError(t, err)
		require.Equal(t, one, two)
		put(t, s, "a", "1")
	})
}
