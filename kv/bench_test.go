package kv_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/kv"
)

// filled returns a store of n small keys.
func filled(n int) *kv.Store {
	s := kv.NewStore(kv.Limits{})
	for i := range n {
		s.Apply(kv.Put(fmt.Sprintf("key-%08d", i), fmt.Sprintf("value-%08d", i)))
	}
	return s
}

func encoded(b testing.TB, s *kv.Store) []byte {
	var out bytes.Buffer
	require.NoError(b, s.Snapshot()(&out))
	return out.Bytes()
}

// BenchmarkSnapshot encodes 1,000,000 small keys.
func BenchmarkSnapshot(b *testing.B) {
	s := filled(1_000_000)
	size := len(encoded(b, s))
	b.SetBytes(int64(size))
	for b.Loop() {
		encoded(b, s)
	}
}

// BenchmarkRestore decodes them.
func BenchmarkRestore(b *testing.B) {
	image := encoded(b, filled(1_000_000))
	b.SetBytes(int64(len(image)))
	for b.Loop() {
		require.NoError(b, kv.NewStore(kv.Limits{}).Restore(image))
	}
}

// BenchmarkPut replaces the values of 1,000,000 keys, just after a snapshot was
// captured and with none.
func BenchmarkPut(b *testing.B) {
	for _, captured := range []bool{false, true} {
		b.Run(fmt.Sprintf("captured=%v", captured), func(b *testing.B) {
			s := filled(1_000_000)
			if captured {
				s.Snapshot()
			}
			for i := 0; b.Loop(); i++ {
				s.Apply(kv.Put(fmt.Sprintf("key-%08d", i*7919%1_000_000), "changed"))
			}
		})
	}
}
