//go:build !wasip1

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/sim"
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

	commands := []string{
		"goto 1", "back 50", "goto 97", "step 3", "goto 102", "back", "back", "goto 100", "goto 101",
		"jump", "step x", "break no.Such", "goto 50", "events 3", "goto 1", "break lostUpdate.func1", "goroutines", "continue",
	}
	out, errOut, code = simDebug(t, strings.Join(append(commands, "quit"), "\n")+"\n", "--replay", file, "--debug")
	require.Equal(t, exitOK, code, errOut)
	answers := regexp.MustCompile(`\(event [^)]*\) `).Split(out, -1)[1:]
	require.Len(t, answers, len(commands)+1, out)
	answer := func(i int, command string) string {
		require.Equal(t, command, commands[i])
		return answers[i]
	}
	require.Equal(t, answer(0, "goto 1"), answer(1, "back 50"))
	require.Equal(t, answer(7, "goto 100"), answer(3, "step 3"))
	require.Equal(t, answer(7, "goto 100"), answer(6, "back"))
	require.NotEqual(t, answer(7, "goto 100"), answer(8, "goto 101"))
	require.Contains(t, answer(7, "goto 100"), "100  ")
	require.Contains(t, answer(9, "jump"), `"jump" is no command`)
	require.Contains(t, answer(10, "step x"), `"x" is not a number`)
	require.Contains(t, answer(11, "break no.Such"), `no function "no.Such"`)
	require.Len(t, strings.Split(strings.TrimSpace(answer(13, "events 3")), "\n"), 3)
	require.Contains(t, answer(16, "goroutines"), "schedules.lostUpdate.func1()")
	require.Contains(t, answer(17, "continue"), "the run ended after event")
	require.Contains(t, answer(17, "continue"), "safety")
}

// TestSimDlv replays a file under a debugger, here a script that only runs the program.
func TestSimDlv(t *testing.T) {
	file, _ := simLost(t, "--yields", "0.2")
	bin := t.TempDir()
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	script := "#!/bin/sh\n[ \"$1 $2 $3 $4\" = 'exec --headless --api-version=2 --listen=127.0.0.1:4040' ] || exit 9\n" +
		"shift 4; program=$1; shift 2; exec \"$program\" \"$@\"\n"
	require.NoError(t, os.WriteFile(filepath.Join(bin, "dlv"), []byte(script), 0o700))
	out, errOut, code := simRunHere("--replay", file, "--dlv", "127.0.0.1:4040")
	require.Equal(t, exitOK, code, errOut)
	require.Contains(t, errOut, "dlv connect 127.0.0.1:4040")
	r, err := sim.LoadReplay(file)
	require.NoError(t, err)
	require.Equal(t, r.Hash, fmt.Sprintf("%x", sha256.Sum256([]byte(out))), "the run is the one of the file: %s", out)
}

// TestSimDebugRefuses expects the debugger to name what it cannot do.
func TestSimDebugRefuses(t *testing.T) {
	for _, args := range [][]string{
		{".", "--until", "5"}, {".", "--break", "main.main"}, {".", "--debug"},
		{"--replay", "x.json", "--until", "5", "--break", "main.main"}, {"--replay", "x.json,y.json", "--debug"},
		{".", "--dlv", "127.0.0.1:4040"}, {"--replay", "x.json", "--dlv", "127.0.0.1:4040", "--debug"},
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
