//go:build !wasip1

package main

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/httpkv"
	"raftlab/internal/testkit"
)

// A sharded store from the command line: used, rearranged, ended and started
// again.
func TestShardsCommands(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := startServer(t, "--data", data, "--listen", "127.0.0.1:0", "--groups", "2", "--replicas", "1")
	layout := func() (l httpkv.Layout) {
		got := s.raftlab(nil, "shards", "list", "--json")
		require.NoError(t, json.Unmarshal([]byte(got.out), &l), got.err)
		return l
	}
	testkit.WaitFor(t, 10*time.Second, "the groups to join", func() bool { return layout().Config == 1 })
	for _, step := range []struct {
		args string
		code int
		out  string
		err  string
	}{
		{args: "kv put a 1", out: "1\n"},
		{args: "kv put b 2", out: "1\n"},
		{args: "kv scan --keys", out: "a\nb\n"},
		{args: "shards leave 1", out: "configuration 2\n"},
		{args: "shards leave 1", out: "configuration 2\n"},
		{args: "kv get a", out: "1"},
		{args: "shards join 1 2", out: "configuration 3\n"},
		{args: "shards move 0 1", out: "configuration 4\n"},
		{args: "kv append a 2", out: "2\n"},
		{args: "shards join 3", code: exitRefused, err: "no such group: 3; there are 1 to 2"},
		{args: "shards move 10 1", code: exitRefused, err: "shards are 0 to 9"},
		{args: "shards move x 1", code: exitUsage, err: `"x" is not a shard's number`},
		{args: "shards leave all", code: exitUsage, err: `"all" is not a group's number`},
		{args: "shards join", code: exitUsage, err: "arg"},
		{args: "shards list", out: "SHARD  GROUP  STATE"},
		{args: "shards", out: "GROUP  MEMBER  SHARDS  KEYS"},
		{args: "status", out: "controller"},
	} {
		got := s.raftlab(nil, strings.Fields(step.args)...)
		require.Equal(t, step.code, got.code, "raftlab %s: %s", step.args, got.err)
		require.Contains(t, got.out, step.out, "raftlab %s", step.args)
		require.Contains(t, got.err, step.err, "raftlab %s", step.args)
	}
	for _, step := range []struct {
		txn  string
		want outcome
	}{
		{`{"compare":[{"key":"a","value":"12"}],"success":[{"delete":{"key":"b"}},{"get":{"key":"a"}}]}`,
			outcome{out: `{"succeeded":true,"results":[{"status":"ok"},{"status":"ok","value":"12","version":2}]}` + "\n"}},
		{`{"compare":[{"key":"b","version":0,"result":"NOT_EQUAL"}],"failure":[{"get":{"key":"b"}}]}`,
			outcome{code: exitMismatch, out: `{"succeeded":false,"results":[{"status":"not_found"}]}` + "\n"}},
		{`{"success":[{"put":{"key_base64":"/w==","value_base64":"AP8="}},{"get":{"key_base64":"/w=="}}]}`,
			outcome{out: `{"succeeded":true,"results":[{"status":"ok","version":1},{"status":"ok","value_base64":"AP8=","version":1}]}` + "\n"}},
		{"{\"success\":[{\"get\":{\"key\":\"\xff\"}}]}",
			outcome{code: exitRefused, err: "raftlab: the transaction: byte 27 is not UTF-8; other bytes go into fields in base64\n"}},
		{`{"compare":[]`, outcome{code: exitRefused, err: "raftlab: the transaction: byte 13: unexpected end of JSON input\n"}},
	} {
		require.Equal(t, step.want, s.raftlab(strings.NewReader(step.txn), "kv", "txn"), step.txn)
	}
	require.Equal(t, 1, layout().Shards[0].Group, "the group of shard 0, which was moved to group 1")
	require.Zero(t, s.end(syscall.SIGTERM).ExitCode(), "after SIGTERM: %s", &s.logs)
	got := raftlab(t, nil, "serve", "--data", data, "--groups", "3")
	require.Equal(t, exitFailure, got.code)
	require.Contains(t, got.err, "made for 2 groups")
	s = startServer(t, "--data", data, "--listen", "127.0.0.1:0")
	require.Equal(t, "12", s.raftlab(nil, "kv", "get", "a").out, "after a restart")
	s.end(syscall.SIGTERM)
}

// A store without groups has no shards to show.
func TestShardsOfAPlainStore(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--replicas", "1")
	for _, got := range []outcome{
		s.raftlab(nil, "shards"),
		s.raftlab(strings.NewReader(`{"success":[{"get":{"key":"a"}}]}`), "kv", "txn"),
	} {
		require.Equal(t, exitRefused, got.code, got.err)
		require.Contains(t, got.err, "serve --groups")
	}
	for _, groups := range []string{"0", "11", "-1"} {
		got := raftlab(t, nil, "serve", "--groups", groups)
		require.Equal(t, exitUsage, got.code)
		require.Contains(t, got.err, "--groups is "+groups+"; want 1 to 10")
	}
	s.end(syscall.SIGTERM)
}
