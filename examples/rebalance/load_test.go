//go:build !wasip1

package main

import (
	"bytes"
	"net/http/httptest"
	"testing"
	"time"

	"raftlab/internal/cluster"
	"raftlab/internal/httpkv/handler"
)

// No request fails while groups leave and join.
func TestNoRequestFails(t *testing.T) {
	c, err := cluster.OpenSharded(t.TempDir(), cluster.Options{Groups: 3, SnapshotBytes: 100000})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler.New(c, handler.Options{Patience: 20 * time.Second}))
	var out bytes.Buffer
	if err := Run(&out, server.URL, 8, 300*time.Millisecond); err != nil {
		t.Error(err)
	}
	t.Logf("\n%s", &out)
	server.Close()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
