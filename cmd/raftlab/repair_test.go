//go:build !wasip1

package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A replica's file is repaired and compacted on a running server and on the data
// directory alone.
func TestRepairAndCompact(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	file := filepath.Join(data, "replica-2.bolt")
	args := []string{"--data", data, "--listen", "127.0.0.1:0"}
	s := startServer(t, args...)
	require.Zero(t, s.raftlab(nil, "kv", "put", "k", "v").code)
	s.end(syscall.SIGTERM)

	require.NoError(t, os.Truncate(file, 9000))
	s = startServer(t, args...)
	require.Equal(t, "v", s.raftlab(nil, "kv", "get", "k").out)
	status := s.raftlab(nil, "status").out
	require.Contains(t, status, "failed")
	require.Contains(t, status, "raftlab replica repair 2")
	got := raftlab(t, nil, "replica", "repair", "2", "--data", data)
	require.Equal(t, exitFailure, got.code)
	require.Contains(t, got.err, "in use")
	require.Zero(t, s.raftlab(nil, "replica", "repair", "2"))
	require.NotContains(t, s.raftlab(nil, "status").out, "failed")
	again := s.raftlab(nil, "replica", "repair", "2")
	require.Equal(t, exitRefused, again.code)
	require.Contains(t, again.err, "running")
	require.Zero(t, s.raftlab(nil, "replica", "compact", "2"))
	s.end(syscall.SIGTERM)

	require.NoError(t, os.Remove(file))
	got = raftlab(t, nil, "replica", "repair", "2", "--data", data)
	require.Zero(t, got.code, got.err)
	got = raftlab(t, nil, "replica", "repair", "2", "--data", data)
	require.Equal(t, exitFailure, got.code)
	require.Contains(t, got.err, "the data file is in order")
	require.Zero(t, raftlab(t, nil, "replica", "compact", "1", "--data", data))
	got = raftlab(t, nil, "replica", "compact", "1", "--data", filepath.Join(data, "elsewhere"))
	require.Equal(t, exitFailure, got.code)
	require.NoDirExists(t, filepath.Join(data, "elsewhere"), "another directory was made")
	require.Equal(t, exitUsage, raftlab(t, nil, "replica", "repair", "two").code)
	s = startServer(t, args...)
	require.NotContains(t, s.raftlab(nil, "status").out, "failed")
	require.Equal(t, "v", s.raftlab(nil, "kv", "get", "k").out)
	s.end(syscall.SIGTERM)
}

// Without a majority of usable files nothing starts before a recovery.
func TestRecoverCommand(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	args := []string{"--data", data, "--listen", "127.0.0.1:0"}
	s := startServer(t, args...)
	require.Zero(t, s.raftlab(nil, "kv", "put", "k", "v").code)
	require.Equal(t, "v", s.raftlab(nil, "kv", "get", "k").out)
	s.end(syscall.SIGTERM)
	require.Equal(t, exitUsage, raftlab(t, nil, "replica", "recover", "3").code)
	require.Equal(t, exitFailure, raftlab(t, nil, "replica", "recover", "3", "--data", data).code, "nothing is lost")
	for _, name := range []string{"replica-1.bolt", "replica-2.bolt"} {
		require.NoError(t, os.Remove(filepath.Join(data, name)))
	}
	got := raftlab(t, nil, append([]string{"serve"}, args...)...)
	require.Equal(t, exitFailure, got.code)
	require.Contains(t, got.err, "replica recover")
	got = raftlab(t, nil, "replica", "recover", "3", "--data", data)
	require.Zero(t, got.code, got.err)
	s = startServer(t, args...)
	require.NotContains(t, s.raftlab(nil, "status").out, "failed")
	s.end(syscall.SIGTERM)
}

// A directory of faults that is not there is an error, and no panic.
func TestNoFaultsDirectory(t *testing.T) {
	t.Parallel()
	cmd := command("serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0")
	cmd.Env = append(cmd.Env, "RAFTLAB_FAULTS="+filepath.Join(t.TempDir(), "nowhere"))
	out, _ := cmd.CombinedOutput()
	require.Equal(t, exitFailure, cmd.ProcessState.ExitCode(), string(out))
	require.Contains(t, string(out), "RAFTLAB_FAULTS")
	require.NotContains(t, string(out), "goroutine")
}
