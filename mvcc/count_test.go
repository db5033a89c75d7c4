package mvcc_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/mvcc"
)

// checkCounts compares counts of random ranges, as of now and of earlier revisions, with
// the numbers of the keys that the ranges have.
func checkCounts(t *testing.T, random *rand.Rand, v *mvcc.View) {
	t.Helper()
	for range 40 {
		r := mvcc.RangeRequest{Key: fmt.Sprintf("%04d", random.IntN(1000)), End: fmt.Sprintf("%04d", random.IntN(1000))}
		switch random.IntN(4) {
		case 0:
			r.End = mvcc.FromKey
		case 1:
			r.Key, r.End = mvcc.FromKey, mvcc.FromKey
		}
		if first := max(v.Compacted(), 1); random.IntN(2) == 0 {
			r.Revision = first + random.Int64N(v.Revision()-first+1)
		}
		all, err := v.Range(r)
		require.NoError(t, err)
		r.CountOnly = true
		only, err := v.Range(r)
		require.NoError(t, err)
		require.EqualValues(t, len(all.KVs), only.Count, "%+v", r)
		r.CountOnly, r.Limit = false, 1+random.Int64N(20)
		page, err := v.Range(r)
		require.NoError(t, err)
		require.EqualValues(t, len(all.KVs), page.Count, "%+v", r)
		require.Equal(t, len(all.KVs) > int(r.Limit), page.More, "%+v", r)
		require.Equal(t, all.KVs[:min(len(all.KVs), int(r.Limit))], page.KVs, "%+v", r)
	}
}

func TestCounts(t *testing.T) {
	random := testkit.Rand(t)
	s := mvcc.New()
	for round := range 20 {
		for range random.IntN(600) {
			key := fmt.Sprintf("%04d", random.IntN(1000))
			var err error
			if random.IntN(3) == 0 {
				_, err = s.Delete(mvcc.DeleteRequest{Key: key})
			} else {
				_, err = s.Put(mvcc.PutRequest{Key: key})
			}
			require.NoError(t, err)
		}
		view := s.View()
		switch random.IntN(4) {
		case 0:
			_ = s.Compact(s.Revision() - random.Int64N(s.Revision()/2+1)) // compacted already, perhaps
			s.Scavenge(random.IntN(1000))
		case 1:
			var out bytes.Buffer
			_, err := view.WriteTo(&out)
			require.NoError(t, err)
			s, err = mvcc.Restore(&out)
			require.NoError(t, err, "round %d", round)
		}
		checkCounts(t, random, view)
		checkCounts(t, random, s.View())
	}
}
