"use strict";
// The picture of servers and messages, and the table of logs.

const byId = (id) => document.getElementById(id);

/** Makes an element with attributes, listeners (onclick) and children. */
function el(name, attrs = {}, ...children) {
  const svg = ["svg", "g", "circle", "line", "rect", "text", "path", "title"].includes(name);
  const e = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attrs)) {
    if (key.startsWith("on")) e.addEventListener(key.slice(2), value);
    else if (value !== false && value !== undefined && value !== null) e.setAttribute(key, value === true ? "" : value);
  }
  e.append(...children.filter((c) => c !== null && c !== undefined && c !== false));
  return e;
}

const termColor = (term) => `var(--t${term === 0 ? 0 : 1 + ((term - 1) % 8)})`;
const roleName = { leader: "★ leader", follower: "follower", candidate: "candidate", "pre-candidate": "pre-candidate", down: "✕ down" };

/** A few words for a message in the picture. */
function label(m) {
  const field = (name) => (m.text.match(new RegExp(name + "=(\\S+)")) || [])[1];
  switch (m.kind) {
    case "PreVote": return "pre-vote?";
    case "RequestVote": return "vote?";
    case "PreVote reply": return field("granted") === "true" ? "would vote" : "would not";
    case "RequestVote reply": return field("granted") === "true" ? "vote ✓" : "no vote ✗";
    case "Heartbeat": return "heartbeat";
    case "AppendEntries": return "append " + (m.text.match(/entries=\[([^\]]*)\]/) || ["", ""])[1].replace(/ .* /, " … ");
    case "AppendEntries reply": return field("match") !== undefined ? "match " + field("match") : "refused ✗";
    case "InstallSnapshot": return "snapshot " + (field("last") || "");
    case "InstallSnapshot reply": return "installed";
    case "TimeoutNow": return "take over!";
    case "ReadIndex": return "read?";
    case "ReadIndex reply": return "read " + (field("index") || "✗");
  }
  return m.kind;
}

class Stage {
  constructor(page) { this.page = page; this.seen = new Set(); }

  /** Places n servers on an ellipse, the first one on top. */
  place(n) {
    const at = {};
    for (let i = 0; i < n; i++) {
      const angle = -Math.PI / 2 + (2 * Math.PI * i) / n;
      at[i + 1] = { x: 500 + 385 * Math.cos(angle), y: 300 + 222 * Math.sin(angle) };
    }
    return at;
  }

  draw() {
    const { frame } = this.page.run.now, svg = byId("stage");
    const focus = svg.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    svg.replaceChildren();
    this.at = this.place((frame.servers || []).length);
    this.drawLinks(svg, frame);
    for (const m of this.messages(frame)) svg.append(this.envelope(m));
    for (const s of frame.servers || []) svg.append(this.server(s, frame));
    if (focus) svg.querySelector(`[data-key="${focus}"]`)?.focus();
  }

  drawLinks(svg, frame) {
    const cut = new Set((frame.cuts || []).map(([a, b]) => `${a}->${b}`));
    for (const a of frame.servers || []) {
      for (const b of frame.servers.filter((other) => other.id > a.id)) {
        const p = this.at[a.id], q = this.at[b.id];
        const both = cut.has(`${a.id}->${b.id}`) && cut.has(`${b.id}->${a.id}`), one = !both && (cut.has(`${a.id}->${b.id}`) || cut.has(`${b.id}->${a.id}`));
        svg.append(el("line", { x1: p.x, y1: p.y, x2: q.x, y2: q.y, class: both || one ? "cutlink" : "link" }));
        if (both || one) {
          const t = both ? 0.5 : cut.has(`${a.id}->${b.id}`) ? 0.62 : 0.38;
          svg.append(el("text", { x: p.x + (q.x - p.x) * t, y: p.y + (q.y - p.y) * t, class: "cutmark" }, "✕"));
        }
      }
    }
  }

  /** The messages with their places: the oldest one of a link is nearest to its receiver. */
  messages(frame) {
    const placed = [], links = {};
    for (const [list, delayed] of [[frame.messages || [], false], [frame.delayed || [], true]]) {
      for (const m of list) (links[`${m.from}->${m.to}`] ||= []).push({ ...m, delayed });
    }
    for (const list of Object.values(links)) {
      const p = this.at[list[0].from], q = this.at[list[0].to], d = Math.hypot(q.x - p.x, q.y - p.y);
      const normal = { x: -(q.y - p.y) / d, y: (q.x - p.x) / d };
      const steep = Math.abs(q.y - p.y) > Math.abs(q.x - p.x);
      const gap = Math.min(0.17, 0.42 / Math.max(list.length - 1, 1));
      list.forEach((m, i) => {
        // The oldest envelope stops before the receiver's circle.
        const reach = 70 + (steep ? 20 : this.width(m) / 2), head = Math.max(0.5, Math.min(0.66, 1 - reach / d));
        const t = Math.max(head - i * gap, 0.24), off = steep ? 30 : 21;
        placed.push({ ...m, x: p.x + (q.x - p.x) * t + normal.x * off, y: p.y + (q.y - p.y) * t + normal.y * off });
      });
    }
    return this.spread(placed);
  }

  /** Moves envelopes apart that would cover each other. */
  spread(placed) {
    for (let round = 0; round < 12; round++) {
      for (let i = 0; i < placed.length; i++) {
        for (let j = 0; j < i; j++) {
          const a = placed[i], b = placed[j], dx = a.x - b.x, dy = a.y - b.y;
          const wide = (this.width(a) + this.width(b)) / 2 + 4, high = 32;
          if (Math.abs(dx) >= wide || Math.abs(dy) >= high) continue;
          const push = (high - Math.abs(dy)) / 2 + 0.5, up = dy === 0 ? 1 : Math.sign(dy);
          a.y += up * push;
          b.y -= up * push;
        }
      }
    }
    for (const m of placed) m.y = Math.min(Math.max(m.y, 18), 582);
    return placed;
  }

  width(m) { return 22 + label(m).length * 8.6; }

  envelope(m) {
    const text = label(m), width = this.width(m), key = `m${m.ref}${m.delayed ? "d" : ""}`;
    const tell = `${m.from} to ${m.to}: ${m.text}${m.cut ? " (will be lost)" : ""}${m.delayed ? " (delayed)" : ""}`;
    const open = (event) => { event.stopPropagation(); this.page.popover(m, event.currentTarget); };
    const id = `${m.from}${m.to}${m.text}`, fresh = !this.seen.has(id);
    this.seen.add(id);
    return el("g", {
      class: `envelope${m.reply ? " reply" : ""}${m.delayed ? " delayed" : ""}${m.cut ? " lost" : ""}${fresh ? " fresh" : ""}`,
      tabindex: 0, role: "button", "aria-label": tell, "data-key": key, transform: `translate(${m.x} ${m.y})`,
      onclick: open, onkeydown: (event) => { if (event.key === "Enter") open(event); else this.page.messageKey(event, m); },
    },
      el("title", {}, tell),
      el("rect", { x: -width / 2, y: -14, width, height: 28, fill: termColor(m.term) }),
      el("text", {}, (m.delayed ? "⏸ " : "") + text),
      el("path", { d: "M0 -6 L11 0 L0 6 Z", fill: "var(--ink)", transform: this.arrow(m, width) }));
  }

  /** A small arrow at the edge of an envelope that points to the receiver. */
  arrow(m, width) {
    const q = this.at[m.to], angle = Math.atan2(q.y - m.y, q.x - m.x);
    const reach = Math.min(Math.abs((width / 2 + 1) / Math.cos(angle)), Math.abs(15 / Math.sin(angle)));
    return `translate(${reach * Math.cos(angle)} ${reach * Math.sin(angle)}) rotate(${(angle * 180) / Math.PI})`;
  }

  server(s, frame) {
    const { x, y } = this.at[s.id], voters = new Set(frame.servers.filter((o) => o.up).flatMap((o) => [...(o.voters || []), ...(o.outgoing || [])]));
    const tell = `server ${s.id}, ${s.state}, term ${s.currentTerm}, commitIndex ${s.commitIndex}`;
    const g = el("g", {
      class: `server ${s.state}${this.page.selected === s.id ? " selected" : ""}`, tabindex: 0, role: "button", "aria-label": tell, "data-key": `s${s.id}`,
      onclick: () => this.page.select(s.id), onkeydown: (event) => { if (event.key === "Enter") this.page.select(s.id); },
    }, el("title", {}, tell), el("circle", { cx: x, cy: y, r: 62, class: "body", fill: s.up ? termColor(s.currentTerm) : "var(--panel)" }));
    if (s.timeout > 0) g.append(this.timer(x, y, s.timeout));
    g.append(el("text", { x, y: y - 18, class: "name" }, `S${s.id}`), el("text", { x, y: y + 7, class: "role" }, roleName[s.state]),
      el("text", { x, y: y + 30, class: "term" }, `term ${s.currentTerm}`));
    const below = s.votes ? `votes ${s.votes.length}/${new Set([...(s.voters || []), ...(s.outgoing || [])]).size}` : s.up && !voters.has(s.id) ? "no member" : s.up && s.learners?.includes(s.id) ? "learner" : s.removed ? "removed" : "";
    if (below) g.append(el("text", { x, y: y + 48, class: "outside", style: "font-size:15px" }, below));
    return g;
  }

  /** The rest of the election timeout as a part of a ring, of at most 20 ticks. */
  timer(x, y, ticks) {
    const share = Math.min(ticks / 20, 0.999), angle = -Math.PI / 2 + 2 * Math.PI * share, r = 70;
    return el("path", { class: "timer", d: `M${x} ${y - r} A${r} ${r} 0 ${share > 0.5 ? 1 : 0} 1 ${x + r * Math.cos(angle)} ${y + r * Math.sin(angle)}` });
  }

  /** The logs as in the paper's figures: a box for each entry, with its term. */
  drawLogs() {
    const { frame } = this.page.run.now, servers = frame.servers || [];
    const last = Math.max(1, ...servers.map((s) => Math.max(s.snapshotIndex, ...s.log.map((e) => e.i))));
    const first = Math.max(1, last - 60);
    const leader = servers.filter((s) => s.state === "leader").sort((a, b) => b.currentTerm - a.currentTerm)[0];
    const head = el("tr", {}, el("th", {}, "log"));
    for (let i = first; i <= last; i++) head.append(el("th", {}, String(i)));
    head.append(el("th", {}, ""));
    const rows = servers.map((s) => this.logRow(s, first, last, leader));
    const dense = last - first >= 9 || servers.length > 5;
    byId("logs").replaceChildren(el("table", { class: dense ? "dense" : "" }, el("thead", {}, head), el("tbody", {}, ...rows)));
  }

  logRow(s, first, last, leader) {
    const row = el("tr", { class: this.page.selected === s.id ? "selected" : "" },
      el("th", { scope: "row" }, `S${s.id}${s.state === "leader" ? " ★" : s.state === "down" ? " ✕" : ""}`));
    if (s.snapshotIndex >= first) row.append(el("td", { class: "snap", colspan: s.snapshotIndex - first + 1 }, `snapshot to ${s.snapshotIndex}`));
    for (let i = Math.max(first, s.snapshotIndex + 1); i <= last; i++) {
      const e = s.log.find((one) => one.i === i);
      if (!e) { row.append(el("td", {})); continue; }
      const committed = s.up && i <= s.commitIndex;
      row.append(el("td", {
        class: `entry${committed ? " committed" : ""}`, style: `background:${termColor(e.t)}`,
        title: `index ${e.i}, term ${e.t}, ${e.k || "command"} ${e.d}${committed ? ", committed" : ""}`,
      }, el("b", {}, String(e.t)), el("small", {}, e.k === "configuration" ? "config" : e.k || e.d || " ")));
    }
    const facts = [s.up ? `commit ${s.commitIndex}` : "on disk"];
    if (s.stalled) facts.push("disk stalled");
    if (leader && leader.id !== s.id && leader.matchIndex?.[s.id] !== undefined) facts.push(`next ${leader.nextIndex[s.id]}`, `match ${leader.matchIndex[s.id]}`);
    row.append(el("td", { class: "facts" }, facts.join(" · ")));
    return row;
  }
}
