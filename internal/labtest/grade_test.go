//go:build !wasip1

package labtest_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGrade grades a plain Raft with the layout of a course, first unchanged and then
// with a planted mistake.
func TestGrade(t *testing.T) {
	for _, tool := range []string{"bash", "go", "tar", "sed", "find"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s command", tool)
		}
	}
	source, err := os.ReadFile(filepath.Join("..", "..", "mutants", "student", "raft.go"))
	if err != nil {
		t.Fatal(err)
	}
	right := strings.ReplaceAll(string(source), `"raftlab/`, `"6.5840/`)
	wrong := strings.Replace(right, "free := rf.votedFor == nobody || rf.votedFor == args.CandidateID", "free := true", 1)
	if wrong == right {
		t.Fatal("the mistake does not apply")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "raft", "config.go"), "package raft // the course's harness, which would not compile\nvar x = nothing\n")
	grade := func(code string, args ...string) (string, int) {
		write(t, filepath.Join(dir, "raft", "raft.go"), code)
		out, err := exec.Command("bash", append([]string{filepath.Join("..", "..", "scripts", "grade.sh"), dir}, args...)...).CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if err != nil {
			return string(out), exit.ExitCode()
		}
		return string(out), 0
	}
	const test = "-run=TestOneVoteATerm2A"
	if out, code := grade(right, "raft", "--", test); code != 0 || !strings.Contains(out, "ok  \traftlab/raft") {
		t.Errorf("a correct Raft: code %d\n%s", code, out)
	}
	if out, code := grade(wrong, "raft", "--", test); code != 1 || !strings.Contains(out, "voted for servers") {
		t.Errorf("a Raft that votes twice: code %d\n%s", code, out)
	}
	for want, args := range map[string][]string{"no Go file in": {"kvraft"}, "no suites for labrpc": {"raft", "labrpc"}, "grade.sh DIR PACKAGE": nil} {
		if out, code := grade(right, args...); code != 64 || !strings.Contains(out, want) {
			t.Errorf("%q: code %d\n%s", args, code, out)
		}
	}
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
