//go:build !wasip1

package main

import (
	"archive/zip"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// runCourse runs the command.
func runCourse(args ...string) (code int, out, errOut string) {
	return runRaftlab(append([]string{"course"}, args...)...)
}

// runRaftlab runs a command, and returns its exit code, output and messages.
func runRaftlab(args ...string) (code int, out, errOut string) {
	cmd := newRootCommand()
	var o, e bytes.Buffer
	cmd.SetOut(&o)
	cmd.SetErr(&e)
	code = run(context.Background(), cmd, args)
	return code, o.String(), e.String()
}

// A teacher makes a course, hands out late, checks submissions, and makes the autograder.
func TestCourse(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "course")
	roster := filepath.Join(t.TempDir(), "roster")
	require.NoError(t, os.WriteFile(roster, []byte("alice\nbob\n"), 0o644))
	code, _, errOut := runCourse("init", "--class", "c", "--parts", "2A", "--roster", roster, dir)
	require.Equal(t, exitOK, code, errOut)
	require.FileExists(t, filepath.Join(dir, "handout", "labs", "2A.md"))
	code, _, errOut = runCourse("handout", dir, "carol")
	require.Equal(t, exitOK, code, errOut)

	// Bob hands in the skeletons of carol.
	sub := filepath.Join(t.TempDir(), "bob.zip")
	require.NoError(t, os.Rename(filepath.Join(dir, "students", "carol.zip"), sub))
	code, out, errOut := runCourse("check", dir, sub)
	require.Equal(t, exitOK, code, errOut)
	require.Contains(t, out, "COPY bob: ")
	require.Contains(t, out, "a comment has the code of carol's handout")

	code, out, errOut = runCourse("autograder", dir)
	if runtime.GOOS+"/"+runtime.GOARCH != "linux/amd64" {
		require.Equal(t, exitUsage, code, errOut)
		return
	}
	require.Equal(t, exitOK, code, errOut)
	require.Equal(t, filepath.Join(dir, "instructor", "autograder.zip")+"\n", out)
	z, err := zip.OpenReader(filepath.Join(dir, "instructor", "autograder.zip"))
	require.NoError(t, err)
	defer z.Close()
	modes := make(map[string]os.FileMode)
	for _, f := range z.File {
		modes[f.Name] = f.Mode().Perm()
	}
	for name, mode := range map[string]os.FileMode{"setup.sh": 0o755, "run_autograder": 0o755, "raftlab": 0o755, "class.yaml": 0o644, "solution/raft/raft.go": 0o644} {
		require.Equal(t, mode, modes[name], name)
	}
}

func TestCourseRefusesBadInput(t *testing.T) {
	t.Parallel()
	full := t.TempDir()
	file := filepath.Join(full, "file")
	require.NoError(t, os.WriteFile(file, []byte("# nobody\n"), 0o644))
	for want, args := range map[string][]string{
		"is not empty":             {"init", full},
		`there is no part "9Z"`:    {"init", "--parts", "9Z", filepath.Join(full, "new")},
		"--hold-back: error":       {"init", "--hold-back", "(", filepath.Join(full, "new")},
		"names no student":         {"init", "--roster", file, filepath.Join(full, "new")},
		"no such file":             {"init", "--roster", filepath.Join(full, "x"), filepath.Join(full, "new")},
		"not a directory":          {"init", filepath.Join(file, "x")},
		"accepts 1 arg(s)":         {"init"},
		"requires at least 2 arg":  {"check", full},
		"holds no course":          {"check", full, full},
		"unknown command \"frob\"": {"frob"},
	} {
		code, _, errOut := runCourse(args...)
		require.Equal(t, exitUsage, code, want)
		require.Contains(t, errOut, want)
	}
}
