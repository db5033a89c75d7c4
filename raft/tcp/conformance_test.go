package tcp_test

import (
	"fmt"
	"testing"
	"time"

	"raftlab/raft/node"
	"raftlab/raft/tcp"
	"raftlab/raft/transporttest"
)

func TestTransport(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS=%t", secure), func(t *testing.T) {
			ca := newAuthority(t)
			transporttest.Run(t, transporttest.Options{
				QueueBytes: 256 << 10,
				New: func(id node.Identity) (node.Transport, error) {
					opts := tcp.Options{
						Listen: "127.0.0.1:0", Plaintext: !secure, MaxQueueBytes: 256 << 10,
						MinBackoff: 5 * time.Millisecond, MaxBackoff: 20 * time.Millisecond,
					}
					if secure {
						opts.TLS = ca.host(fmt.Sprintf("h%d", id.Host), id)
					}
					return tcp.Listen(opts)
				},
			})
		})
	}
}
