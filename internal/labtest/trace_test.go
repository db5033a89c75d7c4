//go:build !wasip1

package labtest_test

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"testing"

	"raftlab/internal/labtest"
	"raftlab/internal/testkit"
)

// TestTraced makes the messages for TestTrace.
func TestTraced(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		c := labtest.New(t, 3)
		c.One("traced", 3)
	})
}

// RAFTLAB_TRACE=1 logs every message of a test. Without the variable no message is
// logged.
func TestTrace(t *testing.T) {
	if os.Getenv("RAFTLAB_TRACE") != "" {
		t.Skip("the trace is on")
	}
	message := regexp.MustCompile(`(?m)^ +trace.go:\d+: +[\d.]+m?µ?s (sent|delivered) +.*Raft\.\w+`)
	for _, trace := range []string{"", "1"} {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestTraced$", "-test.v")
		cmd.Env = append(os.Environ(), "RAFTLAB_TRACE="+trace)
		out, err := cmd.CombinedOutput()
		if err != nil || message.Match(out) != (trace == "1") {
			t.Errorf("RAFTLAB_TRACE=%s: %v\n%s", trace, err, bytes.TrimSpace(out))
		}
	}
}
