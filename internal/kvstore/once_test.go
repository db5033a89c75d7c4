package kvstore_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/kvstore"
	"raftlab/kv"
	"raftlab/rsm"
)

// A write that may be in the log is not repeated in a new session after the old
// session has expired.
func TestUnknownIsNotTriedInAnotherSession(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first error
		want  error
		tries int
	}{
		{"expired", rsm.ErrSessionExpired, nil, 2},
		{"expired after it was sent", fmt.Errorf("%w: %w", kvstore.ErrUnknown, rsm.ErrSessionExpired), kvstore.ErrUnknown, 1},
	} {
		clients := map[uint64]bool{}
		execute := func(_ context.Context, s kvstore.Session, _ kv.Op) (kv.Result, error) {
			clients[s.Client] = true
			if len(clients) == 1 {
				return kv.Result{}, tt.first
			}
			return kv.Result{}, nil
		}
		_, err := kvstore.Do(t.Context(), "", kv.Put("k", "v"), new(kvstore.Sessions), execute)
		require.ErrorIs(t, err, tt.want, tt.name)
		require.Len(t, clients, tt.tries, "sessions: %s", tt.name)
	}
}
