"""The main uses of python3-etcd3 against the first endpoint in RAFTLAB_ENDPOINTS.

Each line of the output is a use that did as it should. A wrong answer ends the program.
"""
import os
import threading

import etcd3

host, port = os.environ["RAFTLAB_ENDPOINTS"].split(",")[0].split("//")[-1].rsplit(":", 1)
client = etcd3.client(host=host, port=int(port), timeout=20)


def done(what):
    print("python3-etcd3: " + what)


client.delete_prefix("python/")
client.put("python/a", "1")
client.put("python/b", "2")
assert client.get("python/a")[0] == b"1"
assert client.get("python/missing")[0] is None
assert [v for v, _ in client.get_prefix("python/")] == [b"1", b"2"]
assert client.replace("python/a", "1", "3") and not client.replace("python/a", "1", "4")
assert client.get("python/a")[0] == b"3"
done("put, get, range, replace")

ok, _ = client.transaction(
    compare=[client.transactions.value("python/a") == "3", client.transactions.version("python/c") == 0],
    success=[client.transactions.put("python/c", "x")],
    failure=[client.transactions.delete("python/a")],
)
assert ok and client.get("python/c")[0] == b"x"
done("transaction")

seen, full = [], threading.Event()


def note(response):
    seen.extend(type(e).__name__ for e in response.events)
    if len(seen) == 2:
        full.set()


watch = client.add_watch_prefix_callback("python/w/", note)
client.put("python/w/1", "x")
client.delete("python/w/1")
assert full.wait(20), seen
assert seen == ["PutEvent", "DeleteEvent"], seen
client.cancel_watch(watch)
done("watch")

lease = client.lease(10)
client.put("python/leased", "x", lease=lease)
assert lease.granted_ttl == 10 and lease.keys == [b"python/leased"]
lease.refresh()
lease.revoke()
assert client.get("python/leased")[0] is None
done("lease")

lock = client.lock("python", ttl=10)
assert lock.acquire() and lock.is_acquired()
# A lock that has to wait is left out: python3-etcd3 0.12 calls Debian's tenacity wrongly then.
assert client.get("/locks/python")[0] is not None
assert lock.release()
assert client.get("/locks/python")[0] is None
with client.lock("python", ttl=10):
    pass
done("lock")

assert len(list(client.members)) >= 1
status = client.status()
assert status.leader is not None and status.db_size > 0
client.compact(client.get("python/a")[1].mod_revision)
client.defragment()
assert list(client.list_alarms()) == []
with open(os.devnull, "wb") as out:
    client.snapshot(out)
client.hash()
done("members, status, compaction, snapshot, hash")
