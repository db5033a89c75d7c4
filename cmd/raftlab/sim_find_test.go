//go:build !wasip1

package main

import (
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

// TestSimFindsALostUpdate finds a lost update without a lock with each strategy, and shrinks
// and saves the failure. The printed command and the saved file repeat the failure, and
// debuggers stop in its run.
func TestSimFindsALostUpdate(t *testing.T) {
	t.Parallel()
	needNative(t)
	for strategy, flags := range map[string][]string{
		"yields": {"--yields", "0.2"}, "pct": {"--strategy", "pct"}, "guided": {"--yields", "0.1", "--guided"},
	} {
		t.Run(strategy, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			args := append([]string{".", "--run", "^TestLostUpdate$", "--seeds", "1..60", "--preempt", ".", "--shrink", "--save", dir}, flags...)
			out, errOut, code := simRun(t, schedules, args...)
			require.Equal(t, exitSimFailed, code, "%s%s", out, errOut)
			require.Contains(t, errOut, "raftlab sim schedules --engine native --run '^TestLostUpdate$'")
			require.Contains(t, errOut, "--preempt .")
			require.Contains(t, errOut, "shrunk from")
			files, err := filepath.Glob(filepath.Join(dir, "*.json"))
			require.NoError(t, err)
			require.NotEmpty(t, files)
			file := files[len(files)-1]
			out, errOut, code = simRun(t, schedules, "--replay", file)
			require.Equal(t, exitSimFailed, code, errOut)
			require.Contains(t, out, "to the byte as then")
			if strategy == "yields" {
				t.Run("debugger", func(t *testing.T) { debugLostUpdate(t, file) })
				t.Run("dlv", func(t *testing.T) { dlvLostUpdate(t, file) })
			}
		})
	}
}

// debugLostUpdate stops a replay at an event and in a function, and walks forward and back.
// The same event shows the same.
func debugLostUpdate(t *testing.T, file string) {
	t.Parallel()
	out, errOut, code := simRun(t, schedules, "--replay", file, "--break", "schedules.lostUpdate.func1")
	require.Equal(t, exitOK, code, errOut)
	require.Contains(t, out, "[running]:\nschedules.lostUpdate.func1()")
	require.Contains(t, out, "goroutine 1 [chan receive]:")
	require.NotContains(t, out, "comes to write in schedules.lostUpdate.func1", "no access of the function comes before its entry")

	commands := []string{
		"goto 1", "back 50", "goto 97", "step 3", "goto 102", "back", "back", "goto 100", "goto 101",
		"jump", "step x", "break no.Such", "goto 50", "events 3", "goto 1", "break lostUpdate.func1", "goroutines", "continue",
	}
	cmd := command("sim", "--replay", file, "--debug")
	cmd.Dir, cmd.Stdin = schedules, strings.NewReader(strings.Join(append(commands, "quit"), "\n")+"\n")
	out, errOut, code = finish(t, cmd)
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

// dlvLostUpdate replays a file under a debugger, here a script that only runs the program.
func dlvLostUpdate(t *testing.T, file string) {
	t.Parallel()
	bin := t.TempDir()
	script := "#!/bin/sh\n[ \"$1 $2 $3 $4\" = 'exec --headless --api-version=2 --listen=127.0.0.1:4040' ] || exit 9\n" +
		"shift 4; program=$1; shift 2; exec \"$program\" \"$@\"\n"
	require.NoError(t, os.WriteFile(filepath.Join(bin, "dlv"), []byte(script), 0o700))
	cmd := command("sim", "--replay", file, "--dlv", "127.0.0.1:4040")
	cmd.Dir, cmd.Env = schedules, append(cmd.Env, "PATH="+bin+":"+os.Getenv("PATH"))
	out, errOut, code := finish(t, cmd)
	require.Equal(t, exitOK, code, errOut)
	require.Contains(t, errOut, "dlv connect 127.0.0.1:4040")
	r, err := sim.LoadReplay(file)
	require.NoError(t, err)
	require.Equal(t, r.Hash, fmt.Sprintf("%x", sha256.Sum256([]byte(out))), "the run is the one of the file: %s", out)
}

// TestSimDebugRefuses expects the debugger to name what it cannot do.
func TestSimDebugRefuses(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{".", "--until", "5"}, {".", "--break", "main.main"}, {".", "--debug"},
		{"--replay", "x.json", "--until", "5", "--break", "main.main"}, {"--replay", "x.json,y.json", "--debug"},
		{".", "--dlv", "127.0.0.1:4040"}, {"--replay", "x.json", "--dlv", "127.0.0.1:4040", "--debug"},
		{".", "--strategy", "luck"}, {".", "--strategy", "pct", "--yields", "0.1"}, {".", "--depth", "3"}, {".", "--guided"},
		{".", "--yields", "0.1", "--turns", "x"}, {".", "--turns", "1:2"},
	} {
		code, _, errOut := operate("", append([]string{"sim"}, args...)...)
		require.Equal(t, exitUsage, code, "%v: %s", args, errOut)
	}
	_, errOut, code := simRun(t, mini, ".", "--engine", "wasm", "--preempt", ".")
	require.Equal(t, exitFailure, code)
	require.Contains(t, errOut, "no preemption at memory accesses")
}
