//go:build !wasip1

package handler

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"raftlab/internal/httpkv"
)

// AnyHost in [Options].Hosts allows every name in Host headers.
const AnyHost = "*"

// A guard refuses requests of foreign web pages, sent through the browser of somebody
// near the server. The server has no passwords, so such a page could otherwise read and
// write everything.
//
//   - A page whose name was rebound to the server's address (DNS rebinding) sends
//     its own name in the Host header.
//   - A page of another origin sends an Origin header, and in browsers since 2023
//     Sec-Fetch-Site.
//   - A form can only POST, with one of three content types.
type guard struct{ hosts []string }

func newGuard(hosts []string) guard {
	var g guard
	for _, host := range hosts {
		g.hosts = append(g.hosts, normalize(host))
	}
	return g
}

func (g guard) check(r *http.Request) *httpkv.Error {
	if !g.allows(r) {
		return failure(http.StatusForbidden, httpkv.ForeignHost,
			"the Host header names %q, which is not a name of this server; raftlab serve --allow-host NAME adds a name", r.Host)
	}
	if origin, foreign := foreignOrigin(r); foreign {
		return failure(http.StatusForbidden, httpkv.ForeignOrigin, "a web page of another origin (%s) sent this request", origin)
	}
	if form, is := formType(r); is {
		return failure(http.StatusForbidden, httpkv.FormRequest,
			"a web page's form could have sent this POST (Content-Type: %s); send a type that no form has, such as application/octet-stream or application/json, or an Idempotency-Key", form)
	}
	return nil
}

// allows reports whether the Host header names this server. Browsers send the header
// with each request, so a client without the header is no browser.
func (g guard) allows(r *http.Request) bool {
	host := normalize(r.Host)
	switch {
	case r.Host == "", slices.Contains(g.hosts, AnyHost), slices.Contains(g.hosts, host):
		return true
	case host == "localhost", strings.HasSuffix(host, ".localhost"): // RFC 6761, section 6.3
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	ip = ip.Unmap()
	return ip.IsLoopback() || ip.IsUnspecified() || ip == localAddress(r)
}

// localAddress returns the server's address of the request's connection.
func localAddress(r *http.Request) netip.Addr {
	if tcp, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// normalize returns a host in lower case, without port, brackets and a final dot.
func normalize(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// foreignOrigin reports whether a page of another origin sent a request. A link may
// lead to the server from anywhere, because the other page does not see the answer.
func foreignOrigin(r *http.Request) (origin string, foreign bool) {
	for _, origin := range r.Header.Values("Origin") {
		if u, err := url.Parse(origin); err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
			return origin, true
		}
	}
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead
	for _, site := range r.Header.Values("Sec-Fetch-Site") {
		follows := safe && r.Header.Get("Sec-Fetch-Mode") == "navigate"
		if site != "same-origin" && site != "none" && !follows {
			return "Sec-Fetch-Site: " + site, true
		}
	}
	return "", false
}

// formTypes are the content types that a form can send, and a script of another
// origin without asking first (the CORS-safelisted ones of the Fetch standard).
var formTypes = []string{"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"}

// formType reports whether a form could have sent a request. A form sets a content
// type and no header of its own.
func formType(r *http.Request) (string, bool) {
	if r.Method != http.MethodPost || r.Header.Get("Idempotency-Key") != "" {
		return "", false
	}
	for _, value := range r.Header.Values("Content-Type") {
		kind, _, _ := strings.Cut(value, ";")
		kind = strings.ToLower(strings.TrimSpace(kind))
		if slices.Contains(formTypes, kind) {
			return kind, true
		}
	}
	return "", false
}
