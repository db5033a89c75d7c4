"use strict";
// A run is a tree of commands. The path from the root to the tip is the branch on the page,
// and the visitor stands at one node of the path.

class Run {
  constructor(engine) {
    this.engine = engine;
    this.bug = "";
    this.reset();
  }

  reset() {
    this.nodes = [{ id: 0, parent: null, kids: [], command: "", depth: 0, frame: null }];
    this.now = this.tip = this.nodes[0];
    this.now.frame = this.frames([], 0)[0];
  }

  frames(lines, from) { return this.engine.ask({ Op: "run", Bug: this.bug, Lines: lines, From: from }).frames; }

  /** The nodes from the root to a node. */
  path(node = this.tip) {
    const nodes = [];
    for (let n = node; n; n = n.parent) nodes.unshift(n);
    return nodes;
  }

  lines(node = this.now) { return this.path(node).slice(1).map((n) => n.command); }

  /** Runs a command at the present node, which may begin a branch. Throws the command's error. */
  do(command) {
    command = command.trim().replace(/\s+/g, " ");
    if (!command || command.startsWith("#")) return;
    let next = this.now.kids.find((n) => n.command === command);
    if (!next) {
      const lines = [...this.lines(), command];
      const frame = this.frames(lines, lines.length)[0];
      if (frame.error) throw new Error(frame.error);
      next = this.add(this.now, command, frame);
    }
    this.goTo(next);
  }

  add(parent, command, frame) {
    const node = { id: this.nodes.length, parent, kids: [], command, depth: parent.depth + 1, frame };
    parent.kids.push(node);
    this.nodes.push(node);
    return node;
  }

  /** Replaces the run by these commands, and stands behind the first at of them. */
  load(lines, at = lines.length) {
    this.reset();
    this.tip = this.append(this.now, lines);
    this.now = this.path()[Math.min(at, this.path().length - 1)];
  }

  /** Adds commands behind a node, as far as they run, and returns the last node. */
  append(node, lines) {
    const before = this.lines(node);
    const frames = this.frames([...before, ...lines], before.length + 1);
    let error = "";
    for (const frame of frames) {
      if (frame.error) { error = `${frame.command}: ${frame.error}`; break; }
      node = node.kids.find((n) => n.command === frame.command) || this.add(node, frame.command, frame);
    }
    this.failure = error;
    return node;
  }

  /** Stands at a node. A node outside of the branch makes its own branch the present one. */
  goTo(node) {
    this.now = node;
    if (!this.path().includes(node)) this.tip = this.end(node);
  }

  /** The end of the branch that goes through a node, along the newest commands. */
  end(node) {
    while (node.kids.length) node = node.kids[node.kids.length - 1];
    return node;
  }

  back() { if (this.now.parent) this.now = this.now.parent; }
  forward() { const path = this.path(); this.now = path[Math.min(this.now.depth + 1, path.length - 1)]; }
  branches() { return this.nodes.filter((n) => !n.kids.length); }

  /** The violations up to a node, each with the number of its step. */
  violations(node = this.now) {
    return this.path(node).flatMap((n) => (n.frame.violations || []).map((v) => ({ ...v, node: n })));
  }

  /** The run as text for the fragment of a link. */
  async share(extra) {
    const state = JSON.stringify({ b: this.bug || undefined, l: this.lines(this.tip), s: this.now.depth, ...extra });
    const packed = new Blob([state]).stream().pipeThrough(new CompressionStream("deflate-raw"));
    const bytes = new Uint8Array(await new Response(packed).arrayBuffer());
    return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  }

  static async shared(text) {
    const bytes = Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
    return JSON.parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"))).text());
  }
}
