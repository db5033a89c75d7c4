//go:build !wasip1

package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// exhausted is a listener in a process without file descriptors.
type exhausted struct {
	net.Listener
	tries int
	again func() // called at the third try
}

func (e *exhausted) Accept() (net.Conn, error) {
	if e.tries++; e.tries == 3 {
		e.again()
	}
	return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
}

// A server that can accept no connections says so, once in a while.
func TestNoFileDescriptors(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var logs logBuffer
	log := slog.New(slog.NewTextHandler(&logs, nil))
	require.NoError(t, serveHTTP(ctx, &exhausted{Listener: listener, again: stop}, http.NotFoundHandler(), time.Second, log))
	require.Equal(t, 1, strings.Count(logs.String(), "level=ERROR"), logs.String())
	require.Contains(t, logs.String(), "too many open files")
}
