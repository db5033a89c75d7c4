//go:build !wasip1

package handler

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"raftlab/internal/httpkv"
)

// parameters returns a request's query. The server refuses unknown parameters, because
// their sender means something by them. Each parameter is given at most once, except
// for names with "..." at the end.
func parameters(r *http.Request, names ...string) (url.Values, *httpkv.Error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the query: %v", err)
	}
	for name, values := range query {
		switch {
		case slices.Contains(names, name+"..."):
		case !slices.Contains(names, name) && len(names) == 0:
			return nil, badRequest("%s takes no query; the request has %q", r.URL.EscapedPath(), name)
		case !slices.Contains(names, name):
			return nil, badRequest("%s takes no %q; a query has %s", r.URL.EscapedPath(), name,
				strings.ReplaceAll(strings.Join(names, ", "), "...", ""))
		case len(values) > 1:
			return nil, badRequest("%s is given %d times; want it once", name, len(values))
		}
	}
	return query, nil
}

// parseNumber returns a number in its only decimal form. "+1" and "01" do not pass for
// 1.
func parseNumber(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && strconv.Itoa(n) == s
}

// numbers returns a parameter that is given least to most times.
func numbers(q url.Values, name string, least, most int) ([]int, error) {
	texts := q[name]
	if len(texts) < least || len(texts) > most {
		return nil, badRequest("%s is given %d times; want %d to %d", name, len(texts), least, most)
	}
	all := make([]int, len(texts))
	for i, text := range texts {
		n, ok := parseNumber(text)
		if !ok {
			return nil, badRequest("%s is %q; want a number", name, text)
		}
		all[i] = n
	}
	return all, nil
}

// noBody refuses a body on a path without use for one.
func noBody(w http.ResponseWriter, r *http.Request) *httpkv.Error {
	if _, bad := readBody(w, r, 0, "body"); bad != nil {
		w.Header().Set("Connection", "close") // the rest of the body is not read
		return badRequest("%s %s takes no body", r.Method, r.URL.EscapedPath())
	}
	return nil
}

// readBody reads a body of at most limit bytes, and no more of a longer one.
func readBody(w http.ResponseWriter, r *http.Request, limit int64, what string) (string, *httpkv.Error) {
	tooLarge := failure(http.StatusRequestEntityTooLarge, httpkv.ValueTooLarge, "the %s is over the limit of %d bytes", what, limit)
	if r.Header.Get("Content-Range") != "" {
		return "", badRequest("Content-Range: a part of a value cannot be written") // RFC 9110, section 14.5
	}
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close") // the rest of the body is not read
		return "", tooLarge
	}
	expected := limit + 1 // one more than the reader passes
	if r.ContentLength >= 0 {
		expected = r.ContentLength
	}
	var body strings.Builder
	body.Grow(int(max(r.ContentLength, 0)))
	// The length bounds the copy's buffer, which is large for small values else.
	_, err := io.Copy(&body, io.LimitReader(http.MaxBytesReader(w, r.Body, limit), expected))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return "", tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "", failure(http.StatusRequestTimeout, httpkv.BadRequest, "the body did not come in time")
	case err != nil:
		return "", badRequest("reading the body: %v", err)
	}
	return body.String(), nil
}
