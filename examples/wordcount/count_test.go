//go:build !wasip1

package main

import (
	"net/http/httptest"
	"strings"
	"testing"

	"raftlab/internal/cluster"
	"raftlab/internal/httpkv/handler"
)

// TestCount counts a real text with 16 clients while the leader is stopped, against
// the true thing: three replicas on disk, over HTTP.
func TestCount(t *testing.T) {
	c, err := cluster.Open(t.TempDir(), cluster.Options{SnapshotBytes: 100000})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler.New(c, handler.Options{}))
	report, err := Count(server.URL, text, 16, true)
	if err != nil {
		t.Error(err)
	}
	t.Log(report)
	if !strings.Contains(report, "113 the") || !strings.Contains(report, "which led, was stopped") {
		t.Errorf("the report lacks the most frequent word, or the replica that was stopped")
	}
	server.Close()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestCompare(t *testing.T) {
	want := map[string]int{"a": 2, "b": 1}
	for _, found := range []map[string]int{{}, {"a": 2}, {"a": 1, "b": 1}, {"a": 3, "b": 1}, {"a": 2, "c": 1}, {"a": 2, "b": 1, "c": 1}} {
		if compare(found, want) == nil {
			t.Errorf("%v was taken for %v", found, want)
		}
	}
	if err := compare(want, want); err != nil {
		t.Error(err)
	}
}
