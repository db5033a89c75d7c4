//go:build !wasip1

package httpkv

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"raftlab/kv"
)

// Limits bound the keys and values of a served store, in bytes.
var Limits = kv.Limits{Key: 1 << 10, Value: 1 << 20}

const (
	// MaxTxnBytes is the size of the longest transaction, as JSON.
	MaxTxnBytes = 4 << 20
	// MaxIdempotencyKey is the length of the longest Idempotency-Key.
	MaxIdempotencyKey = 255
)

// Code names an error. Codes are stable, so clients may rely on them.
type Code string

const (
	NotFound        Code = "not_found"         // 404: the store does not hold the key
	NoRoute         Code = "no_route"          // 404: the server has no such path
	NoReplica       Code = "no_replica"        // 404: no replica has this number
	NoGroup         Code = "no_group"          // 404: no group has this number
	NoMember        Code = "no_member"         // 404: the store has no process of this name
	NoMethod        Code = "no_method"         // 405: the path takes other methods
	BadRequest      Code = "bad_request"       // 400: the message names the part at fault
	EmptyKey        Code = "empty_key"         // 400: a key has at least one byte
	ForeignHost     Code = "foreign_host"      // 403: the Host header names another server
	ForeignOrigin   Code = "foreign_origin"    // 403: a web page of another origin sent the request
	FormRequest     Code = "form_request"      // 403: the POST could come from a web page's form
	ReplicaState    Code = "replica_state"     // 409: the replica is in no state for the request
	InvalidLayout   Code = "invalid_layout"    // 409: the message names the obstacle
	InvalidMembers  Code = "invalid_members"   // 409: the message names the obstacle to a change of processes
	VersionMismatch Code = "version_mismatch"  // 412: the key has another version
	KeyTooLarge     Code = "key_too_large"     // 413: see Limits
	ValueTooLarge   Code = "value_too_large"   // 413: see Limits; nothing changed
	TxnTooLarge     Code = "txn_too_large"     // 413: the request or the values in the results have too many bytes; nothing changed
	KeyReused       Code = "key_reused"        // 422: the Idempotency-Key belongs to another write of the key
	NoLeader        Code = "no_leader"         // 503: nothing changed; try again
	Busy            Code = "busy"              // 503: too many requests are in flight; nothing changed; try again
	OutcomeUnknown  Code = "outcome_unknown"   // 503: the change is made, or may yet be, or is lost
	Unfinished      Code = "unfinished"        // 503: a change of processes waits or goes on; the same request again continues the change
	Internal        Code = "internal"          // 500
	NeedsGroups     Code = "needs_groups"      // 501: a store without groups has no transactions
	NeedsOneProcess Code = "needs_one_process" // 501: each member of the store is a process of its own
	UsersOnly       Code = "users_only"        // 403: access control is enabled, and the request has no user, or one without the role root
	NeedsAdmin      Code = "needs_admin"       // 403: the member runs without --admin
	NoSpace         Code = "no_space"          // 507: the store has reached its quota; nothing changed
)

// Error is the body of a response with a status from 400 on, under "error".
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	// Version is the key's version where Code is VersionMismatch, and 0 for a missing
	// key.
	Version *uint64 `json:"version,omitempty"`
	// Status is the status of HTTP.
	Status int `json:"-"`
}

func (e *Error) Error() string { return e.Message }

// ErrorBody is the body of a response with an error.
type ErrorBody struct {
	Error *Error `json:"error"`
}

// TextOf returns s for JSON, plain if s is valid UTF-8, and else in base64.
func TextOf(s string) (plain, inBase64 *string) {
	if utf8.ValidString(s) {
		return &s, nil
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(s))
	return nil, &encoded
}

// bytesOf returns the bytes of a field with a plain form and a form in base64.
func bytesOf(name string, plain, inBase64 *string) (string, error) {
	switch {
	case plain != nil && inBase64 != nil:
		return "", fmt.Errorf("%s and %[1]s_base64 are both given; want one", name)
	case plain != nil:
		return *plain, nil
	case inBase64 == nil:
		return "", fmt.Errorf("%s is missing", name)
	}
	b, err := base64.StdEncoding.DecodeString(*inBase64)
	if err == nil && base64.StdEncoding.EncodeToString(b) != *inBase64 {
		err = errors.New("line breaks and stray bits are not allowed")
	}
	if err != nil {
		return "", fmt.Errorf("%s_base64 is not base64 with padding (RFC 4648, section 4): %w", name, err)
	}
	return string(b), nil
}

// KeyText is a key in JSON.
type KeyText struct {
	Key       *string `json:"key,omitempty"`
	KeyBase64 *string `json:"key_base64,omitempty"` // in place of Key, for any bytes
}

// Bytes returns the key.
func (k KeyText) Bytes() (string, error) { return bytesOf("key", k.Key, k.KeyBase64) }

// ValueText is a value in JSON.
type ValueText struct {
	Value       *string `json:"value,omitempty"`
	ValueBase64 *string `json:"value_base64,omitempty"` // in place of Value, for any bytes
}

// ValueTextOf returns a value for JSON.
func ValueTextOf(value string) (v ValueText) {
	v.Value, v.ValueBase64 = TextOf(value)
	return v
}

// Given reports whether there is a value.
func (v ValueText) Given() bool { return v.Value != nil || v.ValueBase64 != nil }

// Bytes returns the value.
func (v ValueText) Bytes() (string, error) { return bytesOf("value", v.Value, v.ValueBase64) }

// Item is a key in a [Page].
type Item struct {
	KeyText
	ValueText
	Version uint64 `json:"version"`
}

// ItemOf returns a pair for JSON.
func ItemOf(p kv.Pair) Item {
	item := Item{Version: p.Version, ValueText: ValueTextOf(p.Value)}
	item.Key, item.KeyBase64 = TextOf(p.Key)
	return item
}

// Pair returns the item's bytes.
func (i Item) Pair() (kv.Pair, error) {
	key, err := i.KeyText.Bytes()
	if err != nil {
		return kv.Pair{}, err
	}
	value, err := i.ValueText.Bytes()
	return kv.Pair{Key: key, Value: value, Version: i.Version}, err
}

// Page is the answer to a range scan.
type Page struct {
	Items []Item `json:"items"`
	// More says that the scan stopped at a limit. Next then has the path and query
	// of the request for the next page.
	More bool   `json:"more"`
	Next string `json:"next,omitempty"`
}

// Written is the answer to a write that was done.
type Written struct {
	Version uint64 `json:"version"`
}

// ClusterStatus is the answer to GET /v1/status.
type ClusterStatus struct {
	// Leader is the number of the leading replica, and in a store with groups one of
	// the leading replicas. 0 means no leader.
	Leader   int             `json:"leader"`
	Replicas []ReplicaStatus `json:"replicas"`
	Limits   LimitStatus     `json:"limits"`
}

// LimitStatus has the limits, in bytes.
type LimitStatus struct {
	Key   int `json:"key"`
	Value int `json:"value"`
}

// ReplicaStatus is a picture of one replica.
type ReplicaStatus struct {
	Number int `json:"replica"`
	// Name is set for a member that is a process of its own.
	Name string `json:"name,omitempty"`
	// Group is the number of the replica's group, or "controller". A store without
	// groups has none. Term and Leader are those of the group.
	Group string `json:"group,omitempty"`
	// State is "running", "stopped", or "failed" after a failure of the replica's own.
	State string `json:"state"`
	// Role is "leader", "follower", "candidate" or "pre-candidate".
	Role          string `json:"role,omitempty"`
	Term          uint64 `json:"term"`
	Leader        int    `json:"leader"` // as the replica knows; 0: not known
	CommitIndex   uint64 `json:"commitIndex"`
	AppliedIndex  uint64 `json:"appliedIndex"`
	LastIndex     uint64 `json:"lastIndex"`
	SnapshotIndex uint64 `json:"snapshotIndex"`
	LogBytes      int    `json:"logBytes"`
	FileBytes     int64  `json:"fileBytes"`
	Keys          int    `json:"keys"`
	Sessions      int    `json:"sessions"`
	// Disconnected is set for a replica that is cut off from the others.
	Disconnected bool   `json:"disconnected,omitempty"`
	Error        string `json:"error,omitempty"`
}

// Layout is the answer to GET /v1/shards, with the owner of each shard.
type Layout struct {
	Config int           `json:"config"` // number of the newest configuration
	Shards []ShardPlace  `json:"shards"`
	Groups []GroupStatus `json:"groups"`
}

// ShardPlace is the place of one shard.
type ShardPlace struct {
	Shard int    `json:"shard"`
	Group int    `json:"group"` // the owner; 0: none
	State string `json:"state"` // "served", "arriving", or "unknown" if no replica of the owner runs
	Keys  int    `json:"keys"`
	From  int    `json:"from,omitempty"` // a former owner that still has the data, or awaits the data
}

// GroupStatus is a picture of one group.
type GroupStatus struct {
	Group    int   `json:"group"`
	Member   bool  `json:"member"`
	Replicas []int `json:"replicas"`
	Leader   int   `json:"leader"` // one of Replicas; 0: none leads
	Config   int   `json:"config"` // number of the newest configuration that the group has taken
	Shards   int   `json:"shards"` // how many shards the group owns
	Keys     int   `json:"keys"`
}

// Rearranged is the answer to a change of the layout.
type Rearranged struct {
	Config int `json:"config"` // number of the configuration with the change
}

// TxnAnswer is the answer to a transaction that was carried out.
type TxnAnswer struct {
	Succeeded bool        `json:"succeeded"` // all comparisons held
	Results   []TxnResult `json:"results"`   // of success, or of failure
}

// TxnResult is the result of one operation of a transaction.
type TxnResult struct {
	Status string `json:"status"` // "ok" or "not_found"
	ValueText
	// Version is the key's version. A write of a transaction over several shards
	// has none here, because each shard has a count of its own.
	Version uint64 `json:"version,omitempty"`
}

// KeyPath begins the path of a key.
const KeyPath = "/v1/kv/"

// PathOf returns the path of a key.
func PathOf(key string) string {
	escaped := url.PathEscape(key)
	if strings.Trim(key, ".") == "" {
		escaped = strings.ReplaceAll(key, ".", "%2E") // a segment of dots makes a path relative
	}
	return KeyPath + escaped
}

// ETag returns a version as an entity tag.
func ETag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// ParseETag returns the version of an entity tag. Each version has one tag, so
// "007" is not a tag.
func ParseETag(s string) (uint64, error) {
	version, err := strconv.ParseUint(strings.Trim(s, `"`), 10, 64)
	if err != nil || version == 0 || ETag(version) != s {
		return 0, fmt.Errorf(`%s is not an ETag of this store; want one like "7"`, s)
	}
	return version, nil
}
