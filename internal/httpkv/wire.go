//go:build !wasip1

package httpkv

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"raftlab/internal/cluster"
	"raftlab/kv"
)

// Code names what went wrong. Codes are stable: clients may rely on them.
type Code string

const (
	NotFound        Code = "not_found"        // 404: the key is not there
	NoRoute         Code = "no_route"         // 404: there is nothing under this path
	NoReplica       Code = "no_replica"       // 404: there is no replica of that number
	NoGroup         Code = "no_group"         // 404: there is no group of that number
	NoMethod        Code = "no_method"        // 405: the path is right, the method is not
	BadRequest      Code = "bad_request"      // 400: the message says what cannot be understood
	EmptyKey        Code = "empty_key"        // 400: a key has at least one byte
	ReplicaState    Code = "replica_state"    // 409: the replica runs already, or is stopped already
	InvalidLayout   Code = "invalid_layout"   // 409: the shards cannot be arranged so; the message says why
	VersionMismatch Code = "version_mismatch" // 412: the key has another version
	KeyTooLarge     Code = "key_too_large"    // 413: see cluster.Limits
	ValueTooLarge   Code = "value_too_large"  // 413: see cluster.Limits; nothing was changed
	KeyReused       Code = "key_reused"       // 422: the Idempotency-Key belongs to another write of the key
	NoLeader        Code = "no_leader"        // 503: nothing was done; try again
	OutcomeUnknown  Code = "outcome_unknown"  // 503: done or not; try again with the same Idempotency-Key
	Internal        Code = "internal"         // 500
	NeedsGroups     Code = "needs_groups"     // 501: a store without groups has no transactions
)

// Error is what the body of a response above 399 says, under "error".
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	// Version is the key's version where Code is VersionMismatch; 0: it is not there.
	Version *uint64 `json:"version,omitempty"`

	status int // of HTTP
}

func (e *Error) Error() string { return e.Message }

type errorBody struct {
	Error *Error `json:"error"`
}

func failure(status int, code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), status: status}
}

// textOf returns s as JSON can hold it: as it is if it is valid UTF-8, else in
// base64, in another field.
func textOf(s string) (plain, inBase64 *string) {
	if utf8.ValidString(s) {
		return &s, nil
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(s))
	return nil, &encoded
}

func bytesOf(name string, plain, inBase64 *string) (string, error) {
	switch {
	case plain != nil && inBase64 != nil:
		return "", fmt.Errorf("%s and %[1]s_base64 are both there", name)
	case plain != nil:
		return *plain, nil
	case inBase64 != nil:
		b, err := base64.StdEncoding.DecodeString(*inBase64)
		return string(b), err
	}
	return "", fmt.Errorf("there is no %s", name)
}

// keyText is a key in JSON.
type keyText struct {
	Key       *string `json:"key,omitempty"`
	KeyBase64 *string `json:"key_base64,omitempty"` // in place of key, if that is not UTF-8
}

func (k keyText) key() (string, error) {
	key, err := bytesOf("key", k.Key, k.KeyBase64)
	if err != nil {
		return "", err
	}
	if bad := checkKey(key); bad != nil {
		return "", bad
	}
	return key, nil
}

// valueText is a value in JSON.
type valueText struct {
	Value       *string `json:"value,omitempty"`
	ValueBase64 *string `json:"value_base64,omitempty"` // in place of value, if that is not UTF-8
}

func valueTextOf(value string) (v valueText) {
	v.Value, v.ValueBase64 = textOf(value)
	return v
}

func (v valueText) value() (string, error) { return bytesOf("value", v.Value, v.ValueBase64) }

// Item is a key in a [Page].
type Item struct {
	keyText
	valueText
	Version uint64 `json:"version"`
}

// ItemOf returns a pair as JSON can hold it.
func ItemOf(p kv.Pair) Item {
	item := Item{Version: p.Version, valueText: valueTextOf(p.Value)}
	item.Key, item.KeyBase64 = textOf(p.Key)
	return item
}

// Pair returns the item's bytes.
func (i Item) Pair() (kv.Pair, error) {
	key, err := i.key()
	if err != nil {
		return kv.Pair{}, err
	}
	value, err := i.value()
	return kv.Pair{Key: key, Value: value, Version: i.Version}, err
}

// Page is the answer to a range scan.
type Page struct {
	Items []Item `json:"items"`
	// More says that the scan stopped at a limit; Next is then the path and query
	// of the request that goes on.
	More bool   `json:"more"`
	Next string `json:"next,omitempty"`
}

// Written is the answer to a write that was done.
type Written struct {
	Version uint64 `json:"version"`
}

// ClusterStatus is the answer to GET /v1/status.
type ClusterStatus struct {
	Leader   int              `json:"leader"` // the replica that leads; 0: none; with groups, one of those that do
	Replicas []cluster.Status `json:"replicas"`
	Limits   LimitStatus      `json:"limits"`
}

// LimitStatus tells the limits, in bytes.
type LimitStatus struct {
	Key   int `json:"key"`
	Value int `json:"value"`
}

const keyPath = "/v1/kv/"

// PathOf returns the path of a key.
func PathOf(key string) string {
	escaped := url.PathEscape(key)
	if strings.Trim(key, ".") == "" {
		escaped = strings.ReplaceAll(key, ".", "%2E") // or the path would be taken for a relative one
	}
	return keyPath + escaped
}

// etag is a version as an entity tag.
func etag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

func parseETag(s string) (uint64, error) {
	inner, ok := strings.CutPrefix(s, `"`)
	if ok {
		inner, ok = strings.CutSuffix(inner, `"`)
	}
	version, err := strconv.ParseUint(inner, 10, 64)
	if !ok || err != nil || version == 0 {
		return 0, fmt.Errorf(`%s is not an ETag of this store, like "7"`, s)
	}
	return version, nil
}

// matches says whether a version's entity tag is among those that a header lists
// (RFC 9110, section 13.1). For a read a weak tag may count as the strong one.
func matches(header []string, version uint64, weak bool) bool {
	for _, tag := range strings.Split(strings.Join(header, ","), ",") {
		tag = strings.TrimSpace(tag)
		if weak {
			tag = strings.TrimPrefix(tag, "W/")
		}
		if tag == "*" || tag == etag(version) {
			return true
		}
	}
	return false
}

// condition reads the preconditions of a write into op.
func condition(h http.Header, op kv.Op) (kv.Op, *Error) {
	match, none := h.Values("If-Match"), h.Values("If-None-Match")
	switch {
	case len(match) == 0 && len(none) == 0:
		return op, nil
	case len(match) == 1 && len(none) == 0:
		version, err := parseETag(match[0])
		if err != nil {
			return op, failure(http.StatusBadRequest, BadRequest, "If-Match: %v", err)
		}
		return op.IfVersion(version), nil
	case len(match) == 0 && len(none) == 1 && none[0] == "*":
		return op.IfVersion(0), nil
	}
	return op, failure(http.StatusBadRequest, BadRequest, "a write takes one If-Match with one ETag, or If-None-Match: *")
}
