//go:build !wasip1

package httpkv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"raftlab/internal/cluster"
	"raftlab/kv"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// Cluster is what a [Handler] serves; *cluster.Cluster is one.
type Cluster interface {
	Do(ctx context.Context, idempotencyKey string, op kv.Op) (kv.Result, error)
	Status() []cluster.Status
	Start(replica int) error
	Stop(replica int) error
}

// DefaultPatience is how long a request waits for a leader by default.
const DefaultPatience = 5 * time.Second

// retryAfter is what a 503 tells the client to wait, in seconds.
const retryAfter = "1"

// maxIdempotencyKey is the length of the longest Idempotency-Key.
const maxIdempotencyKey = 255

// Options are a Handler's settings. The zero value of each means its default.
type Options struct {
	// Patience is how long a request waits for a leader, and for its operation to
	// commit, before it is answered with 503; default [DefaultPatience].
	Patience time.Duration
	// Logger is told of each request, at the debug level, and of errors of the
	// server's own; default: silent.
	Logger *slog.Logger
}

// handler answers requests.
type handler struct {
	cluster Cluster
	opts    Options
	mux     *http.ServeMux
}

// NewHandler returns the HTTP face of a cluster.
func NewHandler(c Cluster, opts Options) http.Handler {
	if opts.Patience == 0 {
		opts.Patience = DefaultPatience
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	h := &handler{cluster: c, opts: opts, mux: http.NewServeMux()}
	h.handle("GET /v1/kv", h.scan)
	h.handle("/v1/kv", func(w http.ResponseWriter, r *http.Request) error { // or the mux would add a slash
		return otherMethod(w, r, "GET, HEAD")
	})
	h.handle("GET "+keyPath+"{key...}", h.get)
	h.handle("PUT "+keyPath+"{key...}", h.write(kv.Put))
	h.handle("POST "+keyPath+"{key...}", h.write(kv.Append))
	h.handle("DELETE "+keyPath+"{key...}", h.write(func(key, _ string) kv.Op { return kv.Delete(key) }))
	h.handle("GET /v1/status", h.status)
	h.handle("POST /v1/replicas/{number}/stop", h.replica(c.Stop))
	h.handle("POST /v1/replicas/{number}/start", h.replica(c.Start))
	if shards, ok := c.(Shards); ok {
		h.handleShards(shards)
	} else {
		h.handle("/v1/shards", noShards)
		h.handle("/v1/shards/{verb}", noShards)
		h.handle("POST /v1/txn", noTxn)
	}
	return h
}

// action answers one kind of request, or returns why it cannot.
type action func(w http.ResponseWriter, r *http.Request) error

func (h *handler) handle(pattern string, do action) {
	h.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := do(w, r); err != nil {
			h.fail(w, r, err)
		}
	})
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	logged := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	h.route(logged, r)
	h.opts.Logger.Debug("request", "method", r.Method, "path", r.URL.EscapedPath(), "status", logged.status,
		"took", time.Since(start))
}

// statusWriter remembers the status that was sent.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (h *handler) route(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	if ambiguous(path) {
		// The mux would send the client to a path that it thinks is better,
		// which is another key.
		h.fail(w, r, failure(http.StatusBadRequest, BadRequest,
			"the path %s has an empty segment, or one of dots alone; in a key percent-encode them: / is %%2F and . is %%2E", path))
		return
	}
	if _, pattern := h.mux.Handler(r); pattern == "" {
		h.unknown(w, r)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// ambiguous says that a path is not as a client has to write it.
func ambiguous(path string) bool {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, s := range segments {
		if s == "." || s == ".." || s == "" && i+1 < len(segments) {
			return true
		}
	}
	return false
}

// unknown answers what no pattern of the mux matches, in JSON.
func (h *handler) unknown(w http.ResponseWriter, r *http.Request) {
	plain := &answer{header: http.Header{}}
	h.mux.ServeHTTP(plain, r)
	var err error = failure(http.StatusNotFound, NoRoute, "there is nothing at %s; keys are at %s{key}", r.URL.EscapedPath(), keyPath)
	if plain.status == http.StatusMethodNotAllowed {
		err = otherMethod(w, r, plain.header.Get("Allow"))
	}
	if err != nil {
		h.fail(w, r, err)
	}
}

// otherMethod answers a method that a path does not take, or OPTIONS, which asks
// for those that it does.
func otherMethod(w http.ResponseWriter, r *http.Request, allow string) error {
	w.Header().Set("Allow", allow)
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return failure(http.StatusMethodNotAllowed, NoMethod, "%s takes %s, not %s", r.URL.EscapedPath(), allow, r.Method)
}

// answer takes in what the mux says by itself.
type answer struct {
	header http.Header
	status int
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) Write(b []byte) (int, error) { return len(b), nil }
func (a *answer) WriteHeader(status int)      { a.status = status }

func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err)
	if e.status == http.StatusInternalServerError {
		h.opts.Logger.Error("request failed", "method", r.Method, "path", r.URL.EscapedPath(), "error", err)
	}
	if e.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	if e.Code == VersionMismatch && *e.Version != 0 {
		w.Header().Set("ETag", etag(*e.Version))
	}
	writeJSON(w, e.status, errorBody{e})
}

// asError says what an error is to the client.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	status, code := http.StatusInternalServerError, Internal
	switch {
	case errors.Is(err, cluster.ErrNoLeader):
		status, code = http.StatusServiceUnavailable, NoLeader
		err = fmt.Errorf("%w; nothing was done; try again", err)
	case errors.Is(err, cluster.ErrUnknown):
		status, code = http.StatusServiceUnavailable, OutcomeUnknown
		err = fmt.Errorf("%w: it may have taken effect, or may yet; a write that is tried again with the same Idempotency-Key takes effect once", err)
	case errors.Is(err, cluster.ErrKeyReused):
		status, code = http.StatusUnprocessableEntity, KeyReused
	case errors.Is(err, cluster.ErrNoReplica):
		status, code = http.StatusNotFound, NoReplica
	case errors.Is(err, cluster.ErrNoGroup):
		status, code = http.StatusNotFound, NoGroup
	case errors.Is(err, shardkv.ErrTxnInvalid):
		status, code = http.StatusBadRequest, BadRequest
	case errors.Is(err, shardkv.ErrTxnTooLarge):
		status, code = http.StatusRequestEntityTooLarge, ValueTooLarge
	case errors.Is(err, shardctrler.ErrInvalid):
		status, code = http.StatusConflict, InvalidLayout
	case errors.Is(err, cluster.ErrRunning), errors.Is(err, cluster.ErrStopped):
		status, code = http.StatusConflict, ReplicaState
	}
	return failure(status, code, "%v", err)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		panic(fmt.Sprintf("httpkv: encoding a %T: %v", body, err)) // plain structs of our own always encode
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(buf.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes()) // a client that is gone needs no answer
}

// do executes an operation.
func (h *handler) do(r *http.Request, idempotencyKey string, op kv.Op) (kv.Result, error) {
	ctx, cancel := context.WithTimeout(r.Context(), h.opts.Patience)
	defer cancel()
	return h.cluster.Do(ctx, idempotencyKey, op)
}

// keyOf returns the key that a request names. A query that would change what the
// request means must not be passed over.
func keyOf(r *http.Request) (string, *Error) {
	key, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), keyPath))
	isAppend := r.Method == http.MethodPost && r.URL.RawQuery == "op=append"
	switch bad := checkKey(key); {
	case err != nil:
		return "", failure(http.StatusBadRequest, BadRequest, "the key: %v", err)
	case bad != nil:
		return "", bad
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.EscapedPath(), "/append"):
		return "", failure(http.StatusBadRequest, BadRequest,
			"appending is POST on the key itself; a key that does end in /append is written %%2Fappend")
	case r.URL.RawQuery != "" && !isAppend:
		return "", failure(http.StatusBadRequest, BadRequest,
			"a key takes no query (%s), but for POST, which appends: op=append; a ? in a key is %%3F", r.URL.RawQuery)
	}
	return key, nil
}

// checkKey says what is wrong with a key.
func checkKey(key string) *Error {
	switch {
	case key == "":
		return failure(http.StatusBadRequest, EmptyKey, "the key is empty; it has 1 to %d bytes (GET /v1/kv lists keys)", cluster.Limits.Key)
	case len(key) > cluster.Limits.Key:
		return failure(http.StatusRequestEntityTooLarge, KeyTooLarge, "the key has %d bytes; the limit is %d", len(key), cluster.Limits.Key)
	}
	return nil
}

func (h *handler) get(w http.ResponseWriter, r *http.Request) error {
	key, bad := keyOf(r)
	if bad != nil {
		return bad
	}
	result, err := h.do(r, "", kv.Get(key))
	if err != nil {
		return err
	}
	if result.Status != kv.OK {
		return statusError(result)
	}
	if match := r.Header.Values("If-Match"); len(match) > 0 && !matches(match, result.Version, false) {
		return mismatch(result.Version)
	}
	w.Header().Set("ETag", etag(result.Version))
	if matches(r.Header.Values("If-None-Match"), result.Version, true) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(result.Value)))
	_, _ = io.WriteString(w, result.Value) // a client that is gone needs no answer
	return nil
}

// statusError is the error that a result other than kv.OK stands for.
func statusError(result kv.Result) *Error {
	switch result.Status {
	case kv.NotFound:
		return failure(http.StatusNotFound, NotFound, "the key is not there")
	case kv.VersionMismatch:
		return mismatch(result.Version)
	case kv.TooLarge:
		return failure(http.StatusRequestEntityTooLarge, ValueTooLarge, "the value would be over the limit of %d bytes", cluster.Limits.Value)
	}
	return failure(http.StatusInternalServerError, Internal, "the store answered: %v", result.Status)
}

// mismatch says that a key has another version; 0: it is not there.
func mismatch(version uint64) *Error {
	e := failure(http.StatusPreconditionFailed, VersionMismatch, "the key's version is %d", version)
	if version == 0 {
		e.Message = "the key is not there"
	}
	e.Version = &version
	return e
}

// write answers a write, with the operation that make makes of key and body.
func (h *handler) write(make func(key, value string) kv.Op) action {
	return func(w http.ResponseWriter, r *http.Request) error {
		op, idempotencyKey, bad := readWrite(w, r, make)
		if bad != nil {
			return bad
		}
		result, err := h.do(r, idempotencyKey, op)
		if err != nil {
			return err
		}
		if result.Status != kv.OK {
			return statusError(result)
		}
		if op.Kind == kv.KindDelete {
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		w.Header().Set("ETag", etag(result.Version))
		writeJSON(w, http.StatusOK, Written{Version: result.Version})
		return nil
	}
}

func readWrite(w http.ResponseWriter, r *http.Request, make func(key, value string) kv.Op) (kv.Op, string, *Error) {
	key, bad := keyOf(r)
	if bad != nil {
		return kv.Op{}, "", bad
	}
	idempotencyKey := r.Header.Get("Idempotency-Key")
	if values := r.Header.Values("Idempotency-Key"); len(values) > 1 || len(values) == 1 && idempotencyKey == "" || len(idempotencyKey) > maxIdempotencyKey {
		return kv.Op{}, "", failure(http.StatusBadRequest, BadRequest, "a request has one Idempotency-Key, of 1 to %d bytes", maxIdempotencyKey)
	}
	value, bad := readBody(w, r, int64(cluster.Limits.Value), "value")
	if bad != nil {
		return kv.Op{}, "", bad
	}
	op, bad := condition(r.Header, make(key, value))
	return op, idempotencyKey, bad
}

// readBody reads no more of a body than what it stands for may have.
func readBody(w http.ResponseWriter, r *http.Request, limit int64, what string) (string, *Error) {
	tooLarge := failure(http.StatusRequestEntityTooLarge, ValueTooLarge, "the %s is over the limit of %d bytes", what, limit)
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close") // what follows is not read
		return "", tooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return "", tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "", failure(http.StatusRequestTimeout, BadRequest, "the body did not come in time")
	case err != nil:
		return "", failure(http.StatusBadRequest, BadRequest, "reading the body: %v", err)
	}
	return string(body), nil
}

func (h *handler) status(w http.ResponseWriter, _ *http.Request) error {
	s := ClusterStatus{
		Replicas: h.cluster.Status(),
		Limits:   LimitStatus{Key: cluster.Limits.Key, Value: cluster.Limits.Value},
	}
	term := uint64(0)
	for _, r := range s.Replicas {
		if r.Role == "leader" && r.Term >= term {
			s.Leader, term = r.Number, r.Term
		}
	}
	writeJSON(w, http.StatusOK, s)
	return nil
}

// replica answers a request to stop or start a replica.
func (h *handler) replica(change func(int) error) action {
	return func(w http.ResponseWriter, r *http.Request) error {
		number, err := strconv.Atoi(r.PathValue("number"))
		if err != nil {
			return failure(http.StatusNotFound, NoReplica, "%q is not a replica's number", r.PathValue("number"))
		}
		if err := change(number); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}
