"use strict";
// The engine is package internal/play, compiled to WebAssembly as a WASI reactor. The engine
// needs a clock, chance and an output for panics, and no files.

/** A wasm instance that answers requests in JSON. */
class Engine {
  static async start() {
    const packed = Uint8Array.from(atob(DATA.wasm), (c) => c.charCodeAt(0));
    const unpacked = new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip")));
    Engine.module = await WebAssembly.compile(await unpacked.arrayBuffer());
    return new Engine().boot();
  }

  async boot() {
    const instance = await WebAssembly.instantiate(Engine.module, { wasi_snapshot_preview1: this.wasi() });
    this.exports = instance.exports;
    this.exports._initialize();
    return this;
  }

  /** The calls of a Go program to its host. A call without an entry returns ENOSYS. */
  wasi() {
    const view = () => new DataView(this.exports.memory.buffer);
    const calls = {
      args_sizes_get: (n, size) => { view().setUint32(n, 0, true); view().setUint32(size, 0, true); return 0; },
      args_get: () => 0,
      environ_sizes_get: (n, size) => { view().setUint32(n, 0, true); view().setUint32(size, 0, true); return 0; },
      environ_get: () => 0,
      clock_time_get: (id, precision, out) => { view().setBigUint64(out, BigInt(Math.round(performance.now() * 1e6)), true); return 0; },
      random_get: (at, size) => { crypto.getRandomValues(new Uint8Array(this.exports.memory.buffer, at, size)); return 0; },
      fd_write: (fd, vectors, count, written) => {
        let size = 0, text = "";
        for (let i = 0; i < count; i++) {
          const at = view().getUint32(vectors + 8 * i, true), length = view().getUint32(vectors + 8 * i + 4, true);
          text += new TextDecoder().decode(new Uint8Array(this.exports.memory.buffer, at, length));
          size += length;
        }
        console.error(text);
        view().setUint32(written, size, true);
        return 0;
      },
      fd_fdstat_get: () => 8, // EBADF: no files are open
      fd_prestat_get: () => 8,
      poll_oneoff: () => 0,
      sched_yield: () => 0,
      proc_exit: (code) => { throw new Error("the engine ended with code " + code); },
    };
    return new Proxy(calls, { get: (all, name) => all[name] || (() => 52), has: () => true });
  }

  /** Sends a request and returns the response. An error of the engine is thrown. */
  ask(request) {
    const bytes = new TextEncoder().encode(JSON.stringify(request));
    const at = this.exports.buffer(bytes.length);
    new Uint8Array(this.exports.memory.buffer, at, bytes.length).set(bytes);
    const size = this.exports.handle(bytes.length);
    const out = new Uint8Array(this.exports.memory.buffer, this.exports.buffer(0), size);
    const response = JSON.parse(new TextDecoder().decode(out));
    if (response.error) throw new Error(response.error);
    return response;
  }
}
