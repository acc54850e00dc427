package org.apache.zookeeper.test;

import static org.junit.jupiter.api.Assertions.assertTrue;

import com.github.coordd.conformance.CoorddPeer;
import java.io.File;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.apache.zookeeper.PortAssignment;
import org.apache.zookeeper.TestableZooKeeper;
import org.apache.zookeeper.server.quorum.QuorumPeer;
import org.apache.zookeeper.server.quorum.QuorumPeer.LearnerType;
import org.apache.zookeeper.server.quorum.QuorumPeer.QuorumServer;
import org.apache.zookeeper.server.quorum.QuorumPeer.ServerState;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/**
 * Stands in for the class of the same name in ZooKeeper's tests, with its names
 * and values: an ensemble of five, whose servers are coordd processes.
 */
public class QuorumBase extends ClientBase {

    protected static final String LOCALADDR = "127.0.0.1";

    File s1dir, s2dir, s3dir, s4dir, s5dir;
    QuorumPeer s1, s2, s3, s4, s5;
    protected int port1, port2, port3, port4, port5;
    protected int portLE1, portLE2, portLE3, portLE4, portLE5;
    protected int portClient1, portClient2, portClient3, portClient4, portClient5;

    protected boolean localSessionsEnabled = false;
    protected boolean localSessionsUpgradingEnabled = false;

    Map<Long, QuorumServer> peers = null;

    @BeforeEach
    @Override
    public void setUp() throws Exception {
        setUp(false, true);
    }

    /** withOracle asks for a file that decides who leads when servers are missing; none ever is at the start. */
    protected void setUp(boolean withObservers, boolean withOracle) throws Exception {
        setupTestEnv();
        setUpAll();
        port1 = PortAssignment.unique();
        port2 = PortAssignment.unique();
        port3 = PortAssignment.unique();
        port4 = PortAssignment.unique();
        port5 = PortAssignment.unique();
        portLE1 = PortAssignment.unique();
        portLE2 = PortAssignment.unique();
        portLE3 = PortAssignment.unique();
        portLE4 = PortAssignment.unique();
        portLE5 = PortAssignment.unique();
        portClient1 = PortAssignment.unique();
        portClient2 = PortAssignment.unique();
        portClient3 = PortAssignment.unique();
        portClient4 = PortAssignment.unique();
        portClient5 = PortAssignment.unique();
        hostPort = Arrays.stream(clientPorts()).mapToObj(port -> LOCALADDR + ":" + port).collect(Collectors.joining(","));
        s1dir = ClientBase.createTmpDir();
        s2dir = ClientBase.createTmpDir();
        s3dir = ClientBase.createTmpDir();
        s4dir = ClientBase.createTmpDir();
        s5dir = ClientBase.createTmpDir();
        startServers(withObservers, withOracle);
    }

    void startServers() throws Exception {
        startServers(false, true);
    }

    void startServers(boolean withObservers, boolean withOracle) throws Exception {
        peers = members();
        if (withObservers) {
            peers.get(4L).type = LearnerType.OBSERVER;
            peers.get(5L).type = LearnerType.OBSERVER;
        }
        setupServers();
        if (withObservers) {
            s4.setLearnerType(LearnerType.OBSERVER);
            s5.setLearnerType(LearnerType.OBSERVER);
        }
        for (QuorumPeer peer : getPeerList()) {
            peer.enableLocalSessions(localSessionsEnabled);
            peer.enableLocalSessionsUpgrading(localSessionsUpgradingEnabled);
            peer.start();
        }
        for (String hp : hostPort.split(",")) {
            assertTrue(ClientBase.waitForServerUp(hp, CONNECTION_TIMEOUT), "waiting for server up");
        }
        awaitLeader(getPeerList());
    }

    /** Waits until one of the peers shows that it leads, as they do in ZooKeeper when they serve. */
    static void awaitLeader(List<QuorumPeer> peers) {
        while (peers.stream().noneMatch(peer -> peer.leader != null)) {
            pause();
        }
    }

    static void pause() {
        try {
            Thread.sleep(20);
        } catch (InterruptedException e) {
            throw new IllegalStateException("interrupted", e);
        }
    }

    private int[] clientPorts() {
        return new int[] {portClient1, portClient2, portClient3, portClient4, portClient5};
    }

    private Map<Long, QuorumServer> members() {
        int[] ports = {port1, port2, port3, port4, port5};
        int[] election = {portLE1, portLE2, portLE3, portLE4, portLE5};
        Map<Long, QuorumServer> members = new HashMap<>();
        for (int i = 0; i < 5; i++) {
            members.put(i + 1L, new QuorumServer(i + 1L, new InetSocketAddress(LOCALADDR, ports[i]),
                new InetSocketAddress(LOCALADDR, election[i]), new InetSocketAddress(LOCALADDR, clientPorts()[i]),
                LearnerType.PARTICIPANT));
        }
        return members;
    }

    public void setupServers() throws IOException {
        for (int i = 1; i <= 5; i++) {
            setupServer(i);
        }
    }

    public void setupServer(int i) throws IOException {
        if (peers == null) {
            peers = members();
        }
        File[] dirs = {s1dir, s2dir, s3dir, s4dir, s5dir};
        QuorumPeer peer = new CoorddPeer(peers, dirs[i - 1], clientPorts()[i - 1], i, 2000, 3, 3, 3);
        switch (i) {
        case 1:
            s1 = peer;
            break;
        case 2:
            s2 = peer;
            break;
        case 3:
            s3 = peer;
            break;
        case 4:
            s4 = peer;
            break;
        default:
            s5 = peer;
        }
    }

    public ArrayList<QuorumPeer> getPeerList() {
        return new ArrayList<>(Arrays.asList(s1, s2, s3, s4, s5));
    }

    public int getLeaderIndex() {
        List<QuorumPeer> all = getPeerList();
        for (int i = 0; i < all.size(); i++) {
            if (all.get(i).getPeerState() == ServerState.LEADING) {
                return i;
            }
        }
        return -1;
    }

    public int getLeaderClientPort() {
        int leader = getLeaderIndex();
        return leader < 0 ? -1 : clientPorts()[leader];
    }

    public QuorumPeer getLeaderQuorumPeer() {
        int leader = getLeaderIndex();
        return leader < 0 ? null : getPeerList().get(leader);
    }

    public File getLeaderDataDir() {
        int leader = getLeaderIndex();
        return leader < 0 ? null : new File[] {s1dir, s2dir, s3dir, s4dir, s5dir}[leader];
    }

    public QuorumPeer getFirstObserver() {
        return getPeerList().stream().filter(peer -> peer.getLearnerType() == LearnerType.OBSERVER).findFirst().orElse(null);
    }

    public int getFirstObserverClientPort() {
        QuorumPeer observer = getFirstObserver();
        return observer == null ? -1 : observer.getClientPort();
    }

    public String getPeersMatching(ServerState state) {
        return getPeerList().stream().filter(peer -> peer.getPeerState() == state)
            .map(peer -> LOCALADDR + ":" + peer.getClientPort() + ",").collect(Collectors.joining());
    }

    public QuorumPeer getPeerByClientPort(int clientPort) {
        return getPeerList().stream().filter(peer -> peer.getClientPort() == clientPort).findFirst().orElse(null);
    }

    @AfterEach
    @Override
    public void tearDown() throws Exception {
        shutdownServers();
        for (String hp : hostPort.split(",")) {
            assertTrue(ClientBase.waitForServerDown(hp, ClientBase.CONNECTION_TIMEOUT), "waiting for server down");
        }
    }

    public void shutdownServers() {
        getPeerList().parallelStream().forEach(QuorumBase::shutdown);
    }

    public static void shutdown(QuorumPeer peer) {
        if (peer == null) {
            return;
        }
        peer.shutdown();
        try {
            peer.join(CONNECTION_TIMEOUT);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    @Override
    protected TestableZooKeeper createClient() throws IOException, InterruptedException {
        return createClient(hostPort);
    }

    @Override
    protected TestableZooKeeper createClient(String hp) throws IOException, InterruptedException {
        return createClient(new CountdownWatcher(), hp);
    }

    protected TestableZooKeeper createClient(CountdownWatcher watcher, ServerState state) throws IOException, InterruptedException {
        return createClient(watcher, getPeersMatching(state));
    }
}
