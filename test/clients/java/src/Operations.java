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
import org.apache.zookeeper.StatsTrack;
import org.apache.zookeeper.Transaction;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.cli.DelQuotaCommand;
import org.apache.zookeeper.cli.SetQuotaCommand;
import org.apache.zookeeper.client.ZKClientConfig;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.ClientInfo;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;

/**
 * Calls every operation of ZooKeeper's Java client once or more, below a new
 * node, and writes down what comes back, without times, session ids, zxids and
 * that node's name, so that the lines of two correct servers are equal.
 */
final class Operations {
    private final String hosts;
    private final String base;
    private final StringBuilder lines = new StringBuilder();

    /** base is the node; its length shows in an error message. */
    Operations(String hosts, String base) {
        this.hosts = hosts;
        this.base = base;
    }

    /** The lines so far. */
    @Override
    public String toString() {
        return lines.toString();
    }

    void run() throws Exception {
        try (Client one = new Client(hosts); Client two = new Client(hosts)) {
            one.create(base, CreateMode.PERSISTENT);
            creates(one.zk);
            reads(one.zk);
            writes(one.zk);
            access(one.zk, two);
            multis(one.zk);
            quotas(one.zk);
            watches(one, two);
            persistentWatches(one, two);
            asyncBursts(one.zk);
            reconfig();
            chroot();
            part("connections");
            say("two that were cut", () -> one.connections.get());
            say("none that was", () -> two.connections.get());
        }
        reattach();
        print("# end");
    }

    /** A call that may be refused; what it returns is printed. */
    private interface Call {
        Object run() throws Exception;
    }

    private void print(String line) {
        lines.append(line.replace(base, "")).append('\n');
    }

    /** Prints the next n events. */
    private void printEvents(Client client, int n) throws Exception {
        for (int i = 0; i < n; i++) {
            print("  event " + client.nextEvent());
        }
    }

    private void part(String title) {
        print("# " + title);
    }

    /** Runs call and prints its answer or its refusal. */
    private void say(String name, Call call) throws Exception {
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

    private void creates(ZooKeeper zk) throws Exception {
        part("create");
        say("root", () -> zk.getChildren(base, false));
        say("persistent", () -> create(zk, base + "/a", "one", CreateMode.PERSISTENT));
        say("ephemeral", () -> create(zk, base + "/a/e", "two", CreateMode.EPHEMERAL));
        say("sequential", () -> create(zk, base + "/a/s-", "", CreateMode.PERSISTENT_SEQUENTIAL));
        say("ephemeral sequential", () -> create(zk, base + "/a/es-", "", CreateMode.EPHEMERAL_SEQUENTIAL));
        say("container", () -> create(zk, base + "/c", "", CreateMode.CONTAINER));
        say("null data", () -> zk.create(base + "/null", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
        say("with stat", () -> {
            Stat stat = new Stat();
            return zk.create(base + "/b", bytes("three"), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, stat) + " " + text(stat);
        });
        say("container with stat", () -> {
            Stat stat = new Stat();
            return zk.create(base + "/c2", bytes(""), OPEN_ACL_UNSAFE, CreateMode.CONTAINER, stat) + " " + text(stat);
        });
        say("TTL", () -> zk.create(base + "/t", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, new Stat(), 60000));
        say("sequential TTL", () -> {
            Stat stat = new Stat();
            return zk.create(base + "/ts-", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, stat, 60000) + " " + text(stat);
        });
        say("TTL out of range", () -> zk.create(base + "/t", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, new Stat(), -1));
        say("exists", () -> create(zk, base + "/a", "", CreateMode.PERSISTENT));
        say("no parent", () -> create(zk, base + "/x/y", "", CreateMode.PERSISTENT));
        say("below ephemeral", () -> create(zk, base + "/a/e/x", "", CreateMode.PERSISTENT));
        say("bad path", () -> create(zk, base + "/a//x", "", CreateMode.PERSISTENT));
        say("bad ACL", () -> zk.create(base + "/x", null, Arrays.asList(new ACL(31, new Id("nosuch", "x"))), CreateMode.PERSISTENT));
        say("no ACL", () -> zk.create(base + "/x", null, new ArrayList<>(), CreateMode.PERSISTENT));
        say("large", () -> zk.create(base + "/large", new byte[1_000_000], OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
    }

    private void reads(ZooKeeper zk) throws Exception {
        part("read");
        Stat stat = new Stat();
        say("exists", () -> zk.exists(base + "/a", false));
        say("exists ephemeral", () -> zk.exists(base + "/a/e", false));
        say("exists missing", () -> zk.exists(base + "/none", false));
        say("getData", () -> text(zk.getData(base + "/a", false, stat)) + " " + text(stat));
        say("getData null", () -> zk.getData(base + "/null", false, stat));
        say("getData large", () -> zk.getData(base + "/large", false, null));
        say("getData missing", () -> zk.getData(base + "/none", false, null));
        say("getChildren", () -> zk.getChildren(base + "/a", false));
        say("getChildren with stat", () -> text(zk.getChildren(base + "/a", false, stat)) + " " + text(stat));
        say("getChildren missing", () -> zk.getChildren(base + "/none", false));
        say("getACL", () -> text(zk.getACL(base + "/a", stat)) + " " + text(stat));
        say("getACL missing", () -> zk.getACL(base + "/none", stat));
        say("getAllChildrenNumber", () -> zk.getAllChildrenNumber(base + "/a"));
        say("getAllChildrenNumber root", () -> zk.getAllChildrenNumber(base));
        say("getAllChildrenNumber missing", () -> zk.getAllChildrenNumber(base + "/none"));
        say("getEphemerals", () -> zk.getEphemerals());
        say("getEphemerals prefix", () -> zk.getEphemerals(base + "/a/es"));
        say("getConfig", () -> zk.getConfig(false, stat) != null);
        say("whoAmI", () -> zk.whoAmI());
    }

    private void writes(ZooKeeper zk) throws Exception {
        part("write");
        say("setData", () -> zk.setData(base + "/a", bytes("new"), -1));
        say("setData version", () -> zk.setData(base + "/a", bytes("newer"), 1));
        say("setData bad version", () -> zk.setData(base + "/a", bytes("x"), 1));
        say("setData missing", () -> zk.setData(base + "/none", bytes("x"), -1));
        say("setData null", () -> zk.setData(base + "/b", null, -1));
        say("delete with children", () -> delete(zk, base + "/a", -1));
        say("delete bad version", () -> delete(zk, base + "/b", 7));
        say("delete", () -> delete(zk, base + "/b", 1));
        say("delete missing", () -> delete(zk, base + "/b", -1));
        say("delete special", () -> delete(zk, "/zookeeper", -1));
        say("delete large", () -> delete(zk, base + "/large", 0));
    }

    private static Object delete(ZooKeeper zk, String path, int version) throws Exception {
        zk.delete(path, version);
        return "deleted";
    }

    private void access(ZooKeeper zk, Client second) throws Exception {
        part("access");
        ZooKeeper other = second.zk;
        List<ACL> own = Arrays.asList(new ACL(Perms.ALL, new Id("auth", "")));
        say("auth scheme, nobody", () -> zk.create(base + "/acl", null, own, CreateMode.PERSISTENT));
        zk.addAuthInfo("digest", bytes("alice:secret"));
        say("auth scheme", () -> zk.create(base + "/acl", bytes("x"), own, CreateMode.PERSISTENT));
        say("whoAmI", () -> zk.whoAmI());
        say("getACL", () -> zk.getACL(base + "/acl", new Stat()));
        second.sync();
        say("other getData", () -> other.getData(base + "/acl", false, null));
        say("other getChildren", () -> other.getChildren(base + "/acl", false));
        say("other exists", () -> other.exists(base + "/acl", false));
        say("other setData", () -> other.setData(base + "/acl", null, -1));
        say("other create", () -> create(other, base + "/acl/x", "", CreateMode.PERSISTENT));
        say("other delete", () -> delete(other, base + "/acl/x", -1));
        say("other getACL", () -> other.getACL(base + "/acl", new Stat()));
        say("setACL bad version", () -> zk.setACL(base + "/acl", OPEN_ACL_UNSAFE, 5));
        List<ACL> shared = new ArrayList<>(List.of(new ACL(Perms.READ, new Id("world", "anyone"))));
        shared.addAll(zk.getACL(base + "/acl", new Stat()));
        say("setACL", () -> zk.setACL(base + "/acl", shared, 0));
        second.sync();
        say("other getData", () -> other.getData(base + "/acl", false, null));
        say("other getACL is masked", () -> other.getACL(base + "/acl", new Stat()));
        say("delete", () -> delete(zk, base + "/acl", -1));
    }

    private void multis(ZooKeeper zk) throws Exception {
        part("multi");
        say("success", () -> zk.multi(List.of(
            Op.create(base + "/m", bytes("0"), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
            Op.create(base + "/m/e", bytes(""), OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL),
            Op.create(base + "/m/s-", bytes(""), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL),
            Op.create(base + "/m/c", bytes(""), OPEN_ACL_UNSAFE, CreateMode.CONTAINER),
            Op.check(base + "/m", 0),
            Op.setData(base + "/m", bytes("1"), 0),
            Op.delete(base + "/m/e", -1))));
        say("second fails", () -> zk.multi(List.of(
            Op.create(base + "/m/x", bytes(""), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
            Op.check(base + "/m", 9),
            Op.delete(base + "/m", -1))));
        say("nothing is left of it", () -> zk.exists(base + "/m/x", false));
        say("TTL", () -> zk.multi(List.of(
            Op.create(base + "/m/t", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, 60000))));
        say("bad path", () -> zk.multi(List.of(Op.delete("m", -1))));
        say("empty", () -> zk.multi(List.of()));
        say("reads", () -> zk.multi(List.of(
            Op.getData(base + "/m"), Op.getChildren(base + "/m"), Op.getData(base + "/none"), Op.getData(base + "/null"))));
        say("reads and writes", () -> zk.multi(List.of(Op.getData(base + "/m"), Op.delete(base + "/m", -1))));
        say("transaction", () -> {
            Transaction t = zk.transaction();
            t.create(base + "/m/tr", bytes(""), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            t.setData(base + "/m/tr", bytes("x"), 0);
            t.check(base + "/m/tr", 1);
            t.delete(base + "/m/tr", 1);
            return t.commit();
        });
        say("async", () -> {
            BlockingQueue<String> done = new LinkedBlockingQueue<>();
            zk.multi(List.of(Op.setData(base + "/m", bytes("2"), 7)),
                (rc, path, ctx, results) -> done.add(KeeperException.Code.get(rc) + " " + text(results)), null);
            return done.poll(Client.WAIT_S, TimeUnit.SECONDS);
        });
    }

    /** Limits that the server enforces. */
    private void quotas(ZooKeeper zk) throws Exception {
        part("quotas");
        StatsTrack limits = new StatsTrack();
        limits.setByteHardLimit(10);
        limits.setCountHardLimit(2);
        create(zk, base + "/q", "", CreateMode.PERSISTENT);
        say("set", () -> SetQuotaCommand.createQuota(zk, base + "/q", limits));
        say("within", () -> create(zk, base + "/q/x", "12345", CreateMode.PERSISTENT));
        say("too many", () -> create(zk, base + "/q/y", "", CreateMode.PERSISTENT));
        say("too large", () -> zk.setData(base + "/q/x", bytes("12345678901"), -1));
        say("used", () -> zk.getData("/zookeeper/quota" + base + "/q/zookeeper_stats", false, null));
        say("remove", () -> DelQuotaCommand.delQuota(zk, base + "/q", limits));
        say("no limit", () -> zk.setData(base + "/q/x", bytes("12345678901"), -1));
    }

    private void watches(Client one, Client two) throws Exception {
        part("watches that fire once");
        ZooKeeper zk = one.zk;
        ZooKeeper other = two.zk;
        say("exists missing", () -> zk.exists(base + "/w", true));
        create(other, base + "/w", "", CreateMode.PERSISTENT);
        printEvents(one, 1);
        say("getData", () -> zk.getData(base + "/w", true, null));
        other.setData(base + "/w", bytes("x"), -1);
        printEvents(one, 1);
        other.setData(base + "/w", bytes("unseen"), -1);
        say("getChildren", () -> zk.getChildren(base + "/w", true));
        create(other, base + "/w/x", "", CreateMode.PERSISTENT);
        printEvents(one, 1);
        say("both", () -> text(zk.getData(base + "/w/x", true, null)) + text(zk.getChildren(base + "/w/x", true)));
        other.delete(base + "/w/x", -1);
        printEvents(one, 1);
        say("own change", () -> zk.exists(base + "/w", true));
        zk.multi(List.of(Op.setData(base + "/w", bytes("a"), -1), Op.setData(base + "/w", bytes("b"), -1), Op.delete(base + "/w", -1)));
        printEvents(one, 1);
        say("reattached watch", () -> zk.exists(base + "/w", true));
        one.dropConnection();
        create(other, base + "/w", "", CreateMode.PERSISTENT);
        printEvents(one, 1);
        other.delete(base + "/w", -1);
        say("quiet", () -> one.events.isEmpty());
    }

    private void persistentWatches(Client one, Client two) throws Exception {
        part("persistent watches");
        ZooKeeper zk = one.zk;
        ZooKeeper other = two.zk;
        create(zk, base + "/p", "", CreateMode.PERSISTENT);
        create(zk, base + "/r", "", CreateMode.PERSISTENT);
        Watcher listener = one.watcher;
        zk.addWatch(base + "/p", listener, AddWatchMode.PERSISTENT);
        zk.addWatch(base + "/r", listener, AddWatchMode.PERSISTENT_RECURSIVE);
        two.sync();
        for (String path : List.of(base + "/p", base + "/r")) {
            other.setData(path, bytes("x"), -1);
            printEvents(one, 1);
            create(other, path + "/x", "", CreateMode.PERSISTENT);
            printEvents(one, 1);
        }
        create(other, base + "/r/x/y", "", CreateMode.PERSISTENT);
        printEvents(one, 1);
        other.multi(List.of(Op.delete(base + "/r/x/y", -1), Op.delete(base + "/p/x", -1), Op.setData(base + "/r", bytes("y"), -1)));
        printEvents(one, 3);
        one.dropConnection();
        other.setData(base + "/r/x", bytes("after"), -1);
        printEvents(one, 1);
        part("removeWatches");
        say("wrong kind", () -> remove(() -> zk.removeWatches(base + "/p", listener, Watcher.WatcherType.Data, false)));
        say("persistent", () -> remove(() -> zk.removeWatches(base + "/p", listener, Watcher.WatcherType.Persistent, false)));
        printEvents(one, 1);
        say("recursive", () -> remove(() -> zk.removeAllWatches(base + "/r", Watcher.WatcherType.PersistentRecursive, false)));
        printEvents(one, 1);
        say("again", () -> remove(() -> zk.removeAllWatches(base + "/r", Watcher.WatcherType.Any, false)));
        say("exists", () -> zk.exists(base + "/p", listener));
        say("data", () -> remove(() -> zk.removeWatches(base + "/p", listener, Watcher.WatcherType.Data, false)));
        printEvents(one, 1);
        say("getChildren", () -> zk.getChildren(base + "/p", listener));
        say("children", () -> remove(() -> zk.removeWatches(base + "/p", listener, Watcher.WatcherType.Children, false)));
        printEvents(one, 1);
        other.setData(base + "/p", bytes("unseen"), -1);
        other.delete(base + "/r/x", -1);
        one.sync();
        say("quiet", () -> one.events.isEmpty());
    }

    private interface Removal {
        void run() throws Exception;
    }

    private static Object remove(Removal removal) throws Exception {
        removal.run();
        return "removed";
    }

    private void asyncBursts(ZooKeeper zk) throws Exception {
        part("bursts");
        final int n = 1000;
        create(zk, base + "/burst", "", CreateMode.PERSISTENT);
        AtomicInteger inOrder = new AtomicInteger();
        CountDownLatch created = new CountDownLatch(n);
        for (int i = 0; i < n; i++) {
            zk.create(base + "/burst/n-", bytes("" + i), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL, (rc, path, ctx, name) -> {
                if (rc == 0 && name.equals(String.format(base + "/burst/n-%010d", (Integer) ctx))
                        && inOrder.compareAndSet((Integer) ctx, (Integer) ctx + 1)) {
                    created.countDown();
                }
            }, i);
        }
        Client.await(created, "every create in order");
        say("creates in order", inOrder::get);
        CountDownLatch mixed = new CountDownLatch(2 * 200);
        AtomicInteger stale = new AtomicInteger();
        for (int i = 0; i < 200; i++) {
            String data = "v" + i;
            zk.setData(base + "/burst", bytes(data), i, (rc, path, ctx, stat) -> mixed.countDown(), null);
            zk.getData(base + "/burst", false, (rc, path, ctx, got, stat) -> {
                if (rc != 0 || !new String(got, UTF_8).equals(data)) {
                    stale.incrementAndGet();
                }
                mixed.countDown();
            }, null);
        }
        Client.await(mixed, "every set and get");
        say("reads that missed an own write", stale::get);
        say("children", () -> zk.getChildren(base + "/burst", false).size());
        CountDownLatch deleted = new CountDownLatch(n);
        for (int i = 0; i < n; i++) {
            zk.delete(String.format(base + "/burst/n-%010d", i), 0, (rc, path, ctx) -> {
                if (rc == 0) {
                    deleted.countDown();
                }
            }, null);
        }
        Client.await(deleted, "every delete");
        say("at the end", () -> zk.exists(base + "/burst", false));
    }

    private void reconfig() throws Exception {
        part("reconfig");
        CountDownLatch connected = new CountDownLatch(1);
        String first = hosts.split(",")[0]; // it would shuffle them
        try (ZooKeeperAdmin admin = new ZooKeeperAdmin(first, Client.SESSION_TIMEOUT_MS, event -> connected.countDown(), new ZKClientConfig())) {
            Client.await(connected, "connection");
            say("disabled", () -> admin.reconfigure("", "3", "", -1, new Stat()));
        }
    }

    /** A client that sees nothing but what is below base. */
    private void chroot() throws Exception {
        part("chroot");
        CountDownLatch connected = new CountDownLatch(1);
        BlockingQueue<String> events = new LinkedBlockingQueue<>();
        try (ZooKeeper zk = new ZooKeeper(hosts + base, Client.SESSION_TIMEOUT_MS, event -> {
            connected.countDown();
            if (event.getType() != Watcher.Event.EventType.None) {
                events.add(event.getType() + " " + event.getPath());
            }
        }, false, new Client.InOrder(hosts))) {
            Client.await(connected, "connection");
            say("watch", () -> zk.exists("/rooted", true));
            say("create", () -> create(zk, "/rooted", "x", CreateMode.PERSISTENT));
            say("event", () -> events.poll(Client.WAIT_S, TimeUnit.SECONDS));
            say("getData", () -> zk.getData("/rooted", false, null));
            say("create again", () -> create(zk, "/rooted", "x", CreateMode.PERSISTENT));
            zk.sync("/rooted");
        }
    }

    /** Sessions: taking one over, closing one, and coming back to a closed one. */
    private void reattach() throws Exception {
        part("sessions");
        Client first = new Client(hosts);
        create(first.zk, base + "/mine", "", CreateMode.EPHEMERAL);
        first.zk.vanish();
        Client second = new Client(hosts, first.zk);
        say("same session", () -> second.zk.getSessionId() == first.zk.getSessionId());
        say("its ephemerals", () -> second.zk.getEphemerals());
        say("owner", () -> second.zk.exists(base + "/mine", false).getEphemeralOwner() == second.zk.getSessionId());
        try (Client other = new Client(hosts)) {
            other.sync();
            say("seen by another", () -> other.zk.exists(base + "/mine", true));
            second.close();
            printEvents(other, 1);
            say("after close", () -> other.zk.exists(base + "/mine", false));
        }
        CountDownLatch expired = new CountDownLatch(1);
        ZooKeeper late = new ZooKeeper(hosts, Client.SESSION_TIMEOUT_MS, event -> {
            if (event.getState() == Watcher.Event.KeeperState.Expired) {
                expired.countDown();
            }
        }, second.zk.getSessionId(), second.zk.getSessionPasswd());
        Client.await(expired, "Expired");
        say("closed session", () -> late.exists("/", false));
        late.close();
    }
}
