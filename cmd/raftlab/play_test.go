//go:build !wasip1

package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
)

// The playground's server answers its own page, and nobody else's.
func TestPlayHandler(t *testing.T) {
	handler := playHandler([]byte("<!doctype html>"), "127.0.0.1")
	for _, tt := range []struct {
		method, path string
		header       map[string]string
		want         int
	}{
		{"GET", "/", nil, http.StatusOK},
		{"HEAD", "/", nil, http.StatusOK},
		{"POST", "/", nil, http.StatusMethodNotAllowed},
		{"GET", "/etc/passwd", nil, http.StatusNotFound},
		{"GET", "/", map[string]string{"Host": "evil.example"}, http.StatusForbidden},
		{"GET", "/", map[string]string{"Origin": "http://evil.example"}, http.StatusForbidden},
	} {
		r := httptest.NewRequest(tt.method, "http://127.0.0.1:8420"+tt.path, nil)
		for name, value := range tt.header {
			if r.Header.Set(name, value); name == "Host" {
				r.Host = value
			}
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		require.Equal(t, tt.want, w.Code, "%s %s %v", tt.method, tt.path, tt.header)
		if tt.want == http.StatusOK {
			require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
		}
	}
}

// The server says its address, serves, and ends with the context.
func TestServePlay(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- servePlay(ctx, "127.0.0.1:0", []byte("the page"), in) }()
	line := make([]byte, 200)
	n, err := out.Read(line)
	require.NoError(t, err)
	_, address, found := strings.Cut(strings.TrimSpace(string(line[:n])), "http://")
	require.True(t, found, string(line[:n]))
	client := http.Client{Timeout: 10 * time.Second}
	res, err := client.Get("http://" + address + "/")
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, "the page", string(body))
	cancel()
	require.NoError(t, testkit.Receive(t, "the end of the playground", ended))
	require.Error(t, servePlay(t.Context(), "nowhere", nil, io.Discard))
}

func TestWritePlay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	var out bytes.Buffer
	require.NoError(t, writePlay(dir, []byte("the page"), &out))
	text, err := os.ReadFile(filepath.Join(dir, "index.html"))
	require.NoError(t, err)
	require.Equal(t, "the page", string(text))
	require.Error(t, writePlay(filepath.Join(dir, "index.html"), nil, &out), "a directory below a file")
}
