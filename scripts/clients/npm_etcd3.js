// The main uses of the npm package etcd3 against the endpoints in RAFTLAB_ENDPOINTS.
// Each line of the output is a use that did as it should. A wrong answer ends the program.
"use strict";
const assert = require("assert");
const { Etcd3 } = require("etcd3");

const done = (what) => console.log("etcd3 (npm): " + what);
const hosts = process.env.RAFTLAB_ENDPOINTS.split(",");

async function main() {
  const client = new Etcd3({ hosts });
  const ns = client.namespace("npm/");
  await ns.delete().all();

  await ns.put("a").value("1");
  assert.strictEqual(await ns.get("a").string(), "1");
  assert.strictEqual(await ns.get("missing").string(), null);
  await ns.put("b").value("2");
  assert.deepStrictEqual(await ns.getAll().strings(), { a: "1", b: "2" });
  done("put, get, range");

  const watcher = await ns.watch().prefix("w/").create();
  const events = [];
  const two = new Promise((go) => {
    watcher.on("put", (kv) => events.push("put " + kv.key) === 2 && go());
    watcher.on("delete", (kv) => events.push("delete " + kv.key) === 2 && go());
  });
  await ns.put("w/1").value("x");
  await ns.delete().key("w/1");
  await two;
  assert.deepStrictEqual(events.map((e) => e.replace("npm/", "")), ["put w/1", "delete w/1"]);
  await watcher.cancel();
  done("watch");

  const swap = (from, to) => ns.if("a", "Value", "==", from).then(ns.put("a").value(to)).else(ns.get("a")).commit();
  assert.strictEqual((await swap("1", "3")).succeeded, true);
  assert.strictEqual((await swap("1", "4")).succeeded, false);
  assert.strictEqual(await ns.get("a").string(), "3");
  done("transaction");

  const lease = ns.lease(10);
  await lease.put("leased").value("x");
  assert.strictEqual(await ns.get("leased").string(), "x");
  await lease.revoke();
  assert.strictEqual(await ns.get("leased").string(), null);
  done("lease");

  const lock = ns.lock("lock");
  await lock.acquire();
  await assert.rejects(ns.lock("lock").acquire(), /Failed to acquire/);
  await lock.release();
  await ns.lock("lock").do(async () => {});
  done("lock");

  const election = ns.election("election", 5);
  const first = election.campaign("first");
  await new Promise((go, no) => { first.on("elected", go); first.on("error", no); });
  assert.strictEqual(await election.leader(), "first");
  const observer = await election.observe();
  const second = election.campaign("second");
  const won = new Promise((go, no) => { second.on("elected", go); second.on("error", no); });
  await first.resign();
  await won;
  assert.strictEqual(await election.leader(), "second");
  await observer.cancel();
  await second.resign();
  done("election");

  const stm = await ns.stm().transact(async (tx) => {
    const n = Number(await tx.get("a").string());
    await tx.put("a").value(String(n + 1));
    return n;
  });
  assert.strictEqual(stm, 3);
  assert.strictEqual(await ns.get("a").string(), "4");
  done("software transactional memory");
  client.close();
}
main().then(() => process.exit(0), (e) => { console.error(e); process.exit(1); });
setTimeout(() => { console.error("etcd3 (npm): no end within a minute"); process.exit(1); }, 60000).unref();
