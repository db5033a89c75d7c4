"use strict";

// Lanes draws operations as bars, with one lane for each client. The cost depends only on the
// visible bars. The bars of a row do not overlap, so bisection finds the first visible one, and
// of the bars on one pixel only one is drawn.

const rowHeight = 24;
const lanePadding = 5;
const labelWidth = 92;
const mostSpecial = 1000; // bounds the bars that are drawn even on a taken pixel

// Row holds items that do not overlap, sorted by start.
class Row {
  constructor() {
    this.items = [];
    this.end = -Infinity;
  }

  // from returns the index of the first item that ends at x or later.
  from(x, scale) {
    let low = 0;
    let high = this.items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.items[middle][scale][1] < x) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

class Lanes {
  constructor(canvas, history) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.history = history;
    this.scale = "even";
    this.left = 0; // the position of the left edge
    this.perPixel = 1;
    this.top = 0; // pixels scrolled down
    this.items = [];
    this.lanes = [];
    this.selected = null;
    this.matches = new Set();
    this.linearization = null;
    this.step = 0;
    this.points = [];
    this.readColors();
  }

  readColors() {
    const style = getComputedStyle(document.documentElement);
    this.colors = new Proxy({}, {
      get: (cache, name) => cache[name] ??= style.getPropertyValue(`--${name}`).trim(),
    });
  }

  // show lays out the given items.
  show(items) {
    const lanes = new Map();
    const sorted = items.slice().sort((a, b) => a.start - b.start || a.end - b.end);
    for (const item of sorted) {
      let lane = lanes.get(item.lane);
      if (!lane) {
        lane = { label: item.label, client: item.client, rows: [] };
        lanes.set(item.lane, lane);
      }
      // Bars that touch need different rows only if one of them has no width.
      let row = lane.rows.find((r) => r.end < item.start || (r.end === item.start && item.end > item.start));
      if (!row) {
        row = new Row();
        lane.rows.push(row);
      }
      row.items.push(item);
      row.end = item.end;
    }
    this.lanes = [...lanes.values()].sort((a, b) =>
      (a.client === b.client ? a.label.localeCompare(b.label) : a.client - b.client));
    this.items = sorted;
    let y = 0;
    for (const lane of this.lanes) {
      lane.y = y;
      for (const row of lane.rows) {
        row.y = y + lanePadding;
        for (const item of row.items) item.row = row;
        y += rowHeight;
      }
      y += 2 * lanePadding;
    }
    this.height = y;
  }

  get end() {
    return this.scale === "even" ? this.history.moments : this.history.lastTime * 1.01 + 1;
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth, clientHeight } = this.canvas;
    this.width = clientWidth;
    this.viewHeight = clientHeight;
    this.canvas.width = clientWidth * ratio;
    this.canvas.height = clientHeight * ratio;
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  x(position) {
    return labelWidth + (position - this.left) / this.perPixel;
  }

  position(x) {
    return this.left + (x - labelWidth) * this.perPixel;
  }

  // fit shows the positions from a to b.
  fit(a, b) {
    const span = Math.max(b - a, 1e-9);
    this.perPixel = span * 1.04 / Math.max(this.width - labelWidth, 1);
    this.left = a - span * 0.02;
  }

  zoom(factor, x = (this.width + labelWidth) / 2) {
    const fixed = this.position(x);
    const widest = Math.max(this.end, 1) * 1.2 / Math.max(this.width - labelWidth, 1);
    this.perPixel = Math.min(widest, Math.max(this.perPixel * factor, widest * 1e-8));
    this.left = fixed - (x - labelWidth) * this.perPixel;
  }

  move(dx, dy) {
    const view = (this.width - labelWidth) * this.perPixel;
    this.left = Math.min(Math.max(this.left + dx * this.perPixel, -view / 2), this.end - view / 2);
    this.top = Math.min(Math.max(this.top + dy, 0), Math.max(0, this.height - this.viewHeight));
  }

  // reveal scrolls to an item.
  reveal(item) {
    if (!item.row) return;
    const [a, b] = item[this.scale];
    const view = (this.width - labelWidth) * this.perPixel;
    if (b < this.left + view * 0.05 || a > this.left + view * 0.95) {
      this.left = (a + Math.min(b, a + view)) / 2 - view / 2;
    }
    if (item.row.y < this.top || item.row.y + rowHeight > this.top + this.viewHeight) {
      this.top = Math.max(0, Math.min(item.row.y - this.viewHeight / 2, this.height - this.viewHeight));
    }
  }

  follow(linearization) {
    this.linearization = linearization;
    this.points = linearization ? pointsOf(linearization, this.scale) : [];
  }

  draw() {
    const started = performance.now();
    const c = this.context;
    c.clearRect(0, 0, this.width, this.viewHeight);
    c.font = "12px system-ui, sans-serif";
    c.textBaseline = "middle";
    c.save();
    c.beginPath();
    c.rect(labelWidth, 0, this.width - labelWidth, this.viewHeight);
    c.clip();
    this.lanes.forEach((lane, i) => this.drawLane(lane, i));
    this.drawLinearization();
    c.restore();
    this.drawLabels();
    document.body.dataset.drawMs = (performance.now() - started).toFixed(2);
  }

  laneVisible(lane) {
    const height = lane.rows.length * rowHeight + 2 * lanePadding;
    return lane.y + height >= this.top && lane.y <= this.top + this.viewHeight;
  }

  drawLane(lane, i) {
    if (!this.laneVisible(lane)) return;
    const c = this.context;
    if (i % 2 === 1) {
      c.fillStyle = this.colors.band;
      c.fillRect(0, lane.y - this.top, this.width, lane.rows.length * rowHeight + 2 * lanePadding);
    }
    for (const row of lane.rows) this.drawRow(row);
  }

  drawRow(row) {
    const right = this.position(this.width);
    let lastPixel = -1;
    for (let i = row.from(this.left, this.scale); i < row.items.length; i++) {
      const item = row.items[i];
      const [a, b] = item[this.scale];
      if (a > right) break;
      const from = Math.max(this.x(a), labelWidth - 5);
      const to = Math.min(this.x(b), this.width + 5);
      // A thin bar on a taken pixel is left out unless the bar is special.
      if (to - from < 1 && Math.floor(from) === lastPixel && !this.isSpecial(item)) continue;
      lastPixel = Math.floor(from);
      this.drawBar(item, from, Math.max(to - from, 2), row.y - this.top);
    }
  }

  // isSpecial says whether a bar is drawn even on a taken pixel. If a search finds nearly
  // everything, or if a core is large, no bar is special.
  isSpecial(item) {
    const among = (set) => set && set.size <= mostSpecial && set.has(item);
    return item === this.selected || item.part?.stuck === item || among(this.matches) || among(item.part?.core);
  }

  // look returns the fill and the edge of a bar.
  look(item) {
    const { colors } = this;
    if (item.note) return [item.background || colors.note, item.background || colors["op-edge"]];
    if (item.part.stuck === item) return [colors.stuck, colors["stuck-edge"]];
    if (item.part.core?.has(item)) return [colors.core, colors["core-edge"]];
    const step = this.linearization?.stepOf.get(item);
    if (step !== undefined && step < this.step) return [colors.done, colors["done-edge"]];
    return [colors.op, colors["op-edge"]];
  }

  drawBar(item, x, width, y) {
    const c = this.context;
    const [fill, edge] = this.look(item);
    const height = rowHeight - 4;
    c.fillStyle = fill;
    c.fillRect(x, y, width, height);
    if (this.matches.has(item)) {
      c.fillStyle = this.colors.match;
      c.fillRect(x, y + height - 4, width, 4);
    }
    if (width > 3) {
      c.lineWidth = item === this.selected ? 3 : 1;
      c.strokeStyle = item === this.selected ? this.colors.here : edge;
      if (item.pending) c.setLineDash([4, 3]);
      c.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
      c.setLineDash([]);
    }
    if (width > 26) {
      c.save();
      c.beginPath();
      c.rect(x, y, width - 3, height);
      c.clip();
      c.fillStyle = item.note && item.color ? item.color : this.colors.ink;
      c.fillText(item.text, x + 5, y + height / 2 + 1);
      c.restore();
    }
  }

  // drawLinearization draws the moments at which operations take effect, in order and up to
  // the current step.
  drawLinearization() {
    if (!this.linearization) return;
    const c = this.context;
    const { points, linearization } = this;
    const right = this.position(this.width);
    let i = firstAtLeast(points, this.left);
    i = Math.max(0, i - 1);
    c.strokeStyle = this.colors.point;
    c.fillStyle = this.colors.point;
    c.lineWidth = 1.2;
    c.globalAlpha = 0.8;
    c.beginPath();
    const crowded = firstAtLeast(points, right) - i > 2000; // too many to distinguish
    let drawn = 0;
    let lastX = -Infinity;
    const dots = [];
    for (; i < this.step && points[i] <= right + (right - this.left); i++) {
      const { row } = linearization.ops[i];
      if (!row) continue;
      const x = this.x(points[i]);
      const y = row.y - this.top + (rowHeight - 4) / 2;
      if (crowded && x - lastX < 0.3 && i < this.step - 1) continue;
      if (drawn++ === 0) c.moveTo(x, y);
      else c.lineTo(x, y);
      dots.push([x, y, i === this.step - 1]);
      lastX = x;
      if (x > this.width) break;
    }
    c.stroke();
    c.globalAlpha = 1;
    for (const [x, y, current] of dots) {
      c.beginPath();
      c.arc(x, y, current ? 5 : 2.5, 0, 7);
      c.fill();
    }
  }

  drawLabels() {
    const c = this.context;
    c.fillStyle = this.colors.paper;
    c.fillRect(0, 0, labelWidth, this.viewHeight);
    c.fillStyle = this.colors.faint;
    for (const lane of this.lanes) {
      if (this.laneVisible(lane)) {
        const y = lane.y + lanePadding + rowHeight / 2 - this.top;
        c.fillText(lane.label, 10, y, labelWidth - 14);
      }
    }
    c.fillStyle = this.colors.line;
    c.fillRect(labelWidth - 1, 0, 1, this.viewHeight);
  }

  // at returns the item at a pixel, or null.
  at(x, y) {
    if (x < labelWidth) return null;
    const position = this.position(x);
    for (const lane of this.lanes) {
      for (const row of lane.rows) {
        const top = row.y - this.top;
        if (y < top || y > top + rowHeight - 4) continue;
        const slack = 2 * this.perPixel;
        const item = row.items[row.from(position - slack, this.scale)];
        return item && item[this.scale][0] <= position + slack ? item : null;
      }
    }
    return null;
  }

  // drawOverview draws the whole history in a strip, with the density of bars, the core, and
  // the visible range.
  drawOverview(canvas) {
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const c = canvas.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    const x = (p) => labelWidth + (p / Math.max(this.end, 1e-9)) * (width - labelWidth - 8);
    for (const [key, bars] of this.density(width)) {
      c.fillStyle = this.colors[key];
      for (const [at, n] of bars) c.fillRect(x(at), height - 3 - n, 1.5, n);
    }
    c.strokeStyle = this.colors.here;
    c.lineWidth = 1.5;
    const from = x(Math.max(0, this.left));
    const to = x(Math.min(this.end, this.position(this.width)));
    c.strokeRect(from, 2, Math.max(to - from, 3), height - 4);
    this.overviewX = (px) => (px - labelWidth) / (width - labelWidth - 8) * this.end;
  }

  // density counts the items over the width, once for each layout.
  density(width) {
    const key = `${width} ${this.scale} ${this.items.length}`;
    if (this.densityKey === key) return this.densityBars;
    const counts = new Float64Array(width + 1);
    const special = [];
    for (const item of this.items) {
      const [a] = item[this.scale];
      counts[Math.floor(a / Math.max(this.end, 1e-9) * width)]++;
      if (item.part?.core?.has(item)) special.push([a, 28]);
    }
    const most = counts.reduce((a, b) => Math.max(a, b), 1);
    const bars = [];
    counts.forEach((n, i) => n > 0 && bars.push([i / width * this.end, 3 + n / most * 20]));
    this.densityKey = key;
    this.densityBars = [["op-edge", bars], ["stuck-edge", special]];
    return this.densityBars;
  }
}

// firstAtLeast returns the index of the first number of a sorted list that is at least x.
function firstAtLeast(list, x) {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low;
}
