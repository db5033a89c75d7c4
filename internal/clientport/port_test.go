package clientport_test

import (
	"context"
	"log/slog"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"raftlab/internal/clientport"
	"raftlab/internal/testkit"
)

// Close may come while Serve begins, and before it.
func TestCloseWhileServeBegins(t *testing.T) {
	t.Parallel()
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		return l
	}
	log := slog.New(slog.DiscardHandler)
	for kind, open := range map[string]func() (serve, end func() error){
		"with gRPC": func() (serve, end func() error) {
			p, err := clientport.New(clientport.Options{Listener: listen(), GRPC: grpc.NewServer(), Logger: log,
				Pages: clientport.Pages{Metrics: clientport.NewMetrics()}})
			require.NoError(t, err)
			return p.Serve, func() error { return p.Close(context.Background()) }
		},
		"pages alone": func() (serve, end func() error) {
			p, err := clientport.New(clientport.Options{Listener: listen(), Logger: log,
				Pages: clientport.Pages{Metrics: clientport.NewMetrics()}})
			require.NoError(t, err)
			return p.Serve, func() error { return p.Close(context.Background()) }
		},
		"a splitter": func() (serve, end func() error) {
			s := clientport.Split(listen(), log)
			return s.Serve, s.Close
		},
	} {
		for range 100 {
			serve, end := open()
			served := make(chan error, 1)
			go func() { served <- serve() }()
			require.NoError(t, end(), kind)
			require.NoError(t, testkit.Receive(t, "the end of "+kind, served), kind)
			require.NoError(t, serve(), kind)
		}
	}
}
