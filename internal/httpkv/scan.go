//go:build !wasip1

package httpkv

import (
	"net/http"
	"net/url"
	"strconv"

	"raftlab/kv"
)

// scan answers a range scan.
func (h *handler) scan(w http.ResponseWriter, r *http.Request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return failure(http.StatusBadRequest, BadRequest, "the query: %v", err)
	}
	for name := range query {
		switch name {
		case "start", "end", "prefix", "limit":
		default:
			return failure(http.StatusBadRequest, BadRequest, "a scan takes start, end, prefix and limit, not %q", name)
		}
	}
	limit, bad := limitOf(query)
	if bad != nil {
		return bad
	}
	start, end, empty := rangeOf(query)
	if empty {
		writeJSON(w, http.StatusOK, Page{Items: []Item{}})
		return nil
	}
	result, err := h.do(r, "", kv.Scan(start, end, limit))
	if err != nil {
		return err
	}
	page := Page{Items: make([]Item, len(result.Pairs)), More: result.More}
	for i, p := range result.Pairs {
		page.Items[i] = ItemOf(p)
	}
	if page.More {
		query.Set("start", result.Pairs[len(result.Pairs)-1].Key+"\x00") // the first key that can follow
		page.Next = "/v1/kv?" + query.Encode()
	}
	writeJSON(w, http.StatusOK, page)
	return nil
}

func limitOf(query url.Values) (int, *Error) {
	if !query.Has("limit") {
		return kv.MaxScan, nil
	}
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil || limit < 1 || limit > kv.MaxScan {
		return 0, failure(http.StatusBadRequest, BadRequest, "limit is %q; want 1 to %d", query.Get("limit"), kv.MaxScan)
	}
	return limit, nil
}

// rangeOf returns the keys that are at or after start, before end, and begin with
// prefix, as one range. empty says that there can be none.
func rangeOf(query url.Values) (start, end string, empty bool) {
	start, end = query.Get("start"), query.Get("end")
	if prefix := query.Get("prefix"); prefix != "" {
		start = max(start, prefix)
		if after := successor(prefix); end == "" || after != "" && after < end {
			end = after
		}
	}
	return start, end, end != "" && start >= end
}

// successor returns the first key after all that begin with prefix; "": there
// is none.
func successor(prefix string) string {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			return prefix[:i] + string([]byte{prefix[i] + 1})
		}
	}
	return ""
}
