//go:build !wasip1

package handler

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"raftlab/internal/httpkv"
	"raftlab/kv"
)

// keyOf returns the key that a request names.
func keyOf(r *http.Request) (string, *httpkv.Error) {
	key, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), httpkv.KeyPath))
	isAppend := r.Method == http.MethodPost && r.URL.RawQuery == "op=append"
	switch bad := checkKey(key); {
	case err != nil:
		return "", badRequest("the key: %v", err)
	case bad != nil:
		return "", bad
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.EscapedPath(), "/append"):
		return "", badRequest("POST on the key itself appends; write a key that ends in /append with %%2Fappend")
	case r.URL.RawQuery != "" && !isAppend:
		return "", badRequest("a key takes no query (%s), except for op=append with POST; write a ? in a key as %%3F", r.URL.RawQuery)
	}
	return key, nil
}

// checkKey checks the length of a key.
func checkKey(key string) *httpkv.Error {
	switch {
	case key == "":
		return failure(http.StatusBadRequest, httpkv.EmptyKey, "the key is empty; want 1 to %d bytes (GET /v1/kv lists keys)", httpkv.Limits.Key)
	case len(key) > httpkv.Limits.Key:
		return failure(http.StatusRequestEntityTooLarge, httpkv.KeyTooLarge, "the key has %d bytes; the limit is %d", len(key), httpkv.Limits.Key)
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
	if result.Code != kv.OK {
		return resultError(result)
	}
	if match := r.Header.Values("If-Match"); len(match) > 0 && !matches(match, result.Version, false) {
		return mismatch(result.Version)
	}
	w.Header().Set("ETag", httpkv.ETag(result.Version))
	if matches(r.Header.Values("If-None-Match"), result.Version, true) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(result.Value)))
	_, _ = io.WriteString(w, result.Value) // a client that is gone needs no answer
	return nil
}

// resultError returns the error for a result other than kv.OK.
func resultError(result kv.Result) *httpkv.Error {
	switch result.Code {
	case kv.NotFound:
		return failure(http.StatusNotFound, httpkv.NotFound, "the key is not there")
	case kv.VersionMismatch:
		return mismatch(result.Version)
	case kv.TooLarge:
		return failure(http.StatusRequestEntityTooLarge, httpkv.ValueTooLarge, "the value would be over the limit of %d bytes", httpkv.Limits.Value)
	}
	return failure(http.StatusInternalServerError, httpkv.Internal, "the store answered: %v", result.Code)
}

// mismatch returns the error for a key with another version, or 0 for a missing key.
func mismatch(version uint64) *httpkv.Error {
	e := failure(http.StatusPreconditionFailed, httpkv.VersionMismatch, "the key's version is %d", version)
	if version == 0 {
		e.Message = "the key is not there"
	}
	e.Version = &version
	return e
}

// write answers a write. The function makes the operation from a key and a body.
func (h *handler) write(operation func(key, value string) kv.Op) action {
	return func(w http.ResponseWriter, r *http.Request) error {
		op, idempotencyKey, bad := readWrite(w, r, operation)
		if bad != nil {
			return bad
		}
		result, err := h.do(r, idempotencyKey, op)
		if err != nil {
			return err
		}
		if result.Code != kv.OK {
			return resultError(result)
		}
		if op.Kind == kv.KindDelete {
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		w.Header().Set("ETag", httpkv.ETag(result.Version))
		writeJSON(w, http.StatusOK, httpkv.Written{Version: result.Version})
		return nil
	}
}

func readWrite(w http.ResponseWriter, r *http.Request, operation func(key, value string) kv.Op) (kv.Op, string, *httpkv.Error) {
	key, bad := keyOf(r)
	if bad != nil {
		return kv.Op{}, "", bad
	}
	idempotencyKey := r.Header.Get("Idempotency-Key")
	if values := r.Header.Values("Idempotency-Key"); len(values) > 1 || len(values) == 1 && idempotencyKey == "" || len(idempotencyKey) > httpkv.MaxIdempotencyKey {
		return kv.Op{}, "", badRequest("a request has one Idempotency-Key, of 1 to %d bytes", httpkv.MaxIdempotencyKey)
	}
	var value string
	if r.Method == http.MethodDelete {
		bad = noBody(w, r)
	} else {
		value, bad = readBody(w, r, int64(httpkv.Limits.Value), "value")
	}
	if bad != nil {
		return kv.Op{}, "", bad
	}
	op, bad := condition(r.Header, operation(key, value))
	return op, idempotencyKey, bad
}

// matches reports whether a header lists a version's entity tag (RFC 9110, section
// 13.1). For a read a weak tag counts as the strong one.
func matches(header []string, version uint64, weak bool) bool {
	for _, tag := range strings.Split(strings.Join(header, ","), ",") {
		tag = strings.TrimSpace(tag)
		if weak {
			tag = strings.TrimPrefix(tag, "W/")
		}
		if tag == "*" || tag == httpkv.ETag(version) {
			return true
		}
	}
	return false
}

// condition adds the preconditions of a write to op.
func condition(h http.Header, op kv.Op) (kv.Op, *httpkv.Error) {
	match, none := h.Values("If-Match"), h.Values("If-None-Match")
	switch {
	case len(match) == 0 && len(none) == 0:
		return op, nil
	case len(match) == 1 && len(none) == 0:
		version, err := httpkv.ParseETag(match[0])
		if err != nil {
			return op, badRequest("If-Match: %v", err)
		}
		return op.IfVersion(version), nil
	case len(match) == 0 && len(none) == 1 && none[0] == "*":
		return op.IfVersion(0), nil
	}
	return op, badRequest("a write takes one If-Match with one ETag, or If-None-Match: *")
}
