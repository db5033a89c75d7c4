// Package browser tries pages in a real browser, a headless Chromium.
//
// [Try] runs a script in a page that is one file. [Visit] opens the page of a server, where the
// page itself sends the outcome. RAFTLAB_BROWSER=1 makes a missing Chromium an error.
package browser

import (
	"context"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Path returns the path of a Chromium. Without one the test is skipped.
func Path(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if wanted() {
		t.Fatal("RAFTLAB_BROWSER=1 needs chromium on the PATH")
	}
	t.Skip("no chromium on the PATH to try the page in (an error with RAFTLAB_BROWSER=1)")
	return ""
}

// Slow skips a test of some seconds unless RAFTLAB_BROWSER=1, as in CI.
func Slow(t testing.TB) {
	t.Helper()
	if !wanted() {
		t.Skip("RAFTLAB_BROWSER=1 tries the page in chromium")
	}
}

func wanted() bool { return os.Getenv("RAFTLAB_BROWSER") == "1" }

// flags are those of every run. A profile belongs to one run. The processes of a browser that
// has ended may still write to the profile for a moment, so the removal is repeated.
func flags(t testing.TB, size string) []string {
	profile, err := os.MkdirTemp("", "profile-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for i := 0; os.RemoveAll(profile) != nil; i++ {
			if i == 500 {
				t.Errorf("the browser goes on writing to %s", profile)
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	return []string{"--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-extensions", "--user-data-dir=" + profile, "--window-size=" + size}
}

// Try runs the body of a function at the end of a page, and returns the result of the
// function. RAFTLAB_SHOTS names a directory for pictures of the page, by name and theme.
func Try(t testing.TB, page, script, name string) map[string]any {
	t.Helper()
	chromium := Path(t)
	page = strings.Replace(page, "</body>", `<pre id="outcome"></pre><script>
		window.onerror = (message) => { if (String(message).startsWith("ResizeObserver loop")) return; // harmless
			document.getElementById("outcome").textContent = JSON.stringify({ error: message }); };
		document.getElementById("outcome").textContent = JSON.stringify((() => { try { `+script+` } catch (e) { return { error: e.stack }; } })());
		</script></body>`, 1)
	path := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(path, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(extra ...string) []byte {
		args := append([]string{"--headless", "--virtual-time-budget=3000"}, flags(t, "1500,900")...)
		cmd := exec.CommandContext(t.Context(), chromium, append(args, extra...)...)
		cmd.WaitDelay = time.Second
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", chromium, err)
		}
		return out
	}
	found := regexp.MustCompile(`(?s)<pre id="outcome">(.*?)</pre>`).FindSubmatch(run("--dump-dom", "file://"+path))
	if found == nil {
		t.Fatal("the page has no outcome")
	}
	if dir := os.Getenv("RAFTLAB_SHOTS"); dir != "" {
		for _, theme := range []string{"light", "dark"} {
			run("--screenshot="+filepath.Join(dir, name+"-"+theme+".png"), "file://"+path+"#"+theme)
		}
	}
	return result(t, []byte(html.UnescapeString(string(found[1]))))
}

// Outcome receives the outcome of a visit, which the page sends by POST. The first one
// counts.
type Outcome chan []byte

// NewOutcome returns an Outcome for one visit.
func NewOutcome() Outcome { return make(Outcome, 1) }

func (o Outcome) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if data, err := io.ReadAll(r.Body); err == nil && r.Method == http.MethodPost {
		select {
		case o <- data:
		default:
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// Report returns a script with the function outcome(value), which sends a value to the
// address of an Outcome. Errors of the page are outcomes with an error.
func Report(address string) string {
	return `
const outcome = (value) => fetch("` + address + `", { method: "POST", mode: "no-cors", body: JSON.stringify(value) });
window.onerror = (message) => outcome({ error: message });
window.onunhandledrejection = (event) => outcome({ error: String(event.reason && event.reason.stack || event.reason) });
`
}

// Visit opens an address, and returns the outcome that arrives within two minutes.
func Visit(t testing.TB, address string, o Outcome) map[string]any {
	t.Helper()
	chromium := Path(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args := append([]string{"--headless=new", "--remote-debugging-port=0"}, flags(t, "1600,900")...)
	cmd := exec.CommandContext(ctx, chromium, append(args, address)...)
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case data := <-o:
		cancel()
		<-ended
		return result(t, data)
	case err := <-ended:
		t.Fatalf("the browser ended without an outcome: %v", err)
		return nil
	}
}

func result(t testing.TB, data []byte) map[string]any {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	if got["error"] != nil {
		t.Fatalf("error in the page: %v", got["error"])
	}
	return got
}
