// The page: filters, keys, search and selection.
class Page {
  constructor() {
    this.run = new Run(data);
    this.diagram = new Diagram(this.run, byId("diagram"), byId("canvas"), byId("space"));
    this.panel = new Panel(this);
    document.title = (data.test || "Trace") + (data.findings.length ? ": " + data.findings[0].title : "");
    byId("test").textContent = data.test || "A recorded run";
    this.theme(location.hash === "#dark" || (location.hash !== "#light" && matchMedia("(prefers-color-scheme: dark)").matches) ? "dark" : "light");
    this.filters();
    this.controls();
    this.choose(0);
  }

  filters() {
    const count = new Map();
    for (const e of this.run.events) count.set(e.topic, (count.get(e.topic) || 0) + 1);
    const quiet = { heartbeats: true, details: true };
    const colors = { votes: "vote", entries: "append", heartbeats: "append", snapshots: "snapshot", "other RPCs": "other", clients: "other", faults: "bad", servers: "good", log: "log", test: "bad", details: "faint" };
    for (const topic of Object.keys(colors)) {
      if (!count.has(topic)) continue;
      this.diagram.topics[topic] = !quiet[topic];
      const button = element("button", { "aria-pressed": String(!quiet[topic]), title: `${count.get(topic)} events`, "data-topic": topic, onclick: () => this.toggle(topic) },
        element("i", { style: `background:var(--${colors[topic]})` }), topic);
      byId("topics").append(button);
    }
    for (const l of this.run.lanes) {
      const button = element("button", { "aria-pressed": "true", onclick: () => {
        l.on = !l.on;
        button.setAttribute("aria-pressed", String(l.on));
        this.relayout();
      } }, l.name);
      byId("lanes").append(button);
    }
    for (const t of this.run.terms) byId("term").append(element("option", { value: t }, String(t)));
    byId("term").addEventListener("change", () => { this.diagram.term = byId("term").value; this.relayout(); });
  }

  toggle(topic) {
    const on = (this.diagram.topics[topic] = !this.diagram.topics[topic]);
    document.querySelector(`[data-topic="${topic}"]`).setAttribute("aria-pressed", String(on));
    this.relayout();
  }

  // relayout keeps the selected event, or the event in the middle, where it is.
  relayout() {
    const d = this.diagram, middle = this.selected || (d.rows ? d.byRow[Math.min(d.rows - 1, d.rowAt(d.scroller.scrollTop + d.height / 2))][0] : null);
    d.layout();
    if (middle) d.show(middle, true);
  }

  controls() {
    const d = this.diagram;
    byId("canvas").addEventListener("click", (ev) => { const e = d.at(ev.offsetX, ev.offsetY); this.select(e); d.scroller.focus({ preventScroll: true }); });
    byId("canvas").addEventListener("mousemove", (ev) => { byId("canvas").style.cursor = ev.offsetY > head && d.at(ev.offsetX, ev.offsetY) ? "pointer" : ""; });
    byId("search").addEventListener("input", () => this.search());
    byId("search").addEventListener("keydown", (ev) => { if (ev.key === "Enter") this.next(ev.shiftKey ? -1 : 1); if (ev.key === "Escape") d.scroller.focus(); });
    byId("smaller").onclick = () => this.zoom(1 / 1.25);
    byId("larger").onclick = () => this.zoom(1.25);
    byId("scale").onclick = () => this.scale();
    byId("cone").onclick = () => this.cone();
    byId("theme").onclick = () => this.theme();
    byId("help").onclick = () => byId("keys").showModal();
    document.addEventListener("keydown", (ev) => this.key(ev));
  }

  key(ev) {
    if (ev.ctrlKey || ev.metaKey || ev.altKey || /^(INPUT|SELECT)$/.test(ev.target.tagName || "")) return;
    const actions = {
      ArrowDown: () => this.step(1), j: () => this.step(1), ArrowUp: () => this.step(-1), k: () => this.step(-1),
      ArrowLeft: () => this.across(), ArrowRight: () => this.across(), c: () => this.cone(), h: () => "heartbeats" in this.diagram.topics && this.toggle("heartbeats"),
      "/": () => byId("search").focus(), n: () => this.next(1), N: () => this.next(-1), "+": () => this.zoom(1.25), "=": () => this.zoom(1.25), "-": () => this.zoom(1 / 1.25),
      t: () => this.scale(), l: () => (this.following || (this.selected && this.run.livesAt(this.selected).length)) && this.follow(), d: () => this.theme(), "?": () => byId("keys").showModal(), Home: () => this.edge(1), End: () => this.edge(-1),
      Escape: () => { if (byId("keys").open) byId("keys").close(); else this.select(null); },
    };
    const act = /^[1-9]$/.test(ev.key) ? () => this.selectStep(Number(ev.key) - 1) : actions[ev.key];
    if (!act) return;
    act();
    ev.preventDefault();
  }

  // choose shows a finding. The last step of the proof is on the screen.
  choose(index) {
    const f = data.findings[index];
    this.finding = index;
    this.diagram.steps = f ? f.steps : [];
    this.panel.story(index);
    this.diagram.layout();
    this.select(null);
    if (this.diagram.steps.length) {
      this.showSteps();
      this.panel.states(this.run.events[this.diagram.steps.at(-1).event]);
    }
    else this.diagram.scroller.scrollTop = 1e9;
  }

  // showSteps scrolls so that as many of the last steps as possible are on the screen.
  showSteps() {
    const d = this.diagram, rows = d.steps.map((s) => d.rowY[d.rowOf[s.event]]).filter((y) => y !== undefined).sort((a, b) => b - a);
    if (!rows.length) return;
    let top = rows[0];
    for (const y of rows) if (rows[0] - y < d.height - head - 110) top = y;
    d.scroller.scrollTop = Math.max(0, top - head - 50);
    d.schedule();
  }

  selectStep(k) {
    const s = this.diagram.steps[k];
    if (s) this.select(this.run.events[s.event], true);
  }

  select(e, move) {
    this.selected = this.diagram.selected = e;
    if (this.following && !(e && this.diagram.only.has(e.i))) this.follow();
    if (e && this.diagram.rowOf[e.i] < 0) { // a filter hides the event
      this.diagram.topics[e.topic] = true;
      document.querySelector(`[data-topic="${e.topic}"]`).setAttribute("aria-pressed", "true");
      this.diagram.layout();
    }
    this.panel.select(e);
    this.panel.states(e);
    if (e && move) this.diagram.show(e);
    this.diagram.schedule();
  }

  // follow shows the events of a command's life alone, with the faults between them, or all events again.
  follow() {
    const d = this.diagram, life = this.life;
    d.only = null;
    if (!this.following && life) {
      d.only = new Set();
      for (const s of life.steps) {
        const e = this.run.events[s.event];
        d.only.add(e.i);
        if (e.match) d.only.add(e.match.i);
      }
      const at = [...d.only], first = Math.min(...at), last = Math.max(...at);
      for (const e of this.run.events.slice(first, last)) if (e.topic === "faults") d.only.add(e.i);
    }
    this.following = d.only !== null;
    this.relayout();
    if (this.selected) this.select(this.selected);
  }

  step(by) {
    const d = this.diagram;
    let i = this.selected ? this.selected.i + by : by > 0 ? 0 : this.run.events.length - 1;
    while (i >= 0 && i < this.run.events.length && d.rowOf[i] < 0) i += by;
    if (this.run.events[i]) this.select(this.run.events[i], true);
  }

  edge(by) { this.selected = null; this.step(by); }
  across() { if (this.selected && this.selected.match) this.select(this.selected.match, true); }

  search() {
    const text = byId("search").value.trim().toLowerCase(), d = this.diagram;
    d.matches = new Set();
    this.found = [];
    if (text) {
      for (const e of this.run.events) {
        if (d.rowOf[e.i] >= 0 && (this.run.words(e) + " " + e.text + " " + e.label).toLowerCase().includes(text)) { d.matches.add(e.i); this.found.push(e); }
      }
    }
    byId("found").textContent = text ? `${this.found.length} found` : "";
    d.schedule();
  }

  next(by) {
    if (!this.found || !this.found.length) return;
    const from = this.selected ? this.selected.i : by > 0 ? -1 : Infinity;
    const e = by > 0 ? this.found.find((f) => f.i > from) || this.found[0] : this.found.findLast((f) => f.i < from) || this.found.at(-1);
    this.select(e, true);
  }

  zoom(by) {
    const d = this.diagram, middle = this.selected && d.rowOf[this.selected.i] >= 0 ? this.selected : d.rows ? d.byRow[Math.min(d.rows - 1, d.rowAt(d.scroller.scrollTop + d.height / 3))][0] : null;
    d.rowHeight = Math.max(3, Math.min(60, d.rowHeight * by));
    d.place();
    if (middle) d.show(middle, true);
  }

  scale() {
    this.diagram.scale = this.diagram.scale === "even" ? "time" : "even";
    byId("scale").classList.toggle("on", this.diagram.scale === "time");
    this.zoom(1);
  }

  cone() {
    this.diagram.cone = !this.diagram.cone;
    byId("cone").classList.toggle("on", this.diagram.cone);
    this.diagram.schedule();
  }

  theme(name) {
    const root = document.documentElement;
    root.dataset.theme = name || (root.dataset.theme === "dark" ? "light" : "dark");
    this.diagram.schedule();
  }
}

const page = new Page();
