import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Version;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.data.Stat;

/**
 * All operations of one version of ZooKeeper's Java client, checked.
 *
 * <pre>
 * Crossing operations HOSTS BASE PART...
 * Crossing crossing SURVIVORS VICTIM-FIRST BASE PART...
 * </pre>
 *
 * <p>The second lives through the death of a server, see ../../../crossing_test.go:
 * SURVIVORS are the hosts with those first that stay, VICTIM-FIRST the same with
 * that first which is about to die. BASE is a node to be created, so that several
 * of these programs may run at once. A PART is a class with operations that not
 * every version has. Exits with 0 if every check held.
 */
public final class Crossing {
    private final String base;
    private final Client helper; // at a server that stays
    private final Client orphan; // at the one that dies
    private final long session;
    private volatile boolean over;
    private int version; // of the counter
    private int lost; // answers that the orphan did not get

    private Crossing(String base, String survivors, String victimFirst) throws Exception {
        this.base = base + "/orphan";
        helper = new Client(survivors);
        orphan = Client.atFirst(victimFirst);
        session = orphan.zk.getSessionId();
    }

    private void create(Client client, String name, CreateMode mode) throws Exception {
        client.create(base + name, "", mode);
    }

    private void setUp() throws Exception {
        for (String name : Arrays.asList("", "/counter", "/d1", "/g1", "/c1", "/d2", "/g2", "/c2")) {
            create(helper, name, CreateMode.PERSISTENT);
        }
        orphan.sync();
        for (int i = 1; i <= 2; i++) {
            orphan.zk.getData(base + "/d" + i, orphan.watcher, null);
            orphan.zk.exists(base + "/g" + i, orphan.watcher);
            orphan.zk.getChildren(base + "/c" + i, orphan.watcher);
            orphan.zk.exists(base + "/x" + i, orphan.watcher);
        }
        create(orphan, "/e", CreateMode.EPHEMERAL);
        orphan.zk.addAuthInfo("digest", "alice:secret".getBytes(UTF_8));
        orphan.zk.create(base + "/acl", null, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
    }

    /** Fires the watches that setUp left on the nodes with number i. */
    private void fire(int i) throws Exception {
        helper.zk.setData(base + "/d" + i, null, -1);
        helper.zk.delete(base + "/g" + i, -1);
        create(helper, "/c" + i + "/n", CreateMode.PERSISTENT);
        create(helper, "/x" + i, CreateMode.PERSISTENT);
    }

    private List<String> fired(int i) {
        return Arrays.asList("NodeChildrenChanged " + base + "/c" + i, "NodeCreated " + base + "/x" + i,
            "NodeDataChanged " + base + "/d" + i, "NodeDeleted " + base + "/g" + i);
    }

    /** The events of the orphan since the last call, sorted, all of them. */
    private List<String> events() throws Exception {
        orphan.sync();
        List<String> events = new ArrayList<>();
        while (!orphan.events.isEmpty()) {
            events.add(orphan.nextEvent());
        }
        Collections.sort(events);
        return events;
    }

    /** Sets a counter, each time with the version it must have, without a pause. */
    private void count() throws Exception {
        for (boolean crossed = false; !crossed || !over; ) {
            boolean unanswered = false;
            try {
                Stat stat = orphan.zk.setData(base + "/counter", null, version);
                Check.want("the counter", stat.getVersion(), ++version);
            } catch (KeeperException.ConnectionLossException e) {
                unanswered = true;
                lost++;
            }
            if (!crossed && (unanswered || orphan.connections.get() > 1)) {
                fire(1); // while the orphan looks for another server
                while (orphan.connections.get() < 2) {
                    Thread.sleep(1);
                }
                orphan.sync();
                int now = orphan.zk.exists(base + "/counter", false).getVersion();
                if (unanswered && now == version + 1) {
                    version++; // it took effect, only the answer was lost
                }
                Check.want("the counter after the loss", now, version);
                crossed = true;
            }
        }
    }

    /** What must hold once the orphan is with another server. */
    private void check(String restarted) throws Exception {
        Check.want("connections of the orphan", orphan.connections.get(), 2);
        Check.want("connections of the helper", helper.connections.get(), 1);
        Check.want("answers lost, at most one", lost <= 1, true);
        Check.want("its session", orphan.zk.getSessionId(), session);
        Check.want("events of changes meanwhile", events(), fired(1));
        fire(2);
        Check.want("events of changes after that", events(), fired(2));
        for (int i = 1; i <= 2; i++) {
            helper.zk.setData(base + "/d" + i, null, -1);
            create(helper, "/c" + i + "/m", CreateMode.PERSISTENT);
        }
        Check.want("events of watches that have fired", events(), Collections.emptyList());
        Check.want("it is authenticated again", orphan.zk.setData(base + "/acl", null, 0).getVersion(), 1);

        try (Client late = new Client(restarted)) {
            late.sync();
            Check.want("its ephemeral's owner", late.zk.exists(base + "/e", late.watcher).getEphemeralOwner(), session);
            Check.want("the counter, once more", late.zk.exists(base + "/counter", false).getVersion(), version);
            orphan.close();
            Check.want("its ephemeral goes with it", late.nextEvent(), "NodeDeleted " + base + "/e");
        }
    }

    private static void cross(String survivors, String victimFirst, String base, List<Part> parts) throws Exception {
        // The client shuffles its hosts: these are without the one that dies.
        String staying = survivors.substring(0, survivors.lastIndexOf(','));
        try (Client client = new Client(staying)) {
            client.create(base, "", CreateMode.PERSISTENT);
        }
        Crossing crossing = new Crossing(base, staying, victimFirst);
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
        boolean ending = false;
        for (int round = 1; !ending; round++) {
            ending = restarted.isDone(); // one more after that
            String node = base + "/round-" + round;
            Operations.run(staying, node, parts);
            crossing.helper.sync();
            last = crossing.helper.zk.exists(node, false).getCzxid();
            first = round == 1 ? last : first;
            System.out.println("round " + round);
        }
        crossing.over = true;
        counting.get();
        crossing.check(restarted.get());
        crossing.helper.close();
        System.out.printf("zxids %x %x%n", first, last);
        System.out.printf("client %s: answers lost: %d of %d%n", Version.getVersion(), crossing.lost, crossing.version + crossing.lost);
    }

    private static List<Part> parts(String[] args, int first) throws Exception {
        List<Part> parts = new ArrayList<>();
        for (String name : Arrays.asList(args).subList(first, args.length)) {
            parts.add((Part) Class.forName(name).getDeclaredConstructor().newInstance());
        }
        return parts;
    }

    public static void main(String[] args) {
        try {
            if (args.length >= 3 && args[0].equals("operations")) {
                Operations.run(args[1], args[2], parts(args, 3));
            } else if (args.length >= 4 && args[0].equals("crossing")) {
                cross(args[1], args[2], args[3], parts(args, 4));
            } else {
                throw new IllegalArgumentException("usage: Crossing operations HOSTS BASE PART... | Crossing crossing SURVIVORS VICTIM-FIRST BASE PART...");
            }
        } catch (Exception e) {
            Check.fail(e);
        }
        System.exit(Check.failed() ? 1 : 0); // whatever threads are left
    }
}
