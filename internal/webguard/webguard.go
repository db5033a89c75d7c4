// Package webguard refuses requests of foreign web pages, sent through the browser of
// somebody near the server. A server without passwords answers everybody who reaches
// the server, so such a page could otherwise read and write everything.
//
//   - A page whose name was rebound to the server's address (DNS rebinding) sends
//     its own name in the Host header.
//   - A page of another origin sends an Origin header, and in browsers since 2023
//     Sec-Fetch-Site.
//   - A form can only POST, with one of three content types.
package webguard

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// AnyHost as a name of the server allows every name in Host headers.
const AnyHost = "*"

// Reason is why a request is refused.
type Reason int

// The reasons.
const (
	ForeignHost   Reason = iota + 1 // the Host header names another server
	ForeignOrigin                   // a page of another origin has sent the request
	FormRequest                     // a page's form could have sent the request
)

// Refusal is the error of a refused request.
type Refusal struct {
	Reason Reason
	text   string
}

// Error implements error.
func (r *Refusal) Error() string { return r.text }

func refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{reason, fmt.Sprintf(format, args...)}
}

// Guard knows the names of a server. Any goroutine may call the methods.
type Guard struct{ hosts []string }

// New returns the guard of a server. hosts are names of the server in URLs, beside
// localhost and the server's addresses.
func New(hosts []string) *Guard {
	g := &Guard{}
	for _, host := range hosts {
		g.hosts = append(g.hosts, normalize(host))
	}
	return g
}

// Check returns why a request is refused, nil if the request may come from a program, or
// from a page of this server.
func (g *Guard) Check(r *http.Request) *Refusal {
	if !g.allows(r) {
		return refuse(ForeignHost, "the Host header names %q, which is not a name of this server; raftlab serve --allow-host NAME adds a name", r.Host)
	}
	if origin, foreign := foreignOrigin(r); foreign {
		return refuse(ForeignOrigin, "a web page of another origin (%s) sent this request", origin)
	}
	return nil
}

// CheckForm returns why a request is refused, nil if no form can have sent the request.
// Browsers without Origin headers are older than 2020. So a server for programs that send
// a form's content type, such as curl -d, leaves this check out.
func (g *Guard) CheckForm(r *http.Request) *Refusal {
	if form, is := formType(r); is {
		return refuse(FormRequest, "a web page's form could have sent this POST (Content-Type: %s); send a type that no form has, such as application/octet-stream or application/json, or an Idempotency-Key", form)
	}
	return nil
}

// allows reports whether the Host header names this server. Browsers send the header
// with each request, so a client without the header is no browser.
func (g *Guard) allows(r *http.Request) bool {
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
