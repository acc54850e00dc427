package com.github.coordd.conformance;

import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Map;
import java.util.TreeMap;
import org.apache.zookeeper.server.ServerCnxnFactory;
import org.apache.zookeeper.server.quorum.Leader;
import org.apache.zookeeper.server.quorum.QuorumPeer;
import org.mockito.Mockito;

/**
 * A coordd process of an ensemble where a test has a QuorumPeer. What it tells of
 * the ensemble is what its process answers to srvr; a leader, for tests that ask
 * which peer has one, is an object that does nothing.
 */
public final class CoorddPeer extends QuorumPeer {

    private static final long LOOK_MS = 200;

    private final File dir;
    private final long id;
    private volatile CoorddProcess process;

    public CoorddPeer(Map<Long, QuorumServer> peers, File dir, int clientPort, int id, int tickTime, int initLimit,
        int syncLimit, int connectToLearnerMasterLimit) throws IOException {
        super(peers, dir, dir, 3, id, tickTime, initLimit, syncLimit, connectToLearnerMasterLimit,
            ServerCnxnFactory.createFactory(clientPort, -1));
        this.dir = dir;
        this.id = id;
    }

    @Override
    public synchronized void start() {
        Map<String, String> lines = new TreeMap<>();
        lines.put("tickTime", Integer.toString(getTickTime()));
        lines.put("initLimit", Integer.toString(getInitLimit()));
        lines.put("syncLimit", Integer.toString(getSyncLimit()));
        lines.put("localSessionsEnabled", Boolean.toString(areLocalSessionsEnabled()));
        lines.put("localSessionsUpgradingEnabled", Boolean.toString(isLocalSessionsUpgradingEnabled()));
        for (QuorumServer server : getView().values()) {
            lines.put("server." + server.id, String.format("127.0.0.1:%d:%d:%s;127.0.0.1:%d",
                server.addr.getOne().getPort(), server.electionAddr.getOne().getPort(),
                server.type == LearnerType.OBSERVER ? "observer" : "participant", server.clientAddr.getPort()));
        }
        try {
            process = CoorddProcess.start(dir, getClientPort(), id, lines);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        // Begins run, after things of its own that do not show.
        super.start();
    }

    @Override
    public synchronized void startLeaderElection() {
        // The processes have their own.
    }

    /** Lives as long as the process does, as the peer's thread in ZooKeeper. */
    @Override
    public void run() {
        while (process.isAlive()) {
            boolean leads = "leader".equals(process.mode());
            if (leads != (leader != null)) {
                leader = leads ? Mockito.mock(Leader.class) : null;
            }
            try {
                Thread.sleep(LOOK_MS);
            } catch (InterruptedException e) {
                return;
            }
        }
        leader = null;
    }

    @Override
    public synchronized ServerState getPeerState() {
        String mode = process == null ? null : process.mode();
        if (mode == null) {
            return ServerState.LOOKING;
        }
        switch (mode) {
        case "leader":
            return ServerState.LEADING;
        case "follower":
            return ServerState.FOLLOWING;
        case "observer":
            return ServerState.OBSERVING;
        default:
            return ServerState.LOOKING;
        }
    }

    @Override
    public void shutdown() {
        if (process != null) {
            process.stop();
        }
        leader = null;
    }
}
