//go:build !wasip1

package main

import (
	"bytes"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/cluster"
	"raftlab/internal/httpkv/handler"
)

// No request fails while groups leave and join.
func TestNoRequestFails(t *testing.T) {
	c, err := cluster.OpenSharded(t.TempDir(), cluster.Options{Groups: 3, SnapshotBytes: 100000})
	require.NoError(t, err)
	server := httptest.NewServer(handler.New(c, handler.Options{Patience: 20 * time.Second}))
	var out bytes.Buffer
	require.NoError(t, Run(&out, server.URL, 8, 300*time.Millisecond))
	t.Logf("\n%s", &out)
	server.Close()
	require.NoError(t, c.Close())
}
