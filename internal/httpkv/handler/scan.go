//go:build !wasip1

package handler

import (
	"net/http"
	"net/url"

	"raftlab/internal/httpkv"
	"raftlab/kv"
)

// scan answers a range scan.
func (h *handler) scan(w http.ResponseWriter, r *http.Request) error {
	query, bad := parameters(r, "start", "end", "prefix", "limit")
	if bad != nil {
		return bad
	}
	limit, bad := limitOf(query)
	if bad != nil {
		return bad
	}
	start, end, empty := rangeOf(query)
	if empty {
		writeJSON(w, http.StatusOK, httpkv.Page{Items: []httpkv.Item{}})
		return nil
	}
	result, err := h.do(r, "", kv.Scan(start, end, limit))
	if err != nil {
		return err
	}
	page := httpkv.Page{Items: make([]httpkv.Item, len(result.Pairs)), More: result.More}
	for i, p := range result.Pairs {
		page.Items[i] = httpkv.ItemOf(p)
	}
	if page.More {
		query.Set("start", result.Pairs[len(result.Pairs)-1].Key+"\x00") // the first key that can follow
		page.Next = "/v1/kv?" + query.Encode()
	}
	writeJSON(w, http.StatusOK, page)
	return nil
}

func limitOf(query url.Values) (int, *httpkv.Error) {
	if !query.Has("limit") {
		return kv.MaxScan, nil
	}
	limit, ok := parseNumber(query.Get("limit"))
	if !ok || limit < 1 || limit > kv.MaxScan {
		return 0, badRequest("limit is %q; want 1 to %d", query.Get("limit"), kv.MaxScan)
	}
	return limit, nil
}

// rangeOf returns one range for the keys from start on, below end, with the prefix. An
// empty range can hold no key.
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

// successor returns the first key after all keys with a prefix, or "" if no key can
// follow.
func successor(prefix string) string {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			return prefix[:i] + string([]byte{prefix[i] + 1})
		}
	}
	return ""
}
