//go:build !wasip1

package main

import (
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/cluster"
	"raftlab/internal/httpkv/handler"
)

// TestCount counts a real text with 16 clients while the leader is stopped, on three
// replicas on disk, over HTTP.
func TestCount(t *testing.T) {
	c, err := cluster.Open(t.TempDir(), cluster.Options{SnapshotBytes: 100000})
	require.NoError(t, err)
	server := httptest.NewServer(handler.New(c, handler.Options{}))
	report, err := Count(server.URL, text, 16, true)
	require.NoError(t, err)
	t.Log(report)
	require.Contains(t, report, "113 the")
	require.Contains(t, report, "the leader, was stopped")
	server.Close()
	require.NoError(t, c.Close())
}

func TestCompare(t *testing.T) {
	want := map[string]int{"a": 2, "b": 1}
	for _, found := range []map[string]int{{}, {"a": 2}, {"a": 1, "b": 1}, {"a": 3, "b": 1}, {"a": 2, "c": 1}, {"a": 2, "b": 1, "c": 1}} {
		require.Error(t, compare(found, want), found)
	}
	require.NoError(t, compare(want, want))
}
