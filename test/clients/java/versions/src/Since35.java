import static org.apache.zookeeper.ZooDefs.Ids.OPEN_ACL_UNSAFE;

import java.util.Arrays;
import java.util.concurrent.CountDownLatch;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.data.Stat;

/** What came with 3.5: create2, containers, TTLs, removal of watches, the configuration. */
public final class Since35 implements Part {
    @Override
    public void run(Client one, Client two, String base) throws Exception {
        ZooKeeper zk = one.zk;
        Stat stat = new Stat();
        Check.want("create with stat", zk.create(base + "/b", new byte[3], OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, stat), base + "/b");
        Check.want("its stat", stat, zk.exists(base + "/b", false));
        Check.want("its length", stat.getDataLength(), 3);
        Check.want("container", zk.create(base + "/c", null, OPEN_ACL_UNSAFE, CreateMode.CONTAINER), base + "/c");
        Check.want("container with stat", zk.create(base + "/c2", null, OPEN_ACL_UNSAFE, CreateMode.CONTAINER, stat), base + "/c2");
        Check.want("its stat", stat, zk.exists(base + "/c2", false));
        Check.want("TTL", zk.create(base + "/t", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, stat, 60000), base + "/t");
        String name = zk.create(base + "/ts-", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, stat, 60000);
        Check.want("sequential TTL " + name, name.matches(base + "/ts-[0-9]{10}"), true);
        Check.wantRefusal("create2 of what exists", Code.NODEEXISTS,
            () -> zk.create(base + "/b", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, new Stat()));

        OpResult.CreateResult created = (OpResult.CreateResult) zk.multi(Arrays.asList(
            Op.create(base + "/mc", null, OPEN_ACL_UNSAFE, CreateMode.CONTAINER),
            Op.create(base + "/mt", null, OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, 60000))).get(1);
        Check.want("TTL in a multi", created.getPath(), base + "/mt");

        removeWatches(one, two, base);
        configuration(zk);
    }

    private void removeWatches(Client one, Client two, String base) throws Exception {
        ZooKeeper zk = one.zk;
        zk.getData(base + "/b", one.watcher, null);
        zk.getChildren(base + "/b", one.watcher);
        Check.wantRefusal("removal of a watch that is not there", Code.NOWATCHER, () -> {
            zk.removeWatches(base + "/c", one.watcher, Watcher.WatcherType.Data, false);
            return "removed";
        });
        zk.removeWatches(base + "/b", one.watcher, Watcher.WatcherType.Children, false);
        Check.want("removal", one.nextEvent(), "ChildWatchRemoved " + base + "/b");
        zk.removeAllWatches(base + "/b", Watcher.WatcherType.Any, false);
        Check.want("removal of all", one.nextEvent(), "DataWatchRemoved " + base + "/b");
        two.zk.setData(base + "/b", null, -1);
        one.sync();
        Check.want("events of removed watches", one.events.size(), 0);
    }

    private void configuration(ZooKeeper zk) throws Exception {
        Check.want("getConfig", new String(zk.getConfig(false, null)), new String(zk.getData("/zookeeper/config", false, null)));
        CountDownLatch connected = new CountDownLatch(1);
        String remote = zk.toString().replaceAll("(?s).*remoteserver:[^/]*/(\\S+).*", "$1");
        ZooKeeperAdmin admin = new ZooKeeperAdmin(remote, Client.SESSION_TIMEOUT_MS, event -> connected.countDown());
        Client.await(connected, "connection");
        Check.wantRefusal("reconfigure", Code.RECONFIGDISABLED, () -> admin.reconfigure("", "3", "", -1, new Stat()));
        admin.close();
    }
}
