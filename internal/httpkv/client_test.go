//go:build !wasip1

package httpkv_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/httpkv"
	"raftlab/kv"
)

// reply is a response of a script: a status and a body, with headers.
type reply struct {
	status int
	body   string
	header []string // "Name: value"
	lost   bool     // the connection ends in place of the response
}

// script is a server that gives replies in turn, and the last of them again.
type script struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
	bodies   []string
}

func play(t *testing.T, replies ...reply) *script {
	s := &script{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		next := replies[min(len(s.requests), len(replies)-1)]
		s.requests = append(s.requests, r)
		s.bodies = append(s.bodies, string(body))
		s.mu.Unlock()
		if next.lost {
			panic(http.ErrAbortHandler)
		}
		for _, header := range next.header {
			name, value, _ := strings.Cut(header, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(next.status)
		_, _ = io.WriteString(w, next.body)
	}))
	t.Cleanup(s.Close)
	return s
}

// got returns the requests and bodies up to now.
func (s *script) got() ([]*http.Request, []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests), slices.Clone(s.bodies)
}

func (s *script) client() *httpkv.Client { return &httpkv.Client{BaseURL: s.URL} }

// short returns a context for a call that does not succeed.
func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

var (
	put      = httpkv.Write{Op: kv.Put("a", "x")}
	written  = reply{status: 200, body: `{"version":7}`, header: []string{`ETag: "7"`}}
	noLeader = reply{status: 503, body: `{"error":{"code":"no_leader","message":"there is no leader"}}`}
	unknown  = reply{status: 503, body: `{"error":{"code":"outcome_unknown","message":"unknown"}}`}
	stopped  = reply{status: 409, body: `{"error":{"code":"replica_state","message":"is stopped"}}`}
	lost     = reply{lost: true}
)

// A write is repeated after a lost answer, after 503 and after the errors of a
// proxy, with the same Idempotency-Key.
func TestWritesAreRepeated(t *testing.T) {
	t.Parallel()
	s := play(t, lost, noLeader, reply{status: 502, body: "<html>"}, reply{status: 429, body: "{}"}, written)
	version, err := s.client().Do(t.Context(), put)
	require.NoError(t, err)
	require.Equal(t, uint64(7), version)
	requests, bodies := s.got()
	require.Len(t, requests, 5)
	for i, r := range requests {
		require.Equal(t, requests[0].Header["Idempotency-Key"], r.Header["Idempotency-Key"])
		require.Equal(t, "application/octet-stream", r.Header.Get("Content-Type"))
		require.Equal(t, "x", bodies[i])
	}
	require.NotEmpty(t, requests[0].Header.Get("Idempotency-Key"))
}

// inMemory is a transport that gives replies in turn, and the last of them again. A try
// takes no time in a bubble.
type inMemory struct{ replies []reply }

func (m *inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	next := m.replies[0]
	if len(m.replies) > 1 {
		m.replies = m.replies[1:]
	}
	if next.lost {
		return nil, io.ErrUnexpectedEOF
	}
	w := httptest.NewRecorder()
	for _, header := range next.header {
		name, value, _ := strings.Cut(header, ": ")
		w.Header().Set(name, value)
	}
	w.WriteHeader(next.status)
	_, _ = w.WriteString(next.body)
	answer := w.Result()
	answer.Request = r
	return answer, nil
}

func answering(replies ...reply) *httpkv.Client {
	return &httpkv.Client{BaseURL: "http://127.0.0.1", HTTP: &http.Client{Transport: &inMemory{replies}}}
}

// The error of a write tells an open outcome from a write that did nothing.
func TestOpenOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // no try lasts until the context ends
		for _, tt := range []struct {
			name    string
			replies []reply
			open    bool
		}{
			{"no leader", []reply{noLeader}, false},
			{"lost, then no leader", []reply{lost, noLeader}, true},
			{"unknown", []reply{unknown}, true},
			{"a proxy's error", []reply{{status: 504, body: "late"}}, true},
			{"lost", []reply{lost}, true},
			{"lost, then a redirect", []reply{lost, {status: 302, header: []string{"Location: /"}}}, true},
		} {
			_, err := answering(tt.replies...).Do(short(t), httpkv.Write{Op: kv.Put("a", "x"), IdempotencyKey: "K"})
			var open *httpkv.OpenError
			if !tt.open {
				require.ErrorIs(t, err, httpkv.ErrUnavailable, tt.name)
				require.NotErrorAs(t, err, &open, tt.name)
				continue
			}
			require.ErrorAs(t, err, &open, tt.name)
			require.Equal(t, "K", open.IdempotencyKey, tt.name)
		}
		_, err := answering(lost).Get(short(t), "a")
		require.ErrorIs(t, err, httpkv.ErrUnavailable)
		require.NotErrorAs(t, err, new(*httpkv.OpenError), "a read has no open outcome")
	})
}

// Nothing listens: no request was sent, so nothing can have happened.
func TestNothingWasSent(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	client := &httpkv.Client{BaseURL: "http://" + l.Addr().String()}
	_, err = client.Do(short(t), put)
	require.ErrorIs(t, err, httpkv.ErrUnavailable)
	require.NotErrorAs(t, err, new(*httpkv.OpenError))
	_, err = client.Txn(short(t), []byte(`{}`))
	require.ErrorIs(t, err, httpkv.ErrUnavailable)
	require.NotErrorAs(t, err, new(*httpkv.OpenError))
}

// A request that never gets a connection was not sent either.
func TestNoConnectionInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		defer close(end)
		client := &httpkv.Client{BaseURL: "http://127.0.0.1", HTTP: &http.Client{Transport: &http.Transport{
			DialContext: func(context.Context, string, string) (net.Conn, error) { <-end; return nil, io.EOF },
		}}}
		_, err := client.Do(short(t), put)
		require.ErrorIs(t, err, httpkv.ErrUnavailable)
		require.NotErrorAs(t, err, new(*httpkv.OpenError))
	})
}

// A transaction is repeated only while the server has not begun it.
func TestTransactionsAreNotRepeated(t *testing.T) {
	done := reply{status: 200, body: `{"succeeded":true,"results":[]}`}
	for _, tt := range []struct {
		name     string
		first    reply
		requests int
	}{
		{"no leader", noLeader, 2},
		{"lost", lost, 1},
		{"unknown", unknown, 1},
		{"a proxy's error", reply{status: 502}, 1},
	} {
		s := play(t, tt.first, done)
		answer, err := s.client().Txn(t.Context(), []byte(`{}`))
		requests, _ := s.got()
		require.Len(t, requests, tt.requests, tt.name)
		if tt.requests == 2 {
			require.NoError(t, err, tt.name)
			require.True(t, answer.Succeeded, tt.name)
			continue
		}
		require.ErrorAs(t, err, new(*httpkv.OpenError), tt.name)
		require.ErrorIs(t, err, httpkv.ErrUnavailable, tt.name)
	}
}

// A replica that an earlier try stopped is stopped; without such a try the refusal
// is an error.
func TestStopAfterALostAnswer(t *testing.T) {
	for _, first := range []reply{lost, {status: 502}} {
		s := play(t, first, stopped)
		require.NoError(t, s.client().ChangeReplica(t.Context(), 2, "stop"))
		requests, _ := s.got()
		require.Equal(t, "application/octet-stream", requests[0].Header.Get("Content-Type"))
	}
	for _, replies := range [][]reply{{stopped}, {noLeader, stopped}} {
		err := play(t, replies...).client().ChangeReplica(t.Context(), 2, "stop")
		var refused *httpkv.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, httpkv.ReplicaState, refused.Code)
		require.Equal(t, http.StatusConflict, refused.Status)
	}
}

// A redirect that turns a write into a GET is refused; others are followed.
func TestRedirects(t *testing.T) {
	for status, refused := range map[int]bool{301: true, 302: true, 303: true, 307: false, 308: false} {
		end := play(t, written)
		front := play(t, reply{status: status, header: []string{"Location: " + end.URL + "/v1/kv/a"}})
		_, err := front.client().Do(t.Context(), put)
		requests, _ := front.got()
		require.Len(t, requests, 1, "%d is not tried again", status)
		requests, bodies := end.got()
		if refused {
			require.ErrorIs(t, err, httpkv.ErrForeign, "%d", status)
			require.ErrorContains(t, err, end.URL, "%d", status)
			require.Empty(t, requests, "%d", status)
			continue
		}
		require.NoError(t, err, "%d", status)
		require.Equal(t, "PUT", requests[0].Method)
		require.Equal(t, "x", bodies[0])
		require.NotEmpty(t, requests[0].Header.Get("Idempotency-Key"))
	}
	end := play(t, reply{status: 200, body: "value", header: []string{`ETag: "7"`}})
	pair, err := play(t, reply{status: 301, header: []string{"Location: " + end.URL + "/v1/kv/a"}}).client().Get(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, kv.Pair{Key: "a", Value: "value", Version: 7}, pair)
	loop := play(t, reply{status: 307, header: []string{"Location: /v1/kv/a"}})
	_, err = loop.client().Get(short(t), "a")
	require.ErrorIs(t, err, httpkv.ErrForeign)
	requests, _ := loop.got()
	require.Len(t, requests, 10)
}

// An answer that a raftlab server does not give is an error, whatever its status.
func TestForeignAnswers(t *testing.T) {
	calls := map[string]func(*httpkv.Client) error{
		"get": func(c *httpkv.Client) error { _, err := c.Get(t.Context(), "a"); return err },
		"put": func(c *httpkv.Client) error { _, err := c.Do(t.Context(), put); return err },
		"delete": func(c *httpkv.Client) error {
			_, err := c.Do(t.Context(), httpkv.Write{Op: kv.Delete("a")})
			return err
		},
		"scan":   func(c *httpkv.Client) error { _, _, err := c.Scan(t.Context(), "", "", "", 10); return err },
		"status": func(c *httpkv.Client) error { _, err := c.Status(t.Context()); return err },
		"layout": func(c *httpkv.Client) error { _, err := c.Layout(t.Context()); return err },
		"stop":   func(c *httpkv.Client) error { return c.ChangeReplica(t.Context(), 1, "stop") },
		"join":   func(c *httpkv.Client) error { _, err := c.ChangeGroups(t.Context(), "join", []int{1}); return err },
		"move":   func(c *httpkv.Client) error { _, err := c.MoveShard(t.Context(), 1, 1); return err },
		"txn":    func(c *httpkv.Client) error { _, err := c.Txn(t.Context(), []byte("{}")); return err },
	}
	for name, call := range calls {
		for _, answer := range []reply{
			{status: 200, body: `{}`},
			{status: 200, body: `null`},
			{status: 200, body: `<html>`},
			{status: 200, body: `{"version":null,"items":null,"succeeded":null,"config":null,"replicas":null}`},
			{status: 200, body: `{"version":"7","items":7,"more":1,"succeeded":7,"results":7,"config":"7","shards":7,"groups":7,"leader":"7","replicas":7,"limits":7}`, header: []string{`ETag: 7`}},
			{status: 202, body: `{"version":7}`, header: []string{`ETag: "7"`}},
			{status: 404, body: `not found`},
			{status: 404, body: `{"error":{}}`},
			{status: 500, body: ``},
			{status: 304, body: ``},
		} {
			err := call(play(t, answer).client())
			require.ErrorIs(t, err, httpkv.ErrForeign, "%s: %+v", name, answer)
		}
	}
	_, err := play(t, reply{status: 200, body: `{"version":7}`, header: []string{`ETag: "8"`}}).client().Do(t.Context(), put)
	require.ErrorIs(t, err, httpkv.ErrForeign)
	var open *httpkv.OpenError
	require.ErrorAs(t, err, &open, "nobody knows how far the write came")
	require.NotEmpty(t, open.IdempotencyKey)
}

// A client waits as long as a Retry-After asks.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	later := noLeader
	later.header = []string{"Retry-After: 1"}
	start := time.Now()
	_, err := play(t, later, written).client().Do(t.Context(), put)
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(start), time.Second)
}
