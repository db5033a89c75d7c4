//go:build !wasip1

package handler_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/httpkv/handler"
	"raftlab/internal/webguard"
)

// A web page reaches the server through the browser of somebody on the server's
// machine. Its requests are refused before the store sees them.
func TestWebPagesAreRefused(t *testing.T) {
	s := newStub()
	h := handler.New(s, handler.Options{Hosts: []string{"Store.Example", "10.1.2.3"}})
	const form = "Content-Type: application/x-www-form-urlencoded"
	for _, tt := range []struct {
		method, path, host string
		headers            []string
		code               string // "": the request is served
	}{
		{"GET", "/v1/kv/a", "localhost:8400", nil, ""},
		{"GET", "/v1/kv/a", "LOCALHOST.", nil, ""},
		{"GET", "/v1/kv/a", "store.localhost:80", nil, ""},
		{"GET", "/v1/kv/a", "127.0.0.1:8400", nil, ""},
		{"GET", "/v1/kv/a", "127.8.8.8", nil, ""},
		{"GET", "/v1/kv/a", "[::1]:8400", nil, ""},
		{"GET", "/v1/kv/a", "[::ffff:127.0.0.1]", nil, ""},
		{"GET", "/v1/kv/a", "0.0.0.0:8400", nil, ""},
		{"GET", "/v1/kv/a", "store.example:443", nil, ""},
		{"GET", "/v1/kv/a", "10.1.2.3:8400", nil, ""},
		{"GET", "/v1/kv/a", "192.0.2.7:8400", nil, ""}, // the address of the connection
		{"GET", "/v1/kv/a", "", nil, ""},               // HTTP/1.0
		{"GET", "/v1/kv/a", "evil.example:8400", nil, "foreign_host"},
		{"GET", "/v1/kv/a", "10.1.2.4:8400", nil, "foreign_host"},
		{"GET", "/v1/kv/a", "localhost.evil.example", nil, "foreign_host"},
		{"GET", "/v1/kv/a", "127.0.0.1.evil.example", nil, "foreign_host"},
		{"GET", "/v1/status", "evil.example:8400", nil, "foreign_host"},
		{"OPTIONS", "/v1/kv/a", "evil.example", nil, "foreign_host"},
		{"PUT", "/v1/kv/a", "evil.example", nil, "foreign_host"},
		{"POST", "/v1/replicas/1/stop", "evil.example", []string{"Content-Type: application/json"}, "foreign_host"},

		{"POST", "/v1/replicas/1/stop", "localhost:8400", []string{"Origin: http://localhost:8400"}, ""},
		{"POST", "/v1/replicas/1/stop", "store.example", []string{"Origin: https://store.example"}, ""},
		{"POST", "/v1/replicas/1/stop", "localhost:8400", []string{"Origin: http://evil.example"}, "foreign_origin"},
		{"POST", "/v1/replicas/1/stop", "localhost:8400", []string{"Origin: http://localhost:3000"}, "foreign_origin"},
		{"POST", "/v1/replicas/1/stop", "localhost:8400", []string{"Origin: null"}, "foreign_origin"},
		{"POST", "/v1/replicas/1/stop", "localhost:8400", []string{"Origin: http://localhost:8400", "Origin: http://evil.example"}, "foreign_origin"},
		{"PUT", "/v1/kv/a", "localhost:8400", []string{"Origin: http://evil.example"}, "foreign_origin"},
		{"GET", "/v1/kv/a", "localhost:8400", []string{"Origin: http://evil.example"}, "foreign_origin"},
		{"POST", "/v1/kv/a", "localhost:8400", []string{"Sec-Fetch-Site: cross-site", "Idempotency-Key: K"}, "foreign_origin"},
		{"POST", "/v1/kv/a", "localhost:8400", []string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: navigate"}, "foreign_origin"},
		{"GET", "/v1/kv/a", "localhost:8400", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"}, "foreign_origin"},
		{"GET", "/v1/kv/a", "localhost:8400", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}, ""}, // a link
		{"GET", "/v1/kv/a", "localhost:8400", []string{"Sec-Fetch-Site: none"}, ""},
		{"POST", "/v1/kv/a", "localhost:8400", []string{"Sec-Fetch-Site: same-origin"}, ""},

		{"POST", "/v1/kv/a", "localhost:8400", []string{form}, "form_request"},
		{"POST", "/v1/replicas/1/stop", "localhost:8400", []string{"Content-Type: text/plain;charset=UTF-8"}, "form_request"},
		{"POST", "/v1/txn", "localhost:8400", []string{"Content-Type: Multipart/Form-Data; boundary=x"}, "form_request"},
		{"POST", "/v1/kv/a", "localhost:8400", []string{"Content-Type: application/json", "Content-Type: text/plain"}, "form_request"},
		{"POST", "/v1/kv/a", "localhost:8400", []string{form, "Idempotency-Key: K"}, ""},
		{"POST", "/v1/kv/a", "localhost:8400", []string{"Content-Type: application/octet-stream"}, ""},
		{"POST", "/v1/replicas/1/stop", "localhost:8400", nil, ""}, // curl -X POST
		{"PUT", "/v1/kv/a", "localhost:8400", []string{form}, ""},  // curl -X PUT -d hello
		{"DELETE", "/v1/kv/a", "localhost:8400", nil, ""},
	} {
		before := s.calls
		r := httptest.NewRequest(tt.method, tt.path, http.NoBody)
		r.Host = tt.host
		r = r.WithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 8400}))
		for _, header := range tt.headers {
			name, value, _ := strings.Cut(header, ": ")
			r.Header.Add(name, value)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if tt.code == "" {
			require.NotEqual(t, http.StatusForbidden, w.Code, "%+v: %s", tt, w.Body)
			continue
		}
		require.Equal(t, http.StatusForbidden, w.Code, "%+v", tt)
		require.Contains(t, w.Body.String(), `"`+tt.code+`"`, "%+v", tt)
		require.Equal(t, before, s.calls, "%+v reached the store", tt)
		require.Empty(t, w.Header().Get("Access-Control-Allow-Origin"))
	}
}

func TestAnyHost(t *testing.T) {
	h := handler.New(newStub(), handler.Options{Hosts: []string{webguard.AnyHost}})
	r := httptest.NewRequest("GET", "/v1/status", http.NoBody)
	r.Host = "evil.example"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	require.Equal(t, "same-origin", w.Header().Get("Cross-Origin-Resource-Policy"))
}
