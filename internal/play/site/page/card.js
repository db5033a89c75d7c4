"use strict";
// A lesson: words between the parts of a script, and a question at the end.

/** Turns the little Markdown of lessons into elements. */
function markdown(text) {
  const inline = (line) => line.split(/(`[^`]+`|\*\*[^*]+\*\*|\*[^*]+\*)/).filter(Boolean).map((part) =>
    part.startsWith("`") ? el("code", {}, part.slice(1, -1)) : part.startsWith("**") ? el("strong", {}, part.slice(2, -2)) :
      part.startsWith("*") && part.length > 2 ? el("em", {}, part.slice(1, -1)) : part);
  return text.split(/\n\s*\n/).filter((p) => p.trim()).map((p) => {
    if (!p.trim().startsWith("- ")) return el("p", {}, ...inline(p.replace(/\n/g, " ")));
    return el("ul", {}, ...p.trim().split(/\n(?=- )/).map((item) => el("li", {}, ...inline(item.slice(2).replace(/\n\s*/g, " ")))));
  });
}

class Card {
  constructor(page) { this.page = page; }

  open(name, text) {
    const op = name.startsWith("story-") || name.endsWith(".txt") ? "story" : "lesson";
    this.lesson = this.page.engine.ask({ Op: op, Bug: this.page.run.bug, Name: name, Text: text }).lesson;
    this.lesson.title = this.page.lessons.find((l) => l.name === name)?.title || this.lesson.title;
    this.answer = null;
    // Conditions are for the machine, and the page shows the state anyway.
    const idle = /^(expect|status|logs|inflight)\b/;
    for (const part of this.lesson.parts) part.commands = (part.commands || []).filter((c) => !idle.test(c.Text));
    this.lesson.lines = this.lesson.parts.flatMap((p) => p.commands.map((c) => c.Text));
    return this.lesson;
  }

  close() { this.lesson = null; byId("card").hidden = true; }

  /** The number of lesson commands behind which the visitor stands, or -1 off the lesson. */
  position() {
    const lines = this.page.run.lines();
    return lines.every((line, i) => line === this.lesson.lines[i]) ? lines.length : -1;
  }

  /** Runs the next command of the lesson, or with whole the rest of the part. */
  next(whole = false) {
    if (!this.lesson) return;
    const { run } = this.page;
    let at = this.position();
    if (at < 0 || at >= this.lesson.lines.length) return;
    const part = this.partAt(at);
    do {
      run.do(this.lesson.lines[at]);
      at++;
    } while (whole && at < this.lesson.lines.length && this.partAt(at) === part);
    this.page.draw();
  }

  /** The part to which the command number at belongs; the last part behind the end. */
  partAt(at) {
    let begin = 0;
    for (const part of this.lesson.parts) {
      const n = part.commands.length;
      if (at < begin + n) { part.begin = begin; return part; }
      begin += n;
    }
    return null;
  }

  draw() {
    const card = byId("card");
    card.hidden = !this.lesson;
    if (!this.lesson) return;
    const { lesson } = this, at = this.position(), total = lesson.lines.length;
    const where = at < 0 ? "your own run" : `step ${at} of ${total}`;
    const body = [el("h2", {}, lesson.title, el("span", {}, where))];
    if (at < 0) body.push(...this.away());
    else if (at < total) body.push(...this.part(at));
    else body.push(...this.ending());
    if (at < 0 && this.page.run.lines().length >= total && (lesson.question.reach || this.answer)) body.push(...this.question());
    card.replaceChildren(...body);
  }

  part(at) {
    const part = this.partAt(at);
    const list = part.commands.map((c, i) => el("li", { class: part.begin + i < at ? "done" : part.begin + i === at ? "next" : "" }, c.Text));
    return [...markdown(part.words), el("ol", {}, ...list),
      el("div", { class: "row" },
        el("button", { class: "main", id: "next", onclick: () => this.next() }, "Next step", el("kbd", {}, "Space")),
        el("button", { id: "nextpart", onclick: () => this.next(true) }, "Whole part", el("kbd", {}, "Enter")),
        el("button", { onclick: () => this.goTo(0) }, "From the start"))];
  }

  away() {
    return [el("p", {}, "You have left the lesson. Try what you like."),
      el("div", { class: "row" }, el("button", { class: "main", onclick: () => this.back() }, "Back to the lesson", el("kbd", {}, "Enter")))];
  }

  /** Goes back to the last node that belongs to the lesson, or on to the node number at. */
  back() {
    const { run } = this.page;
    let node = run.now;
    while (node.parent && !run.lines(node).every((line, i) => line === this.lesson.lines[i])) node = node.parent;
    run.goTo(node);
    this.page.draw();
  }

  goTo(at) {
    const { run } = this.page;
    let node = run.nodes[0];
    for (const line of this.lesson.lines.slice(0, at)) node = node.kids.find((n) => n.command === line) || node;
    run.goTo(node);
    this.page.draw();
  }

  ending() {
    const last = this.lesson.parts[this.lesson.parts.length - 1];
    const words = last.commands.length ? [] : markdown(last.words);
    return [...words, ...this.question()];
  }

  question() {
    const q = this.lesson.question;
    if (!q.ask) return [el("p", {}, "The story ends here. Go on with your own commands."), el("div", { class: "row" }, el("button", { onclick: () => this.goTo(0) }, "From the start"))];
    const out = [el("p", {}, el("strong", {}, "Question. "), ...markdown(q.ask)[0].childNodes)];
    if (q.choices) out.push(this.choices(q));
    if (q.answers) out.push(this.exact(q));
    if (q.reach) out.push(el("div", { class: "row" },
      el("button", { class: "main", id: "check", onclick: () => this.reach(true) }, "Check"),
      el("span", {}, "Go on from here with your own commands."),
      el("button", { onclick: () => this.prove() }, "Show a solution")));
    if (this.answer) out.push(...this.verdict(q));
    return out;
  }

  choices(q) {
    return el("div", { class: "choices" }, ...q.choices.map((c, i) => el("button", {
      class: this.answer && this.answer.choice === i ? (c.right ? "right" : "wrong") : "",
      onclick: () => this.answered(c.right, "", i),
    }, `${"abcdefgh"[i]}) ${c.text}`)));
  }

  exact(q) {
    const input = el("input", { id: "answer", "aria-label": "your answer", value: this.answer?.text || "" });
    const check = (event) => {
      event.preventDefault();
      const text = input.value.trim();
      this.answered(q.answers.some((a) => a.toLowerCase() === text.toLowerCase()), "", undefined, text);
    };
    return el("form", { class: "row", onsubmit: check }, input, el("button", { class: "main" }, "Check"));
  }

  answered(right, why, choice, text) {
    this.answer = { right, why, choice, text };
    this.draw();
  }

  verdict(q) {
    const { right, why } = this.answer;
    if (!right) return [el("p", { class: "verdict no" }, why ? `Not yet: ${why}.` : "No. Try again, or play it through.")];
    return [el("p", { class: "verdict ok" }, "Right."), ...markdown(q.because),
      el("div", { class: "row" }, el("button", { onclick: () => this.prove() }, "Show it"))];
  }

  /** Checks the conditions of the question at the present state. */
  reach(loud) {
    const q = this.lesson?.question;
    if (!q?.reach || this.page.run.lines().length < this.lesson.lines.length) return;
    const { holds, why } = this.page.engine.ask({ Op: "check", Bug: this.page.run.bug, Lines: this.page.run.lines(), Conditions: q.reach });
    if (holds || loud) this.answer = { right: !!holds, why: (why || "").replace(/^unexpected: /, "") };
    if (loud) this.draw();
  }

  /** Plays the proof, or the solution, behind the end of the lesson. */
  prove() {
    const { run } = this.page;
    this.goTo(this.lesson.lines.length);
    const end = run.now;
    const last = run.append(end, this.lesson.question.proof.map((c) => c.Text).filter((line) => !line.startsWith("expect ")));
    run.goTo(last);
    run.tip = last;
    this.page.draw();
  }
}
