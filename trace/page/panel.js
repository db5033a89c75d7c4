// The panel: the story, the selected event and the state of each server.
const byId = (id) => document.getElementById(id);
function element(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "onclick") e.addEventListener("click", value); else e.setAttribute(name, value);
  }
  if (attributes && attributes.onclick && tag !== "button") { // works by the keyboard, too
    e.tabIndex = 0;
    e.setAttribute("role", "button");
    e.addEventListener("keydown", (ev) => { if (ev.key === "Enter" && ev.target === e) e.click(); });
  }
  e.append(...children.filter((c) => c !== null && c !== undefined));
  return e;
}

class Panel {
  constructor(page) { this.page = page; }

  story(index) {
    const { run } = this.page, all = run.data.findings, f = all[index], box = byId("story");
    box.replaceChildren();
    if (!f) {
      box.append(element("h1", { class: "plain" }, run.data.test || "A recorded run"), element("p", {}, "No check has found a broken rule in this recording."));
      return;
    }
    box.append(element("h1", {}, f.title));
    if (f.seen) box.append(element("p", {}, f.proven ? "The messages prove this. No check of the test has said this." : "Seen in the messages. No check of the test has said this."));
    if (f.words) box.append(element("p", { class: "rule" }, f.words + " (" + f.place + ")"));
    box.append(element("p", { class: "said" }, f.text + (/[.!?]$/.test(f.text) ? "" : ".")));
    if (f.operations) box.append(this.operations(f.operations, f.earlier ? "No order allows this answer" : "These operations alone have no legal order"));
    if (f.earlier) box.append(this.operations(f.earlier, "The operations before that have an order and change the value"));
    if (f.waits) box.append(element("h2", {}, "Blocked goroutines"), this.waits(f.waits));
    const list = element("ol", {});
    f.steps.forEach((s, k) => list.append(element("li", { onclick: () => this.page.selectStep(k), "data-step": k },
      element("span", {}, String(k + 1)), element("div", {}, s.text + " ", element("time", {}, run.time(run.events[s.event].t))))));
    box.append(list);
    this.others(box, all, index);
    if (run.data.omitted) box.append(element("p", { class: "repeat" }, `${run.data.omitted} earlier events are left out.`));
    if (run.data.untold) box.append(element("p", { class: "repeat" }, `The lives of ${run.data.untold} other commands are left out, the oldest first.`));
    if (run.data.repeat) box.append(element("p", { class: "repeat" }, run.data.repeat));
  }

  // waits lists the likely holders of a lock, and folds the other goroutines.
  waits(all) {
    const most = 3, list = (some) => element("ul", { class: "waits" }, ...some.map((w) => element("li", {}, w)));
    if (all.length <= most) return list(all);
    return element("div", {}, list(all.slice(0, most)), element("details", {}, element("summary", {}, `${all.length - most} more groups, most of them queued or waiting normally`), list(all.slice(most))));
  }

  // others offers the other findings.
  others(box, all, index) {
    if (all.length < 2) return;
    const f = all[index];
    const more = element("div", { class: "more" }, element("h2", {}, index > 0 ? "Other findings" : f.seen ? "The damage, and other findings" : "Seen in the messages, and perhaps the cause"));
    all.forEach((other, k) => {
      if (k !== index) more.append(element("button", { onclick: () => this.page.choose(k) }, element("b", {}, other.title), element("br"), other.seen ? other.text + ". " : "", element("span", { class: "repeat" }, other.place)));
    });
    box.append(more);
  }

  // operations draws operations as bars in time.
  operations(all, heading) {
    const box = element("div", { class: "operations" }, element("h2", {}, heading));
    const times = [...new Set(all.slice(-8).flatMap((o) => [o.call, o.return]).filter((t) => t >= 0))].sort((a, b) => a - b);
    const place = (t) => (t < 0 ? 100 : (100 * times.indexOf(t)) / Math.max(1, times.length - 1 + (all.some((o) => o.return < 0) ? 1 : 0)));
    const most = 8, shown = all.slice(-most);
    if (all.length > most) box.append(element("p", {}, `${all.length - most} earlier operations are left out here.`));
    for (const o of shown) {
      box.append(element("div", { title: o.client + ": " + o.text },
        element("i", { style: `left:${place(o.call)}%;width:${Math.max(1, place(o.return) - place(o.call))}%` }), element("em", {}, `${o.client}: ${o.text}`)));
    }
    return box;
  }

  select(e) {
    const { run } = this.page, box = byId("details");
    box.replaceChildren();
    for (const li of document.querySelectorAll("#story li[data-step]")) {
      li.classList.toggle("here", !!e && this.page.diagram.steps[li.dataset.step].event === e.i);
    }
    if (!e) return;
    box.append(element("h2", {}, `Event at ${run.time(e.t)}`), element("p", {}, run.words(e) + "."));
    if (e.kind <= Kind.saved && e.text && e.kind <= Kind.lost) box.append(element("p", { class: "said" }, e.text));
    if (e.match) {
      const delay = Math.abs(e.match.t - e.t);
      const fate = e.kind === Kind.sent ? (e.match.kind === Kind.lost ? "Lost: " + e.match.text.split(";")[0] : `Arrives ${run.time(delay)} later`) : `Sent ${run.time(delay)} before`;
      box.append(element("p", {}, element("button", { onclick: () => this.page.select(e.match, true) }, fate)));
    } else if (e.kind === Kind.sent) box.append(element("p", {}, "Still on its way at the end of the recording."));
    this.lives(e, box);
    if (e.lane >= 0) box.append(element("p", { class: "clock" }, "vector clock " + run.clockOf(e).map((n, i) => `${run.lane(i)}:${n}`).filter((s) => !s.endsWith(":0")).join(" ")));
  }

  // lives tells the life of the command that an event belongs to. A message with several
  // entries offers a choice.
  lives(e, box) {
    const all = this.page.run.livesAt(e), life = all.includes(this.page.life) ? this.page.life : all.length === 1 ? all[0] : null;
    if (!all.length) return;
    if (!life) {
      box.append(element("h2", {}, `This event belongs to ${all.length} commands`), element("div", { class: "more" },
        ...all.map((l) => element("button", { onclick: () => { this.page.life = l; this.select(e); } }, l.title))));
      return;
    }
    this.page.life = life;
    const only = this.page.diagram.only, button = element("button", { id: "follow", class: only ? "on" : "", title: "only these events  l", onclick: () => this.page.follow() }, "only these events");
    box.append(element("h2", {}, "The life of a command"), element("p", {}, element("b", {}, life.title), " ", button));
    box.append(element("ol", { class: "life" }, ...life.steps.map((s) => element("li", { class: s.event === e.i ? "here" : "", onclick: () => this.page.select(this.page.run.events[s.event], true) },
      element("time", {}, this.page.run.time(this.page.run.events[s.event].t)), element("div", {}, s.text)))));
  }

  states(e) {
    const { run } = this.page, box = byId("states");
    const at = e ? e.i : run.events.length - 1;
    if (at < 0) return;
    const number = (n) => (n < 0 ? "?" : String(n)), recorded = run.events.some((e) => e.kind === Kind.applied);
    const columns = run.raft.size ? ["", "role", "term", "vote", "log ends", "commit"].concat(recorded ? "applied" : "answered") : [];
    const table = element("table", {}, element("tr", {}, ...columns.map((t) => element("th", {}, t))));
    for (const l of run.lanes) {
      if (!l.server) continue;
      const s = run.stateAt(l.i, at);
      if (!s) continue;
      if (!run.raft.has(l.i)) { // no server of Raft
        table.append(element("tr", {}, element("td", {}, l.name), element("td", { class: s.role === "down" ? "down" : "" }, s.role === "down" ? "down" : "up")));
        continue;
      }
      const log = s.last < 0 ? "?" : s.last === 0 ? "empty" : s.last + (s.lastTerm > 0 ? ` (T${s.lastTerm})` : "");
      table.append(element("tr", { class: s.changed ? "changed" : "" }, element("td", {}, l.name), element("td", { class: s.role }, s.role || "?"),
        element("td", {}, number(s.term)), element("td", {}, s.vote < 0 ? "" : run.lane(s.vote)), element("td", {}, log), element("td", {}, number(s.commit)), element("td", {}, recorded ? number(s.applied) : s.answered < 0 ? "" : String(s.answered))));
    }
    box.replaceChildren(element("h2", {}, e ? "The servers after this event, as far as others can see" : "The servers at the end, as far as others can see"), element("div", { class: "wide" }, table));
    if (!recorded && run.raft.size) box.append(element("p", { class: "repeat" }, "Applied commands are not recorded here. Answered is the highest index of a command that the server has answered since its start. A correct server has applied that index."));
  }
}
