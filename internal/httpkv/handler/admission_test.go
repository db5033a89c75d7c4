//go:build !wasip1

package handler_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/test/bufconn"

	"raftlab/internal/httpkv"
	"raftlab/internal/httpkv/handler"
	"raftlab/kv"
)

// held is a stub whose operations wait for a token.
type held struct {
	*stub
	begun chan struct{}
	pass  chan struct{}
}

func (h *held) Do(ctx context.Context, key string, op kv.Op) (kv.Result, error) {
	h.begun <- struct{}{}
	<-h.pass
	return h.stub.Do(ctx, key, op)
}

// reply is an answer, or the error of a request.
type reply struct {
	status int
	code   httpkv.Code
	retry  string
	err    error
}

// put sends a PUT in a goroutine.
func put(t *testing.T, server *httptest.Server, key string, value io.Reader) <-chan reply {
	ch := make(chan reply, 1)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL+httpkv.KeyPath+key, value)
	require.NoError(t, err)
	go func() {
		resp, err := server.Client().Do(req)
		if err != nil {
			ch <- reply{err: err}
			return
		}
		defer resp.Body.Close()
		body := httpkv.ErrorBody{Error: &httpkv.Error{}}
		err = json.NewDecoder(resp.Body).Decode(&body)
		ch <- reply{status: resp.StatusCode, code: body.Error.Code, retry: resp.Header.Get("Retry-After"), err: err}
	}()
	return ch
}

func serveHeld(t *testing.T, opts handler.Options) (*held, *httptest.Server) {
	h := &held{stub: newStub(), begun: make(chan struct{}, 100), pass: make(chan struct{})}
	listener := bufconn.Listen(1 << 16) // works in a bubble
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler.New(h, opts)}}
	server.Start()
	server.URL = "http://127.0.0.1" // the handler refuses other names
	t.Cleanup(server.Close)
	server.Client().Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return listener.DialContext(ctx)
	}}
	return h, server
}

// Values of 1 MiB are admitted as long as they fit, with or without a
// Content-Length. One more waits, and is answered when there is room.
func TestBytesInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, server := serveHeld(t, handler.Options{MaxInFlightBytes: 5 << 19, Patience: time.Minute})
		value := strings.Repeat("v", 1<<20)
		first := put(t, server, "a", strings.NewReader(value))
		second := put(t, server, "b", io.MultiReader(strings.NewReader(value))) // chunked
		<-h.begun
		<-h.begun
		third := put(t, server, "c", strings.NewReader(value))
		select {
		case <-h.begun:
			t.Fatal("three values of 1 MiB were admitted within 2.5 MiB")
		case <-time.After(100 * time.Millisecond):
		}
		h.pass <- struct{}{}
		<-h.begun
		h.pass <- struct{}{}
		h.pass <- struct{}{}
		for _, ch := range []<-chan reply{first, second, third} {
			require.Equal(t, reply{status: http.StatusOK}, <-ch)
		}
	})
}

// A request that waits longer than the patience, and one more than may wait, get
// 503 with Retry-After, and their operations are never begun.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, server := serveHeld(t, handler.Options{MaxInFlight: 1, Patience: 500 * time.Millisecond})
		first := put(t, server, "a", strings.NewReader("1"))
		<-h.begun
		waiting := put(t, server, "b", strings.NewReader(strings.Repeat("v", 1<<20)))
		time.Sleep(100 * time.Millisecond)
		busy := reply{status: http.StatusServiceUnavailable, code: httpkv.Busy, retry: "1"}
		begin := time.Now()
		require.Equal(t, busy, <-put(t, server, "c", strings.NewReader(strings.Repeat("v", 1<<20))))
		require.Less(t, time.Since(begin), 300*time.Millisecond, "the queue was full, and the request waited")
		require.Equal(t, busy, <-waiting)
		h.pass <- struct{}{}
		require.Equal(t, reply{status: http.StatusOK}, <-first)
		require.Empty(t, h.begun)
		require.Equal(t, 1, h.calls)

		go func() { h.pass <- struct{}{} }()
		require.Equal(t, reply{status: http.StatusOK}, <-put(t, server, "b", strings.NewReader("2")), "the store is usable again")
	})
}

// The status is answered although the store is busy.
func TestStatusWhileBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, server := serveHeld(t, handler.Options{MaxInFlight: 1})
		first := put(t, server, "a", strings.NewReader("1"))
		<-h.begun
		resp, err := server.Client().Get(server.URL + "/v1/status")
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
		h.pass <- struct{}{}
		<-first
	})
}
