"use strict";
// The page: commands of the visitor, what happened, details, steps and branches.

const keysHelp = [
  ["Space", "next step of the lesson, or deliver the oldest message"], ["Enter", "rest of the part of the lesson; at its end, the answer to the question; in a run of your own, back to the lesson"],
  ["← →", "back and forward through the run, also Ctrl+Z and Ctrl+Y"], ["Home End", "first and last step"], ["1 … 9", "choose a server"],
  ["t", "one tick on the chosen server"], ["T", "one tick on all servers"], ["o", "time out: the server calls an election"],
  ["p", "propose a command"], ["k", "partition the network"], ["c", "crash, or restart"], ["s", "snapshot"], ["r", "read (ReadIndex)"], ["l", "transfer leadership"],
  ["w", "stall the disk, or let it save again"], ["z", "step down"], ["m", "change members"], ["i", "cut the server off, or heal"], ["a", "deliver all messages that are on their way now"],
  ["e", "deliver everything until nothing is left"], ["[ ]", "choose a message"],
  ["d x u y b", "the chosen message: deliver, drop, duplicate, delay or release, behind the others"],
  [">", "type a command of the script language"], ["n", "new cluster"], ["v", "tab of the details"], ["+", "bigger type"], ["Shift+D", "light or dark"], ["?", "this help"],
];

class Page {
  constructor(engine) {
    this.engine = engine;
    this.run = new Run(engine);
    this.stage = new Stage(this);
    this.card = new Card(this);
    this.lessons = [...DATA.lessons, ...DATA.stories];
    this.selected = 1;
    this.message = 0; // the chosen message
    this.tab = "messages";
    this.code = "";
  }

  // --- running ---

  /** Runs a command of the visitor. An error is shown and changes nothing. */
  do(command) {
    byId("popover").hidden = true;
    try {
      this.run.do(command);
      this.card.lesson && this.card.reach(false);
    } catch (error) {
      this.toast(error.message);
    }
    this.draw();
  }

  frame() { return this.run.now.frame; }
  server(id = this.selected) { return (this.frame().servers || []).find((s) => s.id === id); }
  allMessages() { return [...(this.frame().messages || []), ...(this.frame().delayed || []).map((m) => ({ ...m, delayed: true }))]; }

  select(id) { this.selected = id; this.draw(); }

  toast(text) {
    const toast = byId("toast");
    toast.textContent = text;
    toast.hidden = false;
    clearTimeout(this.toastTimer);
    this.toastTimer = setTimeout(() => { toast.hidden = true; }, 5000);
  }

  // --- drawing ---

  draw() {
    this.stage.draw();
    this.stage.drawLogs();
    this.drawBanner();
    this.drawActions();
    this.card.draw();
    this.drawNotes();
    this.drawTabs();
    this.drawSteps();
    byId("undo").disabled = !this.run.now.parent;
    byId("redo").disabled = this.run.now === this.run.tip;
    requestAnimationFrame(() => this.scroll()); // one layout for all
  }

  /** Shows the beginning of each text, and the present step. */
  scroll() {
    const steps = byId("steps"), now = steps.querySelector(".now");
    byId("card").scrollTop = byId("notes").scrollTop = 0;
    if (now) steps.scrollLeft = now.offsetLeft - steps.offsetLeft - steps.clientWidth / 2;
  }

  drawBanner() {
    const fallen = this.run.violations(), banner = byId("banner");
    banner.hidden = !fallen.length;
    if (!fallen.length) return;
    const names = [...new Set(fallen.map((v) => v.name))], first = fallen[0];
    banner.replaceChildren(`${first.name} falls at step ${first.node.depth} (${first.paper}).`,
      el("small", {}, first.text), ...(names.length > 1 ? [el("small", {}, "Then: " + fallen.slice(1).filter((v, i, all) => v.name !== first.name && all.findIndex((o) => o.name === v.name) === i).map((v) => `${v.name} at step ${v.node.depth}`).join(", "))] : []));
    banner.onclick = () => { this.run.goTo(first.node); this.draw(); };
  }

  drawActions() {
    const s = this.server(), bar = byId("actions");
    if (!s) { bar.replaceChildren(el("button", { class: "main", onclick: () => this.newCluster() }, "New cluster")); return; }
    const id = s.id, button = (name, key, command, on = true) => el("button", { disabled: !on, onclick: typeof command === "function" ? command : () => this.do(command) }, name, el("kbd", {}, key));
    const off = (this.frame().cuts || []).some(([a, b]) => a === id || b === id);
    bar.replaceChildren(el("b", {}, `S${id}`),
      button("Tick", "t", `tick ${id}`, s.up), button("Time out", "o", `timeout ${id}`, s.up), button("Propose", "p", () => this.propose(), s.up),
      s.up ? button("Crash", "c", `crash ${id}`) : button("Restart", "c", `restart ${id}`),
      button("Snapshot", "s", `snapshot ${id}`, s.up), button("Read", "r", `read ${id}`, s.up), button("Transfer", "l", () => this.transfer(), s.up),
      s.stalled ? button("Resume disk", "w", `resume ${id}`) : button("Stall disk", "w", `stall ${id}`), button("Step down", "z", `stepdown ${id}`, s.state === "leader"),
      button("Members", "m", () => this.members(), s.up), off ? button("Heal", "i", "heal") : button("Cut off", "i", () => this.cutOff()),
      el("b", {}, "all"), button("Tick", "T", "tick all"), button("Partition", "k", () => this.partition()),
      button("Deliver", "a", "deliver", (this.frame().messages || []).length > 0), button("Settle", "e", "settle"));
  }

  drawNotes() {
    const { frame, command } = this.run.now, box = byId("notes");
    const notes = (frame.notes || []).map((n) => el("div", { class: "note" },
      n.trace && n.trace !== command ? el("div", { class: "trace" }, n.trace) : null,
      n.says ? el("p", {}, n.says) : null,
      n.paper ? el("span", { class: "chip" }, n.paper) : null,
      ...(n.code || []).map((name) => el("button", { class: "chip", title: "Show the code", onclick: () => this.showCode(name) }, name))));
    const title = command ? [el("div", { class: "trace" }, el("strong", {}, `step ${this.run.now.depth}: ${command}`))] : [el("p", {}, "Nothing yet. Choose a lesson, or start a cluster.")];
    box.replaceChildren(...title, ...notes);
  }

  drawTabs() {
    const count = this.allMessages().length;
    const tabs = { messages: `On their way (${count})`, state: "State (Figure 2)", code: "Code" };
    byId("tabs").replaceChildren(...Object.entries(tabs).map(([name, title]) => el("button", {
      role: "tab", "aria-selected": String(this.tab === name), onclick: () => { this.tab = name; this.drawTabs(); },
    }, title)));
    const body = { messages: () => this.messageList(), state: () => this.stateTable(), code: () => this.codeView() }[this.tab]();
    byId("tab").replaceChildren(...body);
  }

  messageList() {
    const all = this.allMessages();
    this.message = Math.min(this.message, Math.max(all.length - 1, 0));
    const rows = all.map((m, i) => el("div", { class: `message${m.cut ? " lost" : ""}${i === this.message ? " selected" : ""}`, onclick: () => { this.message = i; } },
      el("span", { class: "what mono" }, el("b", {}, `${m.from}→${m.to}`), (m.delayed ? "⏸ " : "") + m.text),
      ...this.fates(m).map(([name, key, command]) => el("button", { onclick: (event) => { event.stopPropagation(); this.do(command); } }, name))));
    if (!rows.length) rows.push(el("p", {}, "No message is on its way."));
    return [...rows, el("h3", {}, "State (Figure 2)"), ...this.stateTable()];
  }

  /** What a visitor may do with a message: name, key, command. */
  fates(m) {
    if (m.delayed) return [["Release", "y", `release ${m.ref}`]];
    return [["Deliver", "d", `deliver ${m.ref}`], ["Drop", "x", `drop ${m.ref}`], ["Duplicate", "u", `repeat ${m.ref}`], ["Delay", "y", `delay ${m.ref}`], ["Behind", "b", `reorder ${m.ref}`]];
  }

  messageKey(event, m) {
    const fate = m && this.fates(m).find(([, key]) => key === event.key);
    if (!fate) return false;
    event.preventDefault();
    event.stopPropagation();
    this.do(fate[2]);
    return true;
  }

  popover(m, target) {
    const pop = byId("popover"), box = byId("stagebox").getBoundingClientRect(), at = target.getBoundingClientRect();
    pop.replaceChildren(el("p", {}, `${m.from}→${m.to} ${m.text}`),
      ...this.fates(m).map(([name, key, command]) => el("button", { role: "menuitem", onclick: () => this.do(command) }, name, el("kbd", {}, key))));
    pop.hidden = false;
    pop.style.left = `${Math.max(0, Math.min(at.left - box.left, box.width - pop.offsetWidth - 4))}px`;
    pop.style.top = `${Math.max(0, Math.min(at.bottom - box.top + 6, box.height - pop.offsetHeight - 4))}px`;
    pop.querySelector("button").focus();
    pop.onkeydown = (event) => { if (event.key === "Escape") { pop.hidden = true; target.focus(); } else this.messageKey(event, m); };
  }

  stateTable() {
    const servers = this.frame().servers || [], before = this.run.now.parent?.frame.servers || [];
    if (!servers.length) return [el("p", {}, "There is no cluster yet.")];
    const leader = (s) => s.state === "leader";
    const list = (map) => servers.map((o) => map?.[o.id] ?? "–").join(" ");
    const log = (s) => (s.snapshotIndex ? `⟦${s.snapshotIndex}⟧ ` : "") + (s.log.map((e) => e.t).slice(-12).join(" ") || "–");
    const rows = [
      ["rule", "persistent on all servers"], ["currentTerm", (s) => s.currentTerm], ["votedFor", (s) => s.votedFor || "–"], ["log[] (terms)", log],
      ["rule", "volatile on all servers"], ["state", (s) => s.state], ["leader", (s) => (s.up && s.leader) || "–"], ["commitIndex", (s) => (s.up ? s.commitIndex : "lost")], ["lastApplied", (s) => (s.up ? s.lastApplied : "lost")],
      ["election timeout in", (s) => (s.timeout ? `${s.timeout} ticks` : "–")],
      ["rule", "volatile on leaders, for servers 1, 2, …"], ["nextIndex[]", (s) => (leader(s) ? list(s.nextIndex) : "–")], ["matchIndex[]", (s) => (leader(s) ? list(s.matchIndex) : "–")],
      ["rule", "configuration (§6)"], ["voters", (s) => (s.up ? (s.voters || []).join(" ") || "–" : "–")],
      ...(servers.some((s) => s.outgoing?.length) ? [["outgoing voters", (s) => (s.outgoing || []).join(" ") || "–"]] : []),
      ...(servers.some((s) => s.learners?.length) ? [["learners", (s) => (s.learners || []).join(" ") || "–"]] : []),
    ];
    const body = rows.map(([name, value]) => name === "rule" ? el("tr", { class: "rule" }, el("th", { colspan: servers.length + 1 }, value)) :
      el("tr", {}, el("th", { scope: "row" }, name), ...servers.map((s) => {
        const old = before.find((o) => o.id === s.id), text = String(value(s));
        return el("td", { class: old && String(value(old)) !== text ? "changed" : "" }, text);
      })));
    return [el("table", {}, el("tr", { class: "head" }, el("th", {}, ""), ...servers.map((s) => el("th", {}, `S${s.id}`))), ...body)];
  }

  showCode(name) { this.code = name; this.tab = "code"; this.drawTabs(); byId("tab").scrollTop = 0; }

  codeView() {
    const bug = DATA.bugs.find((b) => b.name === this.run.bug), fn = DATA.code[this.code];
    const out = [];
    if (bug) {
      out.push(el("p", {}, el("strong", {}, `${bug.name}. `), `${bug.why} (${bug.file}).`));
      for (const edit of bug.edits) out.push(el("pre", {}, el("span", { class: "old" }, edit.old.replace(/\n$/, "")), el("span", { class: "new" }, edit.new.replace(/\n$/, "") || "(nothing)")));
    }
    if (fn) out.push(el("p", {}, el("strong", { class: "mono" }, `${fn.file}:${fn.line}`)), el("pre", {}, fn.text));
    else if (!bug) out.push(el("p", {}, "Choose a function below a step to see its code."));
    return out;
  }

  drawSteps() {
    const path = this.run.path(), now = this.run.now, box = byId("steps");
    const lesson = this.card.lesson?.lines || [];
    let onLesson = true;
    box.replaceChildren(...path.map((n) => {
      onLesson = onLesson && (n.depth === 0 || lesson[n.depth - 1] === n.command);
      const state = [n === now ? "now" : n.depth > now.depth ? "ahead" : "", n.frame.violations?.length ? "fell" : "", n.kids.length > 1 ? "fork" : "", lesson.length && !onLesson ? "own" : ""].join(" ");
      return el("button", { class: state, role: "option", "aria-selected": String(n === now), title: n.command || "start", tabindex: n === now ? 0 : -1, onclick: () => { this.run.goTo(n); this.draw(); } }, String(n.depth));
    }));
    const branches = this.run.branches();
    byId("branchbox").hidden = branches.length < 2;
    byId("branch").replaceChildren(...branches.map((n, i) => el("option", { value: n.id, selected: n === this.run.tip }, `${i + 1}: ${n.depth} steps, … ${n.command}`)));
  }

  // --- commands with arguments ---

  /** Opens a dialog with fields, and calls back with their values. */
  ask(title, fields, done) {
    const dialog = byId("dialog");
    const inputs = fields.map((f) => f.options ? el("select", { name: f.name }, ...f.options.map(([value, text]) => el("option", { value, selected: value === f.value }, text))) :
      f.check !== undefined ? el("input", { type: "checkbox", name: f.name, checked: f.check }) : el("input", { name: f.name, value: f.value ?? "", autocomplete: "off" }));
    const form = el("form", { method: "dialog", onsubmit: () => {
      const values = Object.fromEntries(inputs.map((input) => [input.name, input.type === "checkbox" ? input.checked : input.value.trim()]));
      dialog.close();
      done(values);
    } }, el("h2", {}, title), ...fields.map((f, i) => el("label", {}, f.check !== undefined ? inputs[i] : f.label, f.check !== undefined ? f.label : inputs[i])),
    el("p", {}, el("button", { class: "main" }, "OK"), " ", el("button", { type: "button", onclick: () => dialog.close() }, "Cancel")));
    dialog.replaceChildren(form);
    dialog.showModal();
    (inputs[0] || form.querySelector("button")).focus();
  }

  propose() {
    const next = String.fromCharCode(97 + (this.run.lines().filter((l) => l.startsWith("propose")).length % 26));
    this.ask(`Propose a command to S${this.selected}`, [{ name: "data", label: "command (no spaces)", value: next }], (v) => this.do(`propose ${this.selected} ${v.data || next}`));
  }

  transfer() {
    const others = this.frame().servers.filter((s) => s.id !== this.selected).map((s) => [String(s.id), `S${s.id}`]);
    this.ask(`S${this.selected} transfers its leadership`, [{ name: "to", label: "to", options: others }], (v) => this.do(`transfer ${this.selected} ${v.to}`));
  }

  members() {
    const s = this.server();
    this.ask(`Ask S${s.id} for other members`, [{ name: "voters", label: "voters", value: (s.voters || []).join(",") }, { name: "learners", label: "learners", value: (s.learners || []).join(",") }],
      (v) => this.do(`members ${s.id}${v.voters ? ` voters=${v.voters}` : ""}${v.learners ? ` learners=${v.learners}` : ""}`));
  }

  cutOff() {
    const others = this.frame().servers.map((s) => s.id).filter((id) => id !== this.selected);
    this.do(`partition ${this.selected} | ${others.join(" ")}`);
  }

  partition() {
    const ids = this.frame().servers.map((s) => s.id), half = Math.ceil(ids.length / 2);
    this.ask("Cut the network into groups", [{ name: "groups", label: "groups, with | between them", value: `${ids.slice(0, half).join(" ")} | ${ids.slice(half).join(" ")}` }], (v) => this.do(`partition ${v.groups}`));
  }

  newCluster() {
    this.ask("New cluster", [
      { name: "n", label: "servers", options: [3, 4, 5, 6, 7].map((n) => [String(n), String(n)]), value: "5" },
      { name: "voters", label: "of these are voters (empty: all)", value: "" },
      { name: "prevote", label: "pre-vote (thesis 9.6)", check: true },
      { name: "noop", label: "leaders begin with a no-op (§8); reads and changes of members need it", check: true },
      { name: "quiesce", label: "a group without work falls silent", check: false },
      { name: "heartbeat", label: "ticks between heartbeats", value: "9" },
      { name: "lease", label: "ticks of a leader's lease for reads (thesis 6.4.1; empty: none)", value: "" },
      { name: "chunk", label: "bytes of a snapshot in one message (empty: all)", value: "" },
    ], (v) => {
      const on = ["noop", "quiesce"].filter((name) => v[name]), numbers = ["voters", "heartbeat", "lease", "chunk"].filter((name) => v[name]).map((name) => `${name}=${v[name]}`);
      this.fresh([["cluster", v.n, ...on, ...(v.prevote ? [] : ["noprevote"]), ...numbers].join(" ")]);
    });
  }

  /** Replaces the run, outside of lessons. */
  fresh(lines, at) {
    this.card.close();
    byId("lesson").value = "";
    this.selected = 1;
    try { this.run.load(lines, at); } catch (error) { this.toast(error.message); }
    if (this.run.failure) this.toast(this.run.failure);
    this.draw();
  }

  openLesson(name, text, at = 0) {
    try {
      const lesson = this.card.open(name, text);
      this.choose(lesson.core || (lesson.question.ask ? "" : this.run.bug)); // a story runs with any core
      this.run.load(lesson.lines, at);
      const known = this.lessons.some((l) => l.name === name);
      byId("lesson").value = known ? name : "";
      history.replaceState(null, "", known ? `#lesson=${name}` : "#");
    } catch (error) {
      this.toast(error.message);
    }
    if (this.run.failure) this.toast(this.run.failure);
    this.tab = "messages";
    this.draw();
  }

  /** Chooses the correct core, or one with a bug. */
  choose(bug) { this.run.bug = bug; byId("core").value = bug; this.run.reset(); }

  /** The same run with another core, as far as the run gets. */
  otherCore(bug) {
    const lines = this.run.lines(this.run.tip), at = this.run.now.depth;
    this.choose(bug);
    this.run.load(lines, at);
    if (this.run.failure) this.toast(`With this core the run ends earlier: ${this.run.failure}`);
    else if (bug) this.toast(`The same run with the bug ${bug}.`);
    if (bug) { this.tab = "code"; this.code = ""; }
    this.draw();
  }

  // --- files and links ---

  async share() {
    const link = `${location.href.split("#")[0]}#run=${await this.run.share()}`;
    history.replaceState(null, "", link);
    try { await navigator.clipboard.writeText(link); this.toast("The link to this run is in the clipboard and in the address bar."); } catch { this.toast("The link to this run is in the address bar."); }
  }

  save() {
    try {
      const core = this.run.bug ? `# The core had the bug ${this.run.bug}. A correct core differs.\n` : "";
      const { text } = this.engine.ask({ Op: "record", Bug: this.run.bug, Lines: this.run.lines(this.run.tip) });
      const link = el("a", { download: "run.txt", href: URL.createObjectURL(new Blob([`# A run of the playground: go test ./raft/core -run Scripts -scripts PATH/run.txt\n${core}${text}`], { type: "text/plain" })) });
      link.click();
      this.toast("Saved as run.txt. go test ./raft/core -run Scripts -scripts PATH/run.txt replays it.");
      this.draw();
    } catch (error) {
      this.toast(error.message);
    }
  }

  async openFile(file) {
    const text = await file.text();
    try {
      if (!file.name.endsWith(".md")) this.engine.ask({ Op: "load", Bug: this.run.bug, Name: file.name, Text: text }); // names file and line of a mistake
    } catch (error) {
      this.toast(error.message);
      return;
    }
    this.openLesson(file.name, text);
  }

  /** Opens what the address names. A link with a mistake opens a new cluster. */
  async openLink() {
    try {
      await this.openFragment();
    } catch (error) {
      this.choose("");
      this.fresh(["cluster 5 noop heartbeat=9"]);
      this.toast(`The link cannot be opened: ${error.message}.`);
    }
  }

  /** Opens what the fragment of the address names: a run, a lesson, a theme. */
  async openFragment() {
    const fragment = new URLSearchParams(location.hash.slice(1));
    if (fragment.get("theme")) document.documentElement.dataset.theme = fragment.get("theme");
    if (fragment.get("run")) {
      const state = await Run.shared(fragment.get("run"));
      this.choose(state.b || "");
      this.fresh(state.l, state.s);
      return;
    }
    const lesson = this.lessons.find((l) => l.name === fragment.get("lesson"));
    if (lesson) this.openLesson(lesson.name, lesson.text, Number(fragment.get("step") || 0));
    else this.fresh(["cluster 5 noop heartbeat=9"]);
  }

  // --- start ---

  theme() { const root = document.documentElement; root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark"; }
  bigger() {
    const root = document.documentElement, scale = Number(root.style.getPropertyValue("--scale") || 1);
    root.style.setProperty("--scale", scale >= 1.5 ? 0.9 : scale + 0.15);
  }

  helpDialog() {
    const dialog = byId("dialog");
    dialog.replaceChildren(el("h2", {}, "Keys"), el("table", {}, ...keysHelp.map(([key, does]) => el("tr", {}, el("td", {}, el("kbd", {}, key)), el("td", {}, does)))),
      el("p", {}, "A circle is a server, filled with the colour of its term. The ring around a follower is the rest of its election timeout. A box on a line is a message, and the arrow points to the receiver. Dashed boxes are replies. In the logs a number is an entry's term, and a thick frame means that this server knows the entry as committed."),
      el("form", { method: "dialog" }, el("button", { class: "main" }, "Close")));
    dialog.showModal();
  }

  listen() {
    // Keys go to the page again when a control has done its work.
    const on = (id, event, do_) => byId(id).addEventListener(event, (e) => { if (/^(BUTTON|SELECT)$/.test(e.currentTarget.tagName)) e.currentTarget.blur(); do_(e); });
    on("new", "click", () => this.newCluster());
    on("share", "click", () => this.share());
    on("save", "click", () => this.save());
    on("open", "click", () => byId("file").click());
    on("file", "change", (event) => { if (event.target.files[0]) this.openFile(event.target.files[0]); event.target.value = ""; });
    on("theme", "click", () => this.theme());
    on("bigger", "click", () => this.bigger());
    on("help", "click", () => this.helpDialog());
    on("undo", "click", () => { this.run.back(); this.draw(); });
    on("redo", "click", () => { this.run.forward(); this.draw(); });
    on("branch", "change", (event) => { const n = this.run.nodes[Number(event.target.value)]; this.run.tip = n; this.run.now = n; this.draw(); });
    on("lesson", "change", (event) => { const l = this.lessons.find((one) => one.name === event.target.value); if (l) this.openLesson(l.name, l.text); else this.fresh(["cluster 5 noop heartbeat=9"]); });
    on("core", "change", (event) => this.otherCore(event.target.value));
    on("prompt", "submit", (event) => { event.preventDefault(); const input = byId("command"); this.do(input.value); input.value = ""; });
    byId("stage").addEventListener("click", () => { byId("popover").hidden = true; });
    document.addEventListener("keydown", (event) => this.key(event));
    window.addEventListener("hashchange", () => this.openLink());
    byId("lesson").append(el("option", { value: "" }, "none: play freely"), el("optgroup", { label: "lessons" }, ...DATA.lessons.map((l) => el("option", { value: l.name }, l.title))),
      el("optgroup", { label: "stories of raft/core/testdata" }, ...DATA.stories.map((l) => el("option", { value: l.name }, l.title))));
    const group = (title, shown) => el("optgroup", { label: title }, ...shown.map((b) => el("option", { value: b.name, title: b.why }, b.name)));
    byId("core").append(el("option", { value: "" }, "correct"), group("with a bug", DATA.bugs.filter((b) => b.chosen)), group("more bugs", DATA.bugs.filter((b) => !b.chosen)));
  }

  key(event) {
    if (byId("dialog").open || event.altKey) return;
    if (event.ctrlKey || event.metaKey) { this.chord(event); return; }
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) { if (event.key === "Escape") event.target.blur(); return; }
    if (event.target.tagName === "BUTTON" && (event.key === " " || event.key === "Enter")) return;
    const s = this.server(), id = this.selected, all = this.allMessages();
    if (/^[1-9]$/.test(event.key) && this.server(Number(event.key))) { this.select(Number(event.key)); return; }
    const keys = {
      " ": () => this.card.lesson && this.card.position() >= 0 && this.card.position() < this.card.lesson.lines.length ? this.card.next() : all.length ? this.do("deliver " + (all[0].delayed ? "" : all[0].ref)) : null,
      Enter: () => { const at = this.card.lesson ? this.card.position() : 0, question = this.card.lesson && at === this.card.lesson.lines.length; if (at < 0) this.card.back(); else if (question) byId("card").querySelector("input, button")?.focus(); else this.card.next(true); },
      ArrowLeft: () => { this.run.back(); this.draw(); }, ArrowRight: () => { this.run.forward(); this.draw(); },
      Home: () => { this.run.now = this.run.nodes[0]; this.draw(); }, End: () => { this.run.now = this.run.tip; this.draw(); },
      t: () => this.do(`tick ${id}`), T: () => this.do("tick all"), o: () => this.do(`timeout ${id}`), p: () => this.propose(),
      c: () => this.do(`${s?.up ? "crash" : "restart"} ${id}`), s: () => this.do(`snapshot ${id}`), r: () => this.do(`read ${id}`), l: () => this.transfer(), m: () => this.members(), k: () => this.partition(),
      i: () => ((this.frame().cuts || []).some(([a, b]) => a === id || b === id) ? this.do("heal") : this.cutOff()),
      w: () => this.do(`${s?.stalled ? "resume" : "stall"} ${id}`), z: () => this.do(`stepdown ${id}`),
      a: () => this.do("deliver"), e: () => this.do("settle"), n: () => this.newCluster(), v: () => { const order = ["messages", "state", "code"]; this.tab = order[(order.indexOf(this.tab) + 1) % 3]; this.drawTabs(); },
      "[": () => this.chooseMessage(-1), "]": () => this.chooseMessage(1), ">": () => byId("command").focus(),
      "+": () => this.bigger(), D: () => this.theme(), "?": () => this.helpDialog(), Escape: () => { byId("popover").hidden = true; },
    };
    const act = keys[event.key];
    if (act) { event.preventDefault(); act(); return; }
    this.messageKey(event, all[this.message]);
  }

  /** Undo and redo, as in other programs. A field has its own. */
  chord(event) {
    const forward = event.key.toLowerCase() === "y" || event.shiftKey;
    if (!/^[zy]$/i.test(event.key) || /^(INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
    event.preventDefault();
    if (forward) this.run.forward(); else this.run.back();
    this.draw();
  }

  chooseMessage(by) {
    const n = this.allMessages().length;
    this.tab = "messages";
    if (n) this.message = (this.message + by + n) % n;
    this.drawTabs();
    byId("tab").querySelector(".selected")?.scrollIntoView({ block: "nearest" });
  }
}

(async () => {
  if (matchMedia("(prefers-color-scheme: dark)").matches) document.documentElement.dataset.theme = "dark";
  const began = performance.now();
  try {
    const page = new Page(await Engine.start());
    window.page = page;
    page.listen();
    await page.openLink();
    document.body.dataset.ready = Math.round(performance.now() - began);
  } catch (error) {
    byId("notes").textContent = `The playground does not start: ${error.message}. It needs WebAssembly and DecompressionStream, which browsers have since 2023.`;
    document.body.dataset.failed = error.message;
  }
})();
