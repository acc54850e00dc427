import static java.nio.charset.StandardCharsets.UTF_8;
import static org.apache.zookeeper.ZooDefs.Ids.CREATOR_ALL_ACL;
import static org.apache.zookeeper.ZooDefs.Ids.OPEN_ACL_UNSAFE;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;

/** Calls all operations that every version of the client has, below a new node, and checks the answers. */
final class Operations {
    private final String hosts;
    private final String base;

    private Operations(String hosts, String base) {
        this.hosts = hosts;
        this.base = base;
    }

    /** Runs them, and the given parts. */
    static void run(String hosts, String base, List<Part> parts) throws Exception {
        Operations operations = new Operations(hosts, base);
        try (Client one = new Client(hosts); Client two = new Client(hosts)) {
            one.create(base, "", CreateMode.PERSISTENT);
            operations.nodes(one.zk);
            operations.access(one.zk, two);
            operations.multis(one.zk);
            operations.watches(one, two);
            operations.bursts(one.zk);
            two.sync();
            for (Part part : parts) {
                part.run(one, two, base);
            }
            Check.want("session timeout", one.zk.getSessionTimeout(), Client.SESSION_TIMEOUT_MS);
            Check.want("connections", Arrays.asList(one.connections.get(), two.connections.get()), Arrays.asList(1, 1));
        }
        operations.sessions();
    }

    private static byte[] bytes(String s) {
        return s.getBytes(UTF_8);
    }

    private static String create(ZooKeeper zk, String path, CreateMode mode) throws Exception {
        return zk.create(path, bytes("one"), OPEN_ACL_UNSAFE, mode);
    }

    private static Object delete(ZooKeeper zk, String path, int version) throws Exception {
        zk.delete(path, version);
        return "deleted";
    }

    private static List<String> sorted(List<String> names) {
        List<String> copy = new ArrayList<>(names);
        Collections.sort(copy);
        return copy;
    }

    private void nodes(ZooKeeper zk) throws Exception {
        Check.want("persistent", create(zk, base + "/a", CreateMode.PERSISTENT), base + "/a");
        Check.want("ephemeral", create(zk, base + "/a/e", CreateMode.EPHEMERAL), base + "/a/e");
        Check.want("sequential", create(zk, base + "/a/s-", CreateMode.PERSISTENT_SEQUENTIAL), base + "/a/s-0000000001");
        Check.want("both", create(zk, base + "/a/es-", CreateMode.EPHEMERAL_SEQUENTIAL), base + "/a/es-0000000002");
        Check.want("null data", zk.create(base + "/null", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT), base + "/null");
        Check.want("large", zk.create(base + "/large", new byte[1_000_000], OPEN_ACL_UNSAFE, CreateMode.PERSISTENT), base + "/large");
        Check.wantRefusal("create what exists", Code.NODEEXISTS, () -> create(zk, base + "/a", CreateMode.PERSISTENT));
        Check.wantRefusal("create without parent", Code.NONODE, () -> create(zk, base + "/x/y", CreateMode.PERSISTENT));
        Check.wantRefusal("create below ephemeral", Code.NOCHILDRENFOREPHEMERALS, () -> create(zk, base + "/a/e/x", CreateMode.PERSISTENT));

        Stat stat = new Stat();
        Check.want("getData", new String(zk.getData(base + "/a", false, stat), UTF_8), "one");
        Check.want("its stat", stat, zk.exists(base + "/a", false));
        Check.want("its children", Arrays.asList(stat.getNumChildren(), stat.getCversion()), Arrays.asList(3, 3));
        Check.want("its zxids", stat.getCzxid() > 0 && stat.getMzxid() == stat.getCzxid() && stat.getPzxid() > stat.getCzxid(), true);
        Check.want("owner", zk.exists(base + "/a/e", false).getEphemeralOwner(), zk.getSessionId());
        Check.want("exists, missing", String.valueOf(zk.exists(base + "/none", false)), "null");
        Check.want("getData, null", zk.getData(base + "/null", false, null) == null, true);
        Check.want("getData, large", zk.getData(base + "/large", false, null).length, 1_000_000);
        List<String> names = Arrays.asList("e", "es-0000000002", "s-0000000001");
        Check.want("getChildren", sorted(zk.getChildren(base + "/a", false)), names);
        Check.want("getChildren with stat", sorted(zk.getChildren(base + "/a", false, stat)), names);
        Check.want("its stat", stat, zk.exists(base + "/a", false));
        Check.wantRefusal("getData, missing", Code.NONODE, () -> zk.getData(base + "/none", false, null));
        Check.wantRefusal("getChildren, missing", Code.NONODE, () -> zk.getChildren(base + "/none", false));

        Check.want("setData", zk.setData(base + "/a", bytes("new"), -1).getVersion(), 1);
        Check.want("setData with version", zk.setData(base + "/a", bytes("newer"), 1).getDataLength(), 5);
        Check.wantRefusal("setData, bad version", Code.BADVERSION, () -> zk.setData(base + "/a", null, 1));
        Check.wantRefusal("setData, missing", Code.NONODE, () -> zk.setData(base + "/none", null, -1));
        Check.wantRefusal("delete with children", Code.NOTEMPTY, () -> delete(zk, base + "/a", -1));
        Check.wantRefusal("delete, bad version", Code.BADVERSION, () -> delete(zk, base + "/null", 7));
        Check.wantRefusal("delete, special", Code.BADARGUMENTS, () -> delete(zk, "/zookeeper", -1));
        delete(zk, base + "/null", 0);
        delete(zk, base + "/large", -1);
        Check.wantRefusal("delete, missing", Code.NONODE, () -> delete(zk, base + "/null", -1));
    }

    private void access(ZooKeeper zk, Client second) throws Exception {
        ZooKeeper other = second.zk;
        Check.wantRefusal("ACL of nobody", Code.INVALIDACL, () -> zk.create(base + "/acl", null, CREATOR_ALL_ACL, CreateMode.PERSISTENT));
        zk.addAuthInfo("digest", bytes("alice:secret"));
        zk.create(base + "/acl", bytes("x"), CREATOR_ALL_ACL, CreateMode.PERSISTENT);
        Stat stat = new Stat();
        List<ACL> acl = zk.getACL(base + "/acl", stat);
        String id = "alice:aYXlLOpEooaV1cRAvUL1fp9Qt7E=";
        Check.want("getACL", acl, Arrays.asList(new ACL(Perms.ALL, new Id("digest", id))));
        second.sync();
        Check.wantRefusal("getData of another", Code.NOAUTH, () -> other.getData(base + "/acl", false, null));
        Check.wantRefusal("setData of another", Code.NOAUTH, () -> other.setData(base + "/acl", null, -1));
        Check.wantRefusal("create of another", Code.NOAUTH, () -> create(other, base + "/acl/x", CreateMode.PERSISTENT));
        Check.wantRefusal("setACL, bad version", Code.BADVERSION, () -> zk.setACL(base + "/acl", OPEN_ACL_UNSAFE, 5));
        List<ACL> shared = Arrays.asList(new ACL(Perms.READ, new Id("world", "anyone")), acl.get(0));
        Check.want("setACL", zk.setACL(base + "/acl", shared, 0).getAversion(), 1);
        second.sync();
        Check.want("getData of another", new String(other.getData(base + "/acl", false, null), UTF_8), "x");
        try (Client alice = new Client(hosts)) {
            alice.zk.addAuthInfo("digest", bytes("alice:secret"));
            alice.sync();
            Check.want("setData of the same user", alice.zk.setData(base + "/acl", null, 0).getVersion(), 1);
        }
    }

    private void multis(ZooKeeper zk) throws Exception {
        List<OpResult> results = zk.multi(Arrays.asList(
            Op.create(base + "/m", bytes("0"), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
            Op.create(base + "/m/s-", bytes(""), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL),
            Op.create(base + "/m/e", bytes(""), OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL),
            Op.check(base + "/m", 0),
            Op.setData(base + "/m", bytes("1"), 0),
            Op.delete(base + "/m/e", -1)));
        Check.want("results", results.size(), 6);
        Check.want("sequential in a multi", ((OpResult.CreateResult) results.get(1)).getPath(), base + "/m/s-0000000000");
        Check.want("set in a multi", ((OpResult.SetDataResult) results.get(4)).getStat().getVersion(), 1);
        List<Op> failing = Arrays.asList(
            Op.create(base + "/m/x", bytes(""), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
            Op.check(base + "/m", 9),
            Op.delete(base + "/m", -1));
        try {
            zk.multi(failing);
            Check.want("a multi that fails", "it did not", "failure");
        } catch (KeeperException.BadVersionException e) {
            List<Integer> codes = new ArrayList<>();
            for (OpResult result : e.getResults()) {
                codes.add(((OpResult.ErrorResult) result).getErr());
            }
            Check.want("its codes", codes, Arrays.asList(0, Code.BADVERSION.intValue(), Code.RUNTIMEINCONSISTENCY.intValue()));
        }
        Check.want("what is left of it", String.valueOf(zk.exists(base + "/m/x", false)), "null");
        results = zk.transaction().create(base + "/m/t", bytes(""), OPEN_ACL_UNSAFE, CreateMode.PERSISTENT)
            .setData(base + "/m/t", bytes("x"), 0).check(base + "/m/t", 1).delete(base + "/m/t", 1).commit();
        Check.want("results of a transaction", results.size(), 4);
    }

    private void watches(Client one, Client two) throws Exception {
        ZooKeeper zk = one.zk;
        ZooKeeper other = two.zk;
        String node = base + "/w";
        zk.exists(node, true);
        create(other, node, CreateMode.PERSISTENT);
        Check.want("exists, created", one.nextEvent(), "NodeCreated " + node);
        zk.exists(node, one.watcher);
        other.setData(node, null, -1);
        Check.want("exists, changed", one.nextEvent(), "NodeDataChanged " + node);
        zk.getChildren(node, one.watcher);
        create(other, node + "/x", CreateMode.PERSISTENT);
        Check.want("getChildren, created", one.nextEvent(), "NodeChildrenChanged " + node);
        zk.getData(node + "/x", true, null);
        zk.getChildren(node + "/x", true);
        zk.getChildren(node, true);
        other.delete(node + "/x", -1);
        Check.want("both, deleted", one.nextEvent(), "NodeDeleted " + node + "/x");
        Check.want("parent of it", one.nextEvent(), "NodeChildrenChanged " + node);
        zk.exists(node, true);
        zk.multi(Arrays.asList(Op.setData(node, null, -1), Op.setData(node, null, -1), Op.delete(node, -1)));
        Check.want("own multi", one.nextEvent(), "NodeDataChanged " + node);
        create(other, node, CreateMode.PERSISTENT);
        one.sync();
        Check.want("events of watches that have fired", one.events.size(), 0);
    }

    private void bursts(ZooKeeper zk) throws Exception {
        final int n = 200;
        create(zk, base + "/burst", CreateMode.PERSISTENT);
        AtomicInteger inOrder = new AtomicInteger();
        AtomicInteger stale = new AtomicInteger();
        CountDownLatch answered = new CountDownLatch(3 * n);
        for (int i = 0; i < n; i++) {
            String data = "v" + i;
            zk.create(base + "/burst/n-", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL, (rc, path, ctx, name) -> {
                if (rc == 0 && name.equals(String.format("%s/burst/n-%010d", base, (Integer) ctx))) {
                    inOrder.compareAndSet((Integer) ctx, (Integer) ctx + 1);
                }
                answered.countDown();
            }, i);
            zk.setData(base + "/burst", bytes(data), i, (rc, path, ctx, stat) -> answered.countDown(), null);
            zk.getData(base + "/burst", false, (rc, path, ctx, got, stat) -> {
                if (rc != 0 || !new String(got, UTF_8).equals(data)) {
                    stale.incrementAndGet();
                }
                answered.countDown();
            }, null);
        }
        Client.await(answered, "every answer");
        Check.want("creates in order", inOrder.get(), n);
        Check.want("reads that missed an own write", stale.get(), 0);
        Check.want("children", zk.getChildren(base + "/burst", false).size(), n);
    }

    /** Taking a session over, closing it, coming back to it, and a client below a node. */
    private void sessions() throws Exception {
        Client first = new Client(hosts);
        first.create(base + "/mine", "", CreateMode.EPHEMERAL);
        first.zk.vanish();
        Client second = new Client(hosts, first.zk);
        second.sync();
        Check.want("its session", second.zk.getSessionId(), first.zk.getSessionId());
        Check.want("its ephemeral", second.zk.exists(base + "/mine", false).getEphemeralOwner(), second.zk.getSessionId());
        try (Client below = new Client(hosts + base)) {
            below.sync();
            below.zk.exists("/mine", true);
            second.close();
            Check.want("its ephemeral goes with it", below.nextEvent(), "NodeDeleted /mine");
            Check.want("create below a node", below.create("/rooted", "", CreateMode.PERSISTENT), "/rooted");
        }
        CountDownLatch expired = new CountDownLatch(1);
        ZooKeeper late = new ZooKeeper(hosts, Client.SESSION_TIMEOUT_MS, event -> {
            if (event.getState() == Watcher.Event.KeeperState.Expired) {
                expired.countDown();
            }
        }, second.zk.getSessionId(), second.zk.getSessionPasswd());
        Client.await(expired, "Expired");
        Check.wantRefusal("a closed session", Code.SESSIONEXPIRED, () -> late.exists("/", false));
        late.close();
    }
}
