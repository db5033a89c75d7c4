//go:build !wasip1

package handler_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/cluster"
	"raftlab/internal/httpkv"
	"raftlab/internal/httpkv/handler"
	"raftlab/internal/kvstore"
	"raftlab/kv"
)

// stub is a cluster of one store without replication.
type stub struct {
	mu       sync.Mutex
	store    *kv.Store
	sessions map[string]kv.Result
	ops      map[string]kv.Op
	fails    error // returned by Do in place of a result
	calls    int
}

func newStub() *stub {
	return &stub{store: kv.NewStore(kvstore.Limits), sessions: map[string]kv.Result{}, ops: map[string]kv.Op{}}
}

func (s *stub) Do(ctx context.Context, key string, op kv.Op) (kv.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.fails != nil {
		return kv.Result{}, s.fails
	}
	if before, known := s.ops[key]; known && key != "" {
		if before != op {
			return kv.Result{}, kvstore.ErrKeyReused
		}
		return s.sessions[key], nil
	}
	result := s.store.Apply(op)
	s.sessions[key], s.ops[key] = result, op
	return result, nil
}

func (s *stub) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = err
}

func (s *stub) Status() []cluster.Status {
	return []cluster.Status{{Number: 1, State: "running", Role: "leader", Term: 3}, {Number: 2, State: "stopped"}}
}

func (s *stub) Start(n int) error { return change(n, 1, cluster.ErrRunning) }
func (s *stub) Stop(n int) error  { return change(n, 2, cluster.ErrStopped) }

func (s *stub) Repair(n int) error  { return change(n, 1, cluster.ErrHealthy) }
func (s *stub) Compact(n int) error { return change(n, 0, nil) }

func change(n, already int, err error) error {
	switch {
	case n != 1 && n != 2:
		return fmt.Errorf("%w: %d", cluster.ErrNoReplica, n)
	case n == already:
		return err
	}
	return nil
}

// serve serves a stub.
func serve(t *testing.T) (*stub, *httptest.Server) {
	s := newStub()
	server := httptest.NewServer(handler.New(s, handler.Options{}))
	t.Cleanup(server.Close)
	return s, server
}

// exchange is a request and the response that the handler is to give.
type exchange struct {
	method, path string
	header       string // "Name: value"
	body         string
	status       int
	want         string // the body, or the code of an error
	wantHeader   string // "Name: value"
}

func (x exchange) run(t *testing.T, base string) {
	t.Helper()
	req, err := http.NewRequest(x.method, base+x.path, strings.NewReader(x.body))
	require.NoError(t, err)
	if name, value, ok := strings.Cut(x.header, ": "); ok {
		req.Header.Set(name, value)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %.80s: %v", x.method, x.path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	got := strings.TrimSuffix(string(body), "\n")
	if resp.StatusCode >= 400 && x.method != http.MethodHead {
		var e struct {
			Error struct{ Code, Message string }
		}
		if err := json.Unmarshal(body, &e); err != nil || e.Error.Message == "" {
			t.Errorf("%s %.80s: the error's body is %q", x.method, x.path, body)
		}
		got = e.Error.Code
	}
	if resp.StatusCode != x.status || got != x.want {
		t.Errorf("%s %.80s %s: %d %.200q; want %d %q", x.method, x.path, x.header, resp.StatusCode, got, x.status, x.want)
	}
	if name, value, ok := strings.Cut(x.wantHeader, ": "); ok && resp.Header.Get(name) != value {
		t.Errorf("%s %.80s: %s is %q; want %q", x.method, x.path, name, resp.Header.Get(name), value)
	}
}

func TestStatusCodes(t *testing.T) {
	_, server := serve(t)
	large := strings.Repeat("v", 1<<20)
	longKey := strings.Repeat("k", 1024)
	for _, x := range []exchange{
		{"GET", "/v1/kv/a", "", "", 404, "not_found", "Content-Type: application/json"},
		{"HEAD", "/v1/kv/a", "", "", 404, "", ""},
		{"PUT", "/v1/kv/a", "", "one", 200, `{"version":1}`, `ETag: "1"`},
		{"GET", "/v1/kv/a", "", "", 200, "one", `ETag: "1"`},
		{"HEAD", "/v1/kv/a", "", "", 200, "", "Content-Length: 3"},
		{"GET", "/v1/kv/a", `If-None-Match: "1"`, "", 304, "", `ETag: "1"`},
		{"GET", "/v1/kv/a", "If-None-Match: *", "", 304, "", `ETag: "1"`},
		{"GET", "/v1/kv/a", `If-None-Match: "7",W/"1"`, "", 304, "", ""},
		{"GET", "/v1/kv/a", `If-None-Match: "7"`, "", 200, "one", ""},
		{"GET", "/v1/kv/a", `If-Match: "7", "1"`, "", 200, "one", ""},
		{"GET", "/v1/kv/a", "If-Match: *", "", 200, "one", ""},
		{"GET", "/v1/kv/a", `If-Match: "7"`, "", 412, "version_mismatch", `ETag: "1"`},
		{"GET", "/v1/kv/a", `If-Match: W/"1"`, "", 412, "version_mismatch", ""},
		{"GET", "/v1/kv/a?version=1", "", "", 400, "bad_request", ""},
		{"PUT", "/v1/kv/a?op=append", "", "not in place of it", 400, "bad_request", ""},
		{"POST", "/v1/kv/a?op=put", "", "x", 400, "bad_request", ""},
		{"POST", "/v1/kv/a/append", "", "not to another key", 400, "bad_request", ""},
		{"DELETE", "/v1/kv/a?version=7", "", "", 400, "bad_request", ""},
		{"POST", "/v1/kv/a?op=append", "", "+two", 200, `{"version":2}`, `ETag: "2"`},
		{"GET", "/v1/kv/a", "", "", 200, "one+two", "Content-Type: application/octet-stream"},
		{"PUT", "/v1/kv/a", `If-Match: "2"`, "three", 200, `{"version":3}`, ""},
		{"PUT", "/v1/kv/a", `If-Match: "2"`, "four", 412, "version_mismatch", `ETag: "3"`},
		{"POST", "/v1/kv/a", `If-Match: "2"`, "four", 412, "version_mismatch", ""},
		{"DELETE", "/v1/kv/a", `If-Match: "2"`, "", 412, "version_mismatch", ""},
		{"PUT", "/v1/kv/a", "If-None-Match: *", "four", 412, "version_mismatch", ""},
		{"PUT", "/v1/kv/b", "If-None-Match: *", "b", 200, `{"version":4}`, ""},
		{"PUT", "/v1/kv/c", `If-Match: "4"`, "c", 412, "version_mismatch", ""},
		{"PUT", "/v1/kv/a", "If-Match: *", "x", 400, "bad_request", ""},
		{"PUT", "/v1/kv/a", "If-Match: 3", "x", 400, "bad_request", ""},
		{"PUT", "/v1/kv/a", `If-Match: "003"`, "x", 400, "bad_request", ""},
		{"PUT", "/v1/kv/a", `If-Match: "+3"`, "x", 400, "bad_request", ""},
		{"PUT", "/v1/kv/a", `If-Match: "0"`, "x", 400, "bad_request", ""},
		{"PUT", "/v1/kv/a", `If-Match: ""3""`, "x", 400, "bad_request", ""},
		{"PUT", "/v1/kv/a", "Content-Range: bytes 0-0/5", "x", 400, "bad_request", ""},
		{"DELETE", "/v1/kv/a", "", "x", 400, "bad_request", ""},
		{"PUT", "/v1/kv/a", `If-Match: W/"3"`, "x", 400, "bad_request", ""},
		{"PUT", "/v1/kv/a", `If-Match: "3", "4"`, "x", 400, "bad_request", ""},
		{"PUT", "/v1/kv/a", `If-None-Match: "3"`, "x", 400, "bad_request", ""},
		{"GET", "/v1/kv/a", "", "", 200, "three", ""},
		{"DELETE", "/v1/kv/a", "", "", 204, "", ""},
		{"DELETE", "/v1/kv/a", "", "", 404, "not_found", ""},
		{"PUT", "/v1/kv/" + longKey, "", "x", 200, `{"version":6}`, ""},
		{"PUT", "/v1/kv/" + longKey + "k", "", "x", 413, "key_too_large", ""},
		{"GET", "/v1/kv/" + longKey + "k", "", "", 413, "key_too_large", ""},
		{"PUT", "/v1/kv/large", "", large, 200, `{"version":7}`, ""},
		{"PUT", "/v1/kv/large", "", large + "v", 413, "value_too_large", ""},
		{"POST", "/v1/kv/large", "", "v", 413, "value_too_large", ""},
		{"GET", "/v1/kv/", "", "", 400, "empty_key", ""},
		{"GET", "/v1/kv/?limit=1", "", "", 400, "empty_key", ""},
		{"PUT", "/v1/kv/", "", "x", 400, "empty_key", ""},
		{"PATCH", "/v1/kv/a", "", "x", 405, "no_method", "Allow: DELETE, GET, HEAD, POST, PUT"},
		{"PUT", "/v1/kv", "", "x", 405, "no_method", "Allow: GET, HEAD"},
		{"OPTIONS", "/v1/kv/a", "", "", 204, "", "Allow: DELETE, GET, HEAD, POST, PUT"},
		{"OPTIONS", "/v1/kv", "", "", 204, "", "Allow: GET, HEAD"},
		{"OPTIONS", "/v1/status", "", "", 204, "", "Allow: GET, HEAD"},
		{"OPTIONS", "/nowhere", "", "", 404, "no_route", ""},
		{"DELETE", "/v1/status", "", "", 405, "no_method", ""},
		{"GET", "/", "", "", 404, "no_route", ""},
		{"GET", "/v2/kv/a", "", "", 404, "no_route", ""},
		{"GET", "/v1/status/", "", "", 404, "no_route", ""},
		{"PUT", "/v1/kv/x//y", "", "x", 400, "bad_request", ""},
		{"PUT", "/v1/kv/x/../y", "", "x", 400, "bad_request", ""},
		{"PUT", "/v1/kv/a", "Idempotency-Key: " + strings.Repeat("i", 256), "x", 400, "bad_request", ""},
		{"POST", "/v1/kv/once", "Idempotency-Key: K", "x", 200, `{"version":8}`, ""},
		{"POST", "/v1/kv/once", "Idempotency-Key: K", "x", 200, `{"version":8}`, ""},
		{"POST", "/v1/kv/once", "Idempotency-Key: K", "y", 422, "key_reused", ""},
		{"GET", "/v1/kv/once", "", "", 200, "x", ""},
		{"POST", "/v1/kv/a%2Fappend", "", "x", 200, `{"version":9}`, ""},
		{"GET", "/v1/kv/a/append", "", "", 200, "x", ""},
		{"GET", "/v1/kv?limit=0", "", "", 400, "bad_request", ""},
		{"GET", "/v1/kv?limit=1001", "", "", 400, "bad_request", ""},
		{"GET", "/v1/kv?limt=1", "", "", 400, "bad_request", ""},
		{"GET", "/v1/kv?limit=1&limit=2", "", "", 400, "bad_request", ""},
		{"GET", "/v1/kv?limit=01", "", "", 400, "bad_request", ""},
		{"GET", "/v1/kv?Limit=1", "", "", 400, "bad_request", ""},
		{"GET", "/v1/kv?start=a;end=b", "", "", 400, "bad_request", ""},
		{"GET", "/v1/kv?start=%zz", "", "", 400, "bad_request", ""},
		{"POST", "/v1/replicas/1/stop", "", "", 204, "", ""},
		{"POST", "/v1/replicas/2/stop", "", "", 409, "replica_state", ""},
		{"POST", "/v1/replicas/1/start", "", "", 409, "replica_state", ""},
		{"POST", "/v1/replicas/3/start", "", "", 404, "no_replica", ""},
		{"POST", "/v1/replicas/x/start", "", "", 404, "no_replica", ""},
		{"POST", "/v1/replicas/01/start", "", "", 404, "no_replica", ""},
		{"POST", "/v1/replicas/1/stop", "", "now", 400, "bad_request", ""},
		{"POST", "/v1/replicas/1/repair", "", "", 409, "replica_state", ""},
		{"POST", "/v1/replicas/2/repair", "", "", 204, "", ""},
		{"POST", "/v1/replicas/3/repair", "", "", 404, "no_replica", ""},
		{"POST", "/v1/replicas/1/compact", "", "", 204, "", ""},
		{"POST", "/v1/replicas/0/compact", "", "", 404, "no_replica", ""},
		{"POST", "/v1/replicas/1/jump", "", "", 404, "no_route", ""},
	} {
		x.run(t, server.URL)
	}
}

func TestFailures(t *testing.T) {
	s, server := serve(t)
	for _, tt := range []struct {
		err    error
		status int
		code   string
		header string
	}{
		{kvstore.ErrNoLeader, 503, "no_leader", "Retry-After: 1"},
		{fmt.Errorf("%w: because", kvstore.ErrUnknown), 503, "outcome_unknown", "Retry-After: 1"},
		{errors.New("some other thing"), 500, "internal", ""},
	} {
		s.fail(tt.err)
		exchange{"PUT", "/v1/kv/a", "", "x", tt.status, tt.code, tt.header}.run(t, server.URL)
	}
}

// A key comes back as it was written, with any bytes.
func TestKeysOfAllKinds(t *testing.T) {
	_, server := serve(t)
	client := &httpkv.Client{BaseURL: server.URL}
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	keys := []string{".", "..", "...", "/", "//", "a/b", "a//b", "/a", "a/", "a/../b", "./.", "%2F", "%", "a b", "a+b", "?q=1", "#f",
		"é", "\xff\xfe", "\x00", string(every), "a;b", "a&b=c", `"`, "<script>", "kv", "../../etc"}
	for i, key := range keys {
		version, err := client.Do(t.Context(), httpkv.Write{Op: kv.Put(key, key)})
		if err != nil || version != uint64(i+1) {
			t.Fatalf("put %q: version %d, error %v", key, version, err)
		}
	}
	for i, key := range keys {
		pair, err := client.Get(t.Context(), key)
		if want := (kv.Pair{Key: key, Value: key, Version: uint64(i + 1)}); err != nil || pair != want {
			t.Errorf("get %q: %+v, error %v", key, pair, err)
		}
	}
	pairs, next, err := client.Scan(t.Context(), "", "", "", 1000)
	if err != nil || next != "" {
		t.Fatalf("scan: next %q, error %v", next, err)
	}
	slices.Sort(keys)
	for i, p := range pairs {
		if p.Key != keys[i] || p.Value != keys[i] {
			t.Errorf("scan: pair %d is %+v; want %q", i, p, keys[i])
		}
	}
}

func TestScanRanges(t *testing.T) {
	_, server := serve(t)
	client := &httpkv.Client{BaseURL: server.URL}
	for _, key := range []string{"a", "a\xff", "a\xff\xff", "b", "ba", "bb", "c", "\xff", "\xff\xff\x01"} {
		_, err := client.Do(t.Context(), httpkv.Write{Op: kv.Put(key, "")})
		require.NoError(t, err)
	}
	for _, tt := range []struct {
		start, end, prefix string
		want               []string
	}{
		{"", "", "b", []string{"b", "ba", "bb"}},
		{"ba", "", "b", []string{"ba", "bb"}},
		{"", "bb", "b", []string{"b", "ba"}},
		{"c", "", "b", nil},
		{"", "a", "b", nil},
		{"b", "b", "", nil},
		{"b", "a", "", nil},
		{"bb", "\xff", "", []string{"bb", "c"}},
		{"", "", "a\xff", []string{"a\xff", "a\xff\xff"}},
		{"", "", "\xff", []string{"\xff", "\xff\xff\x01"}},
		{"", "", "\xff\xff", []string{"\xff\xff\x01"}},
	} {
		// Page by page, of two keys each.
		var got []string
		pairs, next, err := client.Scan(t.Context(), tt.start, tt.end, tt.prefix, 2)
		for {
			if err != nil || len(pairs) > 2 {
				t.Fatalf("scan %+v: %d pairs, error %v", tt, len(pairs), err)
			}
			for _, p := range pairs {
				got = append(got, p.Key)
			}
			if next == "" {
				break
			}
			pairs, next, err = client.ScanNext(t.Context(), next)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("scan %q to %q of prefix %q: %q; want %q", tt.start, tt.end, tt.prefix, got, tt.want)
		}
	}
}

// A body over the limit is refused without reading it, with a Content-Length and
// without.
func TestLongBodyIsNotRead(t *testing.T) {
	s, server := serve(t)
	for _, header := range []string{"Content-Length: 1073741824\r\n", "Transfer-Encoding: chunked\r\n"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		fmt.Fprintf(conn, "PUT /v1/kv/a HTTP/1.1\r\nHost: localhost\r\n%s\r\n", header)
		go func() {
			chunk := strings.Repeat("v", 1<<16)
			for err := error(nil); err == nil; { // until the server hangs up
				if strings.HasPrefix(header, "T") {
					_, err = fmt.Fprintf(conn, "%x\r\n", len(chunk))
				}
				if err == nil {
					_, err = io.WriteString(conn, chunk+map[bool]string{true: "\r\n"}[strings.HasPrefix(header, "T")])
				}
			}
		}()
		answer := make([]byte, 12)
		if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 413" {
			t.Errorf("%q: %q, error %v; want 413", header, answer, err)
		}
		conn.Close()
	}
	require.Zero(t, s.calls, "requests that reached the store")
}

func TestStatus(t *testing.T) {
	_, server := serve(t)
	client := &httpkv.Client{BaseURL: server.URL}
	status, err := client.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, status.Leader)
	require.Len(t, status.Replicas, 2)
	require.Equal(t, httpkv.LimitStatus{Key: 1024, Value: 1048576}, status.Limits)
}

// The limits that clients know are those of the store.
func TestLimits(t *testing.T) {
	require.Equal(t, kvstore.Limits, httpkv.Limits)
}
