package mvcc_test

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/mvcc"
)

// generator draws requests on few keys, so that they meet.
type generator struct {
	*rand.Rand
	model *model
	keys  int
}

func (g *generator) is(percent int) bool { return g.IntN(100) < percent }

func (g *generator) key() string { return fmt.Sprintf("k%02d", g.IntN(g.keys)) }

func (g *generator) end(key string) string {
	switch g.IntN(6) {
	case 0:
		return mvcc.FromKey
	case 1:
		return mvcc.PrefixEnd(key[:2])
	case 2:
		return g.key() // often an empty range
	}
	return ""
}

func (g *generator) value() string {
	if g.is(5) {
		return string(bytes.Repeat([]byte{'v'}, 300+g.IntN(300)))
	}
	return fmt.Sprint(g.IntN(5))
}

func (g *generator) lease(percent int) int64 {
	if g.is(percent) {
		return 1 + g.Int64N(4)
	}
	return 0
}

// revision draws a revision that may be compacted or in the future.
func (g *generator) revision() int64 {
	if g.is(60) {
		return 0
	}
	return max(g.model.compacted, 0) - 1 + g.Int64N(g.model.revision-max(g.model.compacted, 0)+3)
}

func (g *generator) bound(percent int) int64 {
	if g.is(percent) {
		return 1 + g.Int64N(g.model.revision+1)
	}
	return 0
}

func (g *generator) rangeRequest() *mvcc.RangeRequest {
	key := g.key()
	if g.is(20) {
		key = "\x00"
	}
	return &mvcc.RangeRequest{
		Key: key, End: g.end("k" + key), Revision: g.revision(), Limit: g.Int64N(4),
		Order: mvcc.Order(g.IntN(3)), Target: mvcc.Target(g.IntN(5)),
		KeysOnly: g.is(20), CountOnly: g.is(20),
		MinModRevision: g.bound(20), MaxModRevision: g.bound(20),
		MinCreateRevision: g.bound(20), MaxCreateRevision: g.bound(20),
	}
}

func (g *generator) put() *mvcc.PutRequest {
	r := &mvcc.PutRequest{Key: g.key(), PrevKV: g.is(50), IgnoreValue: g.is(10), IgnoreLease: g.is(10)}
	if !r.IgnoreValue {
		r.Value = g.value()
	}
	if !r.IgnoreLease {
		r.Lease = g.lease(30)
	}
	return r
}

func (g *generator) delete() *mvcc.DeleteRequest {
	key := g.key()
	return &mvcc.DeleteRequest{Key: key, End: g.end(key), PrevKV: g.is(50)}
}

func (g *generator) compare() mvcc.Compare {
	key := g.key()
	return mvcc.Compare{
		Key: key, End: g.end(key), Field: mvcc.Field(g.IntN(5)), Relation: mvcc.Relation(g.IntN(4)),
		Number: g.Int64N(4), Value: g.value(),
	}
}

func (g *generator) txn(depth int) *mvcc.TxnRequest {
	r := &mvcc.TxnRequest{}
	for range g.IntN(3) {
		r.Compares = append(r.Compares, g.compare())
	}
	for _, ops := range []*[]mvcc.Op{&r.Then, &r.Else} {
		for range g.IntN(4) {
			*ops = append(*ops, g.op(depth))
		}
	}
	return r
}

func (g *generator) op(depth int) mvcc.Op {
	switch n := g.IntN(10); {
	case n < 3:
		return mvcc.Op{Range: g.rangeRequest()}
	case n < 7:
		return mvcc.Op{Put: g.put()}
	case n < 8 || depth == 0:
		return mvcc.Op{Delete: g.delete()}
	}
	return mvcc.Op{Txn: g.txn(depth - 1)}
}

func (g *generator) command() mvcc.Command {
	switch n := g.IntN(100); {
	case n < 40:
		return mvcc.Command{Put: g.put()}
	case n < 50:
		return mvcc.Command{Delete: g.delete()}
	case n < 85:
		for {
			if r := g.txn(2); r.Validate() == nil {
				return mvcc.Command{Txn: r}
			}
		}
	case n < 90:
		return mvcc.Command{Grant: &mvcc.Lease{ID: 1 + g.Int64N(4), TTL: 10}}
	case n < 93:
		return mvcc.Command{Revoke: &mvcc.RevokeCommand{Lease: 1 + g.Int64N(4)}}
	case n < 96:
		return mvcc.Command{Checkpoint: []mvcc.LeaseCheckpoint{{Lease: 1 + g.Int64N(4), Remaining: g.Int64N(10)}}}
	}
	return mvcc.Command{Compact: &mvcc.CompactCommand{Revision: g.revision()}}
}

// throughLog returns the command as a replica decodes it.
func throughLog(t *testing.T, c mvcc.Command) mvcc.Command {
	data, err := c.Append(nil)
	require.NoError(t, err)
	decoded, err := mvcc.Decode(data)
	require.NoError(t, err)
	require.Equal(t, c, decoded)
	return decoded
}

func restored(t *testing.T, v *mvcc.View) *mvcc.Store {
	var b bytes.Buffer
	n, err := v.WriteTo(&b)
	require.NoError(t, err)
	require.EqualValues(t, b.Len(), n)
	s, err := mvcc.Restore(&b)
	require.NoError(t, err)
	return s
}

// rebuilt returns a store of the changes of a view, in the order of the revisions.
func rebuilt(t *testing.T, v *mvcc.View) *mvcc.Store {
	changes := slices.Collect(v.Changes())
	require.True(t, slices.IsSortedFunc(changes, func(a, b mvcc.Change) int {
		return cmp.Or(cmp.Compare(a.KV.ModRevision, b.KV.ModRevision), cmp.Compare(a.Sub, b.Sub))
	}))
	s, err := mvcc.Rebuild(v.Revision(), v.Compacted(), v.Leases(), slices.Values(changes))
	require.NoError(t, err)
	return s
}

// sameContent compares all that a view shows with the model.
func sameContent(t *testing.T, m *model, v *mvcc.View) {
	require.Equal(t, m.revision, v.Revision())
	require.Equal(t, m.compacted, v.Compacted())
	require.Equal(t, len(m.at(math.MaxInt64)), v.Keys())
	leases := []mvcc.Lease{}
	for id := range int64(5) {
		l, ok := v.Lease(id)
		want, granted := m.leases[id]
		require.Equal(t, granted, ok)
		require.Equal(t, want, l)
		require.Equal(t, m.keysOf(id), slices.Clip(v.LeaseKeys(id)), "keys of lease %d", id)
		if ok && id > 0 {
			leases = append(leases, l)
		}
	}
	require.Equal(t, leases, v.Leases())
	require.Equal(t, len(leases), v.LeaseCount())
	first := max(m.compacted, 0)
	var events []event
	all, err := v.Events(first, math.MaxInt64)
	require.NoError(t, err)
	for e := range all {
		got := event{deleted: e.Deleted, kv: *e.KV}
		if prev := v.Prev(e); prev != nil {
			got.prev = *prev
		}
		events = append(events, got)
	}
	require.Equal(t, m.events(first), events)
	if m.compacted > 0 {
		_, err = v.Events(m.compacted-1, math.MaxInt64)
		require.ErrorIs(t, err, mvcc.ErrCompacted)
	}
}

func (m *model) clone() *model {
	leases := make(map[int64]mvcc.Lease)
	for id, l := range m.leases {
		leases[id] = l
	}
	return &model{m.revision, m.compacted, slices.Clone(m.versions), leases}
}

// A store, one that began with a snapshot or was rebuilt of its changes, and one that
// scavenges at other times agree with the model and with each other, at every revision. Views do not change.
func TestStoreAgreesWithModel(t *testing.T) {
	g := &generator{Rand: testkit.Rand(t), keys: 12}
	type moment struct {
		view  *mvcc.View
		model *model
	}
	for range 40 {
		m := newModel()
		g.model = m
		stores := []*mvcc.Store{mvcc.New(), mvcc.New()}
		var moments []moment
		for range 100 {
			c := throughLog(t, g.command())
			want, wantErr := m.apply(c)
			for _, s := range stores {
				got, err := s.Apply(c)
				require.Equal(t, wantErr, err, "command %+v", c)
				require.Equal(t, want, got)
			}
			r := *g.rangeRequest()
			v := stores[0].View()
			want2, wantErr := m.find(r)
			got, err := v.Range(r)
			require.Equal(t, wantErr, err)
			require.Equal(t, want2, got, "range %+v", r)
			if g.is(10) {
				stores[1].Scavenge(g.IntN(50))
			}
			if g.is(5) {
				moments = append(moments, moment{v, m.clone()})
			}
			if g.is(2) {
				stores[1] = restored(t, stores[1].View())
			}
			if g.is(2) {
				stores[1] = rebuilt(t, stores[1].View())
			}
		}
		sameContent(t, m, stores[0].View())
		sameContent(t, m, stores[1].View())
		for revision := max(m.compacted, 0); revision <= m.revision; revision++ {
			one, err := stores[0].View().HashKV(revision)
			require.NoError(t, err)
			two, err := stores[1].View().HashKV(revision)
			require.NoError(t, err)
			require.Equal(t, one, two)
		}
		for _, s := range stores {
			s.Scavenge(math.MaxInt)
		}
		require.Equal(t, stores[0].Size(), stores[1].Size())
		require.Equal(t, stores[0].View().Versions(), stores[1].View().Versions())
		for _, old := range moments {
			sameContent(t, old.model, old.view)
		}
	}
}
