// The diagram: a lane for each server and client, time from top to bottom.
const head = 34, laneWidth = { min: 48, max: 190 }, linesWidth = 240;
let axis = 100; // the width of the times

class Diagram {
  constructor(run, scroller, canvas, space) {
    Object.assign(this, { run, scroller, canvas, space, rowHeight: 20, scale: "even", selected: null, steps: [], cone: false, matches: new Set() });
    this.topics = {};
    this.term = "";
    scroller.addEventListener("scroll", () => { this.placeLanes(); this.schedule(); });
    new ResizeObserver(() => this.resize()).observe(scroller);
  }

  // visible reports whether the filters let an event through. The steps of the story always show.
  visible(e) {
    if (this.only) return this.only.has(e.i);
    if (this.pinned.has(e.i)) return true;
    if (this.topics[e.topic] === false) return false;
    if (this.term !== "" && e.term !== 0 && e.term !== Number(this.term)) return false;
    if (e.lane >= 0 && !this.run.lanes[e.lane].on) return false;
    if (e.kind <= Kind.lost && !this.run.lanes[e.peer].on) return false;
    return true;
  }

  // layout gives each visible event a row. Events of one moment share a row unless they are on
  // one lane or one is the cause of the other. A line over all lanes has its row to itself.
  layout() {
    const { run } = this;
    this.pinned = new Set();
    for (const s of this.steps) {
      this.pinned.add(s.event);
      const match = run.events[s.event] && run.events[s.event].match;
      if (match) this.pinned.add(match.i);
    }
    this.shown = run.lanes.filter((l) => l.on);
    this.rowOf = new Int32Array(run.events.length).fill(-1);
    const last = new Int32Array(run.lanes.length + 1).fill(-1);
    let row = -1, first = 0, time = -1;
    this.rowTime = [];
    this.byRow = [];
    for (const e of run.events) {
      if (!this.visible(e)) continue;
      if (e.t !== time) { first = row + 1; time = e.t; }
      const k = e.lane + 1, band = e.kind === Kind.noted || e.kind === Kind.network, wide = band || e.kind === Kind.logged;
      let r = Math.max(first, last[k] + 1, wide ? last[0] + 1 : 0);
      if (e.kind !== Kind.sent && e.match && this.rowOf[e.match.i] >= 0) r = Math.max(r, this.rowOf[e.match.i] + 1);
      if (band) { r = Math.max(r, row + 1); first = r + 1; }
      last[k] = r;
      if (wide) last[0] = r;
      this.rowOf[e.i] = r;
      row = Math.max(row, r);
      for (let n = this.byRow.length; n <= r; n++) { this.byRow.push([]); this.rowTime.push(time); }
      this.byRow[r].push(e);
    }
    this.rows = this.byRow.length;
    this.bucketArrows();
    this.place();
  }

  // bucketArrows lists, for each block of rows, the arrows through it.
  bucketArrows() {
    this.block = 64;
    this.arrows = [];
    for (const e of this.run.events) {
      if (e.kind !== Kind.sent || this.rowOf[e.i] < 0) continue;
      const end = e.match && this.rowOf[e.match.i] >= 0 ? this.rowOf[e.match.i] : this.rowOf[e.i];
      for (let b = Math.floor(this.rowOf[e.i] / this.block); b <= Math.floor(end / this.block); b++) (this.arrows[b] ||= []).push(e);
    }
  }

  // place computes the height of each row. A gap in time gets some space.
  place() {
    this.rowY = new Float64Array(this.rows + 1);
    let y = head + 14, before = this.rowTime[0] || 0;
    for (let r = 0; r < this.rows; r++) {
      const gap = this.rowTime[r] - before;
      if (this.scale === "time") y += Math.max((gap / 1000) * this.rowHeight / 4, r && gap === 0 ? 3 : 0);
      else y += (r ? this.rowHeight : 0) + Math.min(60, (this.rowHeight * Math.log2(1 + gap / 20000)) / 2);
      before = this.rowTime[r];
      this.rowY[r] = y;
    }
    this.rowY[this.rows] = y;
    this.space.style.height = Math.min(y + 80, 15e6) + "px";
    this.resize();
  }

  resize() {
    const ratio = window.devicePixelRatio || 1, w = this.scroller.clientWidth, h = this.scroller.clientHeight;
    this.canvas.width = w * ratio; this.canvas.height = h * ratio;
    this.canvas.style.width = w + "px"; this.canvas.style.height = h + "px";
    this.ratio = ratio; this.width = w; this.height = h;
    const n = this.shown ? this.shown.length : 1;
    const logs = n > 9 ? 0 : Math.min(420, w * 0.28); // many lanes leave no room for lines
    axis = w < 600 ? 74 : 100;
    this.laneStep = Math.max(laneWidth.min, Math.min(laneWidth.max, (w - axis - logs) / n));
    const whole = axis + this.laneStep * n + (n > 9 ? linesWidth : Math.max(logs, 160));
    this.space.style.width = (whole > w ? whole : 1) + "px"; // a wide diagram scrolls
    this.placeLanes();
    if (this.rowY) this.draw(); // a new size has cleared the canvas
  }

  // placeLanes finds the place of each lane on the canvas, which stays in place.
  placeLanes() {
    const left = axis - this.scroller.scrollLeft;
    this.laneX = new Map();
    (this.shown || []).forEach((l, k) => this.laneX.set(l.i, left + this.laneStep * (k + 0.5)));
    this.logX = left + this.laneStep * ((this.shown ? this.shown.length : 1) + 0.25) + 6;
  }

  schedule() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => { this.frame = 0; this.draw(); });
  }

  color(name) { return (this.colors[name] ||= getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim()); }

  rowAt(y) {
    let lo = 0, hi = this.rows;
    while (lo < hi) { const mid = (lo + hi) >> 1; if (this.rowY[mid] < y) lo = mid + 1; else hi = mid; }
    return lo;
  }

  y(row) { return this.rowY[row] - this.scroller.scrollTop; }

  draw() {
    this.colors = {};
    const c = (this.c = this.canvas.getContext("2d"));
    c.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    c.fillStyle = this.color("paper");
    c.fillRect(0, 0, this.width, this.height);
    c.font = "11px system-ui, sans-serif";
    c.textBaseline = "middle";
    if (!this.rows) { this.drawHead(c); return; }
    const top = this.scroller.scrollTop;
    const from = Math.max(0, this.rowAt(top + head - 40) - 1), to = Math.min(this.rows - 1, this.rowAt(top + this.height + 40));
    this.from = from; this.to = to;
    this.labels = [];
    this.drawSelected(c);
    this.drawLanes(c, from, to);
    const seen = new Set();
    for (let b = Math.floor(from / this.block); b <= Math.floor(to / this.block); b++) {
      for (const e of this.arrows[b] || []) {
        if (!seen.has(e.i)) { seen.add(e.i); this.drawArrow(c, e); }
      }
    }
    for (let r = from; r <= to; r++) for (const e of this.byRow[r]) this.drawEvent(c, e, this.y(r));
    this.drawSteps(c);
    this.drawTimes(c, from, to);
    this.drawHead(c);
  }

  drawSelected(c) {
    if (!this.selected || this.rowOf[this.selected.i] < 0) return;
    c.fillStyle = this.color("mark");
    c.fillRect(0, this.y(this.rowOf[this.selected.i]) - 9, this.width, 18);
  }

  // drawTimes writes the times over lanes that have been scrolled away.
  drawTimes(c, from, to) {
    if (this.scroller.scrollLeft > 0) { c.fillStyle = this.color("paper"); c.fillRect(0, head, 70, this.height); }
    c.fillStyle = this.color("leader");
    for (let r = from; r <= to; r++) if (this.byRow[r].some((e) => this.matches.has(e.i))) c.fillRect(2, this.y(r) - 6, 5, 12);
    c.fillStyle = this.color("faint");
    c.textAlign = "right";
    let before = -1;
    for (let r = from; r <= to; r++) {
      if (this.rowTime[r] === before || this.y(r) <= head) continue;
      before = this.rowTime[r];
      c.fillText(this.run.time(before), 64, this.y(r));
    }
    c.textAlign = "left";
  }

  drawHead(c) {
    c.fillStyle = this.color("band");
    c.fillRect(0, 0, this.width, head);
    c.strokeStyle = this.color("line");
    c.beginPath(); c.moveTo(0, head); c.lineTo(this.width, head); c.stroke();
    c.fillStyle = this.color("ink");
    c.textAlign = "center";
    for (const l of this.shown) {
      let name = l.name; // the end of a long name differs from the others
      c.font = "600 13px system-ui, sans-serif";
      if (c.measureText(name).width > this.laneStep - 2) c.font = "600 11px system-ui, sans-serif";
      while (name.length > 4 && c.measureText(name).width > this.laneStep - 2) name = "…" + name.slice(2);
      c.fillText(name, this.laneX.get(l.i), head / 2);
    }
    c.textAlign = "left";
    c.font = "11px system-ui, sans-serif";
    c.fillStyle = this.color("faint");
    c.fillText("log lines and remarks", this.logX, head / 2);
    c.fillStyle = this.color("band"); c.fillRect(0, 0, 70, head - 1);
    c.fillStyle = this.color("faint");
    c.fillText("time", 12, head / 2);
  }

  // drawLanes draws each lane in the style of the server's role.
  drawLanes(c, from, to) {
    const top = Math.max(head, this.y(from) - this.rowHeight), bottom = Math.min(this.height, this.y(to) + this.rowHeight);
    for (const l of this.shown) {
      const x = this.laneX.get(l.i);
      if (!l.server) { this.laneLine(c, x, top, bottom, "follower"); continue; }
      let y = top, role = "";
      const first = this.byRow[from].length ? this.byRow[from][0].i : 0;
      const start = this.run.stateAt(l.i, first - 1);
      role = start ? start.role : "";
      let term = start ? start.term : -1;
      for (const s of this.statesWithin(l.i, first, to)) {
        const at = this.y(this.nearestRow(s[0]));
        if (roles[s[2]] !== role || (s[3] !== term && s[3] > 0)) {
          this.laneLine(c, x, y, at, role);
          y = at; role = roles[s[2]]; term = s[3];
          if (term > 0 && role !== "down" && at > head && this.run.events[s[0]].kind !== Kind.role) this.labels.push({ x: x - 6, y: at, text: `T${term} ${role}`, role });
        }
      }
      this.laneLine(c, x, y, bottom, role);
    }
    c.setLineDash([]);
  }

  statesWithin(lane, first, toRow) {
    const all = this.run.states[lane];
    let lo = 0, hi = all.length;
    while (lo < hi) { const mid = (lo + hi) >> 1; if (all[mid][0] < first) lo = mid + 1; else hi = mid; }
    const last = this.byRow[toRow].reduce((m, e) => Math.max(m, e.i), 0), found = [];
    for (; lo < all.length && all[lo][0] <= last; lo++) found.push(all[lo]);
    return found;
  }

  // nearestRow returns the row of an event, or of the next visible one.
  nearestRow(i) {
    for (let k = i; k < this.rowOf.length; k++) if (this.rowOf[k] >= 0) return this.rowOf[k];
    return this.rows - 1;
  }

  laneLine(c, x, from, to, role) {
    if (to <= from) return;
    c.setLineDash(role === "down" ? [1, 5] : role === "candidate" ? [5, 3] : []);
    c.strokeStyle = this.color(role === "leader" ? "leader" : role === "candidate" ? "candidate" : role === "down" ? "bad" : "lane");
    c.lineWidth = role === "leader" ? 4 : role === "candidate" ? 2.5 : 1.2;
    c.beginPath(); c.moveTo(x, from); c.lineTo(x, to); c.stroke();
    c.setLineDash([]);
  }

  dimmed(e) { return this.cone && this.selected && !this.run.known(e, this.selected); }

  drawArrow(c, e) {
    const x1 = this.laneX.get(e.lane), x2 = this.laneX.get(e.peer), y1 = this.y(this.rowOf[e.i]);
    if (x1 === undefined || x2 === undefined) return;
    const end = e.match && this.rowOf[e.match.i] >= 0 ? e.match : null, lost = end && end.kind === Kind.lost;
    let y2 = end ? this.y(this.rowOf[end.i]) : y1 + this.rowHeight;
    if (e.lane === e.peer) return;
    let tx = x2, narrow = false;
    if (lost || !end) { // a message that does not arrive ends behind its label
      c.font = "11px system-ui, sans-serif";
      const length = c.measureText(e.label).width + 24;
      narrow = length > this.laneStep - 8;
      tx = x1 + Math.sign(x2 - x1) * Math.min(length, this.laneStep - 8);
      y2 = y1 + Math.min(this.rowHeight * 0.5, 8);
    }
    const type = this.run.typeOf(e), dim = this.dimmed(end && !lost ? end : e), hot = this.pinned.has(e.i);
    c.globalAlpha = dim ? 0.13 : e.flags & Flag.quiet ? 0.45 : 1;
    c.strokeStyle = c.fillStyle = this.color(lost || !end ? "bad" : type);
    c.lineWidth = hot ? 2.4 : this.selected === e || this.selected === end ? 2.4 : 1.2;
    const late = end && !lost && end.t - e.t > 40000;
    c.setLineDash(lost || !end ? [4, 3] : late ? [8, 3] : e.flags & Flag.reply ? [2, 2] : []);
    c.beginPath(); c.moveTo(x1, y1); c.lineTo(tx, y2); c.stroke();
    if (e.flags & Flag.copy) { c.beginPath(); c.moveTo(x1, y1 + 3); c.lineTo(tx, y2 + 3); c.stroke(); }
    c.setLineDash([]);
    if (narrow) {
      // The label has the cross.
    } else if (lost || !end) {
      c.font = "bold 13px system-ui, sans-serif"; c.textAlign = "center";
      c.fillText("✕", tx, y2); c.font = "11px system-ui, sans-serif"; c.textAlign = "left";
    } else this.arrowHead(c, x1, y1, tx, y2);
    this.arrowLabel(c, e, x1, y1, tx, y2, late ? end.t - e.t : 0, narrow);
    c.globalAlpha = 1;
  }

  arrowHead(c, x1, y1, x2, y2) {
    const a = Math.atan2(y2 - y1, x2 - x1);
    c.beginPath(); c.moveTo(x2, y2);
    c.lineTo(x2 - 8 * Math.cos(a - 0.4), y2 - 8 * Math.sin(a - 0.4));
    c.lineTo(x2 - 8 * Math.cos(a + 0.4), y2 - 8 * Math.sin(a + 0.4));
    c.fill();
  }

  // arrowLabel writes beside the beginning of the arrow, in the space next to the lane.
  arrowLabel(c, e, x1, y1, x2, y2, late, lost) {
    if (this.rowHeight < 12 || y1 < head || y1 > this.height) return;
    let text = (lost ? "✕ " : "") + e.label + (e.flags & Flag.copy ? " (copy)" : "");
    if (late) text += ` (${Math.round(late / 1000)} ms)`;
    const right = x2 > x1, w = c.measureText(text).width + 4, near = !right && this.pinned.has(e.i) ? 26 : 8, x = right ? x1 + near : x1 - near - w;
    const slope = (y2 - y1) / (x2 - x1), yl = y1 + slope * (right ? near + w / 2 : -near - w / 2);
    const y = Math.abs(yl - y1) < 14 ? yl : y1 + Math.sign(yl - y1) * 4;
    const ink = c.fillStyle, alpha = c.globalAlpha;
    c.globalAlpha = alpha * 0.85;
    c.fillStyle = this.selected && this.rowOf[this.selected.i] === this.rowOf[e.i] ? this.color("mark") : this.color("paper");
    c.fillRect(x, y - 6, w, 12);
    c.globalAlpha = alpha;
    c.fillStyle = ink;
    c.fillText(text, x + 2, y);
  }

  drawEvent(c, e, y) {
    if (y < head - 10) return;
    c.globalAlpha = this.dimmed(e) ? 0.15 : 1;
    const x = e.lane >= 0 ? this.laneX.get(e.lane) : undefined;
    switch (e.kind) {
      case Kind.sent: case Kind.delivered: this.dot(c, x, y, 2.5, this.color(this.run.typeOf(e))); break;
      case Kind.lost: break;
      case Kind.network: case Kind.noted: this.band(c, e, y); break;
      case Kind.logged: this.remark(c, e, y, this.color("log"), e.text); if (x) this.dot(c, x, y, 1.5, this.color("log")); break;
      case Kind.crashed: this.tag(c, x, y, "crash", "bad"); break;
      case Kind.restarted: this.tag(c, x, y, "start", "good"); break;
      case Kind.role: this.tag(c, x, y, `T${e.term}${e.flags & Flag.leads ? " leader" : ""}`, e.flags & Flag.leads ? "leader" : "faint"); break;
      case Kind.proposed: this.tag(c, x, y, "Start " + e.text, "append"); break;
      case Kind.applied: this.tag(c, x, y, "apply " + e.text, "good"); break;
      case Kind.snapshot: this.tag(c, x, y, e.text, "snapshot"); break;
      case Kind.called: case Kind.returned: this.tag(c, x, y, (e.kind === Kind.called ? "▸ " : "◂ ") + e.text, "ink"); break;
      default: this.tag(c, x, y, e.text, "faint");
    }
    c.globalAlpha = 1;
  }

  dot(c, x, y, r, color) { if (x === undefined) return; c.fillStyle = color; c.beginPath(); c.arc(x, y, r, 0, 7); c.fill(); }

  // tag writes an event of a lane to the right of the lane, or left where the next lane is near.
  tag(c, x, y, text, color) {
    if (x === undefined) return;
    const most = this.laneStep - 18;
    while (text.length > 4 && c.measureText(text).width > most) text = text.slice(0, -Math.ceil(text.length / 8) - 1) + "…"; // always shorter, also with eight letters
    const w = c.measureText(text).width + 8;
    c.fillStyle = this.color("paper"); c.strokeStyle = this.color(color); c.lineWidth = 1;
    c.beginPath(); c.roundRect(x + 5, y - 8, w, 15, 4); c.fill(); c.stroke();
    c.fillStyle = this.color(color);
    c.fillText(text, x + 9, y);
    this.dot(c, x, y, 3.5, this.color(color));
  }

  band(c, e, y) {
    c.strokeStyle = c.fillStyle = this.color(e.kind === Kind.noted ? "bad" : "leader");
    c.lineWidth = 1; c.setLineDash([6, 4]);
    c.beginPath(); c.moveTo(axis - 8, y); c.lineTo(this.logX - 4, y); c.stroke(); c.setLineDash([]);
    this.remark(c, e, y, c.fillStyle, e.text);
  }

  remark(c, e, y, color, text) {
    c.font = "11px ui-monospace, monospace";
    c.fillStyle = color;
    if (e.lane >= 0) text = this.run.lane(e.lane) + "│ " + text;
    const most = Math.floor((this.width - this.logX - 4) / c.measureText("0").width);
    if (text.length > most) text = text.slice(0, Math.max(0, most - 1)) + "…";
    c.save(); c.beginPath(); c.rect(this.logX - 2, y - 9, this.width - this.logX, 18); c.clip();
    c.fillText(text, this.logX, y); c.restore();
    c.font = "11px system-ui, sans-serif";
  }

  drawSteps(c) {
    const last = new Map();
    this.steps.forEach((s, k) => {
      const e = this.run.events[s.event];
      if (!e || this.rowOf[e.i] < 0) return;
      const y = this.y(this.rowOf[e.i]), lane = e.lane >= 0 ? this.laneX.get(e.lane) : axis;
      if (y < head || y > this.height) return;
      const key = e.i, n = last.get(key) || 0;
      last.set(key, n + 1);
      const x = lane - 15 - 18 * n;
      this.dot(c, x, y, 9, this.color("step"));
      c.fillStyle = this.color("paper"); c.textAlign = "center"; c.font = "bold 11px system-ui, sans-serif";
      c.fillText(String(k + 1), x, y + 0.5);
      c.textAlign = "left"; c.font = "11px system-ui, sans-serif";
    });
    for (const l of this.labels) {
      if (l.y < head) continue;
      const w = c.measureText(l.text).width + 6;
      c.globalAlpha = 0.9;
      c.fillStyle = this.color("band");
      const left = Math.max(l.x - w - 20, 68); // beside the times
      c.fillRect(left, l.y - 20, w, 13);
      c.globalAlpha = 1;
      c.fillStyle = this.color(l.role === "leader" ? "leader" : l.role === "candidate" ? "candidate" : "faint");
      c.fillText(l.text, left + 3, l.y - 13);
    }
  }

  // at returns the event nearest to a point of the canvas.
  at(x, y) {
    const row = this.rowAt(y + this.scroller.scrollTop);
    let best = null, distance = 26;
    for (let r = Math.max(0, row - 3); r <= Math.min(this.rows - 1, row + 3); r++) {
      for (const e of this.byRow[r]) {
        const dy = Math.abs(this.y(r) - y), lane = e.lane >= 0 ? this.laneX.get(e.lane) : this.logX;
        const wide = x >= this.logX - 4 && (e.kind === Kind.logged || e.kind === Kind.noted || e.kind === Kind.network);
        const dx = wide ? 0 : x > lane && x < lane + this.laneStep - 12 && e.kind > Kind.lost ? 4 : Math.abs(lane - x);
        const d = Math.hypot(dx, dy * 1.4);
        if (d < distance) { distance = d; best = e; }
      }
    }
    return best || this.arrowAt(x, y);
  }

  arrowAt(x, y) {
    let best = null, distance = 8;
    for (let b = Math.floor(this.from / this.block); b <= Math.floor(this.to / this.block); b++) {
      for (const e of this.arrows[b] || []) {
        const x1 = this.laneX.get(e.lane), x2 = this.laneX.get(e.peer), y1 = this.y(this.rowOf[e.i]);
        const y2 = e.match && this.rowOf[e.match.i] >= 0 ? this.y(this.rowOf[e.match.i]) : y1 + this.rowHeight;
        const f = (x - x1) / (x2 - x1);
        if (f < 0 || f > 1) continue;
        const d = Math.abs(y1 + (y2 - y1) * f - y);
        if (d < distance) { distance = d; best = e; }
      }
    }
    return best;
  }

  // show scrolls to an event, a third from the top, and to its lane.
  show(e, always) {
    const x = this.laneX.get(e.lane);
    if (x !== undefined && (x < axis || x > this.width - 20)) this.scroller.scrollLeft += x - this.width / 2;
    const row = this.rowOf[e.i] >= 0 ? this.rowOf[e.i] : this.nearestRow(e.i), y = this.y(row);
    if (always || y < head + 30 || y > this.height - 30) this.scroller.scrollTop = this.rowY[row] - this.height / 3;
    this.schedule();
  }
}
