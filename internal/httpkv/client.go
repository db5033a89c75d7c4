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
	"net/http"
	"net/url"
	"strconv"
	"time"

	"raftlab/kv"
)

// ErrUnavailable: the server could not be reached, or had no leader, until the
// context ended. A write may have taken effect.
var ErrUnavailable = errors.New("the store is not available")

// Pauses between tries of a [Client].
const (
	firstPause = 50 * time.Millisecond
	maxPause   = time.Second
)

// Client speaks to a server. It tries again, until the context ends, when the
// server cannot be reached or has no leader; a write takes effect once all the
// same. Errors are an *Error, as the server sent it, or match ErrUnavailable.
// Its methods may be called from any goroutine.
type Client struct {
	// BaseURL is the server's, such as "http://127.0.0.1:8400".
	BaseURL string
	// HTTP makes the requests; nil: http.DefaultClient.
	HTTP *http.Client
}

// Write is a write to be made.
type Write struct {
	Op kv.Op // made by kv.Put, kv.Append or kv.Delete, with IfVersion if need be
	// IdempotencyKey makes all writes of the key under it one; "": the client draws one.
	IdempotencyKey string
}

// Get returns a key's value and version.
func (c *Client) Get(ctx context.Context, key string) (kv.Pair, error) {
	resp, body, err := c.send(ctx, http.MethodGet, PathOf(key), nil, nil)
	if err != nil {
		return kv.Pair{}, err
	}
	version, err := parseETag(resp.Header.Get("ETag"))
	return kv.Pair{Key: key, Value: string(body), Version: version}, err
}

// Do makes a write and returns the key's new version; 0: it is not there.
func (c *Client) Do(ctx context.Context, w Write) (uint64, error) {
	method := map[kv.Kind]string{kv.KindPut: http.MethodPut, kv.KindAppend: http.MethodPost, kv.KindDelete: http.MethodDelete}[w.Op.Kind]
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
		header.Set("If-Match", etag(w.Op.Version))
	}
	_, body, err := c.send(ctx, method, PathOf(w.Op.Key), header, []byte(w.Op.Value))
	if err != nil || method == http.MethodDelete {
		return 0, err
	}
	var written Written
	err = json.Unmarshal(body, &written)
	return written.Version, err
}

// Scan returns keys in order: those from start on, before end, that begin with
// prefix, each "" for no bound. It returns at most limit keys at a time, and the
// path of the request for those that follow, for ScanNext; "": there are none.
func (c *Client) Scan(ctx context.Context, start, end, prefix string, limit int) ([]kv.Pair, string, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	for name, value := range map[string]string{"start": start, "end": end, "prefix": prefix} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return c.ScanNext(ctx, "/v1/kv?"+query.Encode())
}

// ScanNext goes on with a scan.
func (c *Client) ScanNext(ctx context.Context, next string) ([]kv.Pair, string, error) {
	_, body, err := c.send(ctx, http.MethodGet, next, nil, nil)
	if err != nil {
		return nil, "", err
	}
	var page Page
	if err := json.Unmarshal(body, &page); err != nil {
		return nil, "", err
	}
	pairs := make([]kv.Pair, len(page.Items))
	for i, item := range page.Items {
		if pairs[i], err = item.Pair(); err != nil {
			return nil, "", err
		}
	}
	return pairs, page.Next, nil
}

// Status returns what the server says of its replicas.
func (c *Client) Status(ctx context.Context) (ClusterStatus, error) {
	var s ClusterStatus
	_, body, err := c.send(ctx, http.MethodGet, "/v1/status", nil, nil)
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	return s, err
}

// ChangeReplica has a replica stopped or started; verb is "stop" or "start".
func (c *Client) ChangeReplica(ctx context.Context, number int, verb string) error {
	_, _, err := c.send(ctx, http.MethodPost, fmt.Sprintf("/v1/replicas/%d/%s", number, verb), nil, nil)
	return err
}

// send makes a request until it has an answer that is no 503.
func (c *Client) send(ctx context.Context, method, path string, header http.Header, body []byte) (*http.Response, []byte, error) {
	pause := firstPause
	var why error // of the last try that came to its end
	for {
		resp, answer, err := c.try(ctx, method, path, header, body)
		if err == nil && resp.StatusCode < 400 {
			return resp, answer, nil
		}
		if err == nil {
			if err = decodeError(resp, answer); resp.StatusCode != http.StatusServiceUnavailable {
				return nil, nil, err
			}
		}
		if ctx.Err() == nil || why == nil {
			why = err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, why)
		}
		pause = min(2*pause, maxPause)
	}
}

func (c *Client) try(ctx context.Context, method, path string, header http.Header, body []byte) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.BaseURL+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp, answer, err
}

// decodeError reads the error that the server sent.
func decodeError(resp *http.Response, body []byte) error {
	var e errorBody
	if err := json.Unmarshal(body, &e); err != nil || e.Error == nil {
		return fmt.Errorf("%s answered %s, which is not an answer of raftlab's", resp.Request.URL.Host, resp.Status)
	}
	e.Error.status = resp.StatusCode
	return e.Error
}
