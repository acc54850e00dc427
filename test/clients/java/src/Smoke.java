import static java.nio.charset.StandardCharsets.UTF_8;
import static org.apache.zookeeper.ZooDefs.Ids.OPEN_ACL_UNSAFE;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.Transaction;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.client.ZKClientConfig;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.ClientInfo;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;

/**
 * Calls every operation of ZooKeeper's Java client once or more and prints what
 * comes back, without times, session ids and zxids, so that the lines of two
 * correct servers are equal.
 *
 * <p>Usage: Smoke HOST:PORT, of a fresh server. Exits 0 at the end; an answer
 * that never comes or an exception nobody expects makes it exit 1.
 */
public final class Smoke {
    private static final int WAIT_S = 30;
    private static String address;

    /** A call that may be refused; what it returns is printed. */
    private interface Call {
        Object run() throws Exception;
    }

    /** A client that can also vanish as a killed process does. */
    private static final class Session extends ZooKeeper {
        Session(Watcher watcher) throws Exception {
            super(address, 20000, watcher);
        }

        Session(Watcher watcher, ZooKeeper from) throws Exception {
            super(address, 20000, watcher, from.getSessionId(), from.getSessionPasswd());
        }

        void vanish() {
            cnxn.disconnect();
        }
    }

    /** A client and its watch events, in the order they came. */
    private static final class Client implements AutoCloseable {
        final BlockingQueue<WatchedEvent> events = new LinkedBlockingQueue<>();
        volatile CountDownLatch connected = new CountDownLatch(1);
        final Session zk;
        final Watcher watcher = this::handle;

        Client() throws Exception {
            this(null);
        }

        /** Attaches to the session of another client when that is not null. */
        Client(ZooKeeper session) throws Exception {
            zk = session == null ? new Session(watcher) : new Session(watcher, session);
            await(connected, "connection");
        }

        private void handle(WatchedEvent event) {
            if (event.getType() != Watcher.Event.EventType.None) {
                events.add(event);
            } else if (event.getState() == Watcher.Event.KeeperState.SyncConnected) {
                connected.countDown();
            }
        }

        /** Prints the next n events. */
        void printEvents(int n) throws Exception {
            for (int i = 0; i < n; i++) {
                WatchedEvent event = events.poll(WAIT_S, TimeUnit.SECONDS);
                if (event == null) {
                    throw new IllegalStateException("watch event " + (i + 1) + " of " + n + " never came");
                }
                print("  event " + event.getType() + " " + event.getPath());
            }
        }

        /** Cuts the TCP connection and waits until the client is back with its session and watches. */
        void dropConnection() throws Exception {
            connected = new CountDownLatch(1);
            zk.getTestable().closeSocket();
            zk.exists("/", false, (rc, path, ctx, stat) -> { }, null); // makes it notice at once
            await(connected, "reconnection");
            syncTo(zk); // is answered after the client has set its watches again
        }

        @Override
        public void close() throws Exception {
            zk.close();
        }
    }

    private static void print(String line) {
        System.out.println(line);
    }

    private static void part(String title) {
        print("# " + title);
    }

    private static void await(CountDownLatch latch, String what) throws Exception {
        if (!latch.await(WAIT_S, TimeUnit.SECONDS)) {
            throw new IllegalStateException(what + " never came");
        }
    }

    /** Runs call and prints its answer or its refusal. */
    private static void say(String name, Call call) throws Exception {
        String answer;
        try {
            answer = text(call.run());
        } catch (KeeperException e) {
            answer = "refused: " + e.code() + (e.getPath() == null ? "" : " for " + e.getPath())
                + (e.getResults() == null ? "" : " " + text(e.getResults()));
        } catch (IllegalArgumentException e) {
            answer = "illegal argument: " + e.getMessage();
        }
        print(name + ": " + answer);
    }

    private static String text(Object value) {
        if (value instanceof Stat s) {
            return String.format("version %d, cversion %d, aversion %d, length %d, children %d%s%s%s",
                s.getVersion(), s.getCversion(), s.getAversion(), s.getDataLength(), s.getNumChildren(),
                s.getEphemeralOwner() == 0 ? "" : ", owned",
                s.getMzxid() == s.getCzxid() ? "" : ", modified",
                s.getPzxid() == s.getCzxid() ? "" : ", children changed");
        }
        if (value instanceof byte[] b) {
            return b.length > 100 ? b.length + " bytes" : '"' + new String(b, UTF_8) + '"';
        }
        if (value instanceof ACL a) {
            return a.getPerms() + ":" + a.getId().getScheme() + ":" + a.getId().getId();
        }
        if (value instanceof ClientInfo c) {
            return c.getAuthScheme() + ":" + c.getUser();
        }
        if (value instanceof OpResult r) {
            return result(r);
        }
        if (value instanceof List<?> list) {
            List<String> texts = new ArrayList<>();
            boolean ordered = false;
            for (Object item : list) {
                texts.add(text(item));
                ordered |= item instanceof OpResult || item instanceof ACL;
            }
            if (!ordered) {
                Collections.sort(texts); // a server may list names in any order
            }
            return texts.toString();
        }
        return String.valueOf(value);
    }

    private static String result(OpResult r) {
        if (r instanceof OpResult.CreateResult c) {
            return "created " + c.getPath() + (c.getStat() == null ? "" : " (" + text(c.getStat()) + ")");
        }
        if (r instanceof OpResult.SetDataResult s) {
            return "set (" + text(s.getStat()) + ")";
        }
        if (r instanceof OpResult.GetDataResult g) {
            return "data " + text(g.getData()) + " (" + text(g.getStat()) + ")";
        }
        if (r instanceof OpResult.GetChildrenResult g) {
            return "children " + text(g.getChildren());
        }
        if (r instanceof OpResult.ErrorResult e) {
            return "error " + KeeperException.Code.get(e.getErr());
        }
        return r.getClass().getSimpleName();
    }

    private static byte[] bytes(String s) {
        return s.getBytes(UTF_8);
    }

    private static String create(ZooKeeper zk, String path, String data, CreateMode mode) throws Exception {
        return zk.create(path, bytes(data), OPEN_ACL_UNSAFE, mode);
    }

    public static void main(String[] args) throws Exception {
        address = args[0];
        try (Client one = new Client(); Client two = new Client()) {
            creates(one.zk);
            reads(one.zk);
            writes(one.zk);
            access(one.zk, two.zk);
            multis(one.zk);
            watches(one, two);
            persistentWatches(one, two);
            asyncBursts(one.zk);
            reconfig();
        }
        reattach();
        print("# end");
        System.exit(0); // whatever threads are left
    }

    private static void creates(ZooKeeper zk) throws Exception {
        part("create");
        say("root", () -> zk.getChildren("/", false));
        say("persistent", () -> create(zk, "/a", "one", CreateMode.PERSISTENT));
        say("ephemeral", () -> create(zk, "/a/e", "two", CreateMode.EPHEMERAL));
        say("sequential", () -> create(zk, "/a/s-", "", CreateMode.PERSISTENT_SEQUENTIAL));
        say("ephemeral sequential", () -> create(zk, "/a/es-", "", CreateMode.EPHEMERAL_SEQUENTIAL));
        say("container", () -> create(zk, "/c", "", CreateMode.CONTAINER));
        say("null data", () -> zk.create("/null", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
        say("with stat", () -> {
            Stat stat = new Stat();
            return zk.create("/b", bytes("three"), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, stat) + " " + text(stat);
        });
        say("container with stat", () -> {
            Stat stat = new Stat();
            return zk.create("/c2", bytes(""), OPEN_ACL_UNSAFE, CreateMode.CONTAINER, stat) + " " + text(stat);
        });
        say("TTL", () -> zk.create("/t", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, new Stat(), 60000));
        say("TTL out of range", () -> zk.create("/t", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, new Stat(), -1));
        say("exists", () -> create(zk, "/a", "", CreateMode.PERSISTENT));
        say("no parent", () -> create(zk, "/x/y", "", CreateMode.PERSISTENT));
        say("below ephemeral", () -> create(zk, "/a/e/x", "", CreateMode.PERSISTENT));
        say("bad path", () -> create(zk, "/a//x", "", CreateMode.PERSISTENT));
        say("bad ACL", () -> zk.create("/x", null, Arrays.asList(new ACL(31, new Id("nosuch", "x"))), CreateMode.PERSISTENT));
        say("no ACL", () -> zk.create("/x", null, new ArrayList<>(), CreateMode.PERSISTENT));
        say("large", () -> zk.create("/large", new byte[1_000_000], OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
    }

    private static void reads(ZooKeeper zk) throws Exception {
        part("read");
        Stat stat = new Stat();
        say("exists", () -> zk.exists("/a", false));
        say("exists ephemeral", () -> zk.exists("/a/e", false));
        say("exists missing", () -> zk.exists("/none", false));
        say("getData", () -> text(zk.getData("/a", false, stat)) + " " + text(stat));
        say("getData null", () -> zk.getData("/null", false, stat));
        say("getData large", () -> zk.getData("/large", false, null));
        say("getData missing", () -> zk.getData("/none", false, null));
        say("getChildren", () -> zk.getChildren("/a", false));
        say("getChildren with stat", () -> text(zk.getChildren("/a", false, stat)) + " " + text(stat));
        say("getChildren missing", () -> zk.getChildren("/none", false));
        say("getACL", () -> text(zk.getACL("/a", stat)) + " " + text(stat));
        say("getACL missing", () -> zk.getACL("/none", stat));
        say("getAllChildrenNumber", () -> zk.getAllChildrenNumber("/a"));
        say("getAllChildrenNumber root", () -> zk.getAllChildrenNumber("/"));
        say("getAllChildrenNumber missing", () -> zk.getAllChildrenNumber("/none"));
        say("getEphemerals", () -> zk.getEphemerals());
        say("getEphemerals prefix", () -> zk.getEphemerals("/a/es"));
        say("getConfig", () -> zk.getConfig(false, stat) != null);
        say("whoAmI", () -> zk.whoAmI());
    }

    private static void writes(ZooKeeper zk) throws Exception {
        part("write");
        say("setData", () -> zk.setData("/a", bytes("new"), -1));
        say("setData version", () -> zk.setData("/a", bytes("newer"), 1));
        say("setData bad version", () -> zk.setData("/a", bytes("x"), 1));
        say("setData missing", () -> zk.setData("/none", bytes("x"), -1));
        say("setData null", () -> zk.setData("/b", null, -1));
        say("delete with children", () -> delete(zk, "/a", -1));
        say("delete bad version", () -> delete(zk, "/b", 7));
        say("delete", () -> delete(zk, "/b", 1));
        say("delete missing", () -> delete(zk, "/b", -1));
        say("delete special", () -> delete(zk, "/zookeeper", -1));
        say("delete large", () -> delete(zk, "/large", 0));
    }

    private static Object delete(ZooKeeper zk, String path, int version) throws Exception {
        zk.delete(path, version);
        return "deleted";
    }

    private static void access(ZooKeeper zk, ZooKeeper other) throws Exception {
        part("access");
        List<ACL> own = Arrays.asList(new ACL(Perms.ALL, new Id("auth", "")));
        say("auth scheme, nobody", () -> zk.create("/acl", null, own, CreateMode.PERSISTENT));
        zk.addAuthInfo("digest", bytes("alice:secret"));
        say("auth scheme", () -> zk.create("/acl", bytes("x"), own, CreateMode.PERSISTENT));
        say("whoAmI", () -> zk.whoAmI());
        say("getACL", () -> zk.getACL("/acl", new Stat()));
        syncTo(other);
        say("other getData", () -> other.getData("/acl", false, null));
        say("other getChildren", () -> other.getChildren("/acl", false));
        say("other exists", () -> other.exists("/acl", false));
        say("other setData", () -> other.setData("/acl", null, -1));
        say("other create", () -> create(other, "/acl/x", "", CreateMode.PERSISTENT));
        say("other delete", () -> delete(other, "/acl/x", -1));
        say("other getACL", () -> other.getACL("/acl", new Stat()));
        say("setACL bad version", () -> zk.setACL("/acl", OPEN_ACL_UNSAFE, 5));
        List<ACL> shared = new ArrayList<>(List.of(new ACL(Perms.READ, new Id("world", "anyone"))));
        shared.addAll(zk.getACL("/acl", new Stat()));
        say("setACL", () -> zk.setACL("/acl", shared, 0));
        syncTo(other);
        say("other getData", () -> other.getData("/acl", false, null));
        say("other getACL is masked", () -> other.getACL("/acl", new Stat()));
        say("delete", () -> delete(zk, "/acl", -1));
    }

    private static void multis(ZooKeeper zk) throws Exception {
        part("multi");
        say("success", () -> zk.multi(List.of(
            Op.create("/m", bytes("0"), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
            Op.create("/m/e", bytes(""), OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL),
            Op.create("/m/s-", bytes(""), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL),
            Op.create("/m/c", bytes(""), OPEN_ACL_UNSAFE, CreateMode.CONTAINER),
            Op.check("/m", 0),
            Op.setData("/m", bytes("1"), 0),
            Op.delete("/m/e", -1))));
        say("second fails", () -> zk.multi(List.of(
            Op.create("/m/x", bytes(""), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
            Op.check("/m", 9),
            Op.delete("/m", -1))));
        say("nothing is left of it", () -> zk.exists("/m/x", false));
        say("TTL", () -> zk.multi(List.of(
            Op.create("/m/t", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, 60000))));
        say("bad path", () -> zk.multi(List.of(Op.delete("m", -1))));
        say("empty", () -> zk.multi(List.of()));
        say("reads", () -> zk.multi(List.of(
            Op.getData("/m"), Op.getChildren("/m"), Op.getData("/none"), Op.getData("/null"))));
        say("reads and writes", () -> zk.multi(List.of(Op.getData("/m"), Op.delete("/m", -1))));
        say("transaction", () -> {
            Transaction t = zk.transaction();
            t.create("/m/t", bytes(""), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            t.setData("/m/t", bytes("x"), 0);
            t.check("/m/t", 1);
            t.delete("/m/t", 1);
            return t.commit();
        });
        say("async", () -> {
            BlockingQueue<String> done = new LinkedBlockingQueue<>();
            zk.multi(List.of(Op.setData("/m", bytes("2"), 7)),
                (rc, path, ctx, results) -> done.add(KeeperException.Code.get(rc) + " " + text(results)), null);
            return done.poll(WAIT_S, TimeUnit.SECONDS);
        });
    }

    private static void watches(Client one, Client two) throws Exception {
        part("watches that fire once");
        ZooKeeper zk = one.zk;
        ZooKeeper other = two.zk;
        say("exists missing", () -> zk.exists("/w", true));
        create(other, "/w", "", CreateMode.PERSISTENT);
        one.printEvents(1);
        say("getData", () -> zk.getData("/w", true, null));
        other.setData("/w", bytes("x"), -1);
        one.printEvents(1);
        other.setData("/w", bytes("unseen"), -1);
        say("getChildren", () -> zk.getChildren("/w", true));
        create(other, "/w/x", "", CreateMode.PERSISTENT);
        one.printEvents(1);
        say("both", () -> text(zk.getData("/w/x", true, null)) + text(zk.getChildren("/w/x", true)));
        other.delete("/w/x", -1);
        one.printEvents(1);
        say("own change", () -> zk.exists("/w", true));
        zk.multi(List.of(Op.setData("/w", bytes("a"), -1), Op.setData("/w", bytes("b"), -1), Op.delete("/w", -1)));
        one.printEvents(1);
        say("reattached watch", () -> zk.exists("/w", true));
        one.dropConnection();
        create(other, "/w", "", CreateMode.PERSISTENT);
        one.printEvents(1);
        other.delete("/w", -1);
        say("quiet", () -> one.events.isEmpty());
    }

    private static void persistentWatches(Client one, Client two) throws Exception {
        part("persistent watches");
        ZooKeeper zk = one.zk;
        ZooKeeper other = two.zk;
        create(zk, "/p", "", CreateMode.PERSISTENT);
        create(zk, "/r", "", CreateMode.PERSISTENT);
        Watcher listener = one.watcher;
        zk.addWatch("/p", listener, AddWatchMode.PERSISTENT);
        zk.addWatch("/r", listener, AddWatchMode.PERSISTENT_RECURSIVE);
        syncTo(other);
        for (String path : List.of("/p", "/r")) {
            other.setData(path, bytes("x"), -1);
            one.printEvents(1);
            create(other, path + "/x", "", CreateMode.PERSISTENT);
            one.printEvents(1);
        }
        create(other, "/r/x/y", "", CreateMode.PERSISTENT);
        one.printEvents(1);
        other.multi(List.of(Op.delete("/r/x/y", -1), Op.delete("/p/x", -1), Op.setData("/r", bytes("y"), -1)));
        one.printEvents(3);
        one.dropConnection();
        other.setData("/r/x", bytes("after"), -1);
        one.printEvents(1);
        part("removeWatches");
        say("wrong kind", () -> remove(() -> zk.removeWatches("/p", listener, Watcher.WatcherType.Data, false)));
        say("persistent", () -> remove(() -> zk.removeWatches("/p", listener, Watcher.WatcherType.Persistent, false)));
        one.printEvents(1);
        say("recursive", () -> remove(() -> zk.removeAllWatches("/r", Watcher.WatcherType.PersistentRecursive, false)));
        one.printEvents(1);
        say("again", () -> remove(() -> zk.removeAllWatches("/r", Watcher.WatcherType.Any, false)));
        say("exists", () -> zk.exists("/p", listener));
        say("data", () -> remove(() -> zk.removeWatches("/p", listener, Watcher.WatcherType.Data, false)));
        one.printEvents(1);
        say("getChildren", () -> zk.getChildren("/p", listener));
        say("children", () -> remove(() -> zk.removeWatches("/p", listener, Watcher.WatcherType.Children, false)));
        one.printEvents(1);
        other.setData("/p", bytes("unseen"), -1);
        other.delete("/r/x", -1);
        syncTo(zk);
        say("quiet", () -> one.events.isEmpty());
    }

    private interface Removal {
        void run() throws Exception;
    }

    private static Object remove(Removal removal) throws Exception {
        removal.run();
        return "removed";
    }

    private static void asyncBursts(ZooKeeper zk) throws Exception {
        part("bursts");
        final int n = 1000;
        create(zk, "/burst", "", CreateMode.PERSISTENT);
        AtomicInteger inOrder = new AtomicInteger();
        CountDownLatch created = new CountDownLatch(n);
        for (int i = 0; i < n; i++) {
            zk.create("/burst/n-", bytes("" + i), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL, (rc, path, ctx, name) -> {
                if (rc == 0 && name.equals(String.format("/burst/n-%010d", (Integer) ctx))
                        && inOrder.compareAndSet((Integer) ctx, (Integer) ctx + 1)) {
                    created.countDown();
                }
            }, i);
        }
        await(created, "every create in order");
        say("creates in order", inOrder::get);
        CountDownLatch mixed = new CountDownLatch(2 * 200);
        AtomicInteger stale = new AtomicInteger();
        for (int i = 0; i < 200; i++) {
            String data = "v" + i;
            zk.setData("/burst", bytes(data), i, (rc, path, ctx, stat) -> mixed.countDown(), null);
            zk.getData("/burst", false, (rc, path, ctx, got, stat) -> {
                if (rc != 0 || !new String(got, UTF_8).equals(data)) {
                    stale.incrementAndGet();
                }
                mixed.countDown();
            }, null);
        }
        await(mixed, "every set and get");
        say("reads that missed an own write", stale::get);
        say("children", () -> zk.getChildren("/burst", false).size());
        CountDownLatch deleted = new CountDownLatch(n);
        for (int i = 0; i < n; i++) {
            zk.delete(String.format("/burst/n-%010d", i), 0, (rc, path, ctx) -> {
                if (rc == 0) {
                    deleted.countDown();
                }
            }, null);
        }
        await(deleted, "every delete");
        say("at the end", () -> zk.exists("/burst", false));
    }

    private static void reconfig() throws Exception {
        part("reconfig");
        CountDownLatch connected = new CountDownLatch(1);
        try (ZooKeeperAdmin admin = new ZooKeeperAdmin(address, 20000, event -> connected.countDown(), new ZKClientConfig())) {
            await(connected, "connection");
            say("disabled", () -> admin.reconfigure("", "3", "", -1, new Stat()));
        }
    }

    /** Sessions: taking one over, closing one, and coming back to a closed one. */
    private static void reattach() throws Exception {
        part("sessions");
        Client first = new Client();
        create(first.zk, "/mine", "", CreateMode.EPHEMERAL);
        first.zk.vanish();
        Client second = new Client(first.zk);
        say("same session", () -> second.zk.getSessionId() == first.zk.getSessionId());
        say("its ephemerals", () -> second.zk.getEphemerals());
        say("owner", () -> second.zk.exists("/mine", false).getEphemeralOwner() == second.zk.getSessionId());
        try (Client other = new Client()) {
            syncTo(other.zk);
            say("seen by another", () -> other.zk.exists("/mine", true));
            second.close();
            other.printEvents(1);
            say("after close", () -> other.zk.exists("/mine", false));
        }
        CountDownLatch expired = new CountDownLatch(1);
        ZooKeeper late = new ZooKeeper(address, 20000, event -> {
            if (event.getState() == Watcher.Event.KeeperState.Expired) {
                expired.countDown();
            }
        }, second.zk.getSessionId(), second.zk.getSessionPasswd());
        await(expired, "Expired");
        say("closed session", () -> late.exists("/", false));
        late.close();
    }

    private static void syncTo(ZooKeeper zk) throws Exception {
        CountDownLatch synced = new CountDownLatch(1);
        zk.sync("/", (rc, path, ctx) -> synced.countDown(), null);
        await(synced, "sync");
    }
}
