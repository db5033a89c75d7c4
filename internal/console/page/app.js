"use strict";
// The page polls the server's state, and changes things by the interface /v1.

const byId = (id) => document.getElementById(id);
const svgSpace = "http://www.w3.org/2000/svg";
const every = 500; // ms between two states
const points = 240; // two minutes

function element(tag, name, text) {
  const e = document.createElement(tag);
  if (name) e.className = name;
  if (text !== undefined) e.textContent = text;
  return e;
}

function drawing(tag, attributes, text) {
  const e = document.createElementNS(svgSpace, tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  if (text !== undefined) e.textContent = text;
  return e;
}

// put changes a text only if it differs, so that selections in the page survive.
function put(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

const count = (n) => Math.round(n).toLocaleString("en");
function bytes(n) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (n < 1024 || unit === "GiB") return (n < 10 && unit !== "B" ? n.toFixed(1).replace(".0", "") : Math.round(n)) + " " + unit;
    n /= 1024;
  }
}
const milliseconds = (ms) => (ms < 10 ? ms.toFixed(1) : Math.round(ms)) + " ms";

// --- members ---

const cards = new Map();
const cells = 32;

function newCard(r) {
  const card = { root: element("article", "member"), cells: [] };
  const head = element("h3");
  card.name = element("span");
  card.role = element("span", "role");
  card.term = element("span", "term");
  head.append(card.name, card.role, card.term);
  card.tape = drawing("svg", { class: "tape", viewBox: "0 0 640 38", preserveAspectRatio: "none", role: "img" });
  for (let i = 0; i < cells; i++) {
    const cell = drawing("rect", { x: i * 20 + 1, y: 0, width: 18, height: 24, rx: 3, class: "empty" });
    card.cells.push(cell);
    card.tape.append(cell);
  }
  card.facts = element("p");
  card.error = element("p", "error");
  card.buttons = element("div", "buttons");
  card.power = element("button", "", "Stop");
  card.power.type = "button";
  card.power.addEventListener("click", () => power(card));
  card.link = element("button", "", "Disconnect");
  card.link.type = "button";
  card.link.addEventListener("click", () => change(card.now, card.now.disconnected ? "connect" : "disconnect"));
  card.buttons.append(card.power, card.link);
  card.root.append(head, card.tape, card.facts, card.error, card.buttons);
  byId("members").append(card.root);
  cards.set(r.replica, card);
  return card;
}

const nameOf = (r) => r.name || "Replica " + r.replica;
const runs = (r) => r.state === "running" || r.state === "stalled";

// cellClass returns how far a member is at an index of the log.
function cellClass(r, index) {
  if (!runs(r) || index < 1 || index > r.lastIndex) return "empty";
  if (index <= r.snapshotIndex) return "snapshot";
  if (index <= r.appliedIndex) return "applied";
  return index <= r.commitIndex ? "committed" : "appended";
}

function showMembers(state) {
  const all = state.members;
  const last = Math.max(cells, ...all.map((r) => r.lastIndex));
  for (const [number, card] of cards) {
    if (!all.some((r) => r.replica === number)) {
      card.root.remove();
      cards.delete(number);
    }
  }
  for (const r of all) {
    const card = cards.get(r.replica) || newCard(r);
    card.now = r;
    const kind = ["member", r.state];
    if (r.role === "leader") kind.push("leader");
    if (r.disconnected) kind.push("cut");
    card.root.className = kind.join(" ");
    put(card.name, nameOf(r));
    put(card.role, r.disconnected && runs(r) ? "disconnected" : r.state === "running" ? r.role || "running" : r.state);
    const figures = runs(r) && r.term > 0; // a member that is cut off from this one tells none
    put(card.term, figures ? "term " + r.term : "");
    for (let i = 0; i < cells; i++) card.cells[i].setAttribute("class", cellClass(r, last - cells + 1 + i));
    card.tape.setAttribute("aria-label", figures
      ? `${nameOf(r)}: the log ends at ${r.lastIndex}; committed up to ${r.commitIndex}, applied up to ${r.appliedIndex}`
      : `${nameOf(r)} is ${r.state}`);
    put(card.facts, figures
      ? `log ${count(r.lastIndex)} · committed ${count(r.commitIndex)} · applied ${count(r.appliedIndex)}` +
        (r.fileBytes || r.logBytes ? ` · ${bytes(r.fileBytes || r.logBytes).replace(" ", "\u00a0")}` : "")
      : r.fileBytes ? bytes(r.fileBytes) + " on disk" : "");
    put(card.error, r.error || "");
    card.error.hidden = !r.error;
    card.buttons.hidden = !state.admin || state.locked;
    put(card.power, runs(r) ? "Stop" : "Start");
    put(card.link, r.disconnected ? "Connect" : "Disconnect");
    card.link.hidden = Boolean(r.name) && !runs(r); // a process has no link while its member is stopped
    card.power.setAttribute("aria-label", card.power.textContent + " " + nameOf(r));
    card.link.setAttribute("aria-label", card.link.textContent + " " + nameOf(r));
  }
  const leader = all.filter((r) => r.role === "leader" && !r.disconnected).sort((a, b) => b.term - a.term)[0];
  put(byId("leads"), leader ? `${nameOf(leader)} leads in term ${leader.term}` : "no leader");
  byId("leads").classList.toggle("bad", !leader);
}

// power stops or starts a member, and asks first if the rest is no majority.
async function power(card) {
  const r = card.now;
  if (runs(r)) {
    const left = [...cards.values()].filter((c) => c !== card && runs(c.now) && !c.now.disconnected).length;
    if (left <= cards.size / 2 && !await ask(`Without ${nameOf(r)} the others are no majority, and the store stops to serve. Stop it?`)) return;
  }
  change(r, runs(r) ? "stop" : "start");
}

async function change(r, verb) {
  const answer = await request("POST", `/v1/replicas/${r.replica}/${verb}`);
  say(answer.ok ? `${nameOf(r)}: ${verb}, done` : answer.message, answer.ok);
  poll();
}

// --- charts ---

const history = []; // {rate, p50, p99}

// quantile returns the q-quantile of durations in buckets that double, in ms.
function quantile(buckets, q) {
  const total = buckets.reduce((sum, n) => sum + n, 0);
  let rank = q * total;
  for (let i = 0; i < buckets.length; i++) {
    if (buckets[i] > 0 && rank <= buckets[i]) {
      const low = i === 0 ? 0 : 2 ** (i - 1);
      return (low + (2 ** i - low) * rank / buckets[i]) / 1000;
    }
    rank -= buckets[i];
  }
  return 0;
}

// round returns a number of 1, 2 or 5 times a power of ten, at least n.
function round(n) {
  const step = 10 ** Math.floor(Math.log10(n));
  return [1, 2, 5, 10].map((m) => m * step).find((m) => m >= n * .999999);
}

// linear returns an axis from 0 up to all values.
function linear(values) {
  const top = round(Math.max(1, ...values));
  return { share: (v) => v / top, ticks: [0, top / 2, top] };
}

// logarithmic returns an axis of powers of ten around all values, at least from 1 to 100.
function logarithmic(values) {
  const low = Math.floor(Math.log10(Math.max(.01, Math.min(1, ...values))));
  const high = Math.ceil(Math.log10(Math.max(100, ...values)) - 1e-9);
  const ticks = [];
  for (let n = low; n <= high; n++) ticks.push(10 ** n);
  return { share: (v) => Math.max(0, (Math.log10(Math.max(v, 1e-9)) - low) / (high - low)), ticks };
}

function chart(svg, series, scale, text) {
  const width = svg.clientWidth || 400, height = svg.clientHeight || 130, left = 48, bottom = height - 18;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const axis = scale(series.flatMap((s) => s.values.filter((v) => v !== null)));
  const x = (i) => left + (width - left - 4) * i / (points - 1);
  const y = (v) => bottom - (bottom - 10) * axis.share(v);
  const parts = [];
  for (const tick of axis.ticks) {
    parts.push(drawing("line", { class: "grid", x1: left, x2: width - 4, y1: y(tick), y2: y(tick) }));
    parts.push(drawing("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, text(tick)));
  }
  parts.push(drawing("text", { x: left, y: height - 3 }, "2 min ago"), drawing("text", { x: width - 4, y: height - 3, "text-anchor": "end" }, "now"));
  for (const [at, s] of series.entries()) {
    const offset = points - s.values.length;
    let line = "", begin = null, end = null;
    s.values.forEach((v, i) => {
      if (v === null) return;
      line += (begin === null ? "M" : "L") + x(i + offset).toFixed(1) + " " + y(v).toFixed(1);
      begin = begin === null ? x(i + offset) : begin;
      end = x(i + offset);
    });
    if (s.label) parts.push(drawing("text", { class: "label " + (s.name || ""), x: width / 2 - 60 + at * 70, y: height - 3 }, s.label));
    if (!line) continue;
    if (s.area) parts.push(drawing("path", { class: "area", d: `${line}L${end} ${bottom}L${begin} ${bottom}Z` }));
    parts.push(drawing("path", { class: "line " + (s.name || ""), d: line }));
  }
  svg.replaceChildren(...parts);
}

let before = null;
function showRates(state) {
  const now = performance.now();
  const point = { rate: 0, p50: null, p99: null };
  if (before && state.store && before.state.store) {
    const seconds = (now - before.at) / 1000;
    // A new leader counts anew. The revision goes on.
    const done = state.commands - before.state.commands;
    point.rate = Math.max(0, done < 0 ? state.store.revision - before.state.store.revision : done) / seconds;
    const fresh = (state.writes.buckets || []).map((n, i) => Math.max(0, n - ((before.state.writes.buckets || [])[i] || 0)));
    if (fresh.some((n) => n > 0)) {
      point.p50 = quantile(fresh, .5);
      point.p99 = quantile(fresh, .99);
    }
  }
  before = { at: now, state };
  history.push(point);
  if (history.length > points) history.shift();
  put(byId("rate"), count(point.rate));
  if (point.p50 !== null) put(byId("latency"), milliseconds(point.p50));
  chart(byId("ratechart"), [{ values: history.map((p) => p.rate), area: true }], linear, (n) => n < 10 ? String(n) : count(n));
  chart(byId("latencychart"), [
    { values: history.map((p) => p.p50), label: "median" },
    { values: history.map((p) => p.p99), label: "99 %", name: "second" },
  ], logarithmic, (ms) => ms < 1000 ? ms + " ms" : ms / 1000 + " s");
}

// --- store ---

function showStore(state) {
  const s = state.store;
  const facts = byId("facts");
  if (!s) {
    facts.replaceChildren(element("dt", "", "No member of this process runs."));
    return;
  }
  const saves = state.saves.buckets ? quantile(state.saves.buckets, .5) : 0;
  const all = [
    ["keys", count(s.keys), ""],
    ["revision", count(s.revision), ""],
    ["versions kept", count(s.versions), ""],
    ["size", bytes(s.bytes), "/" + bytes(s.quota)],
    ["watches", count(s.watches), s.streams ? ` / ${count(s.streams)} stream${s.streams > 1 ? "s" : ""}` : ""],
    ["events sent", count(s.events), ""],
    ["leases", count(s.leases), ""],
    ["alarms", count(state.alarms.length), ""],
    ["disk write", milliseconds(saves), ""],
  ];
  while (facts.children.length < all.length) facts.append(element("div"));
  all.forEach(([name, value, rest], i) => {
    const cell = facts.children[i];
    if (!cell.firstChild) {
      cell.append(element("dt", "", name), element("dd"));
      cell.lastChild.append(document.createTextNode(""), element("small"));
    }
    if (cell.lastChild.firstChild.data !== value) cell.lastChild.firstChild.data = value;
    put(cell.lastChild.lastChild, rest);
  });
  put(byId("leases"), state.leases.length === 0 ? "" : "Leases: " + state.leases.map((l) => `${l.id} (${l.ttl} s, ${l.keys} key${l.keys === 1 ? "" : "s"})`).join(", "));
  put(byId("alarms"), state.alarms.join(", "));
  byId("alarms").hidden = state.alarms.length === 0;
}

// --- state ---

let polling = false, revision = -1, locked = false;
async function poll() {
  if (polling) return;
  polling = true;
  try {
    const r = await fetch("/ui/state", { cache: "no-store" });
    if (!r.ok) throw new Error(`the server answers ${r.status}`);
    const state = await r.json();
    byId("live").className = "";
    put(byId("live"), "live");
    put(byId("title"), state.title);
    document.title = "raftlab: " + state.title;
    locked = state.locked;
    byId("new").disabled = locked;
    showMembers(state);
    showRates(state);
    showStore(state);
    if (state.store && state.store.revision !== revision && !document.hidden) {
      revision = state.store.revision;
      refresh();
    }
    document.body.dataset.ready = "1";
  } catch (err) {
    byId("live").className = "lost";
    put(byId("live"), "no answer from the server");
    console.debug(err);
  } finally {
    polling = false;
  }
}

// --- keys ---

// request returns the answer of the interface /v1.
async function request(method, path, body, headers) {
  try {
    const r = await fetch(path, { method, body, headers: headers || {} });
    const answer = { ok: r.ok, status: r.status, etag: r.headers.get("ETag"), response: r };
    if (!r.ok) {
      const problem = await r.json().catch(() => null);
      answer.message = problem && problem.error ? problem.error.message : `the server answers ${r.status}`;
      answer.version = problem && problem.error ? problem.error.version : undefined;
    }
    return answer;
  } catch (err) {
    return { ok: false, status: 0, message: "no answer from the server" };
  }
}

function say(text, good) {
  byId("says").className = good ? "good" : "bad";
  put(byId("says"), text);
}

function ask(text) {
  const dialog = byId("ask");
  put(byId("asktext"), text);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}

const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const toBase64 = (data) => btoa(Array.from(data, (b) => String.fromCharCode(b)).join(""));
const utf8 = (text) => new TextEncoder().encode(text);
const itemKey = (item) => item.key !== undefined ? utf8(item.key) : fromBase64(item.key_base64);
const same = (a, b) => a.length === b.length && a.every((n, i) => n === b[i]);
// shown returns bytes for people: text as it is, others with escapes.
function shown(data) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(data);
  } catch {
    return Array.from(data, (b) => b >= 32 && b < 127 ? String.fromCharCode(b) : "\\x" + b.toString(16).padStart(2, "0")).join("");
  }
}
// keyPath returns the path of a key, null for a key that a browser cannot name: it takes
// dots alone for a relative path.
function keyPath(key) {
  const text = Array.from(key, (b) => /[A-Za-z0-9_~-]/.test(String.fromCharCode(b)) ? String.fromCharCode(b) : "%" + b.toString(16).toUpperCase().padStart(2, "0")).join("");
  return /^(%2E){1,2}$/.test(text) ? null : "/v1/kv/" + text;
}

let items = [], selected = -1, versions = new Map(), loading = false, again = false;
async function refresh() {
  if (loading) {
    again = true;
    return;
  }
  loading = true;
  const answer = locked
    ? { ok: false, message: "Access control is enabled. The page shows no keys; use the API of etcd." }
    : await request("GET", "/v1/kv?limit=200&prefix=" + encodeURIComponent(byId("prefix").value));
  if (answer.ok) showKeys(await answer.response.json());
  else byId("list").replaceChildren(element("div", "none", answer.message));
  loading = false;
  if (again) {
    again = false;
    setTimeout(refresh, 300);
  }
}

function showKeys(page) {
  const chosen = selected >= 0 ? items[selected].id : null;
  items = page.items.map((item) => ({ ...item, bytes: itemKey(item), id: item.key ?? "\0" + item.key_base64 }));
  selected = items.findIndex((item) => item.id === chosen);
  const rows = items.map((item, i) => {
    const row = element("div", "row");
    row.id = "row" + i;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", i === selected);
    const value = item.value !== undefined ? item.value.slice(0, 200) : "binary, " + bytes(fromBase64(item.value_base64).length);
    row.append(element("span", "", shown(item.bytes)), element("span", "v", value), element("span", "n", "version " + item.version));
    if (versions.size && versions.get(item.id) !== item.version) row.classList.add("changed");
    row.addEventListener("click", () => { select(i); edit(items[i].bytes); });
    return row;
  });
  versions = new Map(items.map((item) => [item.id, item.version]));
  const list = byId("list"), scrolled = list.scrollTop;
  list.replaceChildren(...(rows.length ? rows : [element("div", "none", byId("prefix").value ? "No key has the prefix." : "The store is empty. N makes a key.")]));
  list.scrollTop = scrolled;
  if (selected >= 0) list.setAttribute("aria-activedescendant", "row" + selected);
  else list.removeAttribute("aria-activedescendant");
  put(byId("more"), page.more ? `The first ${items.length} keys. A longer prefix shows others.` : rows.length ? `${items.length} key${items.length > 1 ? "s" : ""}` : "");
}

function select(i) {
  const list = byId("list");
  if (selected >= 0 && list.children[selected]) list.children[selected].setAttribute("aria-selected", "false");
  selected = Math.max(0, Math.min(items.length - 1, i));
  const row = list.children[selected];
  row.setAttribute("aria-selected", "true");
  row.scrollIntoView({ block: "nearest" });
  list.setAttribute("aria-activedescendant", row.id);
}

// --- editor ---

let editing = null; // {key, version, binary}; version 0: a new key

function allow(key, rest) {
  byId("key").disabled = !key;
  for (const id of ["value", "save"]) byId(id).disabled = !(key || rest);
  for (const id of ["reload", "remove"]) byId(id).disabled = !rest;
}

async function edit(key) {
  const path = keyPath(key);
  if (path === null) return say("A browser cannot name the keys . and ..; use raftlab kv", false);
  const answer = await request("GET", path);
  if (!answer.ok) return say(answer.message, false);
  const data = new Uint8Array(await answer.response.arrayBuffer());
  let text, binary = false;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
    binary = text.includes("\0") || text.includes("\r"); // a text area would change these
  } catch {
    binary = true;
  }
  editing = { key, version: Number(answer.etag.replaceAll('"', "")), binary };
  byId("key").value = shown(key);
  byId("value").value = binary ? toBase64(data) : text;
  put(byId("valuelabel"), binary ? "Value in base64, because it is not plain text" : "Value");
  put(byId("version"), "version " + editing.version);
  allow(false, true);
  say("", true);
}

function create() {
  editing = { key: null, version: 0, binary: false };
  byId("key").value = byId("prefix").value;
  byId("value").value = "";
  put(byId("valuelabel"), "Value");
  put(byId("version"), "new");
  allow(true, false);
  say("", true);
  byId("key").focus();
}

async function save() {
  if (!editing || byId("save").disabled) return;
  const key = editing.key || utf8(byId("key").value), path = keyPath(key);
  if (key.length === 0) return say("A key has at least one byte.", false);
  if (path === null) return say("A browser cannot name the keys . and ..; use raftlab kv", false);
  let body;
  try {
    body = editing.binary ? fromBase64(byId("value").value.trim()) : utf8(byId("value").value);
  } catch {
    return say("The value is not base64.", false);
  }
  const headers = { "Content-Type": "application/octet-stream" };
  if (editing.version) headers["If-Match"] = `"${editing.version}"`;
  else headers["If-None-Match"] = "*";
  const answer = await request("PUT", path, body, headers);
  if (answer.ok) {
    editing = { ...editing, key, version: (await answer.response.json()).version };
    put(byId("version"), "version " + editing.version);
    allow(false, true);
    say("Saved.", true);
  } else if (answer.status === 412) {
    say(answer.version ? `Another client has written version ${answer.version} meanwhile. Reload shows it; your text is lost then.` : "Another client has deleted the key meanwhile.", false);
    if (!answer.version) editing.version = 0;
  } else say(answer.message, false);
}

async function remove(key, version) {
  if (!await ask(`Delete ${shown(key)}?`)) return;
  const path = keyPath(key);
  if (path === null) return say("A browser cannot name the keys . and ..; use raftlab kv", false);
  const answer = await request("DELETE", path, undefined, { "If-Match": `"${version}"` });
  if (answer.status === 412) return say("Another client has written the key meanwhile; it is not deleted.", false);
  if (!answer.ok) return say(answer.message, false);
  if (editing && editing.key && same(editing.key, key)) {
    editing = null;
    byId("key").value = byId("value").value = "";
    put(byId("version"), "");
    allow(false, false);
  }
  say("Deleted.", true);
}

// --- theme and keyboard ---

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  try {
    if (theme) localStorage.setItem("theme", theme);
  } catch { /* storage is off */ }
}

function switchTheme() {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  setTheme(dark ? "light" : "dark");
}

document.addEventListener("keydown", (e) => {
  if (e.ctrlKey && e.key === "Enter") return void save();
  if (e.ctrlKey || e.metaKey || e.altKey || document.querySelector("dialog[open]") || /^(INPUT|TEXTAREA)$/.test(e.target.tagName)) return;
  const action = { "/": () => byId("prefix").focus(), n: () => byId("new").disabled || create(), t: switchTheme, "?": () => byId("help").showModal() }[e.key.toLowerCase()];
  if (action) {
    e.preventDefault();
    action();
  }
});
byId("list").addEventListener("keydown", (e) => {
  if (items.length === 0) return;
  const action = {
    ArrowDown: () => select(selected + 1), ArrowUp: () => select(selected < 0 ? 0 : selected - 1),
    Home: () => select(0), End: () => select(items.length - 1), PageDown: () => select(selected + 10), PageUp: () => select(selected - 10),
    Enter: () => { if (selected >= 0) edit(items[selected].bytes).then(() => byId("value").focus()); },
    Delete: () => { if (selected >= 0) remove(items[selected].bytes, items[selected].version); },
  }[e.key];
  if (action) {
    e.preventDefault();
    action();
  }
});
byId("theme").addEventListener("click", switchTheme);
byId("keyshelp").addEventListener("click", () => byId("help").showModal());
byId("new").addEventListener("click", create);
byId("search").addEventListener("submit", (e) => { e.preventDefault(); byId("list").focus(); });
byId("prefix").addEventListener("input", refresh);
byId("edit").addEventListener("submit", (e) => { e.preventDefault(); save(); });
byId("reload").addEventListener("click", () => editing && editing.key && edit(editing.key));
byId("remove").addEventListener("click", () => editing && editing.key && remove(editing.key, editing.version));
document.addEventListener("visibilitychange", () => document.hidden || poll());
try {
  setTheme(localStorage.getItem("theme"));
} catch { /* storage is off */ }
setInterval(() => document.hidden || poll(), every);
poll();
