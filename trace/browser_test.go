package trace_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit/browser"
	"raftlab/trace"
)

// try runs a script in the page of a recording, and returns the result of the script.
func try(t *testing.T, run *trace.Recording, name, script string) map[string]any {
	var page bytes.Buffer
	require.NoError(t, trace.WritePage(&page, run))
	return browser.Try(t, page.String(), script, name)
}

// The page tells the story, and answers to keys and filters.
func TestBrowser(t *testing.T) {
	run := doubleVote()
	run.Events = append(run.Events,
		trace.Event{Time: time.Second, Kind: trace.Sent, Lane: 0, Peer: 1, Message: 900, Call: 900, Name: "KV.Get", Text: "</script><b id=hostile>"},
		trace.Event{Time: time.Second, Kind: trace.Lost, Lane: 1, Peer: 0, Message: 900, Call: 900, Name: "KV.Get", Text: "lost"},
		trace.Event{Time: 2 * time.Second, Kind: trace.Logged, Lane: 1, Text: "[1] needle"})
	out := try(t, run, "story", `
		const key = (key) => page.key({ key, target: document.body, preventDefault() {} });
		const out = { title: document.title, heading: document.querySelector("h1").textContent, hostile: !!byId("hostile"),
			steps: document.querySelectorAll("#story li").length, seen: document.querySelector(".more").textContent, drawn: page.diagram.to > page.diagram.from };
		out.stepsOnScreen = page.diagram.steps.every((s) => { const y = page.diagram.y(page.diagram.rowOf[s.event]); return y > head && y < page.diagram.height; });
		key("2"); out.step = page.selected.i === page.diagram.steps[1].event;
		out.marked = document.querySelector("li.here").dataset.step;
		const vote = page.run.events.find((e) => e.label === "YES T1" && e.kind === 1);
		page.select(vote); key("ArrowRight"); out.across = page.selected === vote.match;
		out.knowsAsk = page.run.known(page.run.events[0], vote); out.knowsLater = page.run.known(page.run.events.find((e) => e.kind === 3), vote);
		key("c"); out.cone = page.diagram.cone; key("c");
		out.state = [0, 1, 2].map((l) => page.run.stateAt(l, vote.i)).map((s) => [s.role, s.term, s.vote].join()).join(" ");
		const before = page.diagram.rows; key("h"); out.heartbeats = page.diagram.rows > before; key("h");
		byId("search").value = "needle"; page.search(); key("n"); out.found = byId("found").textContent + page.selected.text;
		const high = page.diagram.rowHeight; key("+"); out.zoom = page.diagram.rowHeight > high;
		key("t"); out.scale = page.diagram.scale; key("t");
		key("Home"); out.home = page.selected.i; key("j"); out.next = page.selected.i > 0;
		page.toggle("votes"); out.hidden = page.run.events.some((e) => e.topic === "votes" && page.diagram.rowOf[e.i] >= 0 && !page.diagram.pinned.has(e.i)); page.toggle("votes");
		byId("term").value = "1"; byId("term").dispatchEvent(new Event("change")); out.term = page.diagram.term;
		const theme = document.documentElement.dataset.theme; key("d"); out.theme = document.documentElement.dataset.theme !== theme;
		byId("term").value = ""; byId("term").dispatchEvent(new Event("change"));
		page.choose(1); out.second = document.querySelector("h1").textContent; page.choose(0);
		page.diagram.draw();
		const e = page.run.events[page.diagram.steps[0].event];
		out.hit = page.diagram.at(page.diagram.laneX.get(e.lane), page.diagram.y(page.diagram.rowOf[e.i])) === e;
		out.states = byId("states").textContent;
		return out;`)
	want := map[string]any{
		"title": "TestScript: Two leaders in one term", "heading": "Two leaders in one term", "hostile": false, "steps": 8, "drawn": true, "stepsOnScreen": true,
		"step": true, "marked": "1", "across": true, "knowsAsk": true, "knowsLater": false, "cone": true,
		"heartbeats": true, "found": "1 found[1] needle", "zoom": true, "scale": "time", "home": 0, "next": true,
		"hidden": false, "term": "1", "theme": true, "second": "Two votes of one server in a term", "hit": true,
	}
	for name, value := range want {
		require.Equal(t, fmt.Sprint(value), fmt.Sprint(out[name]), name)
	}
	require.Contains(t, out["seen"], "voted for S0 and for S1")
	require.Contains(t, out["states"], "not recorded", "the run has no applied command")
	require.Contains(t, out["state"], "candidate,1,0")
	require.Contains(t, out["state"], "follower,1,0")
}

// A click on an event of an operation shows the life of the operation, and a message with two
// entries offers both.
func TestBrowserLife(t *testing.T) {
	s := clientScript()
	s.add(trace.Event{Kind: trace.Called, Lane: 3, Text: `put("k", "v")`})
	call := s.asks(0, "put")
	s.append(0, 1, 1, 0, 0, 0, 1, trace.Entry{Term: 1, Command: "put", Call: call}, trace.Entry{Term: 1, Command: "other"})
	s.answers(0, call, "done")
	s.add(trace.Event{Kind: trace.Returned, Lane: 3, Text: `put("k", "v")`})
	s.vote(1, 2, 2, 2, 1, 1)
	out := try(t, s.run, "life", `
		const key = (key) => page.key({ key, target: document.body, preventDefault() {} }), steps = () => document.querySelectorAll("ol.life li");
		const out = {}, all = page.diagram.rows;
		page.select(page.run.events[0]);
		out.title = byId("details").querySelector("b").textContent; out.steps = steps().length; out.last = steps()[out.steps - 1].textContent;
		steps()[2].click(); out.clicked = page.selected.i; out.stays = steps().length;
		key("l"); out.votes = page.run.events.some((e) => e.topic === "votes" && page.diagram.rowOf[e.i] >= 0);
		out.fewer = page.diagram.rows < all; out.on = byId("follow").className;
		key("l"); out.again = page.diagram.rows === all;
		key("l"); key("Escape"); out.left = page.diagram.rows === all;
		page.life = null; page.select(page.run.events[3]);
		const answered = (i) => page.run.stateAt(0, i).answered; out.answered = [answered(5), answered(page.run.events.length - 1), page.run.stateAt(1, page.run.events.length - 1).answered].join();
		out.column = byId("states").querySelector("tr").textContent;
		const choice = [...byId("details").querySelectorAll(".more button")]; out.choice = choice.map((b) => b.textContent).join("; ");
		choice[1].click(); out.chosen = byId("details").querySelector("b").textContent;
		return out;`)
	for name, value := range map[string]any{
		"title": `put("k", "v") of client 3: index 1 of term 1`, "steps": 8, "last": `9.0 msclient 3 has the result of put("k", "v").`,
		"clicked": 3, "stays": 8, "votes": false, "fewer": true, "on": "on", "again": true, "left": true, "answered": "-1,1,-1", "column": "roletermvotelog endscommitanswered",
		"choice": `put("k", "v") of client 3: index 1 of term 1; other: index 2 of term 1`, "chosen": "other: index 2 of term 1",
	} {
		require.Equal(t, fmt.Sprint(value), fmt.Sprint(out[name]), name)
	}
}

// Many lanes leave each lane some letters, and the page still draws the marks and the names.
func TestBrowserNarrow(t *testing.T) {
	s := newScript(20)
	s.run.Lanes[19].Name = "server-with-a-name"
	for lane := range 20 {
		s.add(trace.Event{Kind: trace.Called, Lane: lane, Text: "applies"})
		s.add(trace.Event{Kind: trace.Crashed, Lane: lane})
	}
	now := s.run.Events[len(s.run.Events)-1].Time
	s.run.Events = append(s.run.Events, trace.Event{Time: now, Kind: trace.Network, Lane: trace.NoLane, Text: "partition"}, trace.Event{Time: now, Kind: trace.Restarted, Lane: 2})
	out := try(t, s.run, "narrow", `
		const d = page.diagram, rows = d.rowOf.slice(-3);
		const apart = rows[0] < rows[1] && rows[1] < rows[2];
		d.scroller.scrollLeft = 1e6; d.placeLanes(); // the last lane is reached by scrolling
		const last = d.laneX.get(19), lines = d.logX < d.width;
		d.scroller.scrollLeft = 0; d.placeLanes();
		const steps = [...document.querySelectorAll("#story li")].every((li) => li.tabIndex === 0);
		const texts = [], c = page.diagram.canvas.getContext("2d"), fill = c.fillText.bind(c);
		c.fillText = (text, ...at) => { texts.push(text); fill(text, ...at); };
		page.diagram.scroller.scrollTop = 0; page.diagram.draw();
		return { apart, steps, lines, last: last > 0 && last < d.width, hidden: d.logX > d.width, step: page.diagram.laneStep, cut: texts.includes("▸ a…"), name: texts.some((t) => t.startsWith("…") && "server-with-a-name".endsWith(t.slice(1))) };`)
	require.Less(t, out["step"], 60.0)
	for _, what := range []string{"apart", "steps", "lines", "last", "hidden"} {
		require.Equal(t, true, out[what], what)
	}
	require.Equal(t, true, out["cut"], "%v", out)
	require.Equal(t, true, out["name"], "%v", out)
}

// A page of 100,000 events draws only what is on the screen, and each drawing is fast.
func TestBrowserLarge(t *testing.T) {
	events := 20_000
	if os.Getenv("RAFTLAB_BROWSER") == "1" {
		events = 100_000
	}
	browser.Path(t)
	s := newScript(5)
	for i := 0; len(s.run.Events) < events; i++ {
		s.append(0, 1+i%4, 1, i, 1, i, 1, trace.Entry{Term: 1, Command: "x"})
	}
	out := try(t, s.run, "large", `
		let arrows = 0;
		const draw = Diagram.prototype.drawArrow;
		Diagram.prototype.drawArrow = function (...args) { arrows++; draw.apply(this, args); };
		const d = page.diagram, began = performance.now();
		for (let k = 0; k < 20; k++) { d.scroller.scrollTop = k * 50000; d.draw(); }
		return { events: page.run.events.length, rows: d.rows, perDraw: (performance.now() - began) / 20, arrows: arrows / 20 };`)
	require.EqualValues(t, events, out["events"])
	require.Greater(t, out["rows"], float64(events/2))
	require.Less(t, out["arrows"], 300.0)
	require.Less(t, out["perDraw"], 50.0, "milliseconds")
	t.Logf("%v", out)
}
