#!/usr/bin/env python3
"""Records what a real ZooKeeper 3.9.4 says on the wire.

Usage: record_wire.py OUTPUT          (normally protocol/testdata/transcripts.txt)

Starts fresh servers on loopback, sends them raw frames for every opcode - valid
use, the refusals of each, malformed bodies, notifications - and writes requests
and replies as annotated hex:

    # what is asked
    > name  <hex of the request frame, without its 4-byte length>
    < name  <hex of the reply frame>
    # OK, zxid 0x2

A name is `op.case`; `op` is the opcode's name, or `connect` (a ConnectRequest or
ConnectResponse, no header) or `notification` (reply header and WatcherEvent).
A request without a reply was answered by closing the connection, and a comment
says so. Times, session ids and passwords differ from one recording to the next.
"""
import base64
import hashlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

WORLD_ALL = [(31, "world", "anyone")]

OPS = {
    "create": 1, "delete": 2, "exists": 3, "getData": 4, "setData": 5,
    "getACL": 6, "setACL": 7, "getChildren": 8, "sync": 9, "ping": 11,
    "getChildren2": 12, "check": 13, "multi": 14, "create2": 15, "reconfig": 16,
    "checkWatches": 17, "removeWatches": 18, "createContainer": 19,
    "deleteContainer": 20, "createTTL": 21, "multiRead": 22, "auth": 100,
    "setWatches": 101, "sasl": 102, "getEphemerals": 103,
    "getAllChildrenNumber": 104, "setWatches2": 105, "addWatch": 106,
    "whoAmI": 107, "createSession": -10, "closeSession": -11, "unknown": 4242,
    "notification0": 0,
}

ERRORS = {
    0: "OK", -2: "RuntimeInconsistency", -5: "MarshallingError", -6: "Unimplemented",
    -8: "BadArguments", -13: "NewConfigNoQuorum", -101: "NoNode", -102: "NoAuth",
    -103: "BadVersion", -108: "NoChildrenForEphemerals", -110: "NodeExists",
    -111: "NotEmpty", -112: "SessionExpired", -114: "InvalidACL", -115: "AuthFailed",
    -119: "NotReadOnly", -120: "EphemeralOnLocalSession", -121: "NoWatcher",
    -123: "ReconfigDisabled", -124: "SessionClosedRequireSaslAuth", -125: "QuotaExceeded",
}


# --- jute -----------------------------------------------------------------

def i32(v):
    return struct.pack(">i", v)


def i64(v):
    return struct.pack(">q", v)


def boolean(v):
    return b"\x01" if v else b"\x00"


def buf(v):
    return i32(-1) if v is None else i32(len(v)) + v


def string(v):
    return buf(None if v is None else v.encode())


def vec(items, one):
    return i32(-1) if items is None else i32(len(items)) + b"".join(map(one, items))


def acls(v):
    return vec(v, lambda a: i32(a[0]) + string(a[1]) + string(a[2]))


def connect_request(zxid=0, timeout_ms=30000, session=0, password=b"\0" * 16, read_only=False):
    body = i32(0) + i64(zxid) + i32(timeout_ms) + i64(session) + buf(password)
    return body if read_only is None else body + boolean(read_only)


def create(path, data=b"", flags=0, acl=WORLD_ALL):
    return string(path) + buf(data) + acls(acl) + i32(flags)


def create_ttl(path, data=b"", flags=5, ttl_ms=60000):
    return create(path, data, flags) + i64(ttl_ms)


def path_version(path, version=-1):
    return string(path) + i32(version)


def set_data(path, data, version=-1):
    return string(path) + buf(data) + i32(version)


def set_acl(path, acl, version=-1):
    return string(path) + acls(acl) + i32(version)


def path_watch(path, watch=False):
    return string(path) + boolean(watch)


def multi(*ops):
    body = b"".join(i32(OPS[name]) + b"\0" + i32(-1) + record for name, record in ops)
    return body + i32(-1) + b"\1" + i32(-1)


def strings(v):
    return vec(v, string)


def reconfig(joining=None, leaving=None, new_members=None, version=-1):
    return string(joining) + string(leaving) + string(new_members) + i64(version)


# --- a real server --------------------------------------------------------

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A ZooKeeper of its own on loopback; `config` is added to its zoo.cfg."""

    def __init__(self, classpath, config="", properties=(), myid=None, serving="Mode:"):
        self.dir = tempfile.mkdtemp(prefix="record-wire-")
        self.port = free_port()
        if myid is not None:
            with open(os.path.join(self.dir, "myid"), "w") as f:
                f.write(str(myid))
        cfg = os.path.join(self.dir, "zoo.cfg")
        with open(cfg, "w") as f:
            f.write(f"tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={self.dir}\n"
                    f"clientPort={self.port}\nclientPortAddress=127.0.0.1\n"
                    "admin.enableServer=false\n4lw.commands.whitelist=*\n" + config)
        self.log = open(os.path.join(self.dir, "log"), "w")
        self.process = subprocess.Popen(
            ["java", "-Xmx256m", *properties, "-cp", classpath,
             "org.apache.zookeeper.server.quorum.QuorumPeerMain", cfg],
            stdout=self.log, stderr=self.log, cwd=self.dir)
        deadline = time.monotonic() + 60
        while serving not in self.srvr():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.log.flush()
                raise SystemExit("server did not start:\n" + open(self.log.name).read()[-4000:])
            time.sleep(0.1)

    def srvr(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as s:
                s.sendall(b"srvr")
                return b"".join(iter(lambda: s.recv(4096), b"")).decode()
        except OSError:
            return ""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.dir)


# --- recording ------------------------------------------------------------

class Recorder:
    def __init__(self, out):
        self.out = out
        self.names = set()

    def section(self, title):
        self.out.write(f"\n# ==== {title}\n")

    def note(self, text):
        self.out.write(f"# {text}\n")

    def line(self, mark, name, frame):
        if mark == ">":
            assert name not in self.names, name
            self.names.add(name)
        self.out.write(f"{mark} {name}  {frame.hex()}\n")


class Connection:
    def __init__(self, recorder, server):
        self.rec = recorder
        self.sock = socket.create_connection(("127.0.0.1", server.port), 10)
        self.xid = 0
        self.session, self.password, self.zxid = 0, b"", 0

    def send(self, frame):
        self.sock.sendall(i32(len(frame)) + frame)

    def receive(self):
        """The next frame, or None when the server closed."""
        head = self.exactly(4)
        return None if head is None else self.exactly(struct.unpack(">i", head)[0])

    def exactly(self, n):
        data = b""
        while len(data) < n:
            part = self.sock.recv(n - len(data))
            if not part:
                return None
            data += part
        return data

    def connect(self, case, what, **fields):
        frame = connect_request(**fields)
        self.rec.note(what)
        self.rec.line(">", "connect." + case, frame)
        self.send(frame)
        reply = self.receive()
        if reply is None:
            self.rec.note("no reply: connection closed by the server")
            return self
        self.rec.line("<", "connect." + case, reply)
        timeout_ms, self.session = struct.unpack(">iq", reply[4:16])
        self.password = reply[20:36]
        self.rec.note(f"timeout {timeout_ms} ms, session 0x{self.session & (1 << 64) - 1:x}, "
                      + ("with" if len(reply) == 37 else "without") + " readOnly byte")
        if timeout_ms == 0:
            assert self.receive() is None
            self.rec.note("then closed by the server")
        return self

    def quiet(self):
        """Opens a session that is not part of the record."""
        self.send(connect_request())
        reply = self.receive()
        self.session, self.password = struct.unpack(">q", reply[8:16])[0], reply[20:36]
        return self

    def call(self, name, what, body=b"", xid=None, record=True, closes=False):
        """One request and its reply, with the notifications that come before it."""
        op = name.split(".")[0]
        if xid is None:
            self.xid += 1
            xid = self.xid
        frame = i32(xid) + i32(OPS[op]) + body
        if record:
            self.rec.note(what)
            self.rec.line(">", name, frame)
        self.send(frame)
        while True:
            reply = self.receive()
            if reply is None:
                self.rec.note("no reply: connection closed by the server")
                return None
            if struct.unpack(">i", reply[:4])[0] == -1 and xid != -1:
                self.notification(reply, name.replace(".", "-"))
                continue
            break
        zxid, err = struct.unpack(">qi", reply[4:16])
        self.zxid = max(self.zxid, zxid)
        if record:
            self.rec.line("<", name, reply)
            text = ERRORS[err] if err == 0 else f"{ERRORS[err]} ({err})"
            self.rec.note(f"{text}, zxid " + (f"0x{zxid:x}" if zxid >= 0 else str(zxid)))
        else:
            assert err == 0, (name, err)
        if closes:
            assert self.receive() is None, name
            self.rec.note("then closed by the server")
        return reply

    def notification(self, frame, case):
        zxid, _, kind, state, size = struct.unpack(">qiiii", frame[4:28])
        self.rec.line("<", "notification." + case, frame)
        self.rec.note(f"type {kind}, state {state}, path {frame[28:28 + size].decode()}, zxid "
                      + (f"0x{zxid:x}" if zxid >= 0 else str(zxid)))

    def setup(self, op, body):
        """A request that only prepares the next one; not recorded."""
        self.call(op, "", body, record=False)

    def close(self):
        self.sock.close()


def sessions(rec, server):
    rec.section("connecting")
    a = Connection(rec, server).connect("new", "new session, 30 s, with the readOnly byte")
    Connection(rec, server).connect("legacy", "client older than 3.4: no readOnly byte", read_only=None).close()
    Connection(rec, server).connect("readOnly", "readOnly=1 at a server that is not read-only", read_only=True).close()
    Connection(rec, server).connect("short", "timeout 100 ms is raised to 2 ticks", timeout_ms=100).close()
    Connection(rec, server).connect("long", "timeout 10^9 ms is lowered to 20 ticks", timeout_ms=10**9).close()
    Connection(rec, server).connect("nullPassword", "new session with a null password", password=None).close()
    Connection(rec, server).connect("future", "lastZxidSeen ahead of the server", zxid=1 << 40).close()
    Connection(rec, server).connect("unknown", "session that never existed", session=0x1234, password=b"x" * 16).close()
    Connection(rec, server).connect("unknownLegacy", "the same from a legacy client", session=0x1234,
                                    password=b"x" * 16, read_only=None).close()
    Connection(rec, server).connect("reattach", "back with another timeout", session=a.session,
                                    password=a.password, timeout_ms=20000).close()
    b = Connection(rec, server).quiet()
    Connection(rec, server).connect("wrongPassword", "wrong password", session=b.session, password=b"x" * 16).close()
    b.close()
    c = Connection(rec, server).quiet()
    rec.section("ping, unknown requests, the end of a session")
    c.call("ping.usual", "keep-alive, xid -2", xid=-2)
    c.call("ping.otherXid", "a ping with xid 9 is answered with xid -2", xid=9)
    c.call("closeSession.usual", "end of session", closes=True)
    for op, what in (("unknown", "no such opcode"), ("check", "check outside multi"), ("notification0", "opcode 0")):
        c = Connection(rec, server).quiet()
        c.call(op + ".refused", what, path_version("/"), closes=True)


def creates(c):
    c.rec.section("create, create2, createContainer, createTTL")
    c.call("create.persistent", "flags 0", create("/a", b"hello"))
    c.call("create.ephemeral", "flags 1", create("/e", b"mine", 1))
    c.call("create.sequential", "flags 2", create("/a/n-", b"", 2))
    c.call("create.ephemeralSequential", "flags 3", create("/a/l-", b"x", 3))
    c.call("create.nullData", "null data", create("/null", None))
    c.call("create.digestACL", "two ACL entries",
           create("/acl", b"", 0, [(31, "digest", "bob:abc="), (1, "world", "anyone")]))
    c.call("create.unicode", "path and data beyond ASCII", create("/größe", "日本".encode()))
    c.call("create2.persistent", "reply has the Stat", create("/b", b"22"))
    c.call("create2.ephemeral", "Stat shows the owner", create("/b/e", b"", 1))
    c.call("create2.sequential", "counter is the parent's", create("/b/s", b"", 2))
    c.call("createContainer.usual", "flags 4", create("/c", b"", 4))
    c.call("create.exists", "a node that exists", create("/a"))
    c.call("create.root", "the root", create("/"))
    c.call("create.noParent", "no parent", create("/none/x"))
    c.call("create.ephemeralParent", "below an ephemeral", create("/e/x"))
    c.call("create.emptyPath", "empty path", create(""))
    c.call("create.trailingSlash", "path that ends in a slash", create("/a/"))
    c.call("create.flags7", "flags 7", create("/f", b"", 7))
    c.call("create.noACL", "empty ACL", create("/f", b"", 0, []))
    c.call("create.nullACL", "null ACL", create("/f", b"", 0, None))
    c.call("create.badScheme", "unknown ACL scheme", create("/f", b"", 0, [(31, "foo", "bar")]))
    c.call("create.nullPath", "null path", create(None))
    c.call("create.truncated", "body cut short", create("/f")[:-2])
    c.call("create.trailingBytes", "bytes behind the record are ignored", create("/trailing") + b"xyz")
    c.call("create2.exists", "a node that exists", create("/b"))
    c.call("createTTL.disabled", "extended types off, stays open", create_ttl("/t"))


def reads(c):
    c.rec.section("exists, getData, getChildren, getChildren2, getACL and the other reads")
    c.call("exists.usual", "Stat", path_watch("/a"))
    c.call("exists.ephemeral", "Stat with an owner", path_watch("/e"))
    c.call("exists.missing", "no such node", path_watch("/none"))
    c.call("exists.nullPath", "null path", path_watch(None))
    c.call("getData.usual", "data and Stat", path_watch("/a"))
    c.call("getData.null", "null data stays null", path_watch("/null"))
    c.call("getData.empty", "empty data stays empty", path_watch("/trailing"))
    c.call("getData.unicode", "beyond ASCII", path_watch("/größe"))
    c.call("getData.missing", "no such node", path_watch("/none"))
    c.call("getChildren.usual", "names, unordered", path_watch("/a"))
    c.call("getChildren.none", "empty vector", path_watch("/e"))
    c.call("getChildren.missing", "no such node", path_watch("/none"))
    c.call("getChildren2.usual", "names and Stat", path_watch("/b"))
    c.call("getChildren2.root", "the root", path_watch("/"))
    c.call("getChildren2.missing", "no such node", path_watch("/none"))
    c.call("getACL.usual", "open ACL", string("/a"))
    c.call("getACL.masked", "READ only: digest hash is masked", string("/acl"))
    c.call("getACL.missing", "no such node", string("/none"))
    c.call("getData.config", "/zookeeper/config of a standalone server", path_watch("/zookeeper/config"))
    c.call("getAllChildrenNumber.usual", "all descendants", string("/a"))
    c.call("getAllChildrenNumber.missing", "no such node", string("/none"))
    c.call("getEphemerals.all", "prefix /", string("/"))
    c.call("getEphemerals.prefix", "plain string prefix", string("/b"))
    c.call("getEphemerals.none", "no match", string("/zzz"))
    c.call("sync.usual", "echoes the path", string("/a"))
    c.call("sync.null", "null is echoed", string(None))
    c.call("whoAmI.anonymous", "only ip")


def writes(c):
    c.rec.section("setData, setACL, delete")
    c.call("setData.usual", "any version", set_data("/a", b"two"))
    c.call("setData.version", "right version", set_data("/a", b"three", 1))
    c.call("setData.null", "null data", set_data("/b", None))
    c.call("setData.badVersion", "wrong version", set_data("/a", b"x", 9))
    c.call("setData.missing", "no such node", set_data("/none", b""))
    c.call("setData.noAuth", "no WRITE", set_data("/acl", b""))
    c.call("setData.badPath", "relative path", set_data("a", b""))
    c.call("setData.truncated", "body cut short", set_data("/a", b"x")[:-1])
    c.call("setACL.usual", "Stat with aversion 1", set_acl("/b", [(31, "world", "anyone"), (1, "ip", "127.0.0.1")]))
    c.call("setACL.badVersion", "wrong aversion", set_acl("/b", WORLD_ALL, 9))
    c.call("setACL.missing", "no such node", set_acl("/none", WORLD_ALL))
    c.call("setACL.noAuth", "no ADMIN", set_acl("/acl", WORLD_ALL))
    c.call("setACL.empty", "empty list", set_acl("/b", []))
    c.call("setACL.authWithoutIdentity", "scheme auth before any addauth", set_acl("/b", [(31, "auth", "")]))
    c.setup("create", create("/d"))
    c.call("delete.badVersion", "wrong version", path_version("/d", 3))
    c.call("delete.usual", "any version", path_version("/d"))
    c.call("delete.missing", "no such node", path_version("/d"))
    c.call("delete.notEmpty", "a node with children", path_version("/a"))
    c.call("delete.special", "a special node", path_version("/zookeeper"))
    c.call("delete.nullPath", "null path", path_version(None))
    c.call("deleteContainer.client", "sent by a client, executed without any ACL check", string("/c"))
    c.call("deleteContainer.missing", "no such node", string("/c"))
    c.call("reconfig.disabled", "reconfigEnabled is off", reconfig(leaving="3"))


def multis(c):
    c.rec.section("multi and multiRead")
    c.call("multi.success", "every kind of write", multi(
        ("create", create("/m", b"1")), ("create2", create("/m/two", b"2")),
        ("createContainer", create("/m/c", b"", 4)), ("create", create("/m/s-", b"", 2)),
        ("setData", set_data("/m", b"3", 0)), ("check", path_version("/m", 1)),
        ("delete", path_version("/m/two"))))
    c.call("multi.empty", "no operations", multi())
    c.call("multi.failure", "second of three fails: 0, the code, RuntimeInconsistency", multi(
        ("create", create("/m/x")), ("check", path_version("/m", 7)), ("delete", path_version("/m"))))
    c.call("multi.failureFirst", "first fails", multi(
        ("delete", path_version("/none")), ("create", create("/m/x"))))
    c.call("multi.failureLast", "last fails", multi(
        ("setData", set_data("/m", b"")), ("create", create("/m"))))
    c.call("multi.read", "a read inside", multi(("getData", path_watch("/m"))))
    c.call("multi.setACL", "not a multi operation", multi(("setACL", set_acl("/m", WORLD_ALL))))
    c.call("multi.truncated", "no end mark", multi(("create", create("/m/x")))[:-9])
    c.call("multi.badFlags", "flags 9", multi(("create", create("/m/x", b"", 9))))
    c.call("multiRead.success", "children and data", multi(
        ("getChildren", path_watch("/m")), ("getData", path_watch("/m")), ("getData", path_watch("/null"))))
    c.call("multiRead.partial", "a refusal stays within its result", multi(
        ("getData", path_watch("/none")), ("getData", path_watch("/m")), ("getChildren", path_watch("/none"))))
    c.call("multiRead.empty", "no operations", multi())
    c.call("multiRead.exists", "not a multiRead operation", multi(("exists", path_watch("/m"))))
    c.call("multiRead.write", "a write inside; the refusal has a body", multi(("create", create("/m/x"))))
    c.call("multiRead.nullPath", "the refusal has a body", multi(("getData", path_watch(None))))


def auths(rec, server):
    rec.section("auth, sasl")
    c = Connection(rec, server).quiet()
    c.call("auth.digest", "xid -4, reply zxid 0", i32(0) + string("digest") + buf(b"bob:secret"), xid=-4)
    c.call("auth.ip", "any payload will do", i32(0) + string("ip") + buf(b""), xid=-4)
    c.call("whoAmI.digest", "ip and digest", b"")
    c.call("create.authScheme", "scheme auth is replaced by the identities", create("/mine", b"", 0, [(31, "auth", "")]))
    c.call("getACL.own", "READ and ADMIN: hash is shown", string("/mine"))
    c.call("sasl.unconfigured", "null token", buf(b"token"))
    c.call("auth.unknownScheme", "unknown scheme", i32(0) + string("nope") + buf(b"x"), xid=-4, closes=True)
    c = Connection(rec, server).quiet()
    c.call("auth.nullPayload", "digest with null", i32(0) + string("digest") + buf(None), xid=-4, closes=True)
    c = Connection(rec, server).quiet()
    c.call("getACL.unreadable", "by another client", string("/mine"))
    c.call("getData.noAuth", "by another client", path_watch("/mine"))
    c.call("create.noAuth", "no CREATE on the parent", create("/mine/x"))
    c.call("delete.noAuthParent", "no DELETE on the parent, and the child is missing", path_version("/mine/x"))
    c.call("multi.noAuth", "the refusal is a result", multi(("setData", set_data("/mine", b""))))
    c.call("multiRead.noAuth", "the refusal is a result", multi(("getData", path_watch("/mine"))))
    c.close()


def watches(rec, server):
    rec.section("watches and notifications")
    c = Connection(rec, server).quiet()
    c.setup("create", create("/w"))
    c.call("exists.watchMissing", "registers for creation", path_watch("/w/new", True))
    c.call("create.watched", "event comes before the reply", create("/w/new"))
    c.call("getData.watch", "registers for data", path_watch("/w", True))
    c.call("getChildren.watch", "registers for children", path_watch("/w", True))
    c.call("setData.watched", "data changed", set_data("/w", b"1"))
    c.call("delete.watched", "children changed", path_version("/w/new"))
    c.call("getData.watchAgain", "one-shot: again", path_watch("/w", True))
    c.call("getChildren2.watchAgain", "one-shot: again", path_watch("/w", True))
    c.call("delete.watchedBoth", "one deleted event for two watches", path_version("/w"))
    c.setup("create", create("/p"))
    c.call("addWatch.persistent", "mode 0", path_version("/p", 0))
    c.call("addWatch.recursive", "mode 1", path_version("/q", 1))
    c.call("addWatch.badMode", "mode 2", path_version("/p", 2))
    c.call("create.persistentWatch", "children changed on the parent", create("/p/x"))
    c.call("setData.persistentWatch", "data changed", set_data("/p", b"1"))
    c.call("create.recursiveWatch", "created", create("/q"))
    c.call("create.recursiveWatchChild", "created only", create("/q/y"))
    c.call("multi.watched", "events in the order of the operations", multi(
        ("setData", set_data("/q", b"")), ("setData", set_data("/p", b"")), ("delete", path_version("/q/y"))))
    c.call("checkWatches.present", "any kind", path_version("/p", 3))
    c.call("checkWatches.absent", "not registered", path_version("/none", 3))
    c.call("checkWatches.badType", "kind 9", path_version("/p", 9))
    c.call("removeWatches.persistent", "kind 4", path_version("/p", 4))
    c.call("removeWatches.absent", "removed before", path_version("/p", 3))
    c.call("removeWatches.any", "kind 3", path_version("/q", 3))

    rec.section("setWatches, setWatches2")
    c.setup("create", create("/v"))
    c.setup("create", create("/v/old"))
    old = c.zxid
    c.setup("create", create("/v/child"))
    c.setup("setData", set_data("/v/old", b"new"))
    none, gone = "/v/none", "/v/gone"
    c.call("setWatches.catchUp", "events come before the reply, with zxid -1",
           i64(old) + strings(["/v/old", gone]) + strings(["/v/child", none]) + strings(["/v", gone]), xid=-8)
    c.call("setWatches.current", "nothing happened: registers",
           i64(c.zxid) + strings(["/v/old"]) + strings([]) + strings(["/v"]), xid=-8)
    c.call("setWatches.nullVectors", "null vectors", i64(0) + strings(None) * 3, xid=-8)
    c.call("setWatches2.catchUp", "persistent ones get no catch-up",
           i64(old) + strings(["/v/child"]) + strings([]) + strings([]) + strings(["/v"]) + strings(["/v/old"]), xid=-8)
    c.call("setData.afterSetWatches2", "recursive watch from setWatches2", set_data("/v/old", b""))
    c.call("create.afterSetWatches", "child watch and persistent watch: one event", create("/v/third"))
    c.close()


def quotas(rec, server):
    rec.section("TTL nodes and quotas: extendedTypesEnabled=true, enforceQuota=true")
    c = Connection(rec, server).quiet()
    c.call("createTTL.usual", "flags 5", create_ttl("/t", b"x", 5, 60000))
    c.call("createTTL.sequential", "flags 6", create_ttl("/t/s-", b"", 6, 60000))
    c.call("createTTL.zero", "ttl 0", create_ttl("/z", b"", 5, 0))
    c.call("createTTL.tooLong", "ttl 2^40", create_ttl("/z", b"", 5, 1 << 40))
    c.call("exists.ttl", "ttl is in ephemeralOwner", path_watch("/t"))
    c.call("multi.ttl", "createTTL inside multi", multi(("createTTL", create_ttl("/t2"))))
    c.setup("create", create("/limited", b"12345"))
    c.setup("create", create("/zookeeper/quota/limited"))
    c.setup("create", create("/zookeeper/quota/limited/zookeeper_limits", b"count=-1,bytes=-1=;byteHardLimit=8;countHardLimit=2"))
    c.setup("create", create("/zookeeper/quota/limited/zookeeper_stats", b"count=0,bytes=0"))
    c.call("getData.quotaStats", "usage is kept in the stats node", path_watch("/zookeeper/quota/limited/zookeeper_stats"))
    c.call("setData.overQuota", "above byteHardLimit", set_data("/limited", b"123456789"))
    c.setup("create", create("/limited/a"))
    c.call("create.overQuota", "above countHardLimit", create("/limited/b"))
    c.call("multi.overQuota", "the refusal is a result", multi(("create", create("/limited/b"))))
    c.close()


def reconfigs(rec, server, members):
    rec.section("reconfig, local sessions: one-member quorum, reconfigEnabled, localSessionsEnabled, skipACL")
    c = Connection(rec, server).quiet()
    c.call("getData.dynamicConfig", "/zookeeper/config", path_watch("/zookeeper/config"))
    c.call("reconfig.observer", "adds an observer that is not running", reconfig(joining=members[2]))
    c.call("reconfig.leave", "removes it", reconfig(leaving="2"))
    c.call("reconfig.full", "the whole list", reconfig(new_members=members[1] + "\n" + members[2]))
    c.call("reconfig.noQuorum", "two of three are not running", reconfig(new_members=members[1] + "\n" + members[2].replace("observer", "participant") + "\n" + members[3]))
    c.call("reconfig.version", "another configuration id is expected", reconfig(leaving="2", version=7))
    c.call("reconfig.idText", "server id is not a number", reconfig(joining="server.x=y"))
    c.call("reconfig.malformed", "no ports", reconfig(joining="server.3=127.0.0.1"))
    c.call("reconfig.leavingText", "leaving is not a number", reconfig(leaving="two"))
    c.call("create.localEphemeral", "ephemeral on a local session", create("/le", b"", 1))
    c.call("multi.localEphemeral", "another error than outside multi", multi(("create", create("/le", b"", 1))))
    c.close()


def enforced(rec, server):
    rec.section("enforce.auth.enabled=true, enforce.auth.schemes=digest")
    c = Connection(rec, server).connect("enforced", "connecting is still possible")
    c.call("getData.unauthenticated", "before any addauth", path_watch("/"), closes=True)


def read_only(rec, server):
    rec.section("read-only server: readonlymode.enabled, localSessionsEnabled, no quorum")
    c = Connection(rec, server).connect("readOnlyServer", "readOnly=1 in the answer", read_only=True)
    c.call("getChildren2.readOnly", "reads work", path_watch("/"))
    c.call("create.readOnly", "a write", create("/x"))
    c.call("setData.readOnly", "a write", set_data("/", b""))
    c.call("multi.readOnly", "a write", multi(("create", create("/x"))))
    c.call("sync.readOnly", "counts as a write", string("/"))
    c.close()
    Connection(rec, server).connect("refusedByReadOnly", "a client that wants to write").close()
    Connection(rec, server).connect("refusedByReadOnlyLegacy", "a legacy client", read_only=None).close()


def main():
    output = sys.argv[1]
    install = os.path.join(os.path.dirname(os.path.abspath(__file__)), "install.sh")
    classpath = open(subprocess.check_output([install], text=True).strip()).read()
    classpath = os.path.join(os.path.dirname(install), "java") + ":" + classpath
    with open(output + ".new", "w") as out:
        out.write("# Recorded from Apache ZooKeeper 3.9.4 by test/clients/record_wire.py; do not edit.\n"
                  "# > name  request frame in hex, < name  reply frame, both without the length prefix.\n"
                  "# Format and naming: see the head of that script.\n")
        rec = Recorder(out)
        with Server(classpath) as server:
            sessions(rec, server)
            c = Connection(rec, server).quiet()
            for part in (creates, reads, writes, multis):
                part(c)
            c.close()
            auths(rec, server)
            watches(rec, server)
        with Server(classpath, "extendedTypesEnabled=true\nenforceQuota=true\n") as server:
            quotas(rec, server)
        ports = {n: (free_port(), free_port(), free_port()) for n in (1, 2, 3)}
        members = {n: f"server.{n}=127.0.0.1:{p[0]}:{p[1]}:participant;127.0.0.1:{p[2]}" for n, p in ports.items()}
        members[2] = members[2].replace("participant", "observer")
        own = f"server.1=127.0.0.1:{ports[1][0]}:{ports[1][1]}:participant\n"
        with Server(classpath, "standaloneEnabled=false\nreconfigEnabled=true\nskipACL=yes\n"
                               "localSessionsEnabled=true\n" + own, myid=1, serving="Mode: leader") as server:
            members[1] = f"server.1=127.0.0.1:{ports[1][0]}:{ports[1][1]}:participant;127.0.0.1:{server.port}"
            reconfigs(rec, server, members)
        with Server(classpath, "enforce.auth.enabled=true\nenforce.auth.schemes=digest\n") as server:
            enforced(rec, server)
        absent = f"server.2=127.0.0.1:{ports[2][0]}:{ports[2][1]}\nserver.3=127.0.0.1:{ports[3][0]}:{ports[3][1]}\n"
        with Server(classpath, "localSessionsEnabled=true\n" + own + absent, myid=1,
                    properties=["-Dreadonlymode.enabled=true"], serving="Mode: read-only") as server:
            read_only(rec, server)
    os.replace(output + ".new", output)
    print(f"{len(rec.names)} exchanges recorded in {output}")


if __name__ == "__main__":
    main()
