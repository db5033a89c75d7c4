"use strict";

// The data of the page: operations and remarks in rows, and linearizations.

// Item is an operation, or a remark of the person who recorded the history.
class Item {
  constructor(fields) {
    Object.assign(this, fields);
  }

  get pending() {
    return this.end === Infinity;
  }
}

// Linearization is a sequence of operations of one partition, with the states between
// them and the moments at which the operations take effect.
class Linearization {
  constructor(part, ops, states) {
    this.part = part;
    this.ops = ops;
    this.states = states;
    this.stepOf = new Map(ops.map((op, i) => [op, i]));
  }

  stateBefore(step) {
    return step === 0 ? this.part.initial : this.states[step - 1];
  }
}

class History {
  constructor(data) {
    this.base = BigInt(data.base);
    this.texts = data.texts ?? [];
    this.annotations = data.annotations.map((a) => new Item({
      note: true,
      lane: a.tag ? `tag ${a.tag}` : `client ${a.client}`,
      label: a.tag || `client ${a.client}`,
      client: a.tag ? Infinity : a.client,
      start: a.start,
      end: Math.max(a.start, a.end),
      text: a.text,
      details: a.details,
      color: a.color,
      background: a.background,
    }));
    this.parts = data.parts.map((p, index) => this.readPart(p, index));
    this.placeTimes();
  }

  readPart(p, index) {
    const part = { index, result: p.result, initial: this.texts[p.initial], reason: p.reason };
    part.ops = p.ops.map(([client, call, ret, text, metadata], id) => new Item({
      id,
      part,
      client,
      lane: `client ${client}`,
      label: `client ${client}`,
      start: call,
      end: ret < 0 ? Infinity : ret,
      text: this.texts[text],
      metadata: metadata < 0 ? "" : this.texts[metadata],
    }));
    part.linearizations = [];
    for (const { shared, ops, states } of p.partials) {
      const first = part.linearizations[0];
      const before = shared > 0 ? first.ops.slice(0, shared) : [];
      const statesBefore = shared > 0 ? first.states.slice(0, shared) : [];
      part.linearizations.push(new Linearization(
        part,
        before.concat(ops.map((id) => part.ops[id])),
        statesBefore.concat(states.map((at) => this.texts[at])),
      ));
    }
    if (p.reason) {
      part.stuck = part.ops[p.reason.op];
      part.core = new Set(p.reason.core.map((id) => part.ops[id]));
    }
    return part;
  }

  get items() {
    return this.parts.flatMap((p) => p.ops).concat(this.annotations);
  }

  // placeTimes gives every moment two positions: the time, and the rank among all moments. Ranks
  // show the order even where times are close together.
  placeTimes() {
    const items = this.items;
    const times = new Set();
    for (const { start, end } of items) {
      times.add(start);
      if (end !== Infinity) times.add(end);
    }
    const sorted = Float64Array.from(times).sort();
    const rank = new Map();
    sorted.forEach((t, i) => rank.set(t, i));
    this.lastTime = sorted.at(-1) ?? 0;
    this.moments = sorted.length;
    for (const item of items) {
      item.even = [rank.get(item.start), item.pending ? this.moments : rank.get(item.end)];
      const beyond = this.lastTime * 1.01 + 1;
      item.real = [item.start, item.pending ? beyond : item.end];
    }
  }

  // time returns a moment as the history has it.
  time(t) {
    return t === Infinity ? "never" : String(this.base + BigInt(Math.round(t)));
  }
}

// pointsOf returns the moments at which the operations of a linearization take effect, as early
// as the calls and the order allow.
function pointsOf(linearization, scale) {
  let now = -Infinity;
  return linearization.ops.map((op) => {
    const [start, end] = op[scale];
    // A little after the operation before, but not after the return.
    const width = Math.max(end - start, 0);
    now = now < start ? start + Math.min(width * 0.1, 0.1) : Math.min(now + 0.1, Math.max(end, now));
    return now;
  });
}
