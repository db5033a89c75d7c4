package rsm_test

import (
	"runtime/metrics"
	"testing"

	"raftlab/rsm"
)

// allocated returns how many bytes this process has allocated up to now.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// FuzzNew: a hostile snapshot gives an error, or a replica of what it says.
func FuzzNew(f *testing.F) {
	state := make([]byte, 16)
	f.Add(append([]byte{0x93, 1, 5, 0x91, 0x93, 1, 2, 0x92, 3, 4}, state...))
	f.Add(append([]byte{0x93, 1, 5, 0x90}, state...))
	f.Add([]byte{0x93, 1, 5, 0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0x81, 0xa1, 'x', 0x91, 0x91, 0x91})
	f.Fuzz(func(t *testing.T, image []byte) {
		before := allocated()
		r, err := rsm.New(&account{}, image, rsm.Options{MaxSessions: 16})
		if got, most := allocated()-before, uint64(1<<20+200*len(image)); got > most {
			t.Fatalf("New from %d bytes allocated %d bytes, want at most %d", len(image), got, most)
		}
		if err == nil && len(image) > 0 && (appliedBy(r) < 1 || r.Sessions() > 16) {
			t.Fatalf("New took a snapshot at index %d with %d sessions", appliedBy(r), r.Sessions())
		}
	})
}
