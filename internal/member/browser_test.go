//go:build !wasip1

package member_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit/browser"
)

// visit is what a visitor of the page does. The member of the page is the first one to be
// changed, and another member the next one.
const visit = `
(async () => {
	const until = async (what, holds) => {
		for (let i = 0; i < 2500; i++) {
			if (holds()) return;
			await new Promise((go) => setTimeout(go, 10));
		}
		throw new Error("no " + what + ": " + document.body.innerText);
	};
	const card = (name) => [...byId("members").children].find((one) => one.querySelector("h3 span").textContent === name);
	const roles = (name) => card(name)?.querySelector(".role").textContent; // a member that starts has no name for a moment
	const seen = { signs: [] };
	await until("state", () => document.body.dataset.ready && byId("members").children.length === 3 && card("n1") && card("n3"));
	for (const name of ["n1", "n3"]) {
		await until("a role of " + name, () => ["leader", "follower"].includes(roles(name)));
		for (const [i, sign] of [[0, "stopped"], [0, ""], [1, "disconnected"], [1, ""]]) {
			const button = card(name).querySelectorAll("button")[i];
			const label = button.textContent;
			button.click();
			await until(name + " " + label, () => sign ? roles(name) === sign : ["leader", "follower"].includes(roles(name)));
			seen.signs.push(name + " " + label);
		}
	}
	outcome(seen);
})();
`

// The buttons of a member's page stop, start and cut off that member and others, in a
// real browser.
func TestAdminPageInABrowser(t *testing.T) {
	browser.Slow(t)
	c := newAdmin(t, false)
	for _, name := range []string{"n1", "n2", "n3"} {
		c.put(name, "by "+name)
	}
	outcome := browser.NewOutcome()
	to := &url.URL{Scheme: "http", Host: c.members["n1"].Address().String()}
	page := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/test/outcome":
			outcome.ServeHTTP(w, r)
		case "/ui/app.js":
			_, script := c.get("n1", r.URL.Path)
			w.Header().Set("Content-Type", "text/javascript")
			_, _ = io.WriteString(w, script+browser.Report("/test/outcome")+visit)
		default:
			page.ServeHTTP(w, r)
		}
	}))
	defer server.Close()
	got := browser.Visit(t, server.URL, outcome)
	require.Equal(t, []any{
		"n1 Stop", "n1 Start", "n1 Disconnect", "n1 Connect", "n3 Stop", "n3 Start", "n3 Disconnect", "n3 Connect",
	}, got["signs"])
}
