//go:build !wasip1

package handler_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/cluster"
	"raftlab/internal/httpkv"
	"raftlab/internal/httpkv/handler"
	"raftlab/internal/testkit"
	"raftlab/kv"
)

// serveGroups serves a store of two groups.
func serveGroups(t *testing.T, patience time.Duration) (*cluster.Sharded, *httptest.Server) {
	c, err := cluster.OpenSharded(t.TempDir(), cluster.Options{Groups: 2, Replicas: 1})
	require.NoError(t, err)
	server := httptest.NewServer(handler.New(c, handler.Options{Patience: patience}))
	t.Cleanup(func() {
		server.Close()
		require.NoError(t, c.Close())
	})
	return c, server
}

func TestTxn(t *testing.T) {
	t.Parallel()
	_, server := serveGroups(t, 5*time.Second)
	large := strings.Repeat("v", 1<<20)
	for _, x := range []struct {
		body   string
		status int
		want   string
	}{
		{`{"success":[{"put":{"key":"a","value":"1"}}]}`, 200, `{"succeeded":true,"results":[{"status":"ok","version":1}]}`},
		{`{"compare":[{"key":"a","value":"1"},{"key":"b","version":0}],"success":[{"append":{"key":"a","value":"2"}},{"put":{"key":"c","value_base64":"/w=="}}],"failure":[{"delete":{"key":"a"}}]}`,
			200, `{"succeeded":true,"results":[{"status":"ok"},{"status":"ok"}]}`},
		{`{"success":[{"get":{"key":"a"}},{"get":{"key":"c"}},{"get":{"key":"b"}}]}`,
			200, `{"succeeded":true,"results":[{"status":"ok","value":"12","version":2},{"status":"ok","value_base64":"/w==","version":1},{"status":"not_found"}]}`},
		{`{"compare":[{"key":"a","result":"GREATER","value":"12"}],"success":[{"delete":{"key":"a"}}],"failure":[{"delete":{"key":"b"}}]}`,
			200, `{"succeeded":false,"results":[{"status":"not_found"}]}`},
		{`{"compare":[{"key":"a","result":"LESS","version":3},{"key":"a","result":"NOT_EQUAL","value":"1"}],"success":[{"get":{"key":"a"}}]}`,
			200, `{"succeeded":true,"results":[{"status":"ok","value":"12","version":2}]}`},
		{`{"compare":[{"key":"a","version":1}]}`, 200, `{"succeeded":false,"results":[]}`},
		{``, 400, "bad_request"},
		{`{}`, 400, "bad_request"},
		{`[]`, 400, "bad_request"},
		{`{"success":[{"put":{"key":"a","value":"x"}}]} {}`, 400, "bad_request"},
		{`{"sucess":[{"put":{"key":"a","value":"x"}}]}`, 400, "bad_request"},
		{`{"success":[{}]}`, 400, "bad_request"},
		{`{"success":[{"put":{"key":"a","value":"x"},"get":{"key":"a"}}]}`, 400, "bad_request"},
		{`{"success":[{"put":{"key":"a"}}]}`, 400, "bad_request"},
		{`{"success":[{"get":{"key":"a","value":"x"}}]}`, 400, "bad_request"},
		{`{"success":[{"put":{"value":"x"}}]}`, 400, "bad_request"},
		{`{"success":[{"put":{"key":"a","key_base64":"YQ==","value":"x"}}]}`, 400, "bad_request"},
		{`{"success":[{"put":{"key":"a","value_base64":"?"}}]}`, 400, "bad_request"},
		{`{"success":[{"get":{"key":""}}]}`, 400, "empty_key"},
		{`{"compare":[{"key":"a","result":"SAME","version":1}]}`, 400, "bad_request"},
		{`{"compare":[{"key":"a","version":1,"value":"x"}]}`, 400, "bad_request"},
		{`{"compare":[{"key":"a"}]}`, 400, "bad_request"},
		{`{"compare":[{"key":"a","version":-1}]}`, 400, "bad_request"},
		{"{\"success\":[{\"put\":{\"key\":\"\xff\",\"value\":\"x\"}}]}", 400, "bad_request"},
		{`{"success":[{"put":{"key":"\ud800","value":"x"}}]}`, 400, "bad_request"},
		{`{"Success":[{"put":{"key":"a","value":"x"}}]}`, 400, "bad_request"},
		{`{"success":[{"put":{"key":"a","key":"b","value":"x"}}]}`, 400, "bad_request"},
		{`{"success":[{"put":{"key_base64":"YQ==\n","value":"x"}}]}`, 400, "bad_request"},
		{`{"success":[{"put":{"key_base64":"YR==","value":"x"}}]}`, 400, "bad_request"},
		{`{"success":[{"put":{"key_base64":"YQ","value":"x"}}]}`, 400, "bad_request"},
		{`{"success":[{"put":{"key_base64":"//4=","value":"binary"}},{"put":{"key_base64":"/w==","value":"other"}}]}`,
			200, `{"succeeded":true,"results":[{"status":"ok","version":1},{"status":"ok","version":2}]}`},
		{`{"success":[{"get":{"key_base64":"//4="}},{"get":{"key_base64":"/w=="}}]}`,
			200, `{"succeeded":true,"results":[{"status":"ok","value":"binary","version":1},{"status":"ok","value":"other","version":2}]}`},
		{`{"success":[` + strings.Repeat(`{"get":{"key":"a"}},`, 256) + `{"get":{"key":"a"}}]}`, 400, "bad_request"},
		{`{"success":[{"get":{"key":"` + large[:1025] + `"}}]}`, 413, "key_too_large"},
		{`{"success":[{"put":{"key":"a","value":"x"}},{"append":{"key":"a","value":"` + large + `"}}]}`, 413, "value_too_large"},
		{`{"success":[{"put":{"key":"a","value":"` + strings.Repeat(large, 4) + `"}}]}`, 413, "value_too_large"},
		{`{"success":[{"put":{"key":"l1","value":"` + large[1:] + `"}}]}`, 200, `{"succeeded":true,"results":[{"status":"ok","version":1}]}`},
		{`{"success":[` + strings.Repeat(`{"get":{"key":"l1"}},`, 5) + `{"get":{"key":"a"}},{"get":{"key":"b"}}]}`, 413, "txn_too_large"},
		{`{"success":[{"get":{"key":"a"}}]}`, 200, `{"succeeded":true,"results":[{"status":"ok","value":"12","version":2}]}`},
	} {
		exchange{method: "POST", path: "/v1/txn", body: x.body, status: x.status, want: x.want}.run(t, server.URL)
	}
	exchange{"GET", "/v1/txn", "", "", 405, "no_method", "Allow: POST"}.run(t, server.URL)
	exchange{"POST", "/v1/txn", "Idempotency-Key: K", "{}", 400, "bad_request", ""}.run(t, server.URL)
	exchange{"POST", "/v1/txn", `If-Match: "1"`, `{"success":[{"get":{"key":"a"}}]}`, 400, "bad_request", ""}.run(t, server.URL)
	exchange{"POST", "/v1/txn?dry=1", "", `{"success":[{"get":{"key":"a"}}]}`, 400, "bad_request", ""}.run(t, server.URL)
	_, plain := serve(t)
	exchange{"POST", "/v1/txn", "", `{"success":[{"get":{"key":"a"}}]}`, 501, "needs_groups", ""}.run(t, plain.URL)
}

// TestTransfers moves money between accounts in all shards, with many clients at a
// time. The sum stays the same.
func TestTransfers(t *testing.T) {
	t.Parallel()
	_, server := serveGroups(t, 5*time.Second)
	client := &httpkv.Client{BaseURL: server.URL}
	for n := range 4 {
		_, err := client.Do(t.Context(), httpkv.Write{Op: kv.Put(fmt.Sprint(n), "100")})
		require.NoError(t, err)
	}
	balance := func(n int) (value int, version uint64) {
		pair, err := client.Get(t.Context(), fmt.Sprint(n))
		if err == nil {
			_, err = fmt.Sscan(pair.Value, &value)
		}
		require.NoError(t, err)
		return value, pair.Version
	}
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for n := range 10 {
				from, to := (i+n)%4, (i+n+1+n%3)%4
				for done := false; !done && !t.Failed(); {
					a, va := balance(from)
					b, vb := balance(to)
					answer, err := client.Txn(t.Context(), fmt.Appendf(nil,
						`{"compare":[{"key":"%d","version":%d},{"key":"%d","version":%d}],
						"success":[{"put":{"key":"%[1]d","value":"%[5]d"}},{"put":{"key":"%[3]d","value":"%[6]d"}}]}`, from, va, to, vb, a-1, b+1))
					if err != nil {
						t.Error(err)
						return
					}
					done = answer.Succeeded
				}
			}
		})
	}
	testkit.AwaitGroup(t, "the clients", &clients)
	sum := 0
	for n := range 4 {
		value, _ := balance(n)
		sum += value
	}
	require.Equal(t, 400, sum, "the sum of the accounts")
}

// The outcome of a transaction over a group that is down is open if the
// transaction writes. A transaction that only reads changed nothing.
func TestTxnWithoutAGroup(t *testing.T) {
	t.Parallel()
	c, server := serveGroups(t, time.Second)
	require.NoError(t, c.Settled(t.Context()))
	for _, n := range []int{1, 2} {
		require.NoError(t, c.Stop(n))
	}
	exchange{"POST", "/v1/txn", "", `{"success":[{"put":{"key":"a","value":"x"}}]}`, 503, "outcome_unknown", "Retry-After: 1"}.run(t, server.URL)
	exchange{"POST", "/v1/txn", "", `{"success":[{"get":{"key":"a"}}]}`, 503, "no_leader", "Retry-After: 1"}.run(t, server.URL)
}

// A request that changes the layout takes its own parameters, once, and no body.
func TestShardsParameters(t *testing.T) {
	t.Parallel()
	c, server := serveGroups(t, 5*time.Second)
	require.NoError(t, c.Settled(t.Context()))
	for _, x := range []exchange{
		{"GET", "/v1/shards?group=1", "", "", 400, "bad_request", ""},
		{"GET", "/v1/status?group=1", "", "", 400, "bad_request", ""},
		{"POST", "/v1/replicas/1/stop?force=1", "", "", 400, "bad_request", ""},
		{"POST", "/v1/shards/leave?group=1&dry=1", "", "", 400, "bad_request", ""},
		{"POST", "/v1/shards/leave?groups=1", "", "", 400, "bad_request", ""},
		{"POST", "/v1/shards/leave?group=01", "", "", 400, "bad_request", ""},
		{"POST", "/v1/shards/leave?group=%2B1", "", "", 400, "bad_request", ""},
		{"POST", "/v1/shards/leave?group=1;x", "", "", 400, "bad_request", ""},
		{"POST", "/v1/shards/leave", "", "", 400, "bad_request", ""},
		{"POST", "/v1/shards/leave?group=1", "", `{"group":2}`, 400, "bad_request", ""},
		{"POST", "/v1/shards/move?shard=0&group=1&group=2", "", "", 400, "bad_request", ""},
		{"POST", "/v1/shards/move?shard=0", "", "", 400, "bad_request", ""},
		{"POST", "/v1/shards/move?shard=0&group=3", "", "", 404, "no_group", ""},
		{"PUT", "/v1/shards/move?shard=0&group=2", "", "", 405, "no_method", "Allow: POST"},
		{"POST", "/v1/shards/move?shard=0&group=2", "", "", 200, `{"config":2}`, ""},
		{"POST", "/v1/shards/leave?group=2", "", "", 200, `{"config":3}`, ""},
		{"POST", "/v1/shards/join?group=1&group=2", "", "", 200, `{"config":4}`, ""},
	} {
		x.run(t, server.URL)
	}
}
