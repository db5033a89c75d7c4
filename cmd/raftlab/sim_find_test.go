//go:build !wasip1

package main

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// simLost finds a lost update without a lock, and saves the shrunk failure. The
// current directory is then that of the planted bugs.
func simLost(t *testing.T, flags ...string) (file, errOut string) {
	t.Helper()
	needNative(t)
	dir := t.TempDir()
	if !strings.HasSuffix(mustGetwd(t), "schedules") {
		t.Chdir(filepath.Join("..", "..", "sim", "testdata", "schedules"))
	}
	args := append([]string{".", "--run", "^TestLostUpdate$", "--seeds", "1..60", "--preempt", ".", "--shrink", "--save", dir}, flags...)
	out, errOut, code := simRunHere(args...)
	require.Equal(t, exitSimFailed, code, "%s%s", out, errOut)
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files[len(files)-1], errOut
}

func mustGetwd(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(".")
	require.NoError(t, err)
	return dir
}

// TestSimPreempts finds a lost update without a lock with each strategy. The
// printed command and the saved file repeat it.
func TestSimPreempts(t *testing.T) {
	for _, flags := range [][]string{{"--yields", "0.2"}, {"--strategy", "pct"}, {"--yields", "0.1", "--guided"}} {
		file, errOut := simLost(t, flags...)
		require.Contains(t, errOut, "raftlab sim schedules --engine native --run '^TestLostUpdate$'")
		require.Contains(t, errOut, "--preempt .")
		require.Contains(t, errOut, "shrunk from")
		out, errOut, code := simRunHere("--replay", file)
		require.Equal(t, exitSimFailed, code, errOut)
		require.Contains(t, out, "to the byte as then")
	}
}

// simDebug runs the debugger with the commands as standard input.
func simDebug(t *testing.T, commands string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errOut bytes.Buffer
	root := newRootCommand()
	root.SetIn(strings.NewReader(commands))
	root.SetOut(&out)
	root.SetErr(&errOut)
	code = run(context.Background(), root, append([]string{"sim"}, args...))
	return out.String(), errOut.String(), code
}

// TestSimDebugger stops a replay at an event and in a function, and walks
// forward and back. The same event shows the same.
func TestSimDebugger(t *testing.T) {
	file, _ := simLost(t, "--yields", "0.2")
	out, errOut, code := simRunHere("--replay", file, "--break", "schedules.lostUpdate.func1")
	require.Equal(t, exitOK, code, errOut)
	require.Contains(t, out, "[running]:\nschedules.lostUpdate.func1()")
	require.Contains(t, out, "goroutine 1 [chan receive]:")
	require.NotContains(t, out, "comes to write in schedules.lostUpdate.func1", "no access of the function comes before its entry")

	at := func(command string) string {
		out, errOut, code := simDebug(t, command+"\nquit\n", "--replay", file, "--debug")
		require.Equal(t, exitOK, code, errOut)
		shown := strings.Split(out, "(event ")
		_, text, _ := strings.Cut(shown[len(shown)-2], ") ")
		return text
	}
	require.Equal(t, at("goto 100"), at("goto 97\nstep 3"))
	require.Equal(t, at("goto 100"), at("goto 102\nback\nback"))
	require.Equal(t, at("goto 1"), at("back 50"))
	require.NotEqual(t, at("goto 100"), at("goto 101"))
	require.Contains(t, at("goto 100"), "100  ")
	require.Contains(t, at("continue"), "the run ended after event")
	require.Contains(t, at("continue"), "safety")
	require.Contains(t, at("jump"), `"jump" is no command`)
	require.Contains(t, at("step x"), `"x" is not a number`)
	require.Contains(t, at("break no.Such"), `no function "no.Such"`)
	require.Contains(t, at("break lostUpdate.func1\ngoroutines"), "schedules.lostUpdate.func1()")
	require.Len(t, strings.Split(strings.TrimSpace(at("goto 50\nevents 3")), "\n"), 3)
}

// TestSimDebugRefuses expects the debugger to name what it cannot do.
func TestSimDebugRefuses(t *testing.T) {
	for _, args := range [][]string{
		{".", "--until", "5"}, {".", "--break", "main.main"}, {".", "--debug"},
		{"--replay", "x.json", "--until", "5", "--break", "main.main"}, {"--replay", "x.json,y.json", "--debug"},
		{".", "--strategy", "luck"}, {".", "--strategy", "pct", "--yields", "0.1"}, {".", "--depth", "3"}, {".", "--guided"},
		{".", "--yields", "0.1", "--turns", "x"}, {".", "--turns", "1:2"},
	} {
		_, errOut, code := simRunHere(args...)
		require.Equal(t, exitUsage, code, "%v: %s", args, errOut)
	}
	_, errOut, code := simRun(t, ".", "--engine", "wasm", "--preempt", ".")
	require.Equal(t, exitFailure, code)
	require.Contains(t, errOut, "no preemption at memory accesses")
}
