//go:build !wasip1

package handler

import (
	"context"
	"errors"
	"io"
	"net/http"

	"raftlab/internal/admission"
	"raftlab/internal/httpkv"
	"raftlab/kv"
)

// Defaults of the bounds in [Options].
const (
	DefaultMaxInFlightBytes = 64 << 20
	DefaultMaxInFlight      = 4096
)

// requestOverhead is the memory of a request beside the body, in bytes, for buffers of
// the connection, headers and a goroutine.
const requestOverhead = 16 << 10

// bodyCost returns the memory that the body of a request may take. A body of
// unknown length may reach the limit.
func bodyCost(limit int64) func(*http.Request) int {
	return func(r *http.Request) int {
		if r.ContentLength < 0 || r.ContentLength > limit {
			return int(limit)
		}
		return int(r.ContentLength)
	}
}

// readCost returns the memory of a read. The value is shared with the store.
func readCost(*http.Request) int { return 0 }

// scanCost returns the memory of a page of keys and values.
func scanCost(*http.Request) int { return kv.MaxScanBytes }

// admitted runs an action within the bounds of the requests in flight, and before
// that reads nothing of the body. A request over the bounds waits. If the wait
// takes longer than the patience, or too many requests wait, the answer is 503.
func (h *handler) admitted(cost func(*http.Request) int, do action) action {
	return func(w http.ResponseWriter, r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), h.opts.Patience)
		defer cancel()
		bytes := cost(r) + requestOverhead
		if err := h.gate.Acquire(ctx, bytes); err != nil {
			return h.refuse(r, err)
		}
		defer h.gate.Release(bytes)
		return do(w, r.WithContext(ctx))
	}
}

// refuse returns the error for a request that was not admitted. The body of such a
// request is read and dropped, so that the client reads the answer and the
// connection stays usable.
func (h *handler) refuse(r *http.Request, err error) error {
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, httpkv.MaxTxnBytes))
	if r.Context().Err() != nil {
		return failure(http.StatusServiceUnavailable, httpkv.Busy, "the client has given up")
	}
	if errors.Is(err, admission.ErrFull) {
		return failure(http.StatusServiceUnavailable, httpkv.Busy,
			"%d requests are waiting, the most that may wait; this request changed nothing", h.opts.MaxInFlight)
	}
	return failure(http.StatusServiceUnavailable, httpkv.Busy,
		"the requests in flight reached the bound of %d bytes or %d requests for %v; this request changed nothing",
		h.opts.MaxInFlightBytes, h.opts.MaxInFlight, h.opts.Patience)
}
