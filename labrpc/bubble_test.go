package labrpc_test

import (
	"testing"
	"testing/synctest"

	"raftlab/labrpc"
)

func TestLatencyInBubbleOnly(t *testing.T) {
	if got := labrpc.MakeNetwork().Latency(); got != 0 {
		t.Errorf("latency %v outside a bubble, want none", got)
	}
	synctest.Test(t, func(t *testing.T) {
		if got := labrpc.MakeNetwork().Latency(); got != labrpc.DefaultLatency {
			t.Errorf("latency %v in a bubble, want %v", got, labrpc.DefaultLatency)
		}
		made := make(chan *labrpc.Network)
		go func() { made <- labrpc.MakeNetwork() }()
		if got := (<-made).Latency(); got != labrpc.DefaultLatency {
			t.Errorf("latency %v in a bubble's second goroutine, want %v", got, labrpc.DefaultLatency)
		}
	})
}
