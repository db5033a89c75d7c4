//go:build !wasip1

package labrpc_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/labrpc"
)

// One-way messages also travel over TCP.
func TestSendOverTCP(t *testing.T) {
	tn := labrpc.MakeTCPNetwork(labrpc.TCPOptions{})
	defer tn.Close()
	sink := &Sink{}
	rs := labrpc.MakeServer()
	rs.AddService(labrpc.MakeService(sink))
	l, err := tn.Listen("127.0.0.1:0", rs)
	require.NoError(t, err)
	tn.MakeEnd(l.Address()).Send("Sink.Put", 7)
	require.True(t, testkit.Eventually(10*time.Second, func() bool { return len(sink.taken()) == 1 }))
}
