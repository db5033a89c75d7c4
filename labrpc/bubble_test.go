package labrpc_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"raftlab/labrpc"
)

func TestLatencyInBubbleOnly(t *testing.T) {
	require.Zero(t, labrpc.MakeNetwork().Latency(), "outside a bubble")
	synctest.Test(t, func(t *testing.T) {
		require.Equal(t, labrpc.DefaultLatency, labrpc.MakeNetwork().Latency())
		made := make(chan *labrpc.Network)
		go func() { made <- labrpc.MakeNetwork() }()
		require.Equal(t, labrpc.DefaultLatency, (<-made).Latency(), "second goroutine")
	})
}
