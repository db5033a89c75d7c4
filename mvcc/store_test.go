package mvcc_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/mvcc"
)

// put writes a key and returns the revision.
func put(t *testing.T, s *mvcc.Store, key, value string) int64 {
	r, err := s.Put(mvcc.PutRequest{Key: key, Value: value})
	require.NoError(t, err)
	return r.Revision
}

// values returns the values of all keys at a revision, as key=value.
func values(t *testing.T, v *mvcc.View, revision int64) (all []string) {
	r, err := v.Range(mvcc.RangeRequest{Key: "\x00", End: mvcc.FromKey, Revision: revision})
	require.NoError(t, err)
	for _, kv := range r.KVs {
		all = append(all, kv.Key+"="+kv.Value)
	}
	return all
}

func TestRevisionsOfTransactions(t *testing.T) {
	s := mvcc.New()
	require.EqualValues(t, 1, s.Revision(), "of an empty store")
	require.EqualValues(t, 2, put(t, s, "a", "1"))
	deleted, err := s.Delete(mvcc.DeleteRequest{Key: "missing"})
	require.NoError(t, err)
	require.Equal(t, mvcc.DeleteResult{Revision: 2}, deleted, "nothing changed")
	txn, err := s.Txn(mvcc.TxnRequest{Then: []mvcc.Op{
		{Range: &mvcc.RangeRequest{Key: "a"}},
		{Put: &mvcc.PutRequest{Key: "a", Value: "2"}},
		{Range: &mvcc.RangeRequest{Key: "a"}},
		{Range: &mvcc.RangeRequest{Key: "a", Revision: 2}},
		{Put: &mvcc.PutRequest{Key: "b", Value: "3"}},
	}})
	require.NoError(t, err)
	require.EqualValues(t, 3, txn.Revision)
	for i, want := range []struct {
		revision int64
		value    string
	}{0: {2, "1"}, 2: {3, "2"}, 3: {3, "1"}} {
		if want.revision > 0 {
			require.Equal(t, want.revision, txn.Results[i].Range.Revision, "range %d", i)
			require.Equal(t, want.value, txn.Results[i].Range.KVs[0].Value, "range %d", i)
		}
	}
	require.EqualValues(t, 3, txn.Results[4].Put.Revision, "one revision for all changes")
	require.Equal(t, []string{"a=2", "b=3"}, values(t, s.View(), 0))
	require.Equal(t, []string{"a=1"}, values(t, s.View(), 2))
	require.Empty(t, values(t, s.View(), 1))
}

func TestVersionsOfAKey(t *testing.T) {
	s := mvcc.New()
	put(t, s, "a", "1")
	put(t, s, "a", "2")
	_, err := s.Delete(mvcc.DeleteRequest{Key: "a"})
	require.NoError(t, err)
	put(t, s, "a", "3")
	for revision, want := range map[int64][]*mvcc.KeyValue{
		2: {{Key: "a", Value: "1", CreateRevision: 2, ModRevision: 2, Version: 1}},
		3: {{Key: "a", Value: "2", CreateRevision: 2, ModRevision: 3, Version: 2}},
		4: nil,
		5: {{Key: "a", Value: "3", CreateRevision: 5, ModRevision: 5, Version: 1}},
	} {
		r, err := s.View().Range(mvcc.RangeRequest{Key: "a", Revision: revision})
		require.NoError(t, err)
		require.Equal(t, want, r.KVs, "revision %d", revision)
	}
}

// A failed request changes nothing, also if the error comes from a late operation.
func TestRefusedRequestsChangeNothing(t *testing.T) {
	s := mvcc.New()
	put(t, s, "a", "1")
	require.NoError(t, s.GrantLease(7, 60))
	put(t, s, "a", "2")
	require.NoError(t, s.Compact(3))
	before, err := s.View().HashKV(0)
	require.NoError(t, err)
	first := mvcc.Op{Put: &mvcc.PutRequest{Key: "x"}}
	for name, c := range map[string]struct {
		op   mvcc.Op
		want error
	}{
		"compacted":           {mvcc.Op{Range: &mvcc.RangeRequest{Key: "a", Revision: 2}}, mvcc.ErrCompacted},
		"future":              {mvcc.Op{Range: &mvcc.RangeRequest{Key: "a", Revision: 4}}, mvcc.ErrFutureRevision},
		"empty key":           {mvcc.Op{Range: &mvcc.RangeRequest{End: "b"}}, mvcc.ErrEmptyKey},
		"empty put":           {mvcc.Op{Put: &mvcc.PutRequest{}}, mvcc.ErrEmptyKey},
		"empty delete":        {mvcc.Op{Delete: &mvcc.DeleteRequest{}}, mvcc.ErrEmptyKey},
		"order":               {mvcc.Op{Range: &mvcc.RangeRequest{Key: "a", Order: 3}}, mvcc.ErrInvalid},
		"target":              {mvcc.Op{Range: &mvcc.RangeRequest{Key: "a", Target: 5}}, mvcc.ErrInvalid},
		"nothing":             {mvcc.Op{}, mvcc.ErrInvalid},
		"two requests":        {mvcc.Op{Put: &mvcc.PutRequest{Key: "b"}, Delete: &mvcc.DeleteRequest{Key: "c"}}, mvcc.ErrInvalid},
		"no lease":            {mvcc.Op{Put: &mvcc.PutRequest{Key: "b", Lease: 8}}, mvcc.ErrLeaseNotFound},
		"no key to keep":      {mvcc.Op{Put: &mvcc.PutRequest{Key: "b", IgnoreValue: true}}, mvcc.ErrKeyNotFound},
		"no lease to keep":    {mvcc.Op{Put: &mvcc.PutRequest{Key: "b", IgnoreLease: true}}, mvcc.ErrKeyNotFound},
		"value provided":      {mvcc.Op{Put: &mvcc.PutRequest{Key: "a", Value: "1", IgnoreValue: true}}, mvcc.ErrValueProvided},
		"lease provided":      {mvcc.Op{Put: &mvcc.PutRequest{Key: "a", Lease: 7, IgnoreLease: true}}, mvcc.ErrLeaseProvided},
		"put twice":           {mvcc.Op{Put: &mvcc.PutRequest{Key: "x"}}, mvcc.ErrDuplicateKey},
		"put and deleted":     {mvcc.Op{Delete: &mvcc.DeleteRequest{Key: "a", End: "y"}}, mvcc.ErrDuplicateKey},
		"all deleted":         {mvcc.Op{Delete: &mvcc.DeleteRequest{Key: "\x00", End: mvcc.FromKey}}, mvcc.ErrDuplicateKey},
		"nested put":          {mvcc.Op{Txn: &mvcc.TxnRequest{Else: []mvcc.Op{first}}}, mvcc.ErrDuplicateKey},
		"nested delete":       {mvcc.Op{Txn: &mvcc.TxnRequest{Then: []mvcc.Op{{Delete: &mvcc.DeleteRequest{Key: "x"}}}}}, mvcc.ErrDuplicateKey},
		"nested compacted":    {mvcc.Op{Txn: &mvcc.TxnRequest{Then: []mvcc.Op{{Range: &mvcc.RangeRequest{Key: "a", Revision: 2}}}}}, mvcc.ErrCompacted},
		"nested empty key":    {mvcc.Op{Txn: &mvcc.TxnRequest{Compares: []mvcc.Compare{{}}}}, mvcc.ErrEmptyKey},
		"field":               {mvcc.Op{Txn: &mvcc.TxnRequest{Compares: []mvcc.Compare{{Key: "a", Field: 5}}}}, mvcc.ErrInvalid},
		"relation":            {mvcc.Op{Txn: &mvcc.TxnRequest{Compares: []mvcc.Compare{{Key: "a", Relation: 4}}}}, mvcc.ErrInvalid},
		"nested within alone": {mvcc.Op{Txn: &mvcc.TxnRequest{Then: []mvcc.Op{{Put: &mvcc.PutRequest{Key: "y"}}, {Put: &mvcc.PutRequest{Key: "y"}}}}}, mvcc.ErrDuplicateKey},
	} {
		_, err := s.Txn(mvcc.TxnRequest{Then: []mvcc.Op{first, c.op}})
		require.ErrorIs(t, err, c.want, name)
	}
	after, err := s.View().HashKV(0)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

// Both branches of one transaction may write a key, because one of them is executed.
func TestBranchesMayWriteTheSameKey(t *testing.T) {
	s := mvcc.New()
	write := []mvcc.Op{{Put: &mvcc.PutRequest{Key: "a"}}}
	remove := []mvcc.Op{{Delete: &mvcc.DeleteRequest{Key: "a"}}}
	for _, r := range []mvcc.TxnRequest{
		{Then: write, Else: write},
		{Then: []mvcc.Op{{Txn: &mvcc.TxnRequest{Then: write, Else: write}}}},
		{Then: []mvcc.Op{{Txn: &mvcc.TxnRequest{Then: write, Else: remove}}}},
		{Then: append(append([]mvcc.Op{}, remove...), remove...)},
	} {
		_, err := s.Txn(r)
		require.NoError(t, err)
	}
	both := []mvcc.Op{{Txn: &mvcc.TxnRequest{Then: write}}, {Txn: &mvcc.TxnRequest{Then: remove}}}
	_, err := s.Txn(mvcc.TxnRequest{Then: both})
	require.ErrorIs(t, err, mvcc.ErrDuplicateKey, "both children are executed")
}

// Comparisons of nested transactions look at the state before the outer operations.
func TestNestedComparisonsSeeTheStateBefore(t *testing.T) {
	s := mvcc.New()
	r, err := s.Txn(mvcc.TxnRequest{Then: []mvcc.Op{
		{Put: &mvcc.PutRequest{Key: "a"}},
		{Txn: &mvcc.TxnRequest{Compares: []mvcc.Compare{{Key: "a", Field: mvcc.FieldVersion, Number: 1}}}},
	}})
	require.NoError(t, err)
	require.False(t, r.Results[1].Txn.Succeeded)
}

func TestComparisonOfAMissingKey(t *testing.T) {
	s := mvcc.New()
	for _, c := range []struct {
		compare mvcc.Compare
		want    bool
	}{
		{mvcc.Compare{Key: "a", Field: mvcc.FieldVersion}, true},
		{mvcc.Compare{Key: "a", Field: mvcc.FieldCreateRevision}, true},
		{mvcc.Compare{Key: "a", Field: mvcc.FieldLease, Relation: mvcc.NotEqual}, false},
		{mvcc.Compare{Key: "a", Field: mvcc.FieldValue}, false},
		{mvcc.Compare{Key: "a", Field: mvcc.FieldValue, Relation: mvcc.NotEqual, Value: "x"}, false},
	} {
		r, err := s.Txn(mvcc.TxnRequest{Compares: []mvcc.Compare{c.compare}})
		require.NoError(t, err)
		require.Equal(t, c.want, r.Succeeded, "%+v", c.compare)
	}
}

func TestCompaction(t *testing.T) {
	s := mvcc.New()
	require.NoError(t, s.Compact(0), "an empty store compacts at 0 once")
	require.ErrorIs(t, s.Compact(0), mvcc.ErrCompacted)
	put(t, s, "a", "1") // 2
	put(t, s, "a", "2") // 3
	put(t, s, "b", "1") // 4
	_, err := s.Delete(mvcc.DeleteRequest{Key: "b"})
	require.NoError(t, err) // 5
	put(t, s, "c", "1")     // 6
	require.ErrorIs(t, s.Compact(7), mvcc.ErrFutureRevision)
	require.NoError(t, s.Compact(5))
	require.ErrorIs(t, s.Compact(5), mvcc.ErrCompacted)
	before := s.View()
	for s.Scavenge(1) {
		require.Equal(t, []string{"a=2"}, values(t, s.View(), 5), "the compacted revision is readable")
	}
	_, err = s.View().Range(mvcc.RangeRequest{Key: "a", Revision: 4})
	require.ErrorIs(t, err, mvcc.ErrCompacted)
	require.Equal(t, 3, s.View().Versions(), "a, the tombstone of b at the compacted revision, c")
	require.Equal(t, 5, before.Versions())
	require.NoError(t, s.Compact(6))
	require.False(t, s.Scavenge(math.MaxInt))
	require.Equal(t, 2, s.View().Versions())
	require.EqualValues(t, len("a2c1")+2*160, s.Size())
	put(t, s, "a", "3") // 7
	require.NoError(t, s.Compact(7))
	s.Scavenge(math.MaxInt)
	require.Equal(t, 2, s.View().Versions(), "the compacted revision has replaced a version")
}

// The tombstone at the compacted revision is still an event.
func TestCompactedRevisionKeepsItsEvents(t *testing.T) {
	s := mvcc.New()
	put(t, s, "a", "1")
	_, err := s.Delete(mvcc.DeleteRequest{Key: "a"})
	require.NoError(t, err)
	require.NoError(t, s.Compact(3))
	s.Scavenge(math.MaxInt)
	for _, store := range []*mvcc.Store{s, restored(t, s.View())} {
		v := store.View()
		all, err := v.Events(3, 3)
		require.NoError(t, err)
		count := 0
		for e := range all {
			count++
			require.True(t, e.Deleted)
			require.Equal(t, &mvcc.KeyValue{Key: "a", ModRevision: 3}, e.KV)
			require.Nil(t, v.Prev(e), "the version before is compacted")
		}
		require.Equal(t, 1, count)
	}
}

// Compacted versions are released in portions of any size, across chunks of the log of
// events. Until then they show in no result.
func TestScavengeInPortions(t *testing.T) {
	const keys = 300
	s := mvcc.New()
	for i := range 3 * keys {
		put(t, s, fmt.Sprint(i%keys), "v")
	}
	old := s.View()
	require.NoError(t, s.Compact(s.Revision()))
	want, err := s.View().HashKV(0)
	require.NoError(t, err)
	for portions := 1; s.Scavenge(7); portions++ {
		got, err := s.View().HashKV(0)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Less(t, portions, 3*keys/7+1)
	}
	require.Equal(t, keys, s.View().Versions(), "also of the key that the compacted revision has written")
	count := 0
	all, err := old.Events(0, math.MaxInt64)
	require.NoError(t, err)
	for e := range all {
		require.EqualValues(t, 2+count, e.KV.ModRevision, "the view has its log of events")
		count++
	}
	require.Equal(t, 3*keys, count)
}

// A hot key's versions are released once, and not anew for each of its events.
func TestScavengeOfAHotKey(t *testing.T) {
	s := mvcc.New()
	for i := range 20_000 {
		put(t, s, "hot", fmt.Sprint(i))
	}
	require.NoError(t, s.Compact(10_000))
	for s.Scavenge(1) {
	}
	v := s.View()
	require.Equal(t, 20_001-10_000+1, v.Versions())
	require.Equal(t, []string{"hot=9998"}, values(t, v, 10_000))
	require.Equal(t, []string{"hot=15000"}, values(t, v, 15_002))
}

func TestLeases(t *testing.T) {
	s := mvcc.New()
	require.ErrorIs(t, s.GrantLease(0, 5), mvcc.ErrInvalid)
	require.ErrorIs(t, s.GrantLease(1, 0), mvcc.ErrLeaseTTL)
	require.ErrorIs(t, s.GrantLease(1, mvcc.MaxLeaseTTL+1), mvcc.ErrLeaseTTL)
	require.NoError(t, s.GrantLease(1, mvcc.MaxLeaseTTL))
	require.NoError(t, s.GrantLease(2, 5))
	require.ErrorIs(t, s.GrantLease(2, 5), mvcc.ErrLeaseExists)
	for _, key := range []string{"b", "a", "c"} {
		_, err := s.Put(mvcc.PutRequest{Key: key, Lease: 2})
		require.NoError(t, err)
	}
	_, err := s.Put(mvcc.PutRequest{Key: "c", Lease: 1}) // moves to the other lease
	require.NoError(t, err)
	s.CheckpointLease(2, 3)
	s.CheckpointLease(9, 3)
	l, ok := s.View().Lease(2)
	require.True(t, ok)
	require.Equal(t, mvcc.Lease{ID: 2, TTL: 5, Remaining: 3}, l)
	before := s.View()
	require.Equal(t, []string{"a", "b"}, before.LeaseKeys(2))
	revision, err := s.RevokeLease(2)
	require.NoError(t, err)
	require.EqualValues(t, 6, revision, "one transaction deletes all keys")
	require.Equal(t, []string{"c="}, values(t, s.View(), 0))
	require.Equal(t, []string{"a", "b"}, before.LeaseKeys(2))
	_, err = s.RevokeLease(2)
	require.ErrorIs(t, err, mvcc.ErrLeaseNotFound)
}

func TestPrefixEnd(t *testing.T) {
	require.Equal(t, "b", mvcc.PrefixEnd("a"))
	require.Equal(t, "b", mvcc.PrefixEnd("a\xff"))
	require.Equal(t, mvcc.FromKey, mvcc.PrefixEnd("\xff\xff"))
	require.Equal(t, mvcc.FromKey, mvcc.PrefixEnd(""))
}

func TestViewTakesNoWrites(t *testing.T) {
	s := mvcc.New()
	put(t, s, "a", "1")
	v := s.View()
	_, err := v.Txn(mvcc.TxnRequest{Else: []mvcc.Op{{Txn: &mvcc.TxnRequest{Then: []mvcc.Op{{Put: &mvcc.PutRequest{Key: "b"}}}}}}})
	require.ErrorIs(t, err, mvcc.ErrReadOnly)
	r, err := v.Txn(mvcc.TxnRequest{Then: []mvcc.Op{{Range: &mvcc.RangeRequest{Key: "a"}}}})
	require.NoError(t, err)
	require.EqualValues(t, 2, r.Revision)
	require.Equal(t, "1", r.Results[0].Range.KVs[0].Value)
	_, err = v.Txn(mvcc.TxnRequest{Then: []mvcc.Op{{Range: &mvcc.RangeRequest{Key: "a", Revision: 3}}}})
	require.ErrorIs(t, err, mvcc.ErrFutureRevision)
	_, err = v.HashKV(3)
	require.ErrorIs(t, err, mvcc.ErrFutureRevision)
}

func TestApplyRefusesACommandWithoutOneRequest(t *testing.T) {
	for _, c := range []mvcc.Command{{}, {Put: &mvcc.PutRequest{Key: "a"}, Revoke: &mvcc.RevokeCommand{}}} {
		r, err := mvcc.New().Apply(c)
		require.ErrorIs(t, err, mvcc.ErrInvalid)
		require.EqualValues(t, 1, r.Revision)
		_, err = c.Append(nil)
		require.ErrorIs(t, err, mvcc.ErrInvalid)
	}
}

// Encoding and decoding bound the depth, so a command costs a bounded stack.
func TestNestingIsBounded(t *testing.T) {
	r := &mvcc.TxnRequest{}
	for range 63 {
		r = &mvcc.TxnRequest{Then: []mvcc.Op{{Txn: r}}}
	}
	data, err := (&mvcc.Command{Txn: r}).Append(nil)
	require.NoError(t, err)
	_, err = mvcc.Decode(data)
	require.NoError(t, err)
	_, err = (&mvcc.Command{Txn: &mvcc.TxnRequest{Then: []mvcc.Op{{Txn: r}}}}).Append(nil)
	require.ErrorIs(t, err, mvcc.ErrInvalid)
	_, err = mvcc.Decode(bytes.Repeat([]byte{3, 0, 1}, 100))
	require.ErrorIs(t, err, mvcc.ErrCommand)
}

// Readers of views run beside the writer. The race detector watches.
func TestReadersBesideTheWriter(t *testing.T) {
	s := mvcc.New()
	for i := range 500 {
		put(t, s, fmt.Sprintf("k%03d", i), "0")
	}
	var readers sync.WaitGroup
	for round := range 20 {
		v := s.View()
		want := s.Revision()
		readers.Go(func() {
			for range 5 {
				r, err := v.Range(mvcc.RangeRequest{Key: "k", End: "l"})
				if err != nil || r.Revision != want || r.Count != 500 {
					t.Errorf("a range of view %d: revision %d, %d keys, %v", round, r.Revision, r.Count, err)
				}
				if _, err := v.WriteTo(io.Discard); err != nil {
					t.Errorf("writing view %d: %v", round, err)
				}
				all, err := v.Events(max(v.Compacted(), 0), math.MaxInt64)
				if err != nil {
					t.Errorf("events of view %d: %v", round, err)
					return
				}
				for e := range all {
					v.Prev(e)
				}
			}
		})
		for i := range 200 {
			put(t, s, fmt.Sprintf("k%03d", (i*7)%500), fmt.Sprint(round))
		}
		require.NoError(t, s.Compact(s.Revision()-100))
	}
	readers.Wait()
}

// Any damaged byte, and any cut, is an error.
func TestDamagedSnapshots(t *testing.T) {
	s := mvcc.New()
	require.NoError(t, s.GrantLease(1, 10))
	for i := range 20 {
		_, err := s.Put(mvcc.PutRequest{Key: fmt.Sprint(i % 7), Value: strings.Repeat("v", i), Lease: 1})
		require.NoError(t, err)
	}
	var b bytes.Buffer
	_, err := s.View().WriteTo(&b)
	require.NoError(t, err)
	for i := range b.Len() {
		data := bytes.Clone(b.Bytes())
		data[i] ^= 0x10
		_, err := mvcc.Restore(bytes.NewReader(data))
		require.ErrorIs(t, err, mvcc.ErrSnapshot, "byte %d of %d", i, b.Len())
		_, err = mvcc.Restore(bytes.NewReader(data[:i]))
		require.ErrorIs(t, err, mvcc.ErrSnapshot, "cut at %d", i)
	}
	broken := errors.New("disk")
	_, err = mvcc.Restore(io.MultiReader(bytes.NewReader(b.Bytes()[:100]), failing{broken}))
	require.ErrorIs(t, err, broken)
	_, err = s.View().WriteTo(failing{broken})
	require.ErrorIs(t, err, broken)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error)  { return 0, f.err }
func (f failing) Write([]byte) (int, error) { return 0, f.err }

// The package comment promises the bound, and BenchmarkMemory shows it for 1,000,000
// versions.
func TestMemoryOfAVersion(t *testing.T) {
	const versions = 50_000
	before := heap()
	s := fill(t, versions, false, 100)
	used := heap() - before
	content := s.Size() - 160*versions
	require.Less(t, float64(used), 1.3*float64(content)+200*versions)
	require.InEpsilon(t, used, s.Size(), 0.25, "the accounted size is near the heap's")
	require.Equal(t, versions, s.View().Keys())
}

// A store that has advanced has a revision without a change. Snapshots, hashes,
// compactions and later writes go on from there.
func TestAdvance(t *testing.T) {
	s := mvcc.New()
	for i := range 5 {
		_, err := s.Put(mvcc.PutRequest{Key: fmt.Sprint("k", i%2), Value: fmt.Sprint(i)})
		require.NoError(t, err)
	}
	_, err := s.Delete(mvcc.DeleteRequest{Key: "k1"})
	require.NoError(t, err)
	s.Advance(3)
	require.Equal(t, int64(7), s.Revision(), "a revision of the past changes nothing")
	s.Advance(1000)
	require.Equal(t, int64(1000), s.Revision())
	require.NoError(t, s.Compact(1000))
	for s.Scavenge(1) {
	}
	var file bytes.Buffer
	_, err = s.View().WriteTo(&file)
	require.NoError(t, err)
	restored, err := mvcc.Restore(&file)
	require.NoError(t, err)
	want, err := s.View().HashKV(0)
	require.NoError(t, err)
	for name, s := range map[string]*mvcc.Store{"as it was": s, "restored": restored} {
		got, err := s.View().HashKV(0)
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
		_, err = s.View().Events(999, 1000)
		require.ErrorIs(t, err, mvcc.ErrCompacted, name)
		r, err := s.View().Range(mvcc.RangeRequest{Key: "k0", Revision: 1000})
		require.NoError(t, err, name)
		require.Equal(t, int64(6), r.KVs[0].ModRevision, name)
		put, err := s.Put(mvcc.PutRequest{Key: "k1", Value: "new"})
		require.NoError(t, err, name)
		require.Equal(t, int64(1001), put.Revision, name)
	}
}

// The size of the existing keys leaves the history out, also after a snapshot.
func TestKeysSize(t *testing.T) {
	s := mvcc.New()
	require.Zero(t, s.View().KeysSize())
	for n := range 100 {
		_, err := s.Put(mvcc.PutRequest{Key: fmt.Sprint(n % 10), Value: strings.Repeat("v", n)})
		require.NoError(t, err)
	}
	_, err := s.Delete(mvcc.DeleteRequest{Key: "5"})
	require.NoError(t, err)
	want := int64(0)
	s.View().Ascend("", "", func(pair *mvcc.KeyValue) bool {
		want += int64(len(pair.Key)+len(pair.Value)) + 160
		return true
	})
	require.Equal(t, want, s.View().KeysSize())
	require.Greater(t, s.View().Size(), 5*want)
	var b bytes.Buffer
	_, err = s.View().WriteTo(&b)
	require.NoError(t, err)
	restored, err := mvcc.Restore(&b)
	require.NoError(t, err)
	require.Equal(t, want, restored.View().KeysSize())
	require.NoError(t, s.Compact(s.Revision()))
	for s.Scavenge(1000) {
	}
	require.Less(t, s.View().Size(), want+500)
}

// Rebuild drops what the compaction drops, and refuses what no store has.
func TestRebuild(t *testing.T) {
	change := func(key string, revision int64, deleted bool) mvcc.Change {
		return mvcc.Change{KV: &mvcc.KeyValue{Key: key, Value: "v", CreateRevision: 2, ModRevision: revision, Version: 1, Lease: revision}, Deleted: deleted}
	}
	all := []mvcc.Change{change("a", 2, false), change("b", 3, false), change("a", 4, false), change("b", 5, true), change("c", 6, true), change("a", 7, false)}
	s, err := mvcc.Rebuild(9, 6, []mvcc.Lease{{ID: 4, TTL: 10}}, slices.Values(all))
	require.NoError(t, err)
	v := s.View()
	require.Equal(t, []string{"a@4", "c@6", "a@7"}, changes(v), "the tombstone before the compaction goes")
	require.Equal(t, int64(9), v.Revision())
	require.Equal(t, int64(6), v.Compacted())
	require.Zero(t, v.Get("a").Lease, "there is no lease 7")
	old, err := v.Range(mvcc.RangeRequest{Key: "a", Revision: 6})
	require.NoError(t, err)
	require.Equal(t, int64(4), old.KVs[0].Lease)
	require.NoError(t, s.Compact(7))
	require.Equal(t, []string{"a@7"}, changes(s.View()), "the memory of the others is not released yet")
	for name, bad := range map[string]mvcc.Change{
		"no key":         change("", 2, false),
		"twice":          change("a", 7, false),
		"future":         change("a", 10, false),
		"first revision": change("a", 1, false),
	} {
		_, err := mvcc.Rebuild(9, -1, nil, slices.Values(append(slices.Clone(all), bad)))
		require.ErrorIs(t, err, mvcc.ErrSnapshot, name)
	}
	_, err = mvcc.Rebuild(1, 2, nil, slices.Values(all))
	require.ErrorIs(t, err, mvcc.ErrSnapshot)
}

func changes(v *mvcc.View) (all []string) {
	for c := range v.Changes() {
		all = append(all, fmt.Sprintf("%s@%d", c.KV.Key, c.KV.ModRevision))
	}
	return all
}
