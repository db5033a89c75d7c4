package verdict

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A message without the secret gives no result, whatever else is right.
func TestOpen(t *testing.T) {
	key := NewKey()
	want := Result{Test: "TestInitialElection2A", State: Pass}
	message, err := seal(key, want)
	require.NoError(t, err)
	got, err := Open(key, message)
	require.NoError(t, err)
	require.Equal(t, want, got)

	_, err = Open(NewKey(), message)
	require.ErrorIs(t, err, ErrForged, "another secret")
	for i := range message {
		changed := append([]byte(nil), message...)
		changed[i] ^= 1
		_, err := Open(key, changed)
		require.ErrorIs(t, err, ErrForged, "byte %d changed", i)
	}
	for _, n := range []int{0, 1, 32, len(message) - 1} {
		_, err := Open(key, message[:n])
		require.Error(t, err, "the first %d bytes", n)
	}
	_, err = seal(key, Result{Test: string(make([]byte, maxResult))})
	require.Error(t, err)
}
