//go:build !wasip1

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/httpkv"
	"raftlab/internal/testkit"
)

// asCommand makes the test binary the raftlab command, so that tests run the
// command as a process.
const asCommand = "RAFTLAB_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		if !testkit.Soak() {
			// A command that hangs ends before the test's own limit of 10 minutes, so that a
			// test fails by name, with the stacks of the command.
			time.AfterFunc(5*time.Minute, func() { debug.SetTraceback("all"); panic("the command has run for 5 minutes") })
		}
		os.Exit(run(context.Background(), newRootCommand(), os.Args[1:]))
	}
	if signal.Ignored(os.Interrupt) {
		// A script that runs the tests in the background has them ignore SIGINT. A handler
		// keeps the processes of the tests from inheriting that.
		signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	}
	testkit.AtOnce(4)
	os.Exit(m.Run())
}

func command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	return cmd
}

// server is a raftlab serve that runs.
type server struct {
	*testing.T
	cmd           *exec.Cmd
	greeting, url string
	logs          logBuffer
}

// logBuffer may be read while a process writes to it.
type logBuffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

// startServer starts a server and waits until it prints its address.
func startServer(t *testing.T, args ...string) *server {
	t.Helper()
	return startAs(t, command(append([]string{"serve"}, args...)...))
}

// startAs starts a server by a command of its own.
func startAs(t *testing.T, cmd *exec.Cmd) *server {
	t.Helper()
	s := &server{T: t, cmd: cmd}
	s.cmd.Stderr = &s.logs
	out, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		if t.Failed() {
			logs := s.logs.String()
			t.Logf("the last lines of %q:\n%s", cmd.Args[1:], logs[max(0, len(logs)-10_000):])
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.cmd.Wait()
		t.Fatalf("the server did not start: %v\n%s", err, &s.logs)
	}
	s.greeting = line
	_, rest, _ := strings.Cut(line, " on ")
	s.url, _, _ = strings.Cut(rest, ",")
	return s
}

// end sends a signal and waits until the server has ended.
func (s *server) end(sig syscall.Signal) *os.ProcessState {
	s.Helper()
	require.NoError(s, s.cmd.Process.Signal(sig))
	stacks := time.AfterFunc(2*time.Minute, func() { s.cmd.Process.Signal(syscall.SIGQUIT) })
	s.cmd.Wait()
	require.True(s, stacks.Stop(), "the server has not ended 2 minutes after %v", sig)
	return s.cmd.ProcessState
}

func (s *server) client() *httpkv.Client { return &httpkv.Client{BaseURL: s.url} }

// outcome is the result of a command.
type outcome struct {
	code     int
	out, err string
}

// raftlab runs a command against a server.
func (s *server) raftlab(stdin io.Reader, args ...string) outcome {
	s.Helper()
	return raftlab(s.T, stdin, append(args, "--server", s.url)...)
}

func raftlab(t *testing.T, stdin io.Reader, args ...string) outcome {
	t.Helper()
	cmd := command(args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	err := cmd.Run()
	require.NotNil(t, cmd.ProcessState, err)
	return outcome{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--data", t.TempDir(), "--listen", "127.0.0.1:0")
	binary := "all bytes: \x00\x01\xff\xfe\n\r\n\x00"
	for _, step := range []struct {
		name  string
		args  []string
		stdin string
		want  outcome // err: a part of it
	}{
		{"put", []string{"kv", "put", "a", "1"}, "", outcome{out: "1\n"}},
		{"get", []string{"kv", "get", "a"}, "", outcome{out: "1"}},
		{"get --version", []string{"kv", "get", "--version", "a"}, "", outcome{out: "1\n"}},
		{"get of a missing key", []string{"kv", "get", "b"}, "", outcome{code: exitNotFound, err: "not there"}},
		{"append", []string{"kv", "append", "a", "2"}, "", outcome{out: "2\n"}},
		{"append to a missing key", []string{"kv", "append", "b", "-"}, "two\nlines\n", outcome{out: "3\n"}},
		{"get of lines", []string{"kv", "get", "b"}, "", outcome{out: "two\nlines\n"}},
		{"cas", []string{"kv", "cas", "a", "2", "3"}, "", outcome{out: "4\n"}},
		{"cas of another version", []string{"kv", "cas", "a", "2", "4"}, "", outcome{code: exitMismatch, err: "version is 4"}},
		{"cas of a missing key", []string{"kv", "cas", "new", "0", "x"}, "", outcome{out: "5\n"}},
		{"cas of a missing key that is there", []string{"kv", "cas", "new", "0", "x"}, "", outcome{code: exitMismatch, err: "version is 5"}},
		{"binary put", []string{"kv", "put", "dir/\xff é.."}, binary, outcome{out: "6\n"}},
		{"binary get", []string{"kv", "get", "dir/\xff é.."}, "", outcome{out: binary}},
		{"empty value", []string{"kv", "put", "empty", ""}, "", outcome{out: "7\n"}},
		{"get of an empty value", []string{"kv", "get", "empty"}, "", outcome{}},
		{"key of dots", []string{"kv", "put", "..", "dots"}, "", outcome{out: "8\n"}},
		{"get of dots", []string{"kv", "get", ".."}, "", outcome{out: "dots"}},
		{"scan", []string{"kv", "scan"}, "", outcome{out: "..\t8\tdots\na\t4\t3\nb\t3\t\"two\\nlines\\n\"\n\"dir/\\xff é..\"\t6\t" +
			`"all bytes: \x00\x01\xff\xfe\n\r\n\x00"` + "\nempty\t7\t\"\"\nnew\t5\tx\n"}},
		{"scan of a range", []string{"kv", "scan", "--start", "a", "--end", "c", "--keys"}, "", outcome{out: "a\nb\n"}},
		{"scan of a prefix", []string{"kv", "scan", "--prefix", "n", "--json"}, "", outcome{out: `{"key":"new","value":"x","version":5}` + "\n"}},
		{"scan with a limit", []string{"kv", "scan", "--keys", "--limit", "2"}, "", outcome{out: "..\na\n"}},
		{"del", []string{"kv", "del", "a"}, "", outcome{}},
		{"del again", []string{"kv", "del", "a"}, "", outcome{code: exitNotFound, err: "not there"}},
		{"del of another version", []string{"kv", "del", "new", "--version", "1"}, "", outcome{code: exitMismatch, err: "version is 5"}},
		{"del of a version", []string{"kv", "del", "new", "--version", "5"}, "", outcome{}},
		{"put under a key", []string{"kv", "append", "once", "x", "--idempotency-key", "K"}, "", outcome{out: "11\n"}},
		{"the same again", []string{"kv", "append", "once", "x", "--idempotency-key", "K"}, "", outcome{out: "11\n"}},
		{"it was done once", []string{"kv", "get", "once"}, "", outcome{out: "x"}},
		{"another under that key", []string{"kv", "append", "once", "y", "--idempotency-key", "K"}, "", outcome{code: exitRefused, err: "another request"}},
		{"key too large", []string{"kv", "put", strings.Repeat("k", 1025), "x"}, "", outcome{code: exitRefused, err: "limit is 1024"}},
		{"value too large", []string{"kv", "put", "v"}, strings.Repeat("v", 1<<20+1), outcome{code: exitRefused, err: "1048576 bytes"}},
		{"largest value", []string{"kv", "put", "v"}, strings.Repeat("v", 1<<20), outcome{out: "12\n"}},
		{"append over the limit", []string{"kv", "append", "v", "w"}, "", outcome{code: exitRefused, err: "1048576 bytes"}},
		{"empty key", []string{"kv", "get", ""}, "", outcome{code: exitRefused, err: "empty"}},
		{"no key", []string{"kv", "get"}, "", outcome{code: exitUsage, err: "usage: raftlab kv get KEY"}},
		{"no command", []string{"kv"}, "", outcome{code: exitUsage, err: "kv needs a command"}},
		{"unknown flag", []string{"kv", "get", "a", "--colour"}, "", outcome{code: exitUsage, err: "--colour"}},
		{"bad version", []string{"kv", "cas", "a", "x", "1"}, "", outcome{code: exitUsage, err: `"x"`}},
		{"stop", []string{"replica", "stop", "2"}, "", outcome{}},
		{"stop again", []string{"replica", "stop", "2"}, "", outcome{code: exitRefused, err: "stopped"}},
		{"write without it", []string{"kv", "put", "z", "1"}, "", outcome{out: "13\n"}},
		{"start", []string{"replica", "start", "2"}, "", outcome{}},
		{"start again", []string{"replica", "start", "2"}, "", outcome{code: exitRefused, err: "running"}},
		{"disconnect", []string{"replica", "disconnect", "2"}, "", outcome{}},
		{"disconnect again", []string{"replica", "disconnect", "2"}, "", outcome{code: exitRefused, err: "disconnected"}},
		{"write meanwhile", []string{"kv", "put", "z", "2"}, "", outcome{out: "14\n"}},
		{"connect", []string{"replica", "connect", "2"}, "", outcome{}},
		{"no such replica", []string{"replica", "stop", "4"}, "", outcome{code: exitRefused, err: "1 to 3"}},
	} {
		got := s.raftlab(strings.NewReader(step.stdin), step.args...)
		require.Equal(t, step.want.code, got.code, "%s: exit code; %s", step.name, got.err)
		require.Equal(t, step.want.out, got.out, "%s: output", step.name)
		require.Contains(t, got.err, step.want.err, step.name)
		require.Equal(t, step.want.err == "", got.err == "", "%s: errors: %s", step.name, got.err)
	}
	got := s.raftlab(nil, "status")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "leader")
	// The API of etcd has the same keys.
	r, err := http.Post(s.url+"/v3/kv/range", "application/json", strings.NewReader(`{"key":"eg=="}`))
	require.NoError(t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.Contains(t, string(body), `"mod_revision":"15"`, "the version and one")
	require.Equal(t, 3, strings.Count(got.out, "running"), got.out)
	require.Zero(t, s.end(syscall.SIGTERM).ExitCode(), "after SIGTERM: %s", &s.logs)
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	got := raftlab(t, nil, "kv", "get", "a", "--server", "http://"+testkit.FreeAddress(t), "--timeout", "100ms")
	require.Equal(t, exitUnavailable, got.code, got.err)
	require.Contains(t, got.err, "not available")
	s := startServer(t, "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--patience", "300ms")
	for _, n := range []string{"1", "3"} {
		got := s.raftlab(nil, "replica", "stop", n)
		require.Zero(t, got.code, got.err)
	}
	// The outcome of a put that still found a leader is unknown.
	testkit.WaitFor(t, busyPatience, "a put that finds no leader", func() bool {
		got = s.raftlab(nil, "kv", "put", "a", "1", "--timeout", "1s")
		require.Equal(t, exitUnavailable, got.code, got.err)
		return strings.Contains(got.err, "1 of 3 replicas run")
	})
	resp, err := http.Get(s.url + "/v1/kv/a")
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	got = s.raftlab(nil, "replica", "start", "3")
	require.Zero(t, got.code, got.err)
	got = s.raftlab(nil, "kv", "put", "a", "1")
	require.Zero(t, got.code, "with a majority again: %s", got.err)
}

func TestServeRefuses(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := startServer(t, "--data", data, "--listen", "127.0.0.1:0")
	address := strings.TrimPrefix(s.url, "http://")
	for _, tt := range []struct {
		name string
		args []string
		code int
		err  string
	}{
		{"data in use", []string{"--data", data, "--listen", "127.0.0.1:0"}, exitFailure, "in use by another process: " + data},
		{"address in use", []string{"--data", t.TempDir(), "--listen", address}, exitFailure, "cannot serve on " + address},
		{"no address", []string{"--data", t.TempDir(), "--listen", "here"}, exitFailure, "cannot serve on here"},
		{"no replicas", []string{"--replicas", "0"}, exitUsage, "--replicas is 0; want 1 to 9"},
		{"fewer replicas", []string{"--replicas", "-1"}, exitUsage, "--replicas is -1; want 1 to 9"},
		{"too many replicas", []string{"--replicas", "100"}, exitUsage, "--replicas is 100; want 1 to 9"},
		{"log level", []string{"--log-level", "loud"}, exitUsage, `"loud"`},
		{"log format", []string{"--log-format", "xml"}, exitUsage, `"xml"`},
		{"allowed host", []string{"--allow-host", "http://store.example/"}, exitUsage, "--allow-host"},
		{"argument", []string{"now"}, exitUsage, "now"},
	} {
		got := raftlab(t, nil, append([]string{"serve"}, tt.args...)...)
		require.Equal(t, tt.code, got.code, "%s: %s", tt.name, got.err)
		require.Contains(t, got.err, tt.err, tt.name)
	}
	require.Zero(t, s.end(syscall.SIGINT).ExitCode(), "after SIGINT: %s", &s.logs)
	got := raftlab(t, nil, "serve", "--data", data, "--replicas", "5")
	require.Equal(t, exitFailure, got.code)
	require.Contains(t, got.err, "made with --replicas 3")
}

// serve takes any number of replicas, and greets in good English.
func TestNumbersOfReplicas(t *testing.T) {
	t.Parallel()
	for number, words := range map[string]string{"1": "1 replica serves on", "2": "2 replicas serve on", "5": "5 replicas serve on"} {
		s := startServer(t, "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--replicas", number)
		require.Contains(t, s.greeting, words)
		require.Equal(t, "1\n", s.raftlab(nil, "kv", "put", "a", "1").out)
		s.end(syscall.SIGTERM)
	}
}

func Example_help() {
	root := newRootCommand()
	root.SetOut(os.Stdout)
	fmt.Println(run(context.Background(), root, []string{"kv", "put", "--help"}))
	// Output:
	// Set a key's value
	//
	// Usage:
	//   raftlab kv put KEY [VALUE] [flags]
	//
	// Examples:
	//   raftlab kv put greeting hello
	//   raftlab kv put picture - < picture.png
	//
	// Flags:
	//   -h, --help                     help for put
	//       --idempotency-key string   all writes of KEY with one idempotency key are one write (default: a new key for each command)
	//
	// Global Flags:
	//       --server string      the server's URL (also: RAFTLAB_SERVER) (default "http://127.0.0.1:8400")
	//       --timeout duration   how long to try while there is no answer, or no leader (default 10s)
	// 0
}
