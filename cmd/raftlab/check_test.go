//go:build !wasip1

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/porcupine/history"
)

// runCheck runs raftlab check on a history given as standard input.
func runCheck(input string, args ...string) (code int, stdout, stderr string) {
	root := newRootCommand()
	var out, err bytes.Buffer
	root.SetIn(strings.NewReader(input))
	root.SetOut(&out)
	root.SetErr(&err)
	code = run(context.Background(), root, append([]string{"check", "-"}, args...))
	return code, out.String(), err.String()
}

func TestCheckCommand(t *testing.T) {
	const written = `{"op":"write","value":1,"call":1,"return":2}` + "\n"
	for name, c := range map[string]struct {
		model, input   string
		code           int
		stdout, stderr string
	}{
		"equal numbers":   {"register", written + `{"op":"read","output":1.0,"call":3,"return":4}`, 0, "linearizable: 2 operations, register", ""},
		"another number":  {"register", written + `{"op":"read","output":1.5,"call":3,"return":4}`, 1, "read() -> 1.5 by client 0, from 3 to 4, cannot be placed", ""},
		"cas unanswered":  {"cas", written + `{"op":"cas","expect":2,"value":3,"call":3,"return":4}`, 2, "", `line 2: no "output"`},
		"cas pending":     {"cas", written + `{"op":"cas","expect":2,"value":3,"call":3}`, 0, "linearizable", ""},
		"not JSON":        {"cas", written + "\n{", 2, "", "line 3"},
		"no such model":   {"sql", written, 2, "", `no model "sql": the models are cas, kv`},
		"another model's": {"kv", written, 2, "", `line 1: the model has no op "write"`},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := runCheck(c.input, "--quiet", "--model", c.model)
			require.Equal(t, c.code, code, "%s%s", stdout, stderr)
			require.Contains(t, stdout, c.stdout)
			require.Contains(t, stderr, c.stderr)
			require.Equal(t, c.stderr == "", stderr == "", stderr)
		})
	}
}

func TestCheckCommandFiles(t *testing.T) {
	dir := t.TempDir()
	path, page := filepath.Join(dir, "history.jsonl"), filepath.Join(dir, "page.html")
	require.NoError(t, os.WriteFile(path, []byte(`{"op":"get","key":"k","output":"a","call":1,"return":2}`), 0o600))
	root := newRootCommand()
	var out bytes.Buffer
	root.SetOut(&out)
	require.Equal(t, history.CodeIllegal, run(context.Background(), root, []string{"check", path, "--html", page}))
	content, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(content), "cannot be placed")
	root = newRootCommand()
	root.SetErr(&out)
	require.Equal(t, history.CodeUnknown, run(context.Background(), root, []string{"check", filepath.Join(dir, "none")}))
	require.Contains(t, out.String(), "no such file")
}

// TestCheckCompletesModels asks as a shell does what may follow --model.
func TestCheckCompletesModels(t *testing.T) {
	root := newRootCommand()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&bytes.Buffer{})
	require.Equal(t, 0, run(context.Background(), root, []string{"__complete", "check", "--model", ""}))
	require.Subset(t, strings.Fields(out.String()), history.Names())
	require.Contains(t, out.String(), ":4\n", "no file names beside the models")
}
