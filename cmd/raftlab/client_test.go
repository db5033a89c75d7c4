//go:build !wasip1

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
)

// A front that redirects, as a server that sends http to https does: a write is
// never turned into a read.
func TestBehindARedirect(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--data", t.TempDir(), "--listen", "127.0.0.1:0")
	for _, status := range []int{301, 302, 303, 307, 308} {
		require.Zero(t, s.raftlab(nil, "kv", "put", "k", "old").code)
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, s.url+r.URL.Path, status)
		}))
		changes := status <= 303 // the method of a write
		for _, args := range [][]string{{"kv", "put", "k", "new"}, {"kv", "append", "k", "er"}, {"kv", "del", "k"}, {"replica", "stop", "2"}} {
			got := raftlab(t, nil, append(args, "--server", front.URL, "--timeout", "5s")...)
			if changes {
				require.Equal(t, exitFailure, got.code, "%d: %s", status, args)
				require.Contains(t, got.err, "redirect to "+s.url, "%d: %s", status, args)
				continue
			}
			require.Zero(t, got.code, "%d: %s: %s", status, args, got.err)
		}
		front.Close()
		got := s.raftlab(nil, "kv", "get", "k")
		if changes {
			require.Equal(t, "old", got.out, "%d", status)
			continue
		}
		require.Equal(t, exitNotFound, got.code, "%d", status)
		require.Zero(t, s.raftlab(nil, "replica", "start", "2").code)
	}
	// Some other server, which finds everything fine.
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("{}")) }))
	defer other.Close()
	for _, args := range [][]string{{"kv", "put", "k", "x"}, {"kv", "get", "k"}, {"kv", "del", "k"}, {"kv", "scan"}, {"status"}, {"shards"}, {"replica", "stop", "2"}} {
		got := raftlab(t, nil, append(args, "--server", other.URL, "--timeout", "5s")...)
		require.Equal(t, exitFailure, got.code, args)
		require.Contains(t, got.err, "does not come from a raftlab server", args)
	}
}

// loseFirst returns the URL of a proxy that hands each request on, and loses the
// answer of the first one to each path and method.
func loseFirst(t *testing.T, to string) string {
	target, err := url.Parse(to)
	require.NoError(t, err)
	var mu sync.Mutex
	seen := make(map[string]bool)
	proxy := httputil.NewSingleHostReverseProxy(target)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		first := !seen[r.Method+r.URL.Path]
		seen[r.Method+r.URL.Path] = true
		mu.Unlock()
		if first {
			proxy.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	return front.URL
}

// Each command whose answer is lost comes to its end, or says that the outcome is
// open and names the next action.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--groups", "2", "--replicas", "3")
	front := loseFirst(t, s.url)
	testkit.WaitFor(t, 10*time.Second, "the groups to join", func() bool {
		return strings.Contains(s.raftlab(nil, "shards").out, "configuration 1")
	})
	for _, step := range []struct{ args, out string }{
		{"kv put a 1", "1\n"}, {"kv append a 2", "2\n"}, {"kv get a", "12"}, {"kv cas b 0 x", "1\n"}, {"kv del b", ""},
		{"replica stop 2", ""}, {"replica start 2", ""},
		{"shards leave 1", "configuration 2\n"}, {"shards join 1", "configuration 3\n"}, {"shards move 0 2", "configuration"},
	} {
		got := raftlab(t, nil, append(strings.Fields(step.args), "--server", front)...)
		require.Zero(t, got.code, "%s: %s", step.args, got.err)
		require.Contains(t, got.out, step.out, step.args)
	}
	got := raftlab(t, strings.NewReader(`{"success":[{"append":{"key":"t","value":"x"}}]}`), "kv", "txn", "--server", front)
	require.Equal(t, exitUnavailable, got.code)
	require.Contains(t, got.err, "may have been made")
	require.NotContains(t, got.err, "tried for 10s")
	require.Equal(t, "x", s.raftlab(nil, "kv", "get", "t").out, "once")
}

// A write without an answer in time names the idempotency key that repeats it.
func TestOpenWriteNamesItsKey(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--patience", "10s")
	for _, n := range []string{"1", "2"} {
		require.Zero(t, s.raftlab(nil, "replica", "stop", n).code)
	}
	got := s.raftlab(nil, "kv", "append", "a", "x", "--timeout", "500ms")
	require.Equal(t, exitUnavailable, got.code)
	_, rest, found := strings.Cut(got.err, "repeat the command with --idempotency-key ")
	require.True(t, found, got.err)
	key, _, _ := strings.Cut(rest, ",")
	for _, n := range []string{"1", "2"} {
		require.Zero(t, s.raftlab(nil, "replica", "start", n).code)
	}
	for range 2 {
		got = s.raftlab(nil, "kv", "append", "a", "x", "--idempotency-key", key)
		require.Zero(t, got.code, got.err)
	}
	require.Equal(t, "x", s.raftlab(nil, "kv", "get", "a").out)
}

// Ctrl-C ends a command that waits, with the exit code of a signal.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	arrived := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if strings.HasPrefix(r.URL.Path, "/v1/kv/") {
			arrived <- r.Method
			<-r.Context().Done() // the client goes away
			return
		}
		_, _ = io.WriteString(w, `{"leader":0,"replicas":[{"number":1,"state":"stopped"}],"limits":{}}`)
	}))
	t.Cleanup(s.Close)
	for _, args := range [][]string{{"kv", "put", "a", "1"}, {"kv", "get", "a"}, {"status", "--watch", "--every", "10s"}} {
		cmd := command(append(args, "--server", s.URL)...)
		var out, errs logBuffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { cmd.Process.Kill() })
		if args[0] == "status" {
			testkit.WaitFor(t, time.Minute, "a page", func() bool { return strings.Contains(out.String(), "stopped") })
		} else {
			require.Equal(t, strings.ToUpper(args[1]), testkit.Receive(t, "the request", arrived))
		}
		require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
		_ = cmd.Wait()
		require.Equal(t, 130, cmd.ProcessState.ExitCode(), "%s: %s", args, &errs)
		require.Equal(t, args[1] == "put", strings.Contains(errs.String(), "--idempotency-key"), "%s: %s", args, &errs)
	}
}

// Ctrl-C ends a sweep with the exit code of a signal.
func TestInterruptedSweep(t *testing.T) {
	t.Parallel()
	needNative(t)
	cmd := command("sim", ".", "--run", "TestCheck", "--seeds", "1..1000000", "--json")
	cmd.Dir = filepath.Join(root, "sim", "testdata", "mini")
	var out, errs logBuffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() })
	testkit.WaitFor(t, 2*time.Minute, "results", func() bool { return strings.Contains(out.String(), `"verdict"`) })
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	_ = cmd.Wait()
	require.Equal(t, 130, cmd.ProcessState.ExitCode(), "%s", &errs)
	require.Contains(t, errs.String(), "interrupted after")
}

// A server is named by a URL alone.
func TestServerURL(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"ftp://127.0.0.1", "http://", "http://127.0.0.1?x=1", "http://127.0.0.1/#x", "http://127.0.0.1:port"} {
		got := raftlab(t, nil, "kv", "get", "a", "--server", server)
		require.Equal(t, exitUsage, got.code, server)
		require.Contains(t, got.err, server)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--replicas", "1")
	cmd := command("status", "--watch", "--every", "100ms", "--timeout", "100ms", "--server", s.url)
	var out logBuffer
	cmd.Stdout = &out
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() })
	testkit.WaitFor(t, 10*time.Second, "three pages", func() bool { return strings.Count(out.String(), "REPLICA") >= 3 })
	s.end(syscall.SIGKILL)
	testkit.WaitFor(t, 10*time.Second, "word of the end", func() bool { return strings.Contains(out.String(), "not available") })
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	_ = cmd.Wait()
	require.Equal(t, 130, cmd.ProcessState.ExitCode())
	got := raftlab(t, nil, "status", "--watch", "--every", "1ms")
	require.Equal(t, exitUsage, got.code)
}

func TestVersion(t *testing.T) {
	t.Parallel()
	got := raftlab(t, nil, "version")
	require.Zero(t, got.code)
	require.True(t, strings.HasPrefix(got.out, "raftlab "+version+", "+runtime.Version()), got.out)
	require.Equal(t, got.out, raftlab(t, nil, "--version").out)
	var b buildInfo
	require.NoError(t, json.Unmarshal([]byte(raftlab(t, nil, "version", "--json").out), &b))
	require.Equal(t, version, b.Version)
	changes, err := os.ReadFile(filepath.Join("..", "..", "CHANGELOG.md"))
	require.NoError(t, err)
	require.Contains(t, string(changes), "\n## "+version, "CHANGELOG.md has a section for the version")
	require.Equal(t, "raftlab 1.2.3, go1.26, linux/amd64, commit abc of 2026-01-02, with changes",
		buildInfo{Version: "1.2.3", Commit: "abc", Time: "2026-01-02", Modified: true, Go: "go1.26", Platform: "linux/amd64"}.String())
}

// A shell offers values for arguments and flags.
func TestCompletion(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--groups", "1", "--replicas", "3")
	testkit.WaitFor(t, 10*time.Second, "the groups to join", func() bool {
		return strings.Contains(s.raftlab(nil, "shards").out, "configuration 1")
	})
	require.Zero(t, s.raftlab(nil, "kv", "put", "apple", "1").code)
	require.Zero(t, s.raftlab(nil, "replica", "stop", "2").code)
	server := "--server=" + s.url
	for _, tt := range []struct {
		args string
		want []string
	}{
		{"re", []string{"replica\tStop, start, disconnect, connect, repair, recover and compact replicas"}},
		{"check --model ", []string{"kv", "register"}},
		{"sim --engine ", []string{"native", "wasm"}},
		{"serve --log-level ", []string{"debug", "info", "warn", "error"}},
		{"replica " + server + " start ", []string{"2\tstopped"}},
		{"replica " + server + " stop ", []string{"1\trunning ", "3\trunning ", "6\trunning "}},
		{"shards " + server + " leave ", []string{"1\t10 shards"}},
		{"shards " + server + " move ", []string{"0\tgroup 1", "9\tgroup 1"}},
		{"shards " + server + " move 0 ", []string{"1"}},
		{"kv " + server + " get ap", []string{"apple"}},
		{"kv --server=http://127.0.0.1:1 get ap", nil},
	} {
		got := raftlab(t, nil, append([]string{"__complete"}, strings.Split(tt.args, " ")...)...)
		require.Zero(t, got.code, got.err)
		for _, value := range tt.want {
			require.Contains(t, "\n"+got.out, "\n"+value, tt.args)
		}
		require.False(t, tt.want == nil && !strings.HasPrefix(got.out, ":"), "%s: %s", tt.args, got.out)
	}
}
