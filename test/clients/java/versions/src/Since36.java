import java.util.Arrays;
import java.util.List;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooKeeper;

/** What came with 3.6: persistent watches, reads in a multi, counts and lists without the nodes. */
public final class Since36 implements Part {
    @Override
    public void run(Client one, Client two, String base) throws Exception {
        ZooKeeper zk = one.zk;
        two.create(base + "/p", "", CreateMode.PERSISTENT);
        two.create(base + "/r", "", CreateMode.PERSISTENT);
        one.sync();
        zk.addWatch(base + "/p", one.watcher, AddWatchMode.PERSISTENT);
        zk.addWatch(base + "/r", one.watcher, AddWatchMode.PERSISTENT_RECURSIVE);
        for (int i = 0; i < 2; i++) {
            two.zk.setData(base + "/p", null, -1);
            Check.want("persistent watch", one.nextEvent(), "NodeDataChanged " + base + "/p");
        }
        two.create(base + "/p/x", "", CreateMode.PERSISTENT);
        Check.want("persistent watch", one.nextEvent(), "NodeChildrenChanged " + base + "/p");
        two.create(base + "/r/x", "", CreateMode.PERSISTENT);
        two.create(base + "/r/x/y", "", CreateMode.PERSISTENT);
        two.zk.delete(base + "/r/x/y", -1);
        Check.want("recursive watch", one.nextEvent(), "NodeCreated " + base + "/r/x");
        Check.want("recursive watch", one.nextEvent(), "NodeCreated " + base + "/r/x/y");
        Check.want("recursive watch", one.nextEvent(), "NodeDeleted " + base + "/r/x/y");
        zk.removeAllWatches(base + "/p", Watcher.WatcherType.Any, false);
        Check.want("removal", one.nextEvent(), "PersistentWatchRemoved " + base + "/p");
        zk.removeAllWatches(base + "/r", Watcher.WatcherType.Any, false);
        Check.want("removal", one.nextEvent(), "PersistentWatchRemoved " + base + "/r");
        two.zk.setData(base + "/r/x", null, -1);
        one.sync();
        Check.want("events of removed watches", one.events.size(), 0);

        zk.setData(base + "/p", new byte[5], -1);
        List<OpResult> read = zk.multi(Arrays.asList(Op.getData(base + "/p"), Op.getChildren(base + "/p")));
        Check.want("data in a multi", ((OpResult.GetDataResult) read.get(0)).getData().length, 5);
        Check.want("children in a multi", ((OpResult.GetChildrenResult) read.get(1)).getChildren(), Arrays.asList("x"));
        Check.want("getAllChildrenNumber", zk.getAllChildrenNumber(base + "/r"), 1);
        one.create(base + "/r/e", "", CreateMode.EPHEMERAL);
        Check.want("getEphemerals", zk.getEphemerals(base + "/r"), Arrays.asList(base + "/r/e"));
    }
}
