"""Everything kazoo offers, once: operations, watches, transactions, recipes.

Usage: smoke.py HOST:PORT, of a fresh server. Prints one line per part and exits
0, or stops at the first wrong answer. The lines are compared with a real
ZooKeeper's, so they hold no times, session ids or zxids.
"""
import sys
import threading
from datetime import timedelta

from kazoo import exceptions as zkerr
from kazoo.client import KazooClient, KazooState
from kazoo.recipe.barrier import Barrier, DoubleBarrier
from kazoo.recipe.cache import TreeCache, TreeEvent
from kazoo.recipe.counter import Counter
from kazoo.recipe.election import Election
from kazoo.recipe.lease import NonBlockingLease
from kazoo.recipe.lock import Lock, ReadLock, Semaphore, WriteLock
from kazoo.recipe.party import Party
from kazoo.recipe.queue import LockingQueue, Queue
from kazoo.recipe.watchers import ChildrenWatch, DataWatch
from kazoo.security import make_digest_acl, make_acl

WAIT = 20  # seconds; any wait in here ends in milliseconds when all is well


def client(**options):
    zk = KazooClient(hosts=sys.argv[1], timeout=10, **options)
    zk.start(timeout=WAIT)
    return zk


def refused(error, call, *args, **kwargs):
    try:
        result = call(*args, **kwargs)
    except error as e:
        assert type(e) is error, (type(e), error)
    else:
        raise AssertionError(f"{error.__name__} expected, got {result!r}")


def wait(event):
    assert event.wait(WAIT), "nothing happened in time"


def operations(zk, other):
    assert zk.client_state == "CONNECTED" and zk.client_id[0] != 0 and len(zk.client_id[1]) == 16
    assert zk.get_children("/") == ["zookeeper"]
    assert zk.create("/op", b"one") == "/op"
    path, stat = zk.create("/op/two", b"22", include_data=True)
    assert path == "/op/two" and stat.dataLength == 2 and stat.version == 0 and stat.czxid == stat.mzxid
    assert zk.create("/op/seq-", sequence=True) == "/op/seq-0000000001"
    assert zk.create("/op/seq-", sequence=True, ephemeral=True) == "/op/seq-0000000002"
    assert zk.create("/op/eph", b"", ephemeral=True) == "/op/eph"
    assert zk.exists("/op/eph").ephemeralOwner == zk.client_id[0]
    assert zk.create("/op/a/b/c", b"deep", makepath=True) == "/op/a/b/c"
    zk.ensure_path("/op/a/b/d")
    data, stat = zk.get("/op")
    assert data == b"one" and stat.numChildren == 5 and stat.cversion == 5
    stat = zk.set("/op", b"two", version=0)
    assert stat.version == 1 and stat.mzxid > stat.czxid
    zk.set("/op", b"")
    assert zk.get("/op")[0] == b"" and other.sync("/op") == "/op" and other.get("/op")[0] == b""
    children, stat = zk.get_children("/op", include_data=True)
    assert sorted(children) == ["a", "eph", "seq-0000000001", "seq-0000000002", "two"] and stat.numChildren == 5
    assert zk.exists("/nope") is None
    assert zk.sync("/op") == "/op"
    refused(zkerr.NodeExistsError, zk.create, "/op")
    refused(zkerr.NoNodeError, zk.create, "/none/x")
    refused(zkerr.NoChildrenForEphemeralsError, zk.create, "/op/eph/x")
    refused(zkerr.NoNodeError, zk.get, "/none")
    refused(zkerr.NoNodeError, zk.get_children, "/none")
    refused(zkerr.NoNodeError, zk.set, "/none", b"")
    refused(zkerr.NoNodeError, zk.delete, "/none")
    refused(zkerr.BadVersionError, zk.set, "/op", b"", version=9)
    refused(zkerr.BadVersionError, zk.delete, "/op/two", version=9)
    refused(zkerr.NotEmptyError, zk.delete, "/op")
    refused(zkerr.BadArgumentsError, zk.delete, "/zookeeper")
    zk.delete("/op/two", version=0)
    zk.delete("/op", recursive=True)
    assert zk.exists("/op") is None
    big = bytes(1_000_000)
    zk.create("/big", big)
    assert other.sync("/big") and other.get("/big")[0] == big
    zk.delete("/big")
    assert zk.create("/größe", "日本".encode()) == "/größe" and zk.get("/größe")[0].decode() == "日本"
    zk.delete("/größe")


def asynchronous(zk, other):
    zk.create("/async")
    pending = [zk.create_async("/async/n-", str(i).encode(), sequence=True) for i in range(300)]
    assert [p.get(timeout=WAIT) for p in pending] == [f"/async/n-{i:010}" for i in range(300)]
    writes = [zk.set_async("/async", str(i).encode()) for i in range(100)]
    reads = zk.get_async("/async")
    assert reads.get(timeout=WAIT)[0] == b"99"  # behind the writes
    assert [w.get().version for w in writes] == list(range(1, 101))
    refused(zkerr.NoNodeError, zk.get_async("/none").get, timeout=WAIT)
    zk.delete("/async", recursive=True)


def transactions(zk, other):
    zk.create("/tx", b"0")
    t = zk.transaction()
    t.create("/tx/a", b"a")
    t.create("/tx/s-", sequence=True)
    t.create("/tx/e", ephemeral=True)
    t.check("/tx", 0)
    t.set_data("/tx", b"1", 0)
    t.delete("/tx/a", 0)
    results = t.commit()
    assert results[:3] == ["/tx/a", "/tx/s-0000000001", "/tx/e"] and results[3] is True
    assert results[4].version == 1 and results[5] is True
    t = zk.transaction()
    t.create("/tx/b")
    t.check("/tx", 7)
    t.delete("/tx/e")
    kinds = [type(r).__name__ for r in t.commit()]
    assert kinds == ["RolledBackError", "BadVersionError", "RuntimeInconsistency"], kinds
    assert zk.exists("/tx/b") is None and zk.exists("/tx/e") is not None
    with zk.transaction() as t:
        t.delete("/tx/s-0000000001")
        t.delete("/tx/e")
        t.delete("/tx")
    assert zk.exists("/tx") is None


def access(zk, other):
    mine = make_digest_acl("alice", "secret", all=True)
    zk.create("/acl", b"x", acl=[mine, make_acl("world", "anyone", read=True)])
    refused(zkerr.NoAuthError, zk.set, "/acl", b"y")
    refused(zkerr.NoAuthError, zk.create, "/acl/x")
    zk.add_auth("digest", "alice:secret")
    zk.set("/acl", b"y")
    acls, stat = zk.get_acls("/acl")
    assert sorted((a.perms, a.id.scheme) for a in acls) == [(1, "world"), (31, "digest")] and stat.aversion == 0
    assert zk.set_acls("/acl", [mine], version=0).aversion == 1
    refused(zkerr.BadVersionError, zk.set_acls, "/acl", [mine], version=0)
    refused(zkerr.InvalidACLError, zk.set_acls, "/acl", [make_acl("nosuch", "x", all=True)])
    assert other.sync("/acl")
    refused(zkerr.NoAuthError, other.get, "/acl")
    other.add_auth("digest", "alice:secret")
    assert other.get("/acl")[0] == b"y"
    zk.delete("/acl")


def watches(zk, other):
    seen, fired = [], threading.Event()

    def watch(event):
        seen.append((event.type, event.path))
        fired.set()

    def caused(change, *args):
        seen.clear()
        fired.clear()
        change(*args)
        wait(fired)
        return seen[0]

    assert zk.exists("/w", watch=watch) is None
    assert caused(other.create, "/w") == ("CREATED", "/w")
    zk.get("/w", watch=watch)
    assert caused(other.set, "/w", b"1") == ("CHANGED", "/w")
    zk.get_children("/w", watch=watch)
    assert caused(other.create, "/w/x") == ("CHILD", "/w")
    zk.get("/w/x", watch=watch)
    assert caused(other.delete, "/w/x") == ("DELETED", "/w/x")

    other.delete("/w")

    values, some = [], threading.Semaphore(0)

    @DataWatch(zk, "/dw")
    def on_data(data, stat):
        values.append(data)
        some.release()

    for change in (lambda: other.create("/dw", b"1"), lambda: other.set("/dw", b"2"), lambda: other.delete("/dw")):
        assert some.acquire(timeout=WAIT)
        change()
    assert some.acquire(timeout=WAIT) and values == [None, b"1", b"2", None], values

    zk.create("/cw")
    lists, more = [], threading.Semaphore(0)

    @ChildrenWatch(zk, "/cw")
    def on_children(children):
        lists.append(sorted(children))
        more.release()

    for change in (lambda: other.create("/cw/a"), lambda: other.create("/cw/b"), lambda: other.delete("/cw/a")):
        assert more.acquire(timeout=WAIT)
        change()
    assert more.acquire(timeout=WAIT) and lists == [[], ["a"], ["a", "b"], ["b"]], lists
    other.delete("/cw", recursive=True)


def locks(zk, other):
    lock, rival = Lock(zk, "/lock", "one"), Lock(other, "/lock", "two")
    assert lock.acquire(timeout=WAIT) and not rival.acquire(blocking=False)
    assert lock.contenders() == ["one"]
    got = threading.Event()
    waiting = threading.Thread(target=lambda: rival.acquire(timeout=WAIT) and got.set())
    waiting.start()
    while len(lock.contenders()) < 2:
        pass
    assert not got.is_set()
    lock.release()
    wait(got)
    waiting.join()
    rival.release()
    with ReadLock(zk, "/rw"), ReadLock(other, "/rw"):
        assert not WriteLock(other, "/rw").acquire(blocking=False)
    with WriteLock(other, "/rw"):
        assert not ReadLock(zk, "/rw").acquire(blocking=False)
    first, second = Semaphore(zk, "/sem", max_leases=1), Semaphore(other, "/sem", max_leases=1)
    assert first.acquire(timeout=WAIT) and not second.acquire(blocking=False)
    first.release()
    assert second.acquire(timeout=WAIT)
    second.release()


def elections(zk, other):
    order, both = [], threading.Event()

    def lead(name):
        order.append(name)
        if len(order) == 2:
            both.set()

    candidates = [threading.Thread(target=Election(z, "/election", n).run, args=(lead, n))
                  for z, n in ((zk, "one"), (other, "two"))]
    for c in candidates:
        c.start()
    wait(both)
    for c in candidates:
        c.join()
    assert sorted(order) == ["one", "two"]


def barriers(zk, other):
    barrier, seen_by_other = Barrier(zk, "/barrier"), Barrier(other, "/barrier")
    barrier.create()
    other.sync("/barrier")
    assert not seen_by_other.wait(timeout=0.2)
    passed = threading.Event()
    waiting = threading.Thread(target=lambda: seen_by_other.wait(WAIT) and passed.set())
    waiting.start()
    assert barrier.remove() and not barrier.remove()
    wait(passed)
    waiting.join()
    inside = threading.Barrier(2)

    def member(z):
        double = DoubleBarrier(z, "/double", 2)
        double.enter()
        inside.wait(WAIT)
        double.leave()

    members = [threading.Thread(target=member, args=(z,)) for z in (zk, other)]
    for m in members:
        m.start()
    for m in members:
        m.join(WAIT)
        assert not m.is_alive()
    assert not inside.broken


def queues(zk, other):
    queue = Queue(zk, "/queue")
    for item, priority in ((b"late", 200), (b"first", 10), (b"second", 100)):
        queue.put(item, priority)
    assert len(queue) == 3
    other.sync("/queue")
    assert [Queue(other, "/queue").get() for _ in range(3)] == [b"first", b"second", b"late"]
    locking = LockingQueue(zk, "/lqueue")
    locking.put_all([b"a", b"b"])
    assert locking.get(WAIT) == b"a" and locking.holds_lock() and locking.consume()
    other.sync("/lqueue")
    assert LockingQueue(other, "/lqueue").get(WAIT) == b"b"


def other_recipes(zk, other):
    counter = Counter(zk, "/counter")
    counter += 2
    other.sync("/counter")
    mirror = Counter(other, "/counter")
    mirror += 3
    zk.sync("/counter")
    assert counter.value == 5
    party, guest = Party(zk, "/party", "one"), Party(other, "/party", "two")
    party.join()
    guest.join()
    zk.sync("/party")
    assert sorted(party) == ["one", "two"] and len(guest) == 2
    guest.leave()
    zk.sync("/party")
    assert list(party) == ["one"]
    assert NonBlockingLease(zk, "/lease", timedelta(minutes=5), identifier="one")
    other.sync("/lease")
    assert not NonBlockingLease(other, "/lease", timedelta(minutes=5), identifier="two")


def tree_cache(zk, other):
    zk.create("/cache/a/b", b"1", makepath=True)
    cache, step = TreeCache(zk, "/cache"), threading.Semaphore(0)
    awaited = {TreeEvent.INITIALIZED, TreeEvent.NODE_UPDATED, TreeEvent.NODE_REMOVED}
    seen = []

    def listener(event):
        if event.event_type in awaited:
            seen.append(event.event_type)
            step.release()

    cache.listen(listener)
    cache.start()
    for change in (lambda: other.set("/cache/a/b", b"2"), lambda: other.delete("/cache/a/b")):
        assert step.acquire(timeout=WAIT)
        change()
    assert step.acquire(timeout=WAIT)
    assert seen == [TreeEvent.INITIALIZED, TreeEvent.NODE_UPDATED, TreeEvent.NODE_REMOVED], seen
    assert cache.get_children("/cache/a") == set() and cache.get_data("/cache/a").data == b""
    cache.close()


def sessions(zk, other):
    short = client()
    short.create("/short-lived", ephemeral=True)
    gone = threading.Event()
    other.sync("/short-lived")
    assert other.exists("/short-lived", watch=lambda event: gone.set())
    short.stop()
    short.close()
    wait(gone)  # closing a session takes its ephemerals along

    states, back = [], threading.Event()

    def listener(state):
        states.append(state)
        if state == KazooState.CONNECTED:
            back.set()

    dropped = client()
    session = dropped.client_id
    dropped.create("/kept", ephemeral=True)
    fired = threading.Event()
    dropped.get("/kept", watch=lambda event: event.type == "CHANGED" and fired.set())
    dropped.add_listener(listener)
    dropped._connection._socket.shutdown(2)  # the network fails; the session lives on
    wait(back)
    assert states[0] == KazooState.SUSPENDED and dropped.client_id == session
    assert dropped.exists("/kept").ephemeralOwner == session[0]
    dropped.remove_listener(listener)
    dropped.stop()
    dropped.close()
    other.sync("/kept")
    assert other.exists("/kept") is None


def words(zk, other):
    assert zk.command(b"ruok") == "imok"
    assert "Mode: " in zk.command(b"srvr")
    assert zk.server_version() >= (3, 5)


def main():
    zk, other = client(), client()
    for part in (operations, asynchronous, transactions, access, watches, locks, elections,
                 barriers, queues, other_recipes, tree_cache, sessions, words):
        part(zk, other)
        print(part.__name__.replace("_", " "), "ok", flush=True)
    for z in (zk, other):
        z.stop()
        z.close()


main()
