//go:build !wasip1

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/labgob"
	"raftlab/trace"
)

func runTrace(args ...string) (code int, stdout, stderr string) {
	root := newRootCommand()
	var out, errOut bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errOut)
	code = run(context.Background(), root, append([]string{"trace"}, args...))
	return code, out.String(), errOut.String()
}

func TestTraceCommand(t *testing.T) {
	rec := trace.NewRecorder(trace.Options{})
	a, b := rec.Lane("S0", trace.Server), rec.Lane("S1", trace.Server)
	body, err := labgob.Encode(struct{ Term, LastLogIndex int }{7, 3})
	require.NoError(t, err)
	rec.Add(trace.Event{Kind: trace.Sent, Lane: a, Peer: b, Message: 1, Call: 1, Name: "Raft.RequestVote", Data: body})
	rec.Add(trace.Event{Kind: trace.Delivered, Lane: b, Peer: a, Message: 1, Call: 1, Name: "Raft.RequestVote"})
	path := filepath.Join(t.TempDir(), "run.jsonl")
	require.NoError(t, trace.WriteFile(path, rec.Recording()))

	code, out, errOut := runTrace(path)
	require.Zero(t, code, errOut)
	page := filepath.Join(filepath.Dir(path), "run.html")
	require.Equal(t, page+"\n", out)
	content, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(content), "vote? T7 log 3")
	require.Contains(t, string(content), "Term 7, LastLogIndex 3")

	code, out, errOut = runTrace(path, "--shiviz")
	require.Zero(t, code, errOut)
	require.Contains(t, out, `S1 {"S0":1, "S1":1}`+"\nS1 receives Raft.RequestVote of S0: Term 7")

	code, _, errOut = runTrace(page)
	require.Equal(t, exitFailure, code)
	require.Contains(t, errOut, "not a recording")
	code, _, _ = runTrace(path, "--out", filepath.Join(page, "x"))
	require.Equal(t, exitFailure, code)
	code, _, _ = runTrace()
	require.Equal(t, exitUsage, code)
}
