//go:build !wasip1

package labrpc_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/labrpc"
)

// BenchmarkTCPCall makes small calls over one loopback connection.
func BenchmarkTCPCall(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("callers=%d", n), func(b *testing.B) {
			tn := labrpc.MakeTCPNetwork(labrpc.TCPOptions{})
			defer tn.Close()
			rs := labrpc.MakeServer()
			rs.AddService(labrpc.MakeService(&JunkServer{}))
			l, err := tn.Listen("127.0.0.1:0", rs)
			require.NoError(b, err)
			var ends []*labrpc.ClientEnd
			for range n {
				ends = append(ends, tn.MakeEnd(l.Address()))
			}
			callFrom(b, ends)
		})
	}
}
