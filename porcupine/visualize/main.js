"use strict";

// The controls. They connect the parts of the page.

const byId = (id) => document.getElementById(id);

class Page {
  constructor(data) {
    this.history = new History(data);
    this.lanes = new Lanes(byId("lanes"), this.history);
    this.part = this.history.parts.find((p) => p.result === "Illegal") ?? this.history.parts[0] ?? null;
    this.all = this.history.parts.length > 1 && this.part?.result !== "Illegal";
    this.which = 0;
    this.listPartitions();
    this.connect();
    this.lanes.resize();
    this.showPartition();
  }

  get linearization() {
    return this.part?.linearizations[this.which] ?? null;
  }

  listPartitions() {
    const { parts } = this.history;
    const count = (n) => `${n.toLocaleString("en")} operations`;
    const worst = ["Illegal", "Unknown"].find((r) => parts.some((p) => p.result === r)) ?? "Ok";
    const texts = { Ok: "linearizable", Illegal: "not linearizable", Unknown: "not decided" };
    byId("result").textContent = parts.length > 0 ? texts[worst] : "no operations";
    byId("result").className = `badge ${worst}`;
    document.title = `History: ${byId("result").textContent}`;
    const total = parts.reduce((n, p) => n + p.ops.length, 0);
    byId("partition").append(element("option", `all, ${count(total)}`, { value: "all" }));
    const order = parts.slice().sort((a, b) => (b.result === "Illegal") - (a.result === "Illegal"));
    for (const p of order) {
      byId("partition").append(element("option", `${p.index}: ${texts[p.result]}, ${count(p.ops.length)}`, { value: String(p.index) }));
    }
  }

  // showPartition lays out one partition, all partitions, or a core.
  showPartition() {
    byId("partition").value = this.all ? "all" : String(this.part?.index ?? "all");
    const partials = this.part?.linearizations ?? [];
    byId("partial").replaceChildren(...partials.map((l, i) =>
      element("option", `${i + 1}: ${l.ops.length} of ${this.part.ops.length}`, { value: String(i) })));
    this.which = 0;
    showReason(byId("reason"), this.part, (op) => this.select(op));
    this.lay();
    this.showLinearization();
    this.fitAll();
    if (this.part?.stuck && !this.all) this.goToReason();
  }

  lay() {
    const coreOnly = byId("coreOnly").checked && this.part?.core;
    let items = this.all ? this.history.parts.flatMap((p) => p.ops) : this.part?.ops ?? [];
    if (coreOnly) items = [...this.part.core];
    for (const item of this.history.items) item.row = undefined;
    this.lanes.show(items.concat(this.history.annotations));
    this.lanes.top = 0;
    this.runSearch(false);
  }

  showLinearization() {
    const l = this.linearization;
    byId("partial").value = String(this.which);
    this.lanes.follow(l);
    byId("step").max = String(l?.ops.length ?? 0);
    this.setStep(l?.ops.length ?? 0, false);
  }

  setStep(step, reveal = true) {
    const l = this.linearization;
    const last = l?.ops.length ?? 0;
    this.lanes.step = Math.min(Math.max(step, 0), last);
    byId("step").value = String(this.lanes.step);
    byId("stepText").textContent = `${this.lanes.step} of ${last}`;
    const op = l?.ops[this.lanes.step - 1];
    if (op && reveal) this.lanes.reveal(op);
    this.update();
  }

  select(item) {
    if (item && !item.note && !this.all && item.part !== this.part) return;
    this.lanes.selected = item;
    if (item) {
      if (this.all && item.part && item.part !== this.part) this.takePart(item.part);
      this.lanes.reveal(item);
    }
    this.update();
  }

  // takePart selects the partition to step through while all partitions are shown.
  takePart(part) {
    this.part = part;
    byId("partial").replaceChildren(...part.linearizations.map((l, i) =>
      element("option", `${i + 1}: ${l.ops.length} of ${part.ops.length}`, { value: String(i) })));
    this.which = 0;
    showReason(byId("reason"), part, (op) => this.select(op));
    this.showLinearization();
  }

  update() {
    showDetails(byId("details"), this.history, this.lanes.selected, this.linearization, this.lanes.step);
    this.redraw();
  }

  redraw() {
    if (this.drawing) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = 0;
      this.lanes.draw();
      this.lanes.drawOverview(byId("overview"));
    });
  }

  fitAll() {
    this.lanes.fit(0, this.lanes.end);
    this.lanes.top = 0;
    this.redraw();
  }

  // goToReason shows the core of an illegal partition.
  goToReason() {
    const { core, stuck } = this.part ?? {};
    if (!stuck) return;
    const { scale } = this.lanes;
    const from = Math.min(...[...core].map((op) => op[scale][0]));
    const to = Math.max(...[...core].map((op) => (op.pending ? op[scale][0] : op[scale][1])));
    this.lanes.fit(from, Math.max(to, stuck[scale][1]));
    this.lanes.selected = stuck;
    this.lanes.reveal(stuck);
    this.update();
  }

  runSearch(move) {
    const text = byId("search").value.toLowerCase();
    const matches = text ? this.lanes.items.filter((i) =>
      `${i.label} ${i.text} ${i.metadata ?? ""} ${i.details ?? ""}`.toLowerCase().includes(text)) : [];
    this.lanes.matches = new Set(matches);
    this.matches = matches;
    byId("found").textContent = text ? `${matches.length} found` : "";
    if (move && matches.length > 0) this.select(matches[0]);
    this.redraw();
  }

  nextMatch(direction) {
    const { matches } = this;
    if (matches.length === 0) return;
    const at = matches.indexOf(this.lanes.selected);
    this.select(matches[(at + direction + matches.length) % matches.length]);
  }

  changePartition(direction) {
    const options = [...byId("partition").options].map((o) => o.value);
    const at = options.indexOf(byId("partition").value);
    this.choosePartition(options[(at + direction + options.length) % options.length]);
  }

  choosePartition(value) {
    this.all = value === "all";
    if (!this.all) this.part = this.history.parts[Number(value)];
    this.lanes.selected = null;
    this.showPartition();
  }

  changePartial(direction) {
    const n = this.part?.linearizations.length ?? 0;
    if (n === 0) return;
    this.which = (this.which + direction + n) % n;
    this.showLinearization();
  }

  setRealTime(real) {
    byId("realTime").checked = real;
    this.lanes.scale = real ? "real" : "even";
    this.lanes.follow(this.linearization);
    this.fitAll();
  }

  setCoreOnly(on) {
    byId("coreOnly").checked = on;
    this.lay();
    if (this.part?.stuck) this.goToReason();
    else this.fitAll();
  }

  toggleTheme() {
    const dark = document.documentElement.dataset.theme === "dark";
    setTheme(dark ? "light" : "dark");
    this.lanes.readColors();
    this.redraw();
  }

  toggleHelp() {
    byId("keys").hidden = !byId("keys").hidden;
    byId("keys").scrollIntoView();
  }

  connect() {
    const { lanes } = this;
    const on = (id, event, f) => byId(id).addEventListener(event, f);
    on("partition", "change", (e) => this.choosePartition(e.target.value));
    on("partial", "change", (e) => { this.which = Number(e.target.value); this.showLinearization(); });
    on("step", "input", (e) => this.setStep(Number(e.target.value)));
    on("back", "click", () => this.setStep(lanes.step - 1));
    on("forth", "click", () => this.setStep(lanes.step + 1));
    on("search", "input", () => this.runSearch(true));
    on("zoomIn", "click", () => { lanes.zoom(1 / 1.5); this.redraw(); });
    on("zoomOut", "click", () => { lanes.zoom(1.5); this.redraw(); });
    on("fit", "click", () => this.fitAll());
    on("why", "click", () => this.goToReason());
    on("coreOnly", "change", (e) => this.setCoreOnly(e.target.checked));
    on("realTime", "change", (e) => this.setRealTime(e.target.checked));
    on("theme", "click", () => this.toggleTheme());
    on("help", "click", () => this.toggleHelp());
    window.addEventListener("resize", () => { lanes.resize(); this.redraw(); });
    document.addEventListener("keydown", (e) => this.key(e));
    this.connectPointer();
  }

  connectPointer() {
    const canvas = byId("lanes");
    const { lanes } = this;
    canvas.addEventListener("wheel", (e) => {
      e.preventDefault();
      if (e.ctrlKey || e.metaKey) lanes.zoom(Math.exp(e.deltaY * 0.003), e.offsetX);
      else if (e.shiftKey) lanes.move(e.deltaY, 0);
      else lanes.move(e.deltaX, e.deltaY);
      this.redraw();
    }, { passive: false });
    let from = null;
    canvas.addEventListener("pointerdown", (e) => {
      from = { x: e.offsetX, y: e.offsetY, moved: false };
      canvas.setPointerCapture(e.pointerId);
    });
    canvas.addEventListener("pointermove", (e) => {
      if (!from) {
        this.point(e.offsetX, e.offsetY);
        return;
      }
      const dx = e.offsetX - from.x;
      const dy = e.offsetY - from.y;
      if (!from.moved && Math.hypot(dx, dy) < 4) return;
      canvas.classList.add("moving");
      lanes.move(-dx, -dy);
      from = { x: e.offsetX, y: e.offsetY, moved: true };
      this.redraw();
    });
    canvas.addEventListener("pointerup", (e) => {
      canvas.classList.remove("moving");
      if (from && !from.moved) this.select(lanes.at(e.offsetX, e.offsetY));
      from = null;
    });
    canvas.addEventListener("pointerleave", () => { byId("tip").hidden = true; });
    const overview = byId("overview");
    const jump = (e) => {
      const view = (lanes.width - labelWidth) * lanes.perPixel;
      lanes.left = lanes.overviewX(e.offsetX) - view / 2;
      lanes.move(0, 0);
      this.redraw();
    };
    overview.addEventListener("pointerdown", (e) => { overview.setPointerCapture(e.pointerId); jump(e); });
    overview.addEventListener("pointermove", (e) => { if (e.buttons) jump(e); });
  }

  // point describes the item under the pointer.
  point(x, y) {
    const tip = byId("tip");
    const item = this.lanes.at(x, y);
    tip.hidden = !item;
    if (!item) return;
    tip.textContent = describe(this.history, item, this.linearization)
      .filter(([, text]) => text).map(([term, text]) => `${term}: ${text}`).join("\n");
    const stage = byId("stage");
    tip.style.left = `${Math.min(x + 14, Math.max(0, stage.clientWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${y + 18 + tip.offsetHeight > stage.clientHeight ? Math.max(0, y - tip.offsetHeight - 10) : y + 18}px`;
  }

  key(e) {
    const typing = e.target.matches("input[type=search]");
    if (typing) {
      if (e.key === "Enter") this.nextMatch(e.shiftKey ? -1 : 1);
      if (e.key === "Escape") byId("lanes").focus();
      return;
    }
    if (e.ctrlKey || e.metaKey || e.altKey || e.target.matches("select")) return;
    const { lanes } = this;
    const stride = e.shiftKey ? 10 : 1;
    const zoom = (f) => { lanes.zoom(f); this.redraw(); };
    const move = (dx) => { lanes.move(dx, 0); this.redraw(); };
    const actions = {
      ArrowLeft: () => this.setStep(lanes.step - stride),
      ArrowRight: () => this.setStep(lanes.step + stride),
      Home: () => this.setStep(0),
      End: () => this.setStep(Infinity),
      ArrowUp: () => { lanes.move(0, -rowHeight); this.redraw(); },
      ArrowDown: () => { lanes.move(0, rowHeight); this.redraw(); },
      "[": () => this.changePartial(-1),
      "]": () => this.changePartial(1),
      ",": () => this.changePartition(-1),
      ".": () => this.changePartition(1),
      "+": () => zoom(1 / 1.5),
      "=": () => zoom(1 / 1.5),
      "-": () => zoom(1.5),
      f: () => this.fitAll(),
      a: () => move(-lanes.width / 4),
      s: () => move(lanes.width / 4),
      w: () => this.goToReason(),
      c: () => this.setCoreOnly(!byId("coreOnly").checked),
      t: () => this.setRealTime(!byId("realTime").checked),
      d: () => this.toggleTheme(),
      "/": () => byId("search").focus(),
      n: () => this.nextMatch(1),
      p: () => this.nextMatch(-1),
      "?": () => this.toggleHelp(),
      Escape: () => this.select(null),
    };
    const action = actions[e.key];
    if (!action) return;
    e.preventDefault();
    action();
  }
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
}

// The theme is the one of the system, unless the reader or the address (#dark, #light) chooses another.
const systemDark = matchMedia("(prefers-color-scheme: dark)").matches;
setTheme(location.hash === "#dark" || (systemDark && location.hash !== "#light") ? "dark" : "light");
const page = new Page(JSON.parse(byId("data").textContent));
