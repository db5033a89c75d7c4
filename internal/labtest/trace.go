package labtest

import (
	"os"
	"sync"
	"testing"
	"time"

	"raftlab/labrpc"
)

// traceVariable turns traces on: every message of every test is a line of the
// test's log. go test shows the log of a test that fails, and with -v of each.
const traceVariable = "RAFTLAB_TRACE"

// Trace logs each event of a network, with the time since this call, if
// RAFTLAB_TRACE=1.
func Trace(t testing.TB, net *labrpc.Network) {
	if os.Getenv(traceVariable) != "1" {
		return
	}
	var mu sync.Mutex
	ended := false
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		ended = true
	})
	start := time.Now()
	net.AddTap(func(e labrpc.Event) {
		mu.Lock()
		defer mu.Unlock()
		if !ended { // a message of a goroutine that outlives the test
			t.Logf("%12v %v", e.Time.Sub(start), e)
		}
	})
}
