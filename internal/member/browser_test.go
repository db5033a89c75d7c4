//go:build !wasip1

package member_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// visit is what a visitor of the page does. The member of the page is the first one to be
// changed, and another member the next one.
const visit = `
const outcome = (value) => fetch("/test/outcome", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) });
window.onerror = (message) => outcome({ error: message });
window.onunhandledrejection = (e) => outcome({ error: String(e.reason && e.reason.stack || e.reason) });
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
	if os.Getenv("RAFTLAB_BROWSER") != "1" {
		t.Skip("RAFTLAB_BROWSER=1 tries the page in chromium")
	}
	c := newAdmin(t, false)
	for _, name := range []string{"n1", "n2", "n3"} {
		c.put(name, "by "+name)
	}
	outcome := make(chan []byte, 1)
	to := &url.URL{Scheme: "http", Host: c.members["n1"].Address().String()}
	page := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/test/outcome":
			if data, err := io.ReadAll(r.Body); err == nil {
				select {
				case outcome <- data:
				default: // the first one counts
				}
			}
		case "/ui/app.js":
			_, script := c.get("n1", r.URL.Path)
			w.Header().Set("Content-Type", "text/javascript")
			_, _ = io.WriteString(w, script+visit)
		default:
			page.ServeHTTP(w, r)
		}
	}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "chromium", "--headless=new", "--remote-debugging-port=0", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
		"--user-data-dir="+filepath.Join(t.TempDir(), "profile"), "--window-size=1440,900", server.URL)
	cmd.WaitDelay = time.Second
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var got struct {
		Error string
		Signs []string
	}
	select {
	case data := <-outcome:
		require.NoError(t, json.Unmarshal(data, &got), string(data))
	case err := <-ended:
		t.Fatalf("the browser ended without an outcome: %v", err)
	}
	cancel()
	<-ended
	require.Empty(t, got.Error)
	require.Equal(t, []string{
		"n1 Stop", "n1 Start", "n1 Disconnect", "n1 Connect", "n3 Stop", "n3 Start", "n3 Disconnect", "n3 Connect",
	}, got.Signs)
}
