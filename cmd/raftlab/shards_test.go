//go:build !wasip1

package main

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

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
		if err := json.Unmarshal([]byte(got.out), &l); err != nil {
			t.Fatalf("%v: %+v", err, got)
		}
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
		if got.code != step.code || !strings.Contains(got.out, step.out) || !strings.Contains(got.err, step.err) {
			t.Errorf("raftlab %s: %+v; want exit code %d, output %q and error %q", step.args, got, step.code, step.out, step.err)
		}
	}
	for _, step := range []struct {
		txn  string
		want outcome
	}{
		{`{"compare":[{"key":"a","value":"12"}],"success":[{"delete":{"key":"b"}},{"get":{"key":"a"}}]}`,
			outcome{out: `{"succeeded":true,"results":[{"status":"ok"},{"status":"ok","value":"12","version":2}]}` + "\n"}},
		{`{"compare":[{"key":"b","version":0,"result":"NOT_EQUAL"}],"failure":[{"get":{"key":"b"}}]}`,
			outcome{code: exitMismatch, out: `{"succeeded":false,"results":[{"status":"not_found"}]}` + "\n"}},
		{`{"compare":[]`, outcome{code: exitRefused, err: "raftlab: the transaction: byte 13: unexpected end of JSON input\n"}},
	} {
		if got := s.raftlab(strings.NewReader(step.txn), "kv", "txn"); got != step.want {
			t.Errorf("raftlab kv txn of %s: %+v; want %+v", step.txn, got, step.want)
		}
	}
	if l := layout(); l.Shards[0].Group != 1 {
		t.Errorf("shard 0 was moved to group 1; it is at %+v", l.Shards[0])
	}
	if state := s.end(syscall.SIGTERM); state.ExitCode() != 0 {
		t.Fatalf("after SIGTERM: %v\n%s", state, &s.logs)
	}
	if got := raftlab(t, nil, "serve", "--data", data, "--groups", "3"); got.code != exitFailure || !strings.Contains(got.err, "made for 2 groups") {
		t.Errorf("another number of groups: %+v", got)
	}
	s = startServer(t, "--data", data, "--listen", "127.0.0.1:0")
	if got := s.raftlab(nil, "kv", "get", "a"); got.out != "12" {
		t.Errorf("after a restart: %+v", got)
	}
	s.end(syscall.SIGTERM)
}

// A store without groups has no shards to show.
func TestShardsOfAPlainStore(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--replicas", "1")
	if got := s.raftlab(nil, "shards"); got.code != exitRefused || !strings.Contains(got.err, "serve --groups") {
		t.Errorf("shards: %+v", got)
	}
	if got := s.raftlab(strings.NewReader(`{"success":[{"get":{"key":"a"}}]}`), "kv", "txn"); got.code != exitRefused || !strings.Contains(got.err, "serve --groups") {
		t.Errorf("kv txn: %+v", got)
	}
	for _, groups := range []string{"0", "11", "-1"} {
		if got := raftlab(t, nil, "serve", "--groups", groups); got.code != exitUsage || !strings.Contains(got.err, "--groups is "+groups+"; want 1 to 10") {
			t.Errorf("--groups %s: %+v", groups, got)
		}
	}
	s.end(syscall.SIGTERM)
}
