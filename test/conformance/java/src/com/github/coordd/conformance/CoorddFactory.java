package com.github.coordd.conformance;

import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.util.Collections;
import java.util.Map;
import java.util.TreeMap;
import org.apache.zookeeper.server.ServerCnxn;
import org.apache.zookeeper.server.ServerCnxnFactory;
import org.apache.zookeeper.server.ZooKeeperServer;

/**
 * Opens a coordd process where a test opens a standalone ZooKeeper, whichever of
 * ZooKeeper's two factories it asks for. The ZooKeeperServer it passes is asked
 * for its settings and never started.
 */
public class CoorddFactory extends ServerCnxnFactory {

    private InetSocketAddress address;
    private int perHost;
    private CoorddProcess process;

    @Override
    public void configure(InetSocketAddress addr, int maxcc, int backlog, boolean secure) throws IOException {
        if (secure) {
            throw new IOException("TLS is not built");
        }
        // Binding shows at once, as in ZooKeeper, that a port is taken or an address is not ours.
        try (ServerSocket socket = new ServerSocket()) {
            socket.setReuseAddress(true);
            socket.bind(addr);
            address = new InetSocketAddress(addr.getAddress(), socket.getLocalPort());
        }
        perHost = maxcc < 0 ? 60 : maxcc;
    }

    @Override
    public void startup(ZooKeeperServer zks, boolean startServer) throws IOException, InterruptedException {
        setZooKeeperServer(zks);
        startProcess(zks);
    }

    private void startProcess(ZooKeeperServer zks) throws IOException {
        Map<String, String> lines = new TreeMap<>();
        lines.put("tickTime", Integer.toString(zks.getTickTime()));
        lines.put("minSessionTimeout", Integer.toString(zks.getMinSessionTimeout()));
        lines.put("maxSessionTimeout", Integer.toString(zks.getMaxSessionTimeout()));
        lines.put("maxClientCnxns", Integer.toString(perHost));
        InetAddress host = address.getAddress();
        if (!host.isAnyLocalAddress()) {
            lines.put("clientPortAddress", host.getHostAddress());
        }
        File dataDir = zks.getTxnLogFactory().getSnapDir().getParentFile();
        process = CoorddProcess.start(dataDir, address.getPort(), 0, lines);
        process.awaitServing();
    }

    @Override
    public void start() {
        // Everything happens in startup.
    }

    @Override
    public void shutdown() {
        if (process != null) {
            process.stop();
        }
    }

    @Override
    public void join() throws InterruptedException {
        if (process != null) {
            process.awaitExit();
        }
    }

    @Override
    public int getLocalPort() {
        return address.getPort();
    }

    @Override
    public InetSocketAddress getLocalAddress() {
        return address;
    }

    @Override
    public void reconfigure(InetSocketAddress addr) {
        address = addr;
    }

    @Override
    public int getMaxClientCnxnsPerHost() {
        return perHost;
    }

    @Override
    public void setMaxClientCnxnsPerHost(int max) {
        perHost = max;
        if (process != null) {
            process.stop();
            try {
                startProcess(zkServer);
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }
    }

    @Override
    public int getSocketListenBacklog() {
        return -1;
    }

    @Override
    public Iterable<ServerCnxn> getConnections() {
        return Collections.emptyList();
    }

    @Override
    public void closeAll(ServerCnxn.DisconnectReason reason) {
        throw new UnsupportedOperationException("the connections are in another process");
    }

    @Override
    public void resetAllConnectionStats() {
        throw new UnsupportedOperationException("the connections are in another process");
    }

    @Override
    public Iterable<Map<String, Object>> getAllConnectionInfo(boolean brief) {
        throw new UnsupportedOperationException("the connections are in another process");
    }
}
