//go:build !wasip1

package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"raftlab/internal/admission"
	"raftlab/internal/cluster"
	"raftlab/internal/etcdapi"
	"raftlab/internal/httpkv"
	"raftlab/internal/kvstore"
	"raftlab/internal/shardstore"
	"raftlab/internal/webguard"
	"raftlab/kv"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// Cluster is a store without groups, such as a *cluster.Cluster.
type Cluster interface {
	Do(ctx context.Context, idempotencyKey string, op kv.Op) (kv.Result, error)
	Status() []cluster.Status
	Start(replica int) error
	Stop(replica int) error
	Repair(replica int) error
	Compact(replica int) error
}

// Connector is the part of a store whose replicas can be cut off, such as a
// *cluster.Cluster.
type Connector interface {
	Disconnect(replica int) error
	Connect(replica int) error
}

// DefaultPatience is the default of [Options].Patience.
const DefaultPatience = 5 * time.Second

// retryAfter is the Retry-After of a 503, in seconds.
const retryAfter = "1"

// Options are a handler's settings. The zero value of each means its default.
type Options struct {
	// Patience bounds the wait of a request for a leader and for its operation to
	// commit. After this time the answer is 503. Default: [DefaultPatience].
	Patience time.Duration
	// MaxInFlightBytes bounds the memory for the bodies and answers of the requests
	// that are being answered, in bytes. Default: [DefaultMaxInFlightBytes].
	MaxInFlightBytes int
	// MaxInFlight bounds the number of those requests. As many again may wait for
	// admission, for as long as Patience. Default: [DefaultMaxInFlight].
	MaxInFlight int
	// Hosts are the names of this server in Host headers, beside the loopback names and
	// the address of the connection. [webguard.AnyHost] allows all names.
	Hosts []string
	// Administrator returns an error if the sender of a request may not stop, start, cut
	// off, repair or compact replicas. The answer is an *httpkv.Error as it is, and 403 with
	// any other error. The default allows everybody.
	Administrator func(*http.Request) error
	// Logger logs each request at the debug level, and errors of the server's own.
	// Default: silent.
	Logger *slog.Logger
}

// handler answers requests.
type handler struct {
	cluster Cluster
	opts    Options
	guard   *webguard.Guard
	gate    *admission.Gate
	mux     *http.ServeMux
	copying sync.Mutex // held by a backup
}

// New returns the handler that serves a cluster.
func New(c Cluster, opts Options) http.Handler {
	if opts.Patience == 0 {
		opts.Patience = DefaultPatience
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.MaxInFlightBytes == 0 {
		opts.MaxInFlightBytes = DefaultMaxInFlightBytes
	}
	if opts.MaxInFlight == 0 {
		opts.MaxInFlight = DefaultMaxInFlight
	}
	h := &handler{cluster: c, opts: opts, guard: webguard.New(opts.Hosts), mux: http.NewServeMux()}
	h.gate = admission.NewGate(admission.Limits{
		Bytes:    opts.MaxInFlightBytes,
		Requests: opts.MaxInFlight,
		Waiting:  opts.MaxInFlight,
	})
	write := bodyCost(int64(httpkv.Limits.Value))
	h.route("/", nil)
	h.route("/v1/kv", methods{"GET": h.admitted(scanCost, h.scan)})
	h.route(httpkv.KeyPath+"{key...}", methods{
		"GET":    h.admitted(readCost, h.get),
		"PUT":    h.admitted(write, h.write(kv.Put)),
		"POST":   h.admitted(write, h.write(kv.Append)),
		"DELETE": h.admitted(write, h.write(func(key, _ string) kv.Op { return kv.Delete(key) })),
	})
	h.route("/v1/status", methods{"GET": h.status})
	h.route("/v1/replicas/{number}/stop", methods{"POST": h.replica(c.Stop)})
	h.route("/v1/replicas/{number}/start", methods{"POST": h.replica(c.Start)})
	h.route("/v1/replicas/{number}/repair", methods{"POST": h.replica(c.Repair)})
	h.route("/v1/replicas/{number}/compact", methods{"POST": h.replica(c.Compact)})
	if connector, ok := c.(Connector); ok {
		h.route("/v1/replicas/{number}/disconnect", methods{"POST": h.replica(connector.Disconnect)})
		h.route("/v1/replicas/{number}/connect", methods{"POST": h.replica(connector.Connect)})
	}
	if copier, ok := c.(Copier); ok {
		h.route("/v1/backup", methods{"GET": h.backup(copier)})
	}
	shards, _ := c.(Shards)
	h.routeShards(shards)
	members, _ := c.(Members)
	h.routeMembers(members)
	return h
}

// action answers one kind of request, or returns an error for the client.
type action func(w http.ResponseWriter, r *http.Request) error

// methods are the actions of one path.
type methods map[string]action

// allow returns the methods for an Allow header.
func (m methods) allow() string {
	names := slices.Collect(maps.Keys(m))
	if m["GET"] != nil {
		names = append(names, "HEAD")
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// route serves a pattern of paths. A path without methods does not exist.
func (h *handler) route(pattern string, m methods) {
	h.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := m.answer(w, r); err != nil {
			h.fail(w, r, err)
		}
	})
}

func (m methods) answer(w http.ResponseWriter, r *http.Request) error {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // net/http drops the body
	}
	switch do := m[method]; {
	case len(m) == 0:
		return failure(http.StatusNotFound, httpkv.NoRoute, "nothing is at %s; keys are at %s{key}", r.URL.EscapedPath(), httpkv.KeyPath)
	case do != nil:
		return do(w, r)
	}
	w.Header().Set("Allow", m.allow())
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return failure(http.StatusMethodNotAllowed, httpkv.NoMethod, "%s takes %s, not %s", r.URL.EscapedPath(), m.allow(), r.Method)
}

// Limits of a client's time, beside Options.Patience.
const (
	bodyTimeout   = 30 * time.Second
	answerTimeout = 30 * time.Second
)

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	// A connection without deadlines, such as a test's, has no limits of time.
	times := http.NewResponseController(w)
	_ = times.SetReadDeadline(start.Add(bodyTimeout))
	_ = times.SetWriteDeadline(start.Add(bodyTimeout + h.opts.Patience + answerTimeout))
	logged := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	h.serve(logged, r)
	h.opts.Logger.Debug("request", "method", r.Method, "path", r.URL.EscapedPath(), "status", logged.status,
		"took", time.Since(start))
}

// statusWriter records the status of a response.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (h *handler) serve(w http.ResponseWriter, r *http.Request) {
	// A browser neither guesses the type of a value nor shows the value to other
	// origins.
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cross-Origin-Resource-Policy", "same-origin")
	path := r.URL.EscapedPath()
	if refused := h.refuses(r); refused != nil {
		h.fail(w, r, refused)
		return
	}
	if ambiguous(path) {
		// The mux would redirect the client to a path of another key.
		h.fail(w, r, failure(http.StatusBadRequest, httpkv.BadRequest,
			"the path %s has an empty segment, or a segment of dots alone; in a key percent-encode them: / is %%2F and . is %%2E", path))
		return
	}
	h.mux.ServeHTTP(w, r)
}

// refusals are the codes of the guard's reasons.
var refusals = map[webguard.Reason]httpkv.Code{
	webguard.ForeignHost:   httpkv.ForeignHost,
	webguard.ForeignOrigin: httpkv.ForeignOrigin,
	webguard.FormRequest:   httpkv.FormRequest,
}

// refuses returns the error for a request of a foreign web page, nil for others.
func (h *handler) refuses(r *http.Request) *httpkv.Error {
	refusal := h.guard.Check(r)
	if refusal == nil {
		refusal = h.guard.CheckForm(r)
	}
	if refusal == nil {
		return nil
	}
	return failure(http.StatusForbidden, refusals[refusal.Reason], "%v", refusal)
}

// ambiguous reports whether software on the way could change a path.
func ambiguous(path string) bool {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, s := range segments {
		if s == "." || s == ".." || s == "" && i+1 < len(segments) {
			return true
		}
	}
	return false
}

func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err, r)
	if e.Status == http.StatusInternalServerError {
		h.opts.Logger.Error("request failed", "method", r.Method, "path", r.URL.EscapedPath(), "error", err)
	}
	if e.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	if e.Code == httpkv.VersionMismatch && *e.Version != 0 {
		w.Header().Set("ETag", httpkv.ETag(*e.Version))
	}
	writeJSON(w, e.Status, httpkv.ErrorBody{Error: e})
}

func failure(status int, code httpkv.Code, format string, args ...any) *httpkv.Error {
	return &httpkv.Error{Code: code, Message: fmt.Sprintf(format, args...), Status: status}
}

// badRequest returns an error for a request without a clear meaning.
func badRequest(format string, args ...any) *httpkv.Error {
	return failure(http.StatusBadRequest, httpkv.BadRequest, format, args...)
}

// asError returns an error for the client.
func asError(err error, r *http.Request) *httpkv.Error {
	var e *httpkv.Error
	if errors.As(err, &e) {
		return e
	}
	status, code := http.StatusInternalServerError, httpkv.Internal
	switch {
	case errors.Is(err, kvstore.ErrNoLeader):
		status, code = http.StatusServiceUnavailable, httpkv.NoLeader
		err = fmt.Errorf("%w; this request changed nothing", err)
	case errors.Is(err, kvstore.ErrBusy):
		status, code = http.StatusServiceUnavailable, httpkv.Busy
		err = fmt.Errorf("%w; this request changed nothing", err)
	case errors.Is(err, kvstore.ErrUnknown):
		status, code = http.StatusServiceUnavailable, httpkv.OutcomeUnknown
		err = fmt.Errorf("%w: the change may have been made, or may be made yet; %s", err, advice(r))
	case errors.Is(err, kvstore.ErrKeyReused):
		status, code = http.StatusUnprocessableEntity, httpkv.KeyReused
	case errors.Is(err, cluster.ErrNoReplica):
		status, code = http.StatusNotFound, httpkv.NoReplica
	case errors.Is(err, shardstore.ErrNoProcess):
		status, code = http.StatusNotFound, httpkv.NoMember
	case errors.Is(err, shardstore.ErrChange):
		status, code = http.StatusConflict, httpkv.InvalidMembers
	case errors.Is(err, shardstore.ErrUnfinished):
		status, code = http.StatusServiceUnavailable, httpkv.Unfinished
	case errors.Is(err, shardstore.ErrNoGroup):
		status, code = http.StatusNotFound, httpkv.NoGroup
	case errors.Is(err, shardkv.ErrTxnInvalid):
		status, code = http.StatusBadRequest, httpkv.BadRequest
	case errors.Is(err, shardkv.ErrTxnTooLarge):
		status, code = http.StatusRequestEntityTooLarge, httpkv.ValueTooLarge
	case errors.Is(err, shardkv.ErrTxnLimit):
		status, code = http.StatusRequestEntityTooLarge, httpkv.TxnTooLarge
	case errors.Is(err, shardctrler.ErrInvalid):
		status, code = http.StatusConflict, httpkv.InvalidLayout
	case errors.Is(err, cluster.ErrProcess):
		status, code = http.StatusNotImplemented, httpkv.NeedsOneProcess
	case errors.Is(err, etcdapi.ErrNoSpace):
		status, code = http.StatusInsufficientStorage, httpkv.NoSpace
		err = errors.New("the store has reached its quota (raftlab serve --quota); delete keys, and end the alarm NOSPACE; this request changed nothing")
	case errors.Is(err, etcdapi.ErrNoUser):
		status, code = http.StatusForbidden, httpkv.UsersOnly
		err = errors.New("access control is enabled, and requests under /v1 have no user; use the API of etcd")
	case errors.Is(err, cluster.ErrRunning), errors.Is(err, cluster.ErrStopped),
		errors.Is(err, cluster.ErrConnected), errors.Is(err, cluster.ErrDisconnected),
		errors.Is(err, cluster.ErrHealthy), errors.Is(err, cluster.ErrNoMajority):
		status, code = http.StatusConflict, httpkv.ReplicaState
	}
	return failure(status, code, "%v", err)
}

// advice returns the next action of a client whose request has an open outcome.
func advice(r *http.Request) string {
	switch {
	case r.Header.Get("Idempotency-Key") != "":
		return "repeat the request with the same Idempotency-Key, and it takes effect once"
	case strings.HasPrefix(r.URL.Path, httpkv.KeyPath):
		return "read the key before you repeat the request; a write with an Idempotency-Key can be repeated safely"
	case r.URL.Path == "/v1/txn":
		return "read a version that the transaction changes before you repeat the request"
	}
	return "GET /v1/shards shows the layout"
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

func (h *handler) status(w http.ResponseWriter, r *http.Request) error {
	if _, bad := parameters(r); bad != nil {
		return bad
	}
	s := httpkv.ClusterStatus{
		Replicas: []httpkv.ReplicaStatus{},
		Limits:   httpkv.LimitStatus{Key: httpkv.Limits.Key, Value: httpkv.Limits.Value},
	}
	term := uint64(0)
	for _, r := range h.cluster.Status() {
		s.Replicas = append(s.Replicas, httpkv.ReplicaStatus(r))
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
		if _, bad := parameters(r); bad != nil {
			return bad
		}
		if bad := noBody(w, r); bad != nil {
			return bad
		}
		number, ok := parseNumber(r.PathValue("number"))
		if !ok {
			return failure(http.StatusNotFound, httpkv.NoReplica, "%q is not a replica's number", r.PathValue("number"))
		}
		if h.opts.Administrator != nil {
			var own *httpkv.Error
			if err := h.opts.Administrator(r); errors.As(err, &own) {
				return own
			} else if err != nil {
				return failure(http.StatusForbidden, httpkv.UsersOnly, "access control is enabled, and only a user with the role root changes replicas; send the token of /v3/auth/authenticate in the header Authorization: %v", err)
			}
		}
		if err := change(number); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}
