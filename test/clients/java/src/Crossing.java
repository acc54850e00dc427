import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.data.Stat;

/**
 * All operations of ZooKeeper's Java client.
 *
 * <pre>
 * Crossing operations HOSTS
 * Crossing crossing SURVIVORS VICTIM-FIRST EXPECTED
 * </pre>
 *
 * <p>The first form prints what they answered. The second lives through the death
 * of a server, see ../../crossing_test.go: SURVIVORS are the hosts with those
 * first that stay, VICTIM-FIRST the same with that first which is about to die,
 * EXPECTED a file with what the first form must print. Exits with 0 if every
 * check held.
 */
public final class Crossing {
    private static final AtomicBoolean failed = new AtomicBoolean();

    private final Client helper; // at a server that stays
    private final Client orphan; // at the one that dies
    private final long session;
    private volatile boolean over;
    private int version; // of /orphan/counter
    private int lost; // answers that the orphan did not get
    private double away; // seconds from its loss to its next connection

    private Crossing(String survivors, String victimFirst) throws Exception {
        helper = new Client(survivors);
        orphan = new Client(victimFirst);
        session = orphan.zk.getSessionId();
    }

    private static void want(String what, Object got, Object wanted) {
        if (!got.equals(wanted)) {
            failed.set(true);
            System.out.println("failed " + what + ": got " + got + ", want " + wanted);
        }
    }

    private void setUp() throws Exception {
        helper.create("/orphan", CreateMode.PERSISTENT);
        helper.create("/orphan/counter", CreateMode.PERSISTENT);
        for (String name : List.of("d1", "g1", "c1", "d2", "g2", "c2")) {
            helper.create("/orphan/" + name, CreateMode.PERSISTENT);
        }
        orphan.sync();
        for (int i = 1; i <= 2; i++) {
            orphan.zk.getData("/orphan/d" + i, orphan.watcher, null);
            orphan.zk.exists("/orphan/g" + i, orphan.watcher);
            orphan.zk.getChildren("/orphan/c" + i, orphan.watcher);
            orphan.zk.exists("/orphan/x" + i, orphan.watcher);
        }
        orphan.create("/orphan/e", CreateMode.EPHEMERAL);
        want("sequential ephemeral", orphan.create("/orphan/es-", CreateMode.EPHEMERAL_SEQUENTIAL), "/orphan/es-0000000008");
        orphan.create("/orphan/p", CreateMode.PERSISTENT);
        orphan.create("/orphan/r", CreateMode.PERSISTENT);
        orphan.zk.addWatch("/orphan/p", orphan.watcher, AddWatchMode.PERSISTENT);
        orphan.zk.addWatch("/orphan/r", orphan.watcher, AddWatchMode.PERSISTENT_RECURSIVE);
        orphan.zk.addAuthInfo("digest", "alice:secret".getBytes(UTF_8));
        orphan.zk.create("/orphan/acl", null, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
    }

    /** Fires the watches that setUp left on the nodes with number i. */
    private void fire(int i) throws Exception {
        helper.zk.setData("/orphan/d" + i, null, -1);
        helper.zk.delete("/orphan/g" + i, -1);
        helper.create("/orphan/c" + i + "/n", CreateMode.PERSISTENT);
        helper.create("/orphan/x" + i, CreateMode.PERSISTENT);
    }

    private static List<String> fired(int i) {
        return List.of("NodeChildrenChanged /orphan/c" + i, "NodeCreated /orphan/x" + i,
            "NodeDataChanged /orphan/d" + i, "NodeDeleted /orphan/g" + i);
    }

    /** The events of the orphan since the last call, sorted, all of them. */
    private List<String> events() throws Exception {
        orphan.sync();
        List<String> events = new ArrayList<>();
        while (!orphan.events.isEmpty()) {
            events.add(orphan.nextEvent());
        }
        events.sort(null);
        return events;
    }

    /** Sets a counter, each time with the version it must have, without a pause. */
    private void count() throws Exception {
        for (boolean crossed = false; !crossed || !over; ) {
            boolean unanswered = false;
            try {
                Stat stat = orphan.zk.setData("/orphan/counter", null, version);
                want("the counter", stat.getVersion(), ++version);
            } catch (KeeperException.ConnectionLossException e) {
                unanswered = true;
                lost++;
            }
            if (!crossed && (unanswered || orphan.connections.get() > 1)) {
                long since = System.nanoTime();
                fire(1); // while the orphan looks for another server
                while (orphan.connections.get() < 2) {
                    Thread.sleep(1);
                }
                away = (System.nanoTime() - since) / 1e9;
                orphan.sync();
                int now = orphan.zk.exists("/orphan/counter", false).getVersion();
                if (unanswered && now == version + 1) {
                    version++; // it took effect, only the answer was lost
                }
                want("the counter after the loss", now, version);
                crossed = true;
            }
        }
    }

    /** What must hold once the orphan is with another server. */
    private void check(String restarted) throws Exception {
        want("connections of the orphan", orphan.connections.get(), 2);
        want("connections of the helper", helper.connections.get(), 1);
        want("answers lost, at most one", lost <= 1, true);
        want("its session", orphan.zk.getSessionId(), session);
        want("events of changes meanwhile", events(), fired(1));
        fire(2);
        want("events of changes after that", events(), fired(2));
        for (int i = 1; i <= 2; i++) {
            helper.zk.setData("/orphan/d" + i, null, -1);
            helper.zk.setData("/orphan/x" + i, null, -1);
            helper.create("/orphan/c" + i + "/m", CreateMode.PERSISTENT);
            helper.create("/orphan/g" + i, CreateMode.PERSISTENT);
        }
        want("events of watches that have fired", events(), List.of());
        helper.zk.setData("/orphan/p", null, -1);
        helper.zk.setData("/orphan/p", null, -1);
        helper.create("/orphan/p/x", CreateMode.PERSISTENT);
        helper.create("/orphan/r/x", CreateMode.PERSISTENT);
        helper.zk.setData("/orphan/r/x", null, -1);
        want("events of persistent watches", events(), List.of("NodeChildrenChanged /orphan/p", "NodeCreated /orphan/r/x",
            "NodeDataChanged /orphan/p", "NodeDataChanged /orphan/p", "NodeDataChanged /orphan/r/x"));
        want("it is authenticated again", orphan.zk.getACL("/orphan/acl", null).size(), 1);
        want("its ephemerals", orphan.zk.getEphemerals().stream().sorted().toList(), List.of("/orphan/e", "/orphan/es-0000000008"));

        try (Client late = new Client(restarted)) {
            late.sync();
            want("its ephemeral's owner", late.zk.exists("/orphan/e", late.watcher).getEphemeralOwner(), session);
            want("the counter, once more", late.zk.exists("/orphan/counter", false).getVersion(), version);
            orphan.close();
            want("its ephemeral goes with it", late.nextEvent(), "NodeDeleted /orphan/e");
        }
    }

    /** Runs all operations once and compares what they answer. */
    private static void round(String hosts, String base, List<String> expected) throws Exception {
        Operations operations = new Operations(hosts, base);
        try {
            operations.run();
        } finally {
            List<String> got = operations.toString().lines().toList();
            for (int i = 0; i < Math.min(got.size(), expected.size()); i++) {
                want(base + ", line " + (i + 1), got.get(i), expected.get(i));
            }
            want("lines of " + base, got.size(), expected.size());
        }
    }

    private static void cross(String survivors, String victimFirst, Path file) throws Exception {
        List<String> expected = Files.readAllLines(file);
        Crossing crossing = new Crossing(survivors, victimFirst);
        CompletableFuture<String> restarted = CompletableFuture.supplyAsync(() -> {
            try {
                return new BufferedReader(new InputStreamReader(System.in)).readLine();
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        });
        crossing.setUp();
        CompletableFuture<Void> counting = CompletableFuture.runAsync(() -> {
            try {
                crossing.count();
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        });
        long first = 0;
        long last = 0;
        boolean over = false;
        for (int round = 1; !over; round++) {
            over = restarted.isDone(); // one more after that
            String base = String.format("/round-%04d", round);
            round(survivors, base, expected);
            crossing.helper.sync();
            last = crossing.helper.zk.exists(base, false).getCzxid();
            first = round == 1 ? last : first;
            System.out.println("round " + round);
        }
        crossing.over = true;
        counting.get();
        crossing.check(restarted.get());
        crossing.helper.close();
        System.out.printf("zxids %x %x%n", first, last);
        System.out.printf("answers lost: %d of %d, back after %.3f s%n", crossing.lost, crossing.version + crossing.lost, crossing.away);
    }

    public static void main(String[] args) throws Exception {
        try {
            if (args.length == 2 && args[0].equals("operations")) {
                Operations operations = new Operations(args[1], "/round-0001");
                try {
                    operations.run();
                } finally {
                    System.out.print(operations);
                }
            } else if (args.length == 4 && args[0].equals("crossing")) {
                cross(args[1], args[2], Path.of(args[3]));
            } else {
                throw new IllegalArgumentException("usage: Crossing operations HOSTS | Crossing crossing SURVIVORS VICTIM-FIRST EXPECTED");
            }
        } catch (Exception e) {
            e.printStackTrace(System.out);
            failed.set(true);
        }
        System.exit(failed.get() ? 1 : 0); // whatever threads are left
    }
}
