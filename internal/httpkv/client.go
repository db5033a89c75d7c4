//go:build !wasip1

package httpkv

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"raftlab/kv"
)

var (
	// ErrUnavailable is returned if the server did not answer, or had no leader,
	// until the context ended.
	ErrUnavailable = errors.New("the store is not available")
	// ErrForeign is returned for an answer that no raftlab server gives. The usual
	// cause is another server, or a proxy, at the address.
	ErrForeign = errors.New("the answer does not come from a raftlab server")
)

// An OpenError is returned for a change with an open outcome. The server may have made
// the change, or may do so yet.
type OpenError struct {
	// IdempotencyKey is the key of a write. Repeated with this key, the write takes
	// effect once. Other changes have none.
	IdempotencyKey string
	Cause          error // why there is no answer; matches ErrUnavailable or ErrForeign
}

func (e *OpenError) Error() string { return e.Cause.Error() }
func (e *OpenError) Unwrap() error { return e.Cause }

const (
	firstPause = 50 * time.Millisecond // after the first try
	maxPause   = time.Second           // between later tries
	maxWait    = 5 * time.Second       // longest Retry-After that a client follows
	// maxAnswer bounds an answer in bytes. The longest are the results of a
	// transaction.
	maxAnswer = 1 << 29
)

// Client speaks to a server. While the server cannot be reached or has no leader,
// the client repeats a request until the context ends. A repeated write takes
// effect once. Errors are an *Error from the server, an *OpenError, or match
// ErrUnavailable or ErrForeign. Methods may be called from any goroutine.
type Client struct {
	// BaseURL is the server's, such as "http://127.0.0.1:8400".
	BaseURL string
	// HTTP makes the requests. The default is a client on http.DefaultTransport. Either
	// refuses redirects to another method.
	HTTP *http.Client
}

// Write is a write to be made.
type Write struct {
	Op kv.Op // made by kv.Put, kv.Append or kv.Delete, with IfVersion if need be
	// IdempotencyKey makes all writes of a key with one IdempotencyKey one write. If
	// empty, the client draws one.
	IdempotencyKey string
}

// Get returns a key's value and version.
func (c *Client) Get(ctx context.Context, key string) (kv.Pair, error) {
	got, err := c.send(ctx, call{method: http.MethodGet, path: PathOf(key)})
	if err != nil {
		return kv.Pair{}, err
	}
	version, err := ParseETag(got.header.Get("ETag"))
	if err != nil || got.status != http.StatusOK {
		return kv.Pair{}, got.foreign("an ETag")
	}
	return kv.Pair{Key: key, Value: string(got.body), Version: version}, nil
}

var methodOf = map[kv.Kind]string{
	kv.KindPut:    http.MethodPut,
	kv.KindAppend: http.MethodPost,
	kv.KindDelete: http.MethodDelete,
}

// Do makes a write and returns the key's new version, and 0 for a delete.
func (c *Client) Do(ctx context.Context, w Write) (uint64, error) {
	method := methodOf[w.Op.Kind]
	if method == "" {
		return 0, fmt.Errorf("httpkv: %v is not a write", w.Op.Kind)
	}
	if w.IdempotencyKey == "" {
		w.IdempotencyKey = rand.Text()
	}
	header := http.Header{"Idempotency-Key": {w.IdempotencyKey}}
	switch {
	case w.Op.Conditional && w.Op.Version == 0:
		header.Set("If-None-Match", "*")
	case w.Op.Conditional:
		header.Set("If-Match", ETag(w.Op.Version))
	}
	var body []byte
	if method != http.MethodDelete {
		body = []byte(w.Op.Value)
	}
	got, err := c.send(ctx, call{method: method, path: PathOf(w.Op.Key), header: header, body: body, writes: true})
	if err != nil {
		return 0, err
	}
	if method == http.MethodDelete {
		return 0, got.empty()
	}
	var written Written
	if err := got.decode(&written, "version"); err != nil {
		return 0, err
	}
	if got.header.Get("ETag") != ETag(written.Version) {
		return 0, got.foreign("the ETag of the new version")
	}
	return written.Version, nil
}

// Scan returns keys in order, from start on, below end, with a prefix. Each may be "",
// for no bound. One call returns at most limit keys, and the path of the next page for
// ScanNext. The last page has no such path.
func (c *Client) Scan(ctx context.Context, start, end, prefix string, limit int) ([]kv.Pair, string, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	for name, value := range map[string]string{"start": start, "end": end, "prefix": prefix} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return c.ScanNext(ctx, "/v1/kv?"+query.Encode())
}

// ScanNext returns the next page of a scan.
func (c *Client) ScanNext(ctx context.Context, next string) ([]kv.Pair, string, error) {
	var page Page
	if err := c.get(ctx, next, &page, "items", "more"); err != nil {
		return nil, "", err
	}
	pairs := make([]kv.Pair, len(page.Items))
	for i, item := range page.Items {
		var err error
		if pairs[i], err = item.Pair(); err != nil {
			return nil, "", fmt.Errorf("%w: %w", ErrForeign, err)
		}
	}
	return pairs, page.Next, nil
}

// Status returns a picture of the server's replicas.
func (c *Client) Status(ctx context.Context) (ClusterStatus, error) {
	var s ClusterStatus
	err := c.get(ctx, "/v1/status", &s, "leader", "replicas", "limits")
	return s, err
}

// Layout returns the owner of each shard.
func (c *Client) Layout(ctx context.Context) (Layout, error) {
	var l Layout
	err := c.get(ctx, "/v1/shards", &l, "config", "shards", "groups")
	return l, err
}

// ChangeReplica changes a replica. The verb is "stop", "start", "repair",
// "compact", "disconnect" or "connect".
func (c *Client) ChangeReplica(ctx context.Context, number int, verb string) error {
	got, err := c.send(ctx, call{method: http.MethodPost, path: fmt.Sprintf("/v1/replicas/%d/%s", number, verb), writes: true})
	var refused *Error
	if errors.As(err, &refused) && refused.Code == ReplicaState && got.unsure {
		return nil // an earlier try, whose answer was lost, made the change
	}
	if err != nil {
		return err
	}
	return got.empty()
}

// ChangeGroups makes groups join or leave. The verb is "join" or "leave". The result is
// the number of the configuration with the change.
func (c *Client) ChangeGroups(ctx context.Context, verb string, groups []int) (int, error) {
	q := make(url.Values)
	for _, g := range groups {
		q.Add("group", strconv.Itoa(g))
	}
	return c.changeLayout(ctx, verb, q)
}

// MoveShard gives a shard to a group. The result is the number of the
// configuration with the change.
func (c *Client) MoveShard(ctx context.Context, shard, group int) (int, error) {
	return c.changeLayout(ctx, "move", url.Values{"shard": {strconv.Itoa(shard)}, "group": {strconv.Itoa(group)}})
}

func (c *Client) changeLayout(ctx context.Context, verb string, q url.Values) (int, error) {
	got, err := c.send(ctx, call{method: http.MethodPost, path: fmt.Sprintf("/v1/shards/%s?%s", verb, q.Encode()), writes: true})
	if err != nil {
		return 0, err
	}
	var done Rearranged
	err = got.decode(&done, "config")
	return done.Config, err
}

// Txn carries out a transaction, given as JSON in the server's form. The client repeats
// the transaction only while the server has certainly not begun, because a repeated
// transaction might take effect twice.
func (c *Client) Txn(ctx context.Context, transaction []byte) (TxnAnswer, error) {
	var answer TxnAnswer
	got, err := c.send(ctx, call{
		method: http.MethodPost, path: "/v1/txn",
		header: http.Header{"Content-Type": {"application/json"}},
		body:   transaction, writes: true, once: true,
	})
	if err == nil {
		err = got.decode(&answer, "succeeded", "results")
	}
	return answer, err
}

// Backup writes a copy of a store with groups to w. After an error the copy is not whole.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	do := call{method: http.MethodGet, path: "/v1/backup"}
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		resp, err := c.request(ctx, do)
		if err == nil && resp.StatusCode == http.StatusOK {
			defer resp.Body.Close()
			_, err := io.Copy(w, resp.Body)
			return err
		}
		if err == nil {
			got, failed := do.read(resp)
			if err = failed; err == nil {
				err = got.error()
			}
			if !passes(resp.StatusCode) {
				return err
			}
		}
		if !sleep(ctx, pause) {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
}

// get makes a request for an answer in JSON with certain fields.
func (c *Client) get(ctx context.Context, path string, into any, fields ...string) error {
	got, err := c.send(ctx, call{method: http.MethodGet, path: path})
	if err != nil {
		return err
	}
	return got.decode(into, fields...)
}

// call is a request to be made.
type call struct {
	method, path string
	header       http.Header
	body         []byte
	writes       bool // a lost answer leaves the outcome open
	once         bool // not to be repeated once the outcome is open
}

// answer is the server's answer to a call.
type answer struct {
	host   string
	status int
	header http.Header
	body   []byte
	call   call
	// unsure says that an earlier try may have taken effect without an answer.
	unsure bool
}

// foreign returns an error for an answer without a part of every answer. Nobody knows
// then how far a change came.
func (a *answer) foreign(lacks string) error {
	err := fmt.Errorf("%w: %s answered %d %s without %s", ErrForeign, a.host, a.status, http.StatusText(a.status), lacks)
	return a.call.open(err, a.call.writes)
}

// empty checks an answer without content.
func (a *answer) empty() error {
	if a.status != http.StatusNoContent {
		return a.foreign("its status, 204 No Content")
	}
	return nil
}

// decode reads an answer in JSON with certain fields. The client ignores unknown
// fields, so a newer server can add some.
func (a *answer) decode(into any, fields ...string) error {
	if a.status != http.StatusOK {
		return a.foreign("its status, 200 OK")
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(a.body, &all); err != nil {
		return a.foreign("JSON")
	}
	for _, name := range fields {
		if value := string(all[name]); value == "" || value == "null" {
			return a.foreign(strconv.Quote(name) + " in its JSON")
		}
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("%w (%w)", a.foreign("fields of the right types"), err)
	}
	return nil
}

// send makes a call until the server has answered it.
func (c *Client) send(ctx context.Context, do call) (*answer, error) {
	pause := firstPause
	unsure := false
	var why error // of the last try that ended before ctx
	for {
		got, err := c.try(ctx, do)
		wait, open := pause, false
		switch {
		case err == nil && got.status < 300:
			got.unsure = unsure
			return got, nil
		case err == nil:
			err = got.error()
			if !passes(got.status) {
				got.unsure = unsure
				return got, err
			}
			wait, open = max(pause, retryAfter(got.header)), mayHaveBegun(err)
		case errors.Is(err, ErrForeign):
			return &answer{unsure: unsure}, do.open(err, unsure)
		default:
			open = !unsent(err)
		}
		unsure = unsure || open && do.writes
		if ctx.Err() == nil || why == nil {
			why = err
		}
		if unsure && do.once || !sleep(ctx, wait) {
			return &answer{unsure: unsure}, do.open(fmt.Errorf("%w: %w", ErrUnavailable, why), unsure)
		}
		pause = min(2*pause, maxPause)
	}
}

// open returns the error of a call without an answer.
func (do call) open(err error, unsure bool) error {
	if unsure {
		return &OpenError{IdempotencyKey: do.header.Get("Idempotency-Key"), Cause: err}
	}
	return err
}

// passes reports whether an error of the server or of a proxy is likely to pass, so
// that the client repeats the request.
func passes(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// mayHaveBegun reports whether a change may have been made in spite of a passing error.
func mayHaveBegun(err error) bool {
	var e *Error
	return !errors.As(err, &e) || e.Code == OutcomeUnknown
}

// unsentError is the error of a request that got no connection.
type unsentError struct{ error }

func (e unsentError) Unwrap() error { return e.error }

// unsent reports whether a request failed before any of it was sent.
func unsent(err error) bool {
	var op *net.OpError
	return errors.As(err, new(unsentError)) || errors.As(err, &op) && op.Op == "dial"
}

// retryAfter returns how long an answer asks the client to wait.
func retryAfter(header http.Header) time.Duration {
	seconds, err := strconv.Atoi(header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxWait)
}

// sleep reports whether the pause ended before ctx did.
func sleep(ctx context.Context, pause time.Duration) bool {
	select {
	case <-time.After(pause):
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

func (c *Client) try(ctx context.Context, do call) (*answer, error) {
	resp, err := c.request(ctx, do)
	if err != nil {
		return nil, err
	}
	return do.read(resp)
}

// request makes a request and returns the beginning of the answer.
func (c *Client) request(ctx context.Context, do call) (*http.Response, error) {
	var wanted, got atomic.Bool // a transport that reports no connection sets neither
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { wanted.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { got.Store(true) },
	})
	req, err := http.NewRequestWithContext(ctx, do.method, c.BaseURL+do.path, bytes.NewReader(do.body))
	if err != nil {
		return nil, err
	}
	if do.writes { // or a proxy may add the type of a form
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	for name, values := range do.header {
		req.Header[name] = values
	}
	var client http.Client
	if c.HTTP != nil {
		client = *c.HTTP
	}
	client.CheckRedirect = checkRedirect(client.CheckRedirect)
	resp, err := client.Do(req)
	var failed *url.Error
	if errors.As(err, &failed) && errors.Is(err, ErrForeign) {
		err = failed.Err // names the URLs itself
	}
	if err != nil && wanted.Load() && !got.Load() {
		err = unsentError{err}
	}
	return resp, err
}

// read reads an answer as a whole.
func (do call) read(resp *http.Response) (*answer, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = fmt.Errorf("%w: more than %d bytes", ErrForeign, maxAnswer)
	}
	return &answer{host: resp.Request.URL.Host, status: resp.StatusCode, header: resp.Header, body: body, call: do}, err
}

// maxRedirects is net/http's own limit.
const maxRedirects = 10

// checkRedirect refuses a redirect from a write to a GET (301, 302, 303). The answer to
// the GET would pass for the answer to the write.
func checkRedirect(inner func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(req *http.Request, via []*http.Request) error {
		if first := via[0]; req.Method != first.Method {
			return fmt.Errorf("%w: %s answered with a redirect to %s://%s, which would turn %s into %s; nothing was done there; use that URL as the server's",
				ErrForeign, first.URL.Host, req.URL.Scheme, req.URL.Host, first.Method, req.Method)
		}
		if inner != nil {
			return inner(req, via)
		}
		if len(via) >= maxRedirects {
			return fmt.Errorf("%w: more than %d redirects", ErrForeign, maxRedirects)
		}
		return nil
	}
}

// error reads the server's error.
func (a *answer) error() error {
	var body ErrorBody
	if err := json.Unmarshal(a.body, &body); err != nil || body.Error == nil || body.Error.Code == "" {
		return fmt.Errorf("%w: %s answered %d %s", ErrForeign, a.host, a.status, http.StatusText(a.status))
	}
	body.Error.Status = a.status
	return body.Error
}
