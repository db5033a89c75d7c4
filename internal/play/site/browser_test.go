package site

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit/browser"
)

// visit opens the page from a file, as a visitor without a server does, and runs a script
// in it. The script returns an object, which the page sends to the test.
func visit(t *testing.T, script string) map[string]any {
	browser.Slow(t)
	page, err := Page(t.Context())
	require.NoError(t, err)
	outcome := browser.NewOutcome()
	receiver := httptest.NewServer(outcome)
	defer receiver.Close()
	text := strings.Replace(string(page), "</body>", `<script>`+browser.Report(receiver.URL)+`
		(async () => {
			while (!document.body.dataset.ready && !document.body.dataset.failed) await new Promise((go) => setTimeout(go, 10));
			if (document.body.dataset.failed) { outcome({ error: document.body.dataset.failed }); return; }
			const press = (...keys) => { for (const key of keys) document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true })); };
			const text = (id) => byId(id).textContent;
			outcome(await (async () => {`+script+`})());
		})();
		</script></body>`, 1)
	path := filepath.Join(t.TempDir(), "index.html")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return browser.Visit(t, "file://"+path, outcome)
}

// everyBug is a condition of the script.
func everyBug() string {
	if os.Getenv("RAFTLAB_SOAK") == "1" {
		return "true"
	}
	return "false"
}

// A visitor plays through the page with the keyboard: lessons, branches, links, files, and
// cores with bugs.
func TestBrowser(t *testing.T) {
	got := visit(t, `
		const out = { ready: Number(document.body.dataset.ready), servers: document.querySelectorAll("#stage .server").length };
		press("o");
		out.envelopes = document.querySelectorAll("#stage .envelope").length;
		press(" ", "a", "e");
		out.leader = page.server(1).state;
		out.notes = text("notes").includes("leads term 1");

		// Time travel and branches.
		press("ArrowLeft", "ArrowLeft");
		const before = page.run.now.depth;
		press("d", "x", "u", "y", "b");
		press("End");
		page.do("crash 1");
		out.branches = page.run.branches().length;
		out.forked = page.run.now.depth > before;
		page.do("deliver 1->9");
		out.refused = text("toast");
		out.unchanged = page.run.lines().at(-1);

		// Undo and redo have the keys of other programs, but not in a field.
		const chord = (target, key, shiftKey = false) => { target.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey, ctrlKey: true, bubbles: true })); return page.run.now.depth; };
		const depth = page.run.now.depth;
		out.chords = [chord(document.body, "z"), chord(document.body, "y"), chord(document.body, "z"), chord(document.body, "Z", true), chord(byId("command"), "z")].map((d) => d - depth).join();

		// A link has the whole run.
		const lines = page.run.lines(page.run.tip).join(";");
		const link = await page.run.share();
		page.fresh(["cluster 3"]);
		location.hash = "#run=" + link;
		await page.openLink();
		out.shared = page.run.lines(page.run.tip).join(";") === lines;

		location.hash = "#run=wrong";
		await page.openLink();
		out.wrongLink = text("toast").startsWith("The link cannot be opened") && page.run.lines().length === 1;
		page.fresh(lines.split(";"));

		// A saved run is a script, and opens again.
		const saved = page.engine.ask({ Op: "record", Lines: page.run.lines() }).text;
		out.saved = saved.includes("\n----\n");
		await page.openFile(new File([saved], "run.txt"));
		out.opened = page.run.lines(page.run.tip).join(";") === lines && page.card.lesson.title === "run.txt";
		await page.openFile(new File(["cluster 3\n\nfly 1\n"], "wrong.txt"));
		out.wrong = text("toast");

		// A lesson about a bug has conditions that only a core with the bug can hold.
		const broken = (lesson) => {
			const bug = page.run.bug, { parts, question } = page.engine.ask({ Op: "lesson", Bug: bug, Name: lesson.name, Text: lesson.text }).lesson;
			const lines = [...parts.flatMap((p) => p.commands || []), ...question.proof].map((c) => c.Text);
			if (!lines.some((line) => line.startsWith("expect violations"))) return [lesson.name + " expects nothing"];
			return page.engine.ask({ Op: "run", Bug: bug, Lines: lines }).frames.filter((f) => f.error).map((f) => f.command + ": " + f.error);
		};

		// Every lesson runs to its end with the keyboard, and its question takes the answer.
		out.lessons = 0; out.fallen = ""; out.solved = 0; out.stuck = []; out.failed = [];
		for (const lesson of DATA.lessons) {
			page.openLesson(lesson.name, lesson.text);
			let last = -1;
			while (page.run.now.depth > last && page.card.position() < page.card.lesson.lines.length) { last = page.run.now.depth; press(last % 5 ? "Enter" : " "); }
			if (page.card.position() !== page.card.lesson.lines.length) { out.stuck.push(lesson.name + " " + text("toast")); continue; }
			out.lessons++;
			if (page.card.lesson.core) out.failed.push(...broken(lesson));
			if (page.card.lesson.core) out.fallen += page.card.lesson.core + ": " + page.run.violations().map((v) => v.name + " at " + v.node.depth + (v.name.startsWith("An inv") ? v.text : "")).join(", ") + "; ";
			else if (page.run.violations().length) out.stuck.push(lesson.name + " falls");
			const q = page.card.lesson.question;
			press("Enter");
			if (!byId("card").contains(document.activeElement)) out.stuck.push(lesson.name + " question without focus");
			document.activeElement.blur();
			if (q.choices) document.querySelectorAll("#card .choices button")[q.choices.findIndex((c) => c.right)].click();
			if (q.answers) { byId("answer").value = q.answers[0]; document.querySelector("#card form button").click(); }
			if (q.reach) { byId("check").click(); if (page.card.answer.right) out.stuck.push(lesson.name + " is answered early"); page.card.prove(); page.card.reach(true); }
			if (page.card.answer?.right) out.solved++; else out.stuck.push(lesson.name + " " + JSON.stringify(page.card.answer));
		}

		// A visitor leaves a lesson for a run of another kind, and Enter leads back.
		page.openLesson(DATA.lessons[0].name, DATA.lessons[0].text, 2);
		press("c");
		out.left = page.card.position();
		press("Enter");
		out.back = page.card.position();

		// Every story of the core opens, and runs to its end.
		out.stories = 0;
		page.choose("");
		for (const story of DATA.stories) {
			page.openLesson(story.name, story.text, 1e6);
			if (page.run.failure || page.run.violations().length || page.card.position() !== page.card.lesson.lines.length) out.stuck.push(story.name + " " + page.run.failure);
			else out.stories++;
		}
		out.stories -= DATA.stories.length;

		// The same run with another core.
		page.openLesson("10-restart", DATA.lessons.find((l) => l.name.includes("restart")).text);
		page.otherCore("vote-forgotten");
		page.run.goTo(page.run.tip); page.draw();
		out.otherCore = text("banner").includes("step 5") && text("banner").includes("Election Safety at step");

		// A core that panics falls, and the page goes on.
		page.choose("chunks-at-any-offset");
		page.fresh(["cluster 3 noop chunk=6", "timeout 1", "settle", "crash 3", "propose 1 a b", "settle", "snapshot 1", "restart 3", "tick 1 2", "deliver", "deliver",
			"deliver 1->3", "deliver 3->1", "deliver 1->3", "deliver 3->1", "repeat 1->3", "delay 1->3#1", "crash 3", "restart 3",
			"deliver 1->3", "deliver 3->1", "deliver 1->3", "release 1->3", "deliver 1->3", "settle"]);
		out.panic = text("banner").includes("A state that no server reaches falls at step 24") && page.server(3).state === "down" && page.server(1).state === "leader";
		page.choose("");

		// A disk that stalls lets no promise leave, and a leader steps down.
		page.fresh(["cluster 3 noop", "timeout 1", "settle"]);
		press("2", "w");
		out.stalled = page.server(2).stalled && text("logs").includes("disk stalled");
		page.do("propose 1 x"); page.do("settle");
		out.promised = page.server(1).matchIndex[2];
		press("w", "e");
		out.kept = page.server(1).matchIndex[2];
		press("1", "z");
		out.steppedDown = page.server(1).state;

		// The chosen bugs can be planted, and in the long test every bug.
		const bugs = DATA.bugs.filter((b) => b.chosen || `+everyBug()+`);
		out.planted = 0;
		for (const bug of bugs) { page.choose(bug.name); page.fresh(["cluster 3 noop", "timeout 1", "settle", "propose 1 x", "settle"]); out.planted += page.run.lines().length > 0; }
		page.choose("");
		page.fresh(["cluster 3 noop", "timeout 1"]);
		out.planted -= bugs.length;

		// Every function that a note names has its code, and every control a name.
		page.do("settle");
		document.querySelector("#notes button.chip").click();
		out.code = document.querySelector("#tab pre").textContent.includes("func (c *Core)");
		out.nameless = [...document.querySelectorAll("button, input, select, [role=button]")].filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label") || e.title || e.closest("label") || e.hidden)).length;
		press("D"); out.theme = document.documentElement.dataset.theme; press("+");
		out.scale = document.documentElement.style.getPropertyValue("--scale");
		out.played = performance.now();
		return out;`)
	want := map[string]any{
		"servers": 5.0, "envelopes": 4.0, "leader": "leader", "notes": true, "branches": 2.0, "forked": true, "unchanged": "crash 1",
		"shared": true, "wrongLink": true, "saved": true, "opened": true, "lessons": 14.0, "solved": 14.0, "stuck": []any{}, "failed": []any{}, "planted": 0.0, "stories": 0.0,
		"panic": true, "stalled": true, "promised": 1.0, "kept": 2.0, "steppedDown": "follower",
		"code": true, "nameless": 0.0, "theme": "dark", "chords": "-1,0,-1,0,0", "left": -1.0, "back": 2.0, "scale": "1.15", "otherCore": true,
	}
	for key, value := range want {
		require.Equal(t, value, got[key], "%s: %v", key, got)
	}
	require.Contains(t, got["refused"], "there is no server 9")
	require.Contains(t, got["wrong"], "wrong.txt:3: no such command: \"fly 1\"")
	for _, name := range []string{"Commit rule at", "Leader Completeness at", "State Machine Safety at"} {
		require.Contains(t, got["fallen"], name)
	}
	ready, _ := got["ready"].(float64)
	limit := 10_000.0 // beside other tests; 3 seconds in the long test
	if os.Getenv("RAFTLAB_SOAK") == "1" {
		limit = 3000
	}
	require.Less(t, ready, limit, "milliseconds until the page is ready")
	t.Logf("ready in %.0f ms, played in %.0f ms", ready, got["played"])
}
