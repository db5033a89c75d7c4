//go:build !wasip1

package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/datadir"
	"raftlab/internal/httpkv"
	"raftlab/internal/member"
	"raftlab/internal/testkit"
	"raftlab/kv"
)

// What an operator of a store with groups can do with a directory, and what is refused by
// name.
func TestOperatorCommandsWithGroups(t *testing.T) {
	t.Chdir(t.TempDir())
	peer := testkit.FreeAddress(t)
	m, err := member.Start(member.Options{
		Name: "n1", Data: "n1.raftlab", ListenPeer: peer, Listen: "127.0.0.1:0", Cluster: map[string]string{"n1": peer}, Groups: 2,
		HeartbeatInterval: 10 * time.Millisecond, ElectionTimeout: 100 * time.Millisecond,
	})
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	client := &httpkv.Client{BaseURL: "http://" + m.Address().String()}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, key := range []string{"0", "5"} { // of both groups
		testkit.WaitFor(t, 20*time.Second, "a write", func() bool {
			_, err := client.Do(ctx, httpkv.Write{Op: kv.Put(key, "value"), IdempotencyKey: key})
			return err == nil
		})
	}
	code, out, errs := operate("", "backup", "b1", "--endpoint", client.BaseURL, "--timeout", "20s")
	require.Equal(t, exitOK, code, errs)
	require.Regexp(t, `^b1: \d+ bytes, 2 groups, 2 keys, SHA-256 [0-9a-f]{64}\n$`, out)
	code, _, errs = operate("", "backup", "b2", "--data", "n1.raftlab")
	require.Equal(t, exitFailure, code)
	require.Contains(t, errs, "in use")
	code, out, errs = operate("", "inspect", "n1.raftlab", "--keys")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "a member runs on it")
	require.Regexp(t, `(?m)^store +raftlab, 2 groups$`, out)
	require.Regexp(t, `(?m)^group +controller$`, out)
	require.Regexp(t, `(?m)^shard +8, served, 1 key, 1 session$`, out) // "0" is 48
	require.Regexp(t, `(?m)^key "5": group \d, shard 3, version 1, 5 bytes$`, out)
	require.NoError(t, m.Close())

	code, out, errs = operate("", "verify", "n1.raftlab", "n1.raftlab")
	require.Equal(t, exitOK, code, errs)
	require.Regexp(t, `(?m)^n1.raftlab: 2 segments, \d+ entries of the log and 0 snapshots are whole; hashes 1: [0-9a-f]{16} after \d+, 2: .*, controller: `, out)
	code, out, errs = operate("", "inspect", "n1.raftlab", "--json", "--keys")
	require.Equal(t, exitOK, code, errs)
	var inspected struct {
		Keys []groupKeyReport
		datadir.Report
	}
	require.NoError(t, json.Unmarshal([]byte(out), &inspected))
	require.Len(t, inspected.Groups, 3)
	require.Len(t, inspected.Keys, 2)
	code, out, errs = operate("", "backup", "b2", "--data", "n1.raftlab")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "2 keys")
	code, out, errs = operate("", "inspect", "b2", "--keys")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "shard 8: group ")
	require.Regexp(t, `(?m)^key "5": group \d, shard 3, version 1, 5 bytes$`, out)
	code, out, errs = operate("", "inspect", "b2", "--json")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, `"groups": 2`)
	code, out, errs = operate("", "restore", "b1", "--name", "x", "--cluster", "x=127.0.0.1:1,y=127.0.0.1:2", "--data", "x", "--groups", "4")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "x: member x (")
	code, out, errs = operate("", "inspect", "x", "--keys")
	require.Equal(t, exitOK, code, errs)
	require.Regexp(t, `(?m)^store +raftlab, 4 groups$`, out)
	require.Contains(t, out, `key "0": group`)
	code, out, errs = operate("no\n", "recover", "--data", "x")
	require.Equal(t, exitRefused, code, errs)
	require.Contains(t, out, "Together they have 2 keys.")
	require.Contains(t, out, "group controller  of x  ends at index 1 of term 1")
	code, out, errs = operate("x\n", "recover", "--data", "x")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "x: member x (")
	for args, says := range map[string]string{
		"inspect n1.raftlab --leases":                      "--leases is for a store without groups",
		"inspect b1 --leases":                              "--leases is for a store without groups",
		"recover --data n1.raftlab --yes":                  "of 1 of 1 processes, a majority",
		"restore b1 --name x --cluster x=h:1 --groups 11":  "--groups is 11; want 1 to 10",
		"restore b1 --name x/y --cluster x/y=h:1 --data z": "has a slash",
		"backup b3 --data n1.raftlab --data x":             "is of cluster",
	} {
		code, _, errs := operate("", strings.Fields(args)...)
		require.NotEqual(t, exitOK, code, args)
		require.Contains(t, errs, says, args)
	}
	require.NoFileExists(t, "b3")
}
