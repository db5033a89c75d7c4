//go:build !wasip1

package console_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/cluster"
	"raftlab/internal/console"
	"raftlab/internal/httpkv/handler"
	"raftlab/internal/testkit"
	"raftlab/internal/testkit/browser"
	"raftlab/kv"
)

// newPage returns the page of a store in this process, and the store.
func newPage(t *testing.T) (http.Handler, *cluster.Cluster) {
	c, err := cluster.Open(t.TempDir(), cluster.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	for key, value := range map[string]string{"a": "1", "b/\xff": "\x00\xff", "c": "text"} {
		_, err = c.Do(t.Context(), "", kv.Put(key, value))
		require.NoError(t, err)
	}
	return console.New(console.Options{
		Title: "test", Status: c.Status, Serving: c.Serving, Sources: c.Sources(), Admin: true,
		Next: handler.New(c, handler.Options{}), Logger: slog.New(slog.DiscardHandler),
	}), c
}

// get asks the page, with a Host header.
func get(h http.Handler, method, host, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.Host = host
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// The page comes with its policy, the state has the figures, other paths go on, and
// foreign pages get nothing.
func TestPage(t *testing.T) {
	t.Parallel()
	h, c := newPage(t)
	for path, says := range map[string]string{"/": "<h1>raftlab</h1>", "/ui/app.js": "use strict", "/ui/style.css": "prefers-color-scheme", "/ui/icon.svg": "<svg"} {
		w := get(h, http.MethodGet, "localhost", path)
		require.Equal(t, http.StatusOK, w.Code, path)
		require.Contains(t, w.Body.String(), says, path)
		require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'; script-src 'self'", path)
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"), path)
		require.Equal(t, http.StatusForbidden, get(h, http.MethodGet, "evil.example", path).Code, path)
	}
	require.Equal(t, http.StatusForbidden, get(h, http.MethodGet, "evil.example", "/ui/state").Code)
	require.Contains(t, get(h, http.MethodGet, "localhost", "/other").Body.String(), "no_route")
	require.Contains(t, get(h, http.MethodPost, "localhost", "/").Body.String(), "no_route")
	require.Contains(t, get(h, http.MethodGet, "localhost", "/v1/kv/a").Body.String(), "1")

	w := get(h, http.MethodGet, "localhost", "/ui/state")
	var s console.State
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &s), w.Body.String())
	require.Len(t, s.Members, 3)
	require.Equal(t, 3, s.Store.Keys)
	require.Equal(t, int64(4), s.Store.Revision)
	require.True(t, s.Admin)
	writes := int64(0)
	for _, n := range s.Writes.Buckets {
		writes += n
	}
	require.GreaterOrEqual(t, writes, int64(3))
	for n := range 3 {
		require.NoError(t, c.Stop(n+1))
	}
	testkit.WaitFor(t, 10*time.Second, "a state without members", func() bool {
		return json.Unmarshal(get(h, http.MethodGet, "localhost", "/ui/state").Body.Bytes(), &s) == nil && s.Store == nil
	})
	require.Equal(t, "stopped", s.Members[0].State)
}

// session is what a visitor does with the page.
const session = `
(async () => {
	const until = async (what, holds) => {
		for (let i = 0; i < 1500; i++) {
			if (holds()) return;
			await new Promise((go) => setTimeout(go, 10));
		}
		throw new Error("no " + what + ": " + document.body.innerText);
	};
	const press = (target, key, more) => target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
	const text = (id) => byId(id).textContent;
	const seen = {};
	await until("state", () => document.body.dataset.ready && text("leads").includes("leads in term") && byId("list").children.length === 3);
	seen.keys = [...byId("list").children].map((row) => row.firstChild.textContent);
	// A new key by the keyboard.
	press(document.body, "n");
	seen.focus = document.activeElement.id;
	byId("key").value = "new/key";
	byId("value").value = "first";
	press(byId("value"), "Enter", { ctrlKey: true });
	await until("save", () => text("says") === "Saved." && byId("list").innerText.includes("new/key"));
	// Another client is faster.
	await fetch("/v1/kv/new%2Fkey", { method: "PUT", body: "other" });
	byId("value").value = "second";
	press(byId("value"), "Enter", { ctrlKey: true });
	await until("conflict", () => text("says").includes("Another client has written version"));
	byId("reload").click();
	await until("the other value", () => byId("value").value === "other");
	const other = "version " + editing.version;
	await until("the other version in the list", () => byId("list").innerText.includes(other));
	// A binary value keeps its bytes.
	press(byId("list"), "Home");
	press(byId("list"), "ArrowDown");
	press(byId("list"), "Enter");
	await until("binary value", () => byId("key").value === "b/\\xff" && byId("value").value === "AP8=");
	byId("value").value = "AP8BAg==";
	byId("save").click();
	await until("save of bytes", () => text("says") === "Saved.");
	// Deletion asks.
	press(byId("list"), "End");
	press(byId("list"), "Delete");
	await until("question", () => byId("ask").open);
	byId("yes").click();
	await until("deletion", () => text("says") === "Deleted." && !byId("list").innerText.includes("new/key"));
	// A replica is stopped, started, cut off and back.
	const card = () => byId("members").children[2];
	const button = (i) => card().querySelectorAll("button")[i];
	for (const [i, sign] of [[0, "stopped"], [0, "follower"], [1, "disconnected"], [1, "follower"]]) {
		button(i).click();
		await until(sign, () => card().innerText.includes(sign) || sign === "follower" && card().innerText.includes("leader"));
	}
	press(document.body, "t");
	seen.theme = document.documentElement.dataset.theme;
	press(document.body, "?");
	seen.help = byId("help").open;
	seen.unnamed = [...document.querySelectorAll("button, input, textarea, [role=img], [role=listbox]")].filter((e) =>
		!e.textContent.trim() && !e.getAttribute("aria-label") && !(e.labels && e.labels.length)).map((e) => e.outerHTML);
	outcome(seen);
})();
`

// The page in a real browser, under its own policy.
func TestPageInABrowser(t *testing.T) {
	browser.Slow(t)
	page, c := newPage(t)
	outcome := browser.NewOutcome()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/test/outcome":
			outcome.ServeHTTP(w, r)
		case "/ui/app.js":
			script := get(page, http.MethodGet, r.Host, r.URL.Path)
			w.Header().Set("Content-Type", "text/javascript")
			_, _ = io.WriteString(w, script.Body.String()+browser.Report("/test/outcome")+session)
		default:
			page.ServeHTTP(w, r)
		}
	}))
	defer server.Close()
	got := browser.Visit(t, server.URL, outcome)
	require.Equal(t, []any{"a", `b/\xff`, "c"}, got["keys"])
	require.Equal(t, "key", got["focus"])
	require.Contains(t, []any{"dark", "light"}, got["theme"])
	require.Equal(t, true, got["help"])
	require.Empty(t, got["unnamed"], "elements without a name for screen readers")
	result, err := c.Do(t.Context(), "", kv.Get("b/\xff"))
	require.NoError(t, err)
	require.Equal(t, "\x00\xff\x01\x02", result.Value)
}
