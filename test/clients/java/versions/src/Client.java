import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/** A connected client and its watch events, in the order they came. */
final class Client implements AutoCloseable {
    static final int WAIT_S = 30; // any wait ends in milliseconds when all is well
    static final int SESSION_TIMEOUT_MS = 20000;

    final BlockingQueue<WatchedEvent> events = new LinkedBlockingQueue<>();
    final AtomicInteger connections = new AtomicInteger();
    final Watcher watcher = this::handle;
    final Session zk;
    private final CountDownLatch connected = new CountDownLatch(1);

    /** A ZooKeeper that can also vanish as a killed process does. */
    static final class Session extends ZooKeeper {
        Session(String hosts, Watcher watcher) throws Exception {
            super(hosts, SESSION_TIMEOUT_MS, watcher);
        }

        Session(String hosts, Watcher watcher, ZooKeeper from) throws Exception {
            super(hosts, SESSION_TIMEOUT_MS, watcher, from.getSessionId(), from.getSessionPasswd());
        }

        void vanish() {
            cnxn.disconnect();
        }
    }

    Client(String hosts) throws Exception {
        zk = new Session(hosts, watcher);
        await(connected, "connection");
    }

    /** Attaches to the session of another client. */
    Client(String hosts, ZooKeeper session) throws Exception {
        zk = new Session(hosts, watcher, session);
        await(connected, "connection");
    }

    /**
     * A client at the first of hosts that knows the others too. The client shuffles
     * them, and before 3.5 nobody could keep it from that.
     */
    static Client atFirst(String hosts) throws Exception {
        String first = "/" + hosts.split(",")[0] + " ";
        while (true) {
            Client client = new Client(hosts);
            if (client.zk.toString().contains(first)) { // as in "remoteserver:127.0.0.1/127.0.0.1:2181 "
                return client;
            }
            client.close();
        }
    }

    private void handle(WatchedEvent event) {
        if (event.getType() != Watcher.Event.EventType.None) {
            events.add(event);
        } else if (event.getState() == Watcher.Event.KeeperState.SyncConnected) {
            connections.incrementAndGet();
            connected.countDown();
        }
    }

    /** The next event, as "NodeCreated /path". */
    String nextEvent() throws Exception {
        WatchedEvent event = events.poll(WAIT_S, TimeUnit.SECONDS);
        if (event == null) {
            throw new IllegalStateException("a watch event never came");
        }
        return event.getType() + " " + event.getPath();
    }

    String create(String path, String data, CreateMode mode) throws Exception {
        return zk.create(path, data.getBytes(UTF_8), Ids.OPEN_ACL_UNSAFE, mode);
    }

    /** Is answered once this client's server has what was acknowledged before, and has sent its events. */
    void sync() throws Exception {
        CountDownLatch synced = new CountDownLatch(1);
        AtomicInteger code = new AtomicInteger();
        zk.sync("/", (rc, path, ctx) -> {
            code.set(rc);
            synced.countDown();
        }, null);
        await(synced, "sync");
        if (code.get() != 0) {
            throw KeeperException.create(KeeperException.Code.get(code.get()), "sync");
        }
    }

    @Override
    public void close() throws Exception {
        zk.close();
    }

    static void await(CountDownLatch latch, String what) throws Exception {
        if (!latch.await(WAIT_S, TimeUnit.SECONDS)) {
            throw new IllegalStateException(what + " never came");
        }
    }
}
