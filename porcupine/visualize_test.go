package porcupine_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit/browser"
	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/porcupine/workload"
)

// drawn checks a history and returns its page.
func drawn(t testing.TB, model porcupine.Model, history []porcupine.Operation, remarks ...porcupine.Annotation) (porcupine.CheckResult, string) {
	result, info := porcupine.CheckOperationsVerbose(model, history, 0)
	info.AddAnnotations(remarks)
	var page bytes.Buffer
	require.NoError(t, porcupine.Visualize(model, info, &page))
	return result, page.String()
}

func staleHistory(t testing.TB, operations, keys int) []porcupine.Operation {
	history := workload.KV(workload.Shape{Operations: operations, Clients: 10, Keys: keys, Pending: 4, Seed: 1}, 2, 1, 1)
	require.True(t, workload.StaleRead(history))
	return history
}

func TestPageNeedsNothingElse(t *testing.T) {
	_, page := drawn(t, models.KV, staleHistory(t, 300, 2))
	require.NotRegexp(t, `(?i)https?://|src=|@import|url\(|<link`, page, "the page refers to something else")
	require.NotContains(t, page, "{{", "a part of the page is missing")
}

func TestPageSize(t *testing.T) {
	for _, gets := range []int{1, 20} { // few puts: values, and so texts, grow long
		history := workload.KV(workload.Shape{Operations: 10_000, Clients: 10, Keys: 4, Seed: 1}, gets, 0, 1)
		_, page := drawn(t, models.KV, history)
		require.LessOrEqual(t, len(page), 2<<20, "bytes for 10,000 operations")
	}
}

func TestPageOfAllTime(t *testing.T) {
	get := func(call, ret int64) porcupine.Operation {
		return porcupine.Operation{Call: call, Return: ret, Input: models.KVInput{}, Output: models.KVOutput{}}
	}
	_, page := drawn(t, models.KV, []porcupine.Operation{get(math.MinInt64, 0), get(5, math.MaxInt64-1)})
	require.Contains(t, page, "[0,0,9223372036854775807,")
	require.Contains(t, page, "[0,9223372036854775807,9223372036854775807,")
}

func TestPageOfHostileTexts(t *testing.T) {
	model := models.KV
	model.DescribeOperation = func(_, _ any) string { return "</script><b onclick='x'>" }
	_, page := drawn(t, model, workload.OverlappingAppends(3))
	require.NotContains(t, page, "</script><b", "a description can end the page's script")
}

func TestVisualizePath(t *testing.T) {
	_, info := porcupine.CheckOperationsVerbose(models.KV, workload.OverlappingAppends(3), 0)
	path := filepath.Join(t.TempDir(), "page.html")
	require.NoError(t, porcupine.VisualizePath(models.KV, info, path))
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(content), "</html>")
	require.Error(t, porcupine.VisualizePath(models.KV, info, filepath.Join(path, "beyond")), "a path below a file")
	require.NoError(t, porcupine.Visualize(models.KV, porcupine.LinearizationInfo{}, &bytes.Buffer{}))
}

func expect(t *testing.T, outcome map[string]any, want map[string]any) {
	t.Helper()
	for key, value := range want {
		require.Equal(t, fmt.Sprint(value), fmt.Sprint(outcome[key]), key)
	}
}

func TestBrowserExplains(t *testing.T) {
	history := []porcupine.Operation{
		{ClientId: 0, Input: models.KVInput{Op: models.KVPut, Key: "x", Value: "old"}, Output: models.KVOutput{}, Call: 0, Return: 10},
		{ClientId: 1, Input: models.KVInput{Op: models.KVGet, Key: "y"}, Output: models.KVOutput{}, Call: 3, Return: 12, Metadata: "from <server> 7"},
		{ClientId: 0, Input: models.KVInput{Op: models.KVPut, Key: "x", Value: "new"}, Output: models.KVOutput{}, Call: 20, Return: 30},
		{ClientId: 1, Input: models.KVInput{Op: models.KVGet, Key: "x"}, Output: models.KVOutput{Value: "new"}, Call: 31, Return: 32},
		{ClientId: 2, Input: models.KVInput{Op: models.KVGet, Key: "x"}, Output: models.KVOutput{Value: "old"}, Call: 40, Return: 50},
		{ClientId: 3, Input: models.KVInput{Op: models.KVPut, Key: "x", Value: "lost"}, Call: 45, Return: porcupine.Pending},
	}
	result, page := drawn(t, models.KV, history,
		porcupine.Annotation{Tag: "server 1", Start: 15, End: 25, Description: "leader", Details: "of term 3"},
		porcupine.Annotation{ClientId: 2, Start: 5, Description: "a moment", BackgroundColor: "#efaefc"})
	require.Equal(t, porcupine.Illegal, result)
	outcome := browser.Try(t, page, `
		const key = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key }));
		// Keys reach the page by its document, whose events have no element to match.
		page.key = ((original) => function (e) { original.call(this, { key: e.key, target: document.body, preventDefault() {} }); })(page.key);
		const out = { title: document.title, badge: byId("result").textContent, reason: byId("reasonText").textContent,
			core: byId("core").children.length, possible: byId("possible").textContent, selected: page.lanes.selected.text,
			lanes: page.lanes.lanes.map((l) => l.label).join(), steps: page.linearization.ops.length };
		key("Home"); out.home = page.lanes.step;
		key("ArrowRight"); out.right = page.lanes.step;
		out.details = byId("details").textContent;
		byId("search").value = "lost"; page.runSearch(true);
		out.found = byId("found").textContent; out.pending = page.lanes.selected.pending;
		out.pendingReturn = byId("details").textContent.includes("never");
		page.choosePartition("all"); out.all = page.lanes.items.length;
		byId("search").value = "from <server> 7"; page.runSearch(true);
		out.metadata = byId("details").textContent.includes("from <server> 7");
		byId("search").value = "of term 3"; page.runSearch(true); out.remark = page.lanes.selected.text;
		byId("search").value = "";
		page.choosePartition("0"); page.setCoreOnly(true);
		out.coreOnly = page.lanes.items.filter((i) => !i.note).length;
		page.setCoreOnly(false);
		const before = page.lanes.perPixel; key("+"); out.zoomed = page.lanes.perPixel < before;
		key("t"); out.real = page.lanes.scale; key("t");
		const theme = document.documentElement.dataset.theme; key("d"); out.themeChanged = theme !== document.documentElement.dataset.theme; key("d");
		key("?"); out.help = !byId("keys").hidden; key("?");
		page.lanes.draw();
		const stuck = page.part.stuck, [a, b] = stuck.even;
		out.hit = page.lanes.at(page.lanes.x((a + b) / 2), stuck.row.y - page.lanes.top + 5) === stuck;
		page.choosePartition("0");
		return out;`, "explains")
	expect(t, outcome, map[string]any{
		"title": "History: not linearizable", "badge": "not linearizable", "core": 3, "selected": `get("x") -> "old"`,
		"lanes": "client 0,client 1,client 2,client 3,server 1", "steps": 3, "home": 0, "right": 1, "found": "1 found", "pending": true,
		"pendingReturn": true, "all": 8, "metadata": true, "remark": "leader", "coreOnly": 3, "zoomed": true, "real": "real",
		"themeChanged": true, "help": true, "hit": true,
	})
	for key, part := range map[string]string{"reason": `the state can only be "new"`, "possible": `would have answered get("x") -> "new"`, "details": `state after"old"`} {
		require.Contains(t, outcome[key], part, key)
	}
}

// TestBrowserLarge counts the drawn bars of 100,000 operations (10,000 unless RAFTLAB_BROWSER=1).
// The page draws only visible bars.
func TestBrowserLarge(t *testing.T) {
	operations := 10_000
	if os.Getenv("RAFTLAB_BROWSER") == "1" {
		operations = 100_000
	}
	browser.Path(t)
	_, page := drawn(t, models.KV, staleHistory(t, operations, 1))
	outcome := browser.Try(t, page, `
		let bars = 0;
		const draw = Lanes.prototype.drawBar;
		Lanes.prototype.drawBar = function (...args) { bars++; draw.apply(this, args); };
		const count = () => { bars = 0; page.lanes.draw(); return bars; };
		const out = { operations: page.lanes.items.length };
		page.fitAll(); out.whole = count();
		page.goToReason(); out.near = count();
		let most = 0, ms = 0;
		for (let i = 0; i < 200; i++) { page.lanes.move(-700, 0); most = Math.max(most, count()); ms += Number(document.body.dataset.drawMs); }
		out.most = most; out.ms = ms / 200;
		byId("search").value = "x"; page.runSearch(true); page.fitAll(); out.found = count();
		byId("search").value = ""; page.runSearch(true);
		page.goToReason();
		return out;`, "large")
	number := func(key string) float64 { n, _ := outcome[key].(float64); return n }
	require.GreaterOrEqual(t, number("operations"), float64(operations))
	require.GreaterOrEqual(t, number("near"), 1.0)
	const pixels = 14.0 * 1500
	for _, view := range []string{"whole", "most", "found"} {
		require.LessOrEqual(t, number(view), pixels, "%s: more bars than the lanes have pixels", view)
	}
	t.Logf("%v", outcome)
}

func TestBrowserLegalAndEmpty(t *testing.T) {
	_, page := drawn(t, models.KV, workload.KV(workload.Shape{Operations: 200, Clients: 5, Keys: 3, Seed: 1}, 1, 1, 1))
	expect(t, browser.Try(t, page, `page.choosePartition("all"); page.changePartial(1); page.changePartition(1);
		return { badge: byId("result").textContent, reason: byId("reason").hidden, parts: byId("partition").options.length };`, "legal"),
		map[string]any{"badge": "linearizable", "reason": true, "parts": 4})
	var empty bytes.Buffer
	var info porcupine.LinearizationInfo
	info.AddAnnotations([]porcupine.Annotation{{Tag: "test", Start: 1739938076171778000, End: 1739938086186709000, Description: "a test failed"}})
	require.NoError(t, porcupine.Visualize(models.KV, info, &empty))
	expect(t, browser.Try(t, empty.String(), `page.select(page.lanes.items[0]);
		return { badge: byId("result").textContent, time: byId("details").textContent.includes("1739938076171778000") };`, "empty"),
		map[string]any{"badge": "no operations", "time": true})
}
