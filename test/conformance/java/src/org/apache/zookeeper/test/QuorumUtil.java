package org.apache.zookeeper.test;

import static org.junit.jupiter.api.Assertions.assertTrue;

import com.github.coordd.conformance.CoorddPeer;
import java.io.File;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.zookeeper.PortAssignment;
import org.apache.zookeeper.server.quorum.QuorumPeer;
import org.apache.zookeeper.server.quorum.QuorumPeer.LearnerType;
import org.apache.zookeeper.server.quorum.QuorumPeer.QuorumServer;
import org.apache.zookeeper.server.quorum.QuorumPeer.ServerState;

/**
 * Stands in for the class of the same name in ZooKeeper's tests, with its names and
 * values: an ensemble of 2n+1, whose servers are coordd processes.
 */
public class QuorumUtil {

    /** One server. */
    public static class PeerStruct {

        public int id;
        public QuorumPeer peer;
        public File dataDir;
        public int clientPort;
    }

    public final int N;
    public final int ALL;
    public boolean disableJMXTest = false;

    private final Map<Long, QuorumServer> members = new HashMap<>();
    private final Map<Integer, PeerStruct> peers = new TreeMap<>();
    private final int syncLimit;
    private boolean localSessions;

    public QuorumUtil(int n) {
        this(n, 3);
    }

    public QuorumUtil(int n, int syncLimit) {
        ClientBase.setupTestEnv();
        N = n;
        ALL = 2 * n + 1;
        this.syncLimit = syncLimit;
        try {
            for (int i = 1; i <= ALL; i++) {
                PeerStruct ps = new PeerStruct();
                ps.id = i;
                ps.dataDir = ClientBase.createTmpDir();
                ps.clientPort = PortAssignment.unique();
                peers.put(i, ps);
                members.put((long) i, new QuorumServer(i, new InetSocketAddress("127.0.0.1", PortAssignment.unique()),
                    new InetSocketAddress("127.0.0.1", PortAssignment.unique()),
                    new InetSocketAddress("127.0.0.1", ps.clientPort), LearnerType.PARTICIPANT));
            }
            for (PeerStruct ps : peers.values()) {
                ps.peer = newPeer(ps);
            }
        } catch (IOException e) {
            throw new RuntimeException(e);
        }
    }

    private QuorumPeer newPeer(PeerStruct ps) throws IOException {
        QuorumPeer peer = new CoorddPeer(members, ps.dataDir, ps.clientPort, ps.id, 2000, 3, syncLimit, 3);
        peer.enableLocalSessions(localSessions);
        return peer;
    }

    public PeerStruct getPeer(int id) {
        return peers.get(id);
    }

    public void enableLocalSession(boolean enabled) {
        localSessions = enabled;
    }

    public void startAll() throws IOException {
        shutdownAll();
        for (int id : peers.keySet()) {
            start(id);
        }
        peers.keySet().forEach(this::awaitUp);
        QuorumBase.awaitLeader(alive());
    }

    /** Starts the first n+1. */
    public void startQuorum() throws IOException {
        shutdownAll();
        for (int i = 1; i <= N + 1; i++) {
            start(i);
        }
        for (int i = 1; i <= N + 1; i++) {
            awaitUp(i);
        }
        QuorumBase.awaitLeader(alive());
    }

    public void start(int id) throws IOException {
        PeerStruct ps = getPeer(id);
        ps.peer = newPeer(ps);
        ps.peer.start();
    }

    public void restart(int id) throws IOException {
        start(id);
        awaitUp(id);
    }

    public void startThenShutdown(int id) throws IOException {
        restart(id);
        shutdown(id);
    }

    private void awaitUp(int id) {
        assertTrue(ClientBase.waitForServerUp(getConnectionStringForServer(id), ClientBase.CONNECTION_TIMEOUT), "Waiting for server up");
    }

    public void shutdownAll() {
        peers.keySet().parallelStream().forEach(this::shutdown);
        for (int id : peers.keySet()) {
            assertTrue(ClientBase.waitForServerDown(getConnectionStringForServer(id), ClientBase.CONNECTION_TIMEOUT), "Waiting for server down");
        }
    }

    /** Tests know that the highest id leads, so that the others lose their leader; here it may be one of those who stay. */
    public void shutdown(int id) {
        QuorumBase.shutdown(getPeer(id).peer);
        List<QuorumPeer> left = alive();
        if (left.size() <= N) {
            while (left.stream().anyMatch(peer -> peer.getPeerState() == ServerState.LEADING)) {
                QuorumBase.pause();
            }
        }
    }

    private List<QuorumPeer> alive() {
        return peers.values().stream().map(ps -> ps.peer).filter(QuorumPeer::isAlive).collect(Collectors.toList());
    }

    public String getConnString() {
        return peers.keySet().stream().map(this::getConnectionStringForServer).collect(Collectors.joining(","));
    }

    public String getConnectString(QuorumPeer peer) {
        return "127.0.0.1:" + peer.getClientPort();
    }

    public String getConnectionStringForServer(int id) {
        return "127.0.0.1:" + getPeer(id).clientPort;
    }

    public boolean allPeersAreConnected() {
        return peers.values().stream().noneMatch(ps -> ps.peer.getPeerState() == ServerState.LOOKING);
    }

    public QuorumPeer getLeaderQuorumPeer() {
        return peers.values().stream().map(ps -> ps.peer).filter(peer -> peer.leader != null).findFirst()
            .orElseThrow(() -> new RuntimeException("Unable to find a leader peer"));
    }

    public List<QuorumPeer> getFollowerQuorumPeers() {
        return peers.values().stream().map(ps -> ps.peer).filter(peer -> peer.leader == null).collect(Collectors.toList());
    }

    public boolean leaderExists() {
        return peers.values().stream().anyMatch(ps -> ps.peer.leader != null);
    }

    public int getLeaderServer() {
        int leader = peers.values().stream().filter(ps -> ps.peer.leader != null).mapToInt(ps -> ps.id).findFirst().orElse(0);
        assertTrue(leader > 0, "Leader server not found.");
        return leader;
    }

    public void tearDown() throws Exception {
        shutdownAll();
    }
}
