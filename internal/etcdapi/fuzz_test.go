package etcdapi_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/auth"
	"raftlab/internal/etcdapi"
	"raftlab/kv"
	"raftlab/raft/node"
)

// No log entry of this version stops a member, and the state after an entry has a
// snapshot.
func FuzzApply(f *testing.F) {
	f.Add(etcdapi.PutEntry("a", "1"))
	f.Add(etcdapi.WriteEntry(etcdapi.Write{Client: 1, Seq: 1, Op: kv.Append("a", "2").IfVersion(1)}))
	f.Add(etcdapi.UserPutEntry("u", 3, "a"))
	f.Add(etcdapi.AuthEntry(auth.Change{Kind: auth.AddUser, User: "u"}))
	for kind := byte(1); kind <= 8; kind++ {
		f.Add([]byte{1, 3, 0, 0, 0, 0, 0, 0, 0, 1, kind, 1, 1, 1, 'a'})
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := etcdapi.NewMachine(1)
		if errors.Is(etcdapi.CheckEntry(data), etcdapi.ErrFormat) {
			require.Panics(t, func() { m.Apply([]node.Command{{Index: 1, Data: data}}) })
			return
		}
		m.Apply([]node.Command{{Index: 1, Data: data}, {Index: 2, Data: etcdapi.PutEntry("b", "2")}})
		view, err := m.Snapshot()
		require.NoError(t, err)
		var b bytes.Buffer
		_, err = view.WriteTo(&b)
		require.NoError(t, err)
		require.NoError(t, etcdapi.NewMachine(2).Restore(&b))
	})
}

// A snapshot with any damage is refused, and stops no member.
func FuzzRestore(f *testing.F) {
	m := etcdapi.NewMachine(1)
	m.Apply([]node.Command{{Index: 1, Data: etcdapi.PutEntry("a", "1")}})
	view, err := m.Snapshot()
	require.NoError(f, err)
	var b bytes.Buffer
	_, err = view.WriteTo(&b)
	require.NoError(f, err)
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:20])
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := etcdapi.NewMachine(2).Restore(bytes.NewReader(data)); err == nil && !bytes.HasPrefix(data, b.Bytes()[:13]) {
			t.Fatalf("a snapshot that begins with %q is restored", data[:min(len(data), 13)])
		}
	})
}
