import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
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
import org.apache.zookeeper.client.HostProvider;

/** A connected client and its watch events, in the order they came. */
final class Client implements AutoCloseable {
    static final int WAIT_S = 30; // any wait ends in milliseconds when all is well
    static final int SESSION_TIMEOUT_MS = 20000;

    final BlockingQueue<WatchedEvent> events = new LinkedBlockingQueue<>();
    final AtomicInteger connections = new AtomicInteger();
    final Watcher watcher = this::handle;
    final Session zk;
    private volatile CountDownLatch connected = new CountDownLatch(1);

    /** Hosts of which the first that answers is taken. ZooKeeper's own provider shuffles them. */
    static final class InOrder implements HostProvider {
        private final List<InetSocketAddress> hosts = new ArrayList<>();
        private int next;

        InOrder(String hosts) {
            for (String host : hosts.split(",")) {
                int colon = host.lastIndexOf(':');
                this.hosts.add(new InetSocketAddress(host.substring(0, colon), Integer.parseInt(host.substring(colon + 1))));
            }
        }

        @Override
        public int size() {
            return hosts.size();
        }

        @Override
        public synchronized InetSocketAddress next(long spinDelay) {
            return hosts.get(next++ % hosts.size());
        }

        @Override
        public synchronized void onConnected() {
            next = 0;
        }

        @Override
        public boolean updateServerList(Collection<InetSocketAddress> servers, InetSocketAddress current) {
            throw new UnsupportedOperationException();
        }
    }

    /** A ZooKeeper that can also vanish as a killed process does. */
    static final class Session extends ZooKeeper {
        Session(String hosts, Watcher watcher) throws Exception {
            super(hosts, SESSION_TIMEOUT_MS, watcher, false, new InOrder(hosts));
        }

        Session(String hosts, Watcher watcher, ZooKeeper from) throws Exception {
            super(hosts, SESSION_TIMEOUT_MS, watcher, from.getSessionId(), from.getSessionPasswd(), false, new InOrder(hosts));
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

    String create(String path, CreateMode mode) throws Exception {
        return zk.create(path, new byte[0], Ids.OPEN_ACL_UNSAFE, mode);
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

    /** Cuts the TCP connection and waits until the client is back with its session and watches. */
    void dropConnection() throws Exception {
        connected = new CountDownLatch(1);
        zk.getTestable().closeSocket();
        zk.exists("/", false, (rc, path, ctx, stat) -> { }, null); // makes it notice at once
        await(connected, "reconnection");
        sync(); // is answered after the client has set its watches again
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
