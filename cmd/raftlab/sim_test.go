//go:build !wasip1

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/sim"
)

// Directories of test programs.
var (
	mini      = filepath.Join("..", "..", "sim", "testdata", "mini")
	schedules = filepath.Join("..", "..", "sim", "testdata", "schedules")
)

// simRun runs raftlab sim in a directory.
func simRun(t *testing.T, dir string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := command(append([]string{"sim"}, args...)...)
	cmd.Dir = dir
	return finish(t, cmd)
}

// finish runs a command to its end.
func finish(t *testing.T, cmd *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	require.NotNil(t, cmd.ProcessState, err)
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

func needNative(t *testing.T) {
	t.Helper()
	if engine, why, err := sim.Select(context.Background(), ""); err != nil || engine != sim.Native {
		t.Skip("no native engine here: ", why, err)
	}
}

func TestSimPasses(t *testing.T) {
	t.Parallel()
	needNative(t)
	out, errOut, code := simRun(t, mini, ".", "--run", "TestMixed", "--seeds", "1..6", "--yields", "0.1", "-j", "2")
	if code != exitOK || !strings.Contains(out, "12 runs, 0 failures") || !strings.Contains(errOut, "engine native") || !strings.Contains(errOut, "building mini, 1 of 1") {
		t.Errorf("code %d\n%s%s", code, out, errOut)
	}
}

// TestSimFailsShrinksAndReplays follows a failure from the sweep to its file.
func TestSimFailsShrinksAndReplays(t *testing.T) {
	t.Parallel()
	needNative(t)
	dir := t.TempDir()
	out, errOut, code := simRun(t, mini, ".", "--run", "TestGap", "--seeds", "1..30", "--yields", "0.2", "--shrink", "--save", dir)
	if code != exitSimFailed || !strings.Contains(errOut, "shrunk from") || !strings.Contains(errOut, "raftlab sim mini --engine native --run '^TestGap$'") {
		t.Fatalf("code %d\n%s%s", code, out, errOut)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.json"))
	if len(files) < 1 || len(files) > 2 {
		t.Fatalf("saved %v; want the first failure of its kind, and the one that was shrunk if that is another", files)
	}
	out, errOut, code = simRun(t, mini, "--replay", files[0], "--explain")
	if code != exitSimFailed || !strings.Contains(out, "fails") || !strings.Contains(out, "mini.TestGap.func1") {
		t.Errorf("replay: code %d\n%s%s", code, out, errOut)
	}
}

// TestGoTestInWorlds runs go test under raftlab sim-env.
func TestGoTestInWorlds(t *testing.T) {
	t.Parallel()
	needNative(t)
	for _, test := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"go", "test", "-run", "TestMixed|TestFiles", "-v", "."}, 0, []string{"ok  \tmini", "6 runs, 0 failures"}},
		{[]string{"go", "test", "-run", "TestAssertion", "."}, 1, []string{"FAIL\tmini", "3 of 3 runs failed", "raftlab sim mini --engine native --run '^TestAssertion$' --seeds 1"}},
		{[]string{"go", "test", "-run", "TestNowhere", "."}, 0, []string{"ok  \tmini"}},
		{[]string{"go", "test", "-v", "-tags", "other", "-run", "TestMixed", "."}, 0, []string{"ok  \tmini", "3 runs, 0 failures"}},
		{[]string{"go", "test", "-bench", ".", "."}, 1, []string{"go test's -bench has no meaning"}},
	} {
		cmd := command(append([]string{"sim-env", "--seeds", "1..3"}, test.args...)...)
		cmd.Dir = mini
		out, errOut, code := finish(t, cmd)
		require.Equal(t, test.code, code, "%v: %s%s", test.args, out, errOut)
		for _, want := range test.want {
			require.Contains(t, out+errOut, want)
		}
	}
	got := raftlab(t, nil, "sim-exec", "binary")
	require.NotZero(t, got.code)
	require.Contains(t, got.err, "raftlab sim-env --seeds 1..50 go test ./...")
	got = raftlab(t, nil, "sim-env", "--seeds", "7")
	require.Zero(t, got.code, got.err)
	require.Regexp(t, `(?m)^export GOFLAGS='-tags=faketime,netgo,osusergo -overlay=\S+ -exec=\S+ -count=1`, got.out)
	require.Contains(t, got.out, `export RAFTLAB_SIM_FLAGS='["--seeds=7"]'`)
}

// TestGoTestFlagsAreAdopted expects sim-env to take -race and -tags from go test's flags.
func TestGoTestFlagsAreAdopted(t *testing.T) {
	for _, test := range []struct{ args, rest, given string }{
		{"go test -race ./...", "go test -race ./...", "[--race=true]"},
		{"/usr/bin/go test -v --race=false -tags=a,b -run X", "/usr/bin/go test -v --race=false -run X", "[--race=false --tags=a,b]"},
		{"go test -tags a . -args -race -tags b", "go test . -args -race -tags b", "[--tags=a]"},
		{"go vet -tags a", "go vet -tags a", "[]"},
		{"make race", "make race", "[]"},
	} {
		cmd, _ := simCommand()
		rest, err := adoptGoTest(cmd.Flags(), strings.Fields(test.args))
		require.NoError(t, err)
		require.Equal(t, test.rest, strings.Join(rest, " "))
		require.Equal(t, test.given, fmt.Sprint(givenFlags(cmd.Flags())))
	}
	for _, bad := range []string{"go test -tags", "go test -race=perhaps"} {
		cmd, _ := simCommand()
		_, err := adoptGoTest(cmd.Flags(), strings.Fields(bad))
		require.ErrorContains(t, err, bad[len("go test "):][:5])
	}
}

func TestSimShardsAndMerge(t *testing.T) {
	t.Parallel()
	needNative(t)
	dir := t.TempDir()
	var files []string
	for _, shard := range []string{"1/2", "2/2"} {
		out, errOut, code := simRun(t, mini, ".", "--run", "TestCheck", "--seeds", "1..20", "--shard", shard, "--json")
		if code != exitSimFailed {
			t.Fatalf("shard %s: code %d\n%s", shard, code, errOut)
		}
		file := filepath.Join(dir, strings.ReplaceAll(shard, "/", "-"))
		require.NoError(t, os.WriteFile(file, []byte(out), 0o600))
		files = append(files, file)
	}
	out, _, code := simRun(t, mini, "--merge", strings.Join(files, ","))
	if code != exitSimFailed || !strings.Contains(out, "20 runs, ") || !strings.Contains(out, "which is below 25") {
		t.Errorf("merge: code %d\n%s", code, out)
	}
}

// TestSimEndsWithItsReader closes the output, as in raftlab sim | head. The
// sweep ends and leaves nothing behind.
func TestSimEndsWithItsReader(t *testing.T) {
	t.Parallel()
	needNative(t)
	temp := t.TempDir()
	cmd := command("sim", ".", "--run", "TestCheck", "--seeds", "1..1000000", "--json")
	cmd.Dir = mini
	cmd.Env = append(cmd.Env, "TMPDIR="+temp)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = out.Read(make([]byte, 1))
	require.NoError(t, err)
	out.Close()
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != exitFailure {
		t.Errorf("ended with %v", err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

// writeModule writes the files of a module, given as names and contents, and
// returns the module's directory.
func writeModule(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		name := filepath.Join(dir, files[i])
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(files[i+1]), 0o644))
	}
	return dir
}

// TestSimBrokenPackages runs packages that do not build, or whose tests cannot
// be listed. The output names each with the reason, the other packages run, and
// merged results say the same.
func TestSimBrokenPackages(t *testing.T) {
	t.Parallel()
	needNative(t)
	const test = "import \"testing\"\nfunc TestOK(t *testing.T) {}\n"
	dir := writeModule(t, "go.mod", "module many\ngo 1.25\n",
		"sound/a_test.go", "package sound\n"+test,
		"typo/a_test.go", "package typo\n"+test+"var number int = \"seven\"\n",
		"torn/a_test.go", "package torn\n"+test+"func half() {\n",
		"two/a_test.go", "package one\n", "two/b_test.go", "package two\n",
		"mute/a_test.go", "package mute\n"+test+"func TestMain(*testing.M) { panic(\"no flags\") }\n")
	out, errOut, code := simRun(t, dir, "./...", "--seeds", "1..3", "--json")
	if code != exitFailure || strings.Count(out, `"verdict":"pass"`) != 3 || !strings.Contains(errOut, `a_test.go:4:18: cannot use "seven"`) {
		t.Errorf("code %d\n%s%s", code, out, errOut)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "results"), []byte(out), 0o644))
	merged, _, code := simRun(t, dir, "--merge", "results,results")
	for _, want := range []string{
		"3 runs, 0 failures", "many/typo was not run: typo/a_test.go:4:18: ", "many/torn was not run: torn/a_test.go:4:15: ",
		"many/mute was not run: the tests of many/mute cannot be listed: crash: panic: no flags", "many/two was not run: found packages one (a_test.go) and two (b_test.go)",
	} {
		if code != exitFailure || strings.Count(merged, want) != 1 || !strings.Contains(errOut, want) {
			t.Errorf("code %d, the summaries do not both have %q:\n%s\n%s", code, want, merged, errOut)
		}
	}
	out, errOut, code = simRun(t, dir, "./typo", "./mute", "./sound", "--run", "TestOther")
	if code != exitUsage || !strings.Contains(errOut, `no test matches "TestOther"`) {
		t.Errorf("no test matches: code %d\n%s%s", code, out, errOut)
	}
	if _, errOut, code = simRun(t, dir, "./typo", "./torn"); code != exitFailure || !strings.Contains(errOut, "many/torn does not build") {
		t.Errorf("all are broken: code %d\n%s", code, errOut)
	}
}

// TestSimSavesEachPackage saves failures of two packages to different files,
// although the tests have the same name. The name is long.
func TestSimSavesEachPackage(t *testing.T) {
	t.Parallel()
	needNative(t)
	test := "import \"testing\"\nfunc TestBad" + strings.Repeat("d", 250) + "(t *testing.T) { t.Error() }\n"
	dir := writeModule(t, "go.mod", "module two\ngo 1.25\n", "a/a_test.go", "package a\n"+test, "b/b_test.go", "package b\n"+test)
	_, errOut, code := simRun(t, dir, "./...", "--seeds", "1", "--save", "bugs")
	files, _ := filepath.Glob(filepath.Join(dir, "bugs", "*.json"))
	if code != exitSimFailed || len(files) != 2 {
		t.Fatalf("code %d, saved %q\n%s", code, files, errOut)
	}
	for _, args := range [][]string{{"--replay", strings.Join(files, ",")}, append([]string{"--replay"}, files...)} { // a shell's pattern, too
		out, errOut, code := simRun(t, dir, args...)
		if code != exitSimFailed || strings.Count(out, "fails, to the byte as then") != 2 {
			t.Errorf("%q: code %d\n%s%s", args, code, out, errOut)
		}
	}
}

func TestSimRefuses(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{".", "--seeds", "9..1"}, {".", "--shard", "3/2"}, {".", "--sleeps", "0.5"}, {".", "--liveness", "("},
		{".", "--engine", "steam"}, {".", "--yields", "-1"}, {".", "--max-sleep", "1h"}, {".", "--run", "("},
		{".", "--virtual", "-5s"}, {".", "--spin", "-1s"}, {".", "--wall", "-1s"}, {".", "--wall", "2562047h"},
		{".", "--memory", "-1"}, {".", "--memory", "99999999999999"}, {".", "--for", "-1m"}, {".", "-j", "-1"},
		{".", "--shrink-runs", "0"}, {".", "--env", "NOVALUE"}, {".", "--env", "=x"}, {".", "--explain"},
		{"--replay", "x.json", "./much"}, {".", "--unheard-of"}, {".", "--seeds"},
	} {
		code, out, errOut := operate("", append([]string{"sim"}, args...)...)
		value := strings.TrimPrefix(args[len(args)-1], "--")
		if code != exitUsage || !strings.Contains(errOut, "raftlab:") || !strings.Contains(errOut, value) {
			t.Errorf("%v: code %d, the error does not name %q\n%s%s", args, code, value, out, errOut)
		}
	}
	for _, args := range [][]string{{"--merge", os.DevNull + "x"}, {"--replay", os.DevNull + "x"}, {"./nothing"}} {
		code, out, errOut := operate("", append([]string{"sim"}, args...)...)
		if code != exitFailure || !strings.Contains(errOut, "raftlab:") || !strings.Contains(errOut, args[len(args)-1]) {
			t.Errorf("%v: code %d\n%s%s", args, code, out, errOut)
		}
	}
	out, errOut, code := simRun(t, mini, ".", "--run", "TestNoSuch")
	if code != exitUsage || !strings.Contains(errOut, "raftlab:") || !strings.Contains(errOut, "TestNoSuch") {
		t.Errorf("code %d\n%s%s", code, out, errOut)
	}
}
