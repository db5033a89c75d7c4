package labtest

import (
	"os"
	"sync"
	"testing"
	"time"

	"raftlab/labrpc"
)

// traceVariable turns traces on. Each message of a test becomes a line of the test's
// log. The go command shows the log of a failed test, and with -v of every test.
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
		if !ended { // a goroutine may outlive the test
			t.Logf("%12v %v", e.Time.Sub(start), e)
		}
	})
}
