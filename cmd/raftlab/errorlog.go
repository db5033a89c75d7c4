//go:build !wasip1

package main

import (
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// acceptInterval is the least time between two reports of a listener that accepts
// no connections.
const acceptInterval = 10 * time.Second

// httpErrors receives the messages of net/http. Most report a single connection and
// are for debugging. A listener that accepts no connections, for example because
// the process has no file descriptors left, is an error of the server: net/http
// only tries again, and the server would fall silent.
type httpErrors struct {
	log *slog.Logger

	mu   sync.Mutex
	last time.Time // of a report
}

func newErrorLog(to *slog.Logger) *log.Logger { return log.New(&httpErrors{log: to}, "", 0) }

func (h *httpErrors) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	switch {
	case !strings.HasPrefix(text, "http: Accept error"):
		h.log.Debug(text)
	case h.due():
		h.log.Error("no connection can be accepted", "error", text)
	}
	return len(line), nil
}

func (h *httpErrors) due() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if !h.last.IsZero() && now.Sub(h.last) < acceptInterval {
		return false
	}
	h.last = now
	return true
}
