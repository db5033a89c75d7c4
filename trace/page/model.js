// The model: events, messages, states, clocks and filters.
const Kind = { sent: 1, delivered: 2, lost: 3, crashed: 4, restarted: 5, network: 6, role: 7, proposed: 8, applied: 9, snapshot: 10, saved: 11, called: 12, returned: 13, logged: 14, noted: 15 };
const Flag = { reply: 1, copy: 2, leads: 4, quiet: 8 };
const roles = ["", "down", "follower", "candidate", "leader"];

// unpack returns rows of numbers: the length of each row and its numbers are varints, in base64.
function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0)), rows = [];
  let at = 0;
  const next = () => { let n = 0, place = 1, b; do { b = bytes[at++]; n += (b & 127) * place; place *= 128; } while (b > 127); return n; };
  while (at < bytes.length) rows.push(Array.from({ length: next() }, () => { const n = next(); return n % 2 ? -(n + 1) / 2 : n / 2; }));
  return rows;
}

class Run {
  constructor(data) {
    this.data = data;
    this.lanes = data.lanes.map((l, i) => ({ name: l.name, server: l.kind === "server", on: true, i }));
    let now = 0;
    this.events = unpack(data.events).map(([t, kind, lane, peer, message, name, flags, text, label, term], i) =>
      ({ i, t: (now += t), kind, lane, peer: peer || 0, message: message || 0, name: name || 0, flags: flags || 0, text: data.texts[text || 0], label: data.texts[label || 0], term: term || 0, match: null }));
    this.pair();
    // raft holds the lanes of the servers that take part in Raft.
    this.raft = new Set(this.events.filter((e) => e.kind === Kind.role || e.kind === Kind.proposed || e.kind === Kind.applied ||
      (e.kind <= Kind.lost && this.typeOf(e) !== "other")).map((e) => e.lane));
    this.states = this.lanes.map(() => []);
    const states = unpack(data.states);
    for (const [event, lane, ...changes] of states) {
      const all = this.states[lane], state = all.length ? all.at(-1).slice() : [0, lane, 0, 0, 0, 0, 0, 0, 0, 0, 0];
      state[0] = event;
      for (let k = 0; k < changes.length; k += 2) state[2 + changes[k]] = changes[k + 1];
      all.push(state);
    }
    this.follow();
    const changes = new Set(states.map((s) => s[0] * 1000 + s[1]));
    for (const e of this.events) e.topic = e.kind === Kind.role && !changes.has(e.i * 1000 + e.lane) ? "details" : this.topicOf(e);
    this.terms = [...new Set(this.events.map((e) => e.term).filter((t) => t > 0))].sort((a, b) => a - b);
  }

  // pair links the sending of each message with its end.
  pair() {
    const sent = new Map();
    for (const e of this.events) {
      if (e.kind > Kind.lost) continue;
      if (e.kind === Kind.sent) {
        sent.set(e.message, e);
      } else {
        const from = sent.get(e.message);
        if (from) { e.match = from; from.match = e; e.label = from.label; e.term = from.term; e.text = e.kind === Kind.lost ? e.text : from.text; }
      }
    }
  }

  // follow links each event with the lives of commands that have the event as a step.
  follow() {
    this.livesOf = new Map();
    this.lives = unpack(this.data.lives).map(([text, entries, ...rest]) => {
      const places = [], steps = [];
      for (let k = 0; k < 3 * entries; k += 3) places.push(`index ${rest[k]} of term ${rest[k + 1]}${rest[k + 2] ? "" : " (no commit seen)"}`);
      for (let k = 3 * entries, i = 0; k < rest.length; k += 2) {
        i += rest[k];
        steps.push({ event: i, text: this.data.texts[rest[k + 1]] || this.sentence(this.events[i]) });
      }
      const first = this.events[steps[0].event], life = { steps }, asked = this.typeOf(first) !== "append";
      life.title = [text ? this.data.texts[text] : asked ? `${first.kind === Kind.proposed ? first.text.replace(/^\d+: /, "") : first.text} of ${this.lane(first.lane)}` : "an entry", places.join(", ") || "no entry"].join(": ");
      for (const s of steps) {
        const lives = this.livesOf.get(s.event) || [];
        if (!lives.includes(life)) this.livesOf.set(s.event, [...lives, life]);
      }
      return life;
    });
  }

  // livesAt returns the lives that an event belongs to, by itself or by the other end of its message.
  livesAt(e) { return this.livesOf.get(e.i) || (e.match && this.livesOf.get(e.match.i)) || []; }

  typeOf(e) { return e.kind <= Kind.lost ? this.data.names[e.name][1] : ""; }

  topicOf(e) {
    if (e.kind <= Kind.lost) {
      if (e.flags & Flag.quiet) return "heartbeats";
      const type = this.typeOf(e);
      if (type === "vote") return "votes";
      if (type === "append") return "entries";
      if (type === "snapshot") return "snapshots";
      return this.clientEvent(e) ? "clients" : "other RPCs";
    }
    switch (e.kind) {
      case Kind.crashed: case Kind.restarted: case Kind.network: return "faults";
      case Kind.role: case Kind.proposed: case Kind.applied: return "servers";
      case Kind.snapshot: return "snapshots";
      case Kind.saved: return "details";
      case Kind.called: case Kind.returned: return "clients";
      case Kind.logged: return "log";
    }
    return "test";
  }

  clientEvent(e) { return !this.lanes[e.lane].server || !this.lanes[e.peer].server; }

  // stateAt returns the state of a server after event i, and whether the event changed it.
  stateAt(lane, i) {
    const all = this.states[lane];
    let lo = 0, hi = all.length;
    while (lo < hi) { const mid = (lo + hi) >> 1; if (all[mid][0] <= i) lo = mid + 1; else hi = mid; }
    if (lo === 0) return null;
    const [at, , role, term, vote, last, lastTerm, commit, applied, snap, answered] = all[lo - 1];
    return { changed: at === i, at, role: roles[role], term, vote, last, lastTerm, commit, applied, snap, answered };
  }

  // clocks computes the vector clocks when they are first needed.
  clocks() {
    if (this.clock) return this.clock;
    const n = this.lanes.length, clock = new Int32Array(this.events.length * n), now = new Int32Array(n * n);
    for (const e of this.events) {
      if (e.lane < 0 || e.kind === Kind.lost) continue;
      if (e.kind === Kind.delivered && e.match) {
        for (let k = 0; k < n; k++) now[e.lane * n + k] = Math.max(now[e.lane * n + k], clock[e.match.i * n + k]);
      }
      now[e.lane * n + e.lane]++;
      for (let k = 0; k < n; k++) clock[e.i * n + k] = now[e.lane * n + k];
    }
    return (this.clock = clock);
  }

  clockOf(e) { const n = this.lanes.length; return [...this.clocks().subarray(e.i * n, e.i * n + n)]; }

  // known reports whether event e could have been known at event at.
  known(e, at) {
    if (e === at) return true;
    if (e.lane < 0 || at.lane < 0 || e.kind === Kind.lost) return false;
    const n = this.lanes.length, clock = this.clocks();
    const own = clock[e.i * n + e.lane];
    return own > 0 && own <= clock[at.i * n + e.lane];
  }

  time(t) { return t >= 1e6 ? (t / 1e6).toFixed(4) + " s" : (t / 1e3).toFixed(1) + " ms"; }
  lane(i) { return i < 0 ? "" : this.lanes[i].name; }

  sentence(e) { return this.words(e) + (e.kind <= Kind.lost && e.text ? ": " + e.text : "") + "."; }

  words(e) {
    const at = this.lane(e.lane), name = e.kind <= Kind.lost ? this.data.names[e.name][0] + (e.flags & Flag.reply ? " reply" : "") : "";
    const again = e.flags & Flag.copy ? " (a copy)" : "";
    switch (e.kind) {
      case Kind.sent: return `${at} sends ${name}${again} to ${this.lane(e.peer)}`;
      case Kind.delivered: return `${at} receives ${name}${again} from ${this.lane(e.peer)}`;
      case Kind.lost: return `${name}${again} from ${this.lane(e.peer)} does not arrive at ${at}`;
      case Kind.crashed: return `${at} crashes`;
      case Kind.restarted: return `${at} starts`;
      case Kind.role: return `${at} ${e.flags & Flag.leads ? "leads" : "does not lead"} term ${e.term}`;
      case Kind.proposed: return `${at} accepts command ${e.text} in term ${e.term}`;
      case Kind.applied: return `${at} applies ${e.text}`;
      case Kind.snapshot: return `${at}: snapshot ${e.text}`;
      case Kind.called: return `${at} calls ${e.text}`;
      case Kind.returned: return `${at} has the result of ${e.text}`;
    }
    return at ? `${at}: ${e.text}` : e.text;
  }
}
