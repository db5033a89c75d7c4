//go:build unix

package labrun_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/labrun"
	"raftlab/trace"
)

// printing is the child of TestOutputBeforeEvents. It prints pieces of many lengths, and
// each event holds the length of its output as it should be in Index.
func printing(t *testing.T) {
	rec := labrun.Record(t)
	info, err := os.Stdout.Stat()
	require.NoError(t, err)
	length := info.Size()
	note := func() {
		rec.Add(trace.Event{Kind: trace.Crashed, Lane: rec.Lane("S0", trace.Server), Index: int(length)})
	}
	write := func(n int) {
		fmt.Print(strings.Repeat("x", n-1) + "\n")
		length += int64(n)
	}
	page := os.Getpagesize()
	for _, n := range []int{1, 5, page, 3 * page, 7, page/2 + 1} {
		note()
		write(n)
		note()
		note()
	}
	write(page - int(length)%page) // the file ends with the page
	note()
	write(1)
	note()
	require.NoError(t, os.Stdout.Truncate(0)) // the parent does so with too much output
	length = 0
	note()
	write(3)
	note()
	fmt.Print("\x00 a zero hides what follows")
	for range 300 {
		rec.Add(trace.Event{Kind: trace.Restarted, Lane: 0})
	}
	info, err = os.Stdout.Stat()
	require.NoError(t, err)
	length = info.Size()
	note()
	t.Error("wrong")
}

// An event knows the length of the output before it, however the output grows.
func TestOutputBeforeEvents(t *testing.T) {
	if os.Getenv(caseVariable) != "" {
		labrun.Run(t, printing)
		return
	}
	for _, flags := range []int{os.O_RDWR, os.O_WRONLY} { // a file for writing only cannot be mapped
		dir := t.TempDir()
		out, err := os.OpenFile(filepath.Join(dir, "out"), os.O_CREATE|os.O_APPEND|flags, 0o600)
		require.NoError(t, err)
		cmd := exec.Command(os.Args[0], "-test.run=^TestOutputBeforeEvents$", "-test.v", "-seed=1")
		cmd.Env = append(os.Environ(), caseVariable+"=output", "RAFTLAB_LAB_RESULT="+filepath.Join(dir, "result"), "RAFTLAB_TRACE=", "RAFTLAB_TRACE_STREAM=")
		cmd.Stdout, cmd.Stderr = out, out
		require.Error(t, cmd.Run(), "the child fails its test")
		require.NoError(t, out.Close())
		run, err := trace.ReadFile(filepath.Join(dir, "result.trace"))
		require.NoError(t, err)
		checked := 0
		for _, e := range run.Events {
			if e.Kind == trace.Crashed {
				require.EqualValues(t, e.Index, e.Output, "event %d", checked)
				checked++
			}
		}
		require.Equal(t, 23, checked)
	}
}
