//go:build !wasip1

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/labgob"
	"raftlab/sim"
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
	body, err := labgob.Encode(struct{ Term, LastLogIndex, LastLogTerm int }{7, 3, 6})
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
	require.Contains(t, string(content), "vote? T7 log 3/T6")
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

// A streamed run writes the same bytes as the run without a stream, apart from the marks.
func TestStreamChangesNoSchedule(t *testing.T) {
	if !testkit.Soak() {
		t.Skip("builds the suites of the labs for raftlab sim")
	}
	needNative(t)
	programs, err := sim.Build(t.Context(), sim.Options{Engine: sim.Native}, "raftlab/raft")
	require.NoError(t, err)
	defer programs[0].Close()
	rep := &simReport{ctx: t.Context(), programs: programs}
	for _, test := range []string{"TestFastBackup2B", "TestVoteIsKept2C"} {
		c := sim.Case{Test: test, Seed: 7, Explore: sim.Explore{Yields: 0.02, Sleeps: 0.001}}
		want, err := programs[0].Run(t.Context(), c)
		require.NoError(t, err)
		run, plain, err := recordCase(rep, sim.Result{Package: programs[0].Package()}, c)
		require.NoError(t, err)
		require.NotNil(t, run)
		require.Greater(t, len(run.Events), 50)
		require.Equal(t, string(want.Output), string(plain))
	}
}
