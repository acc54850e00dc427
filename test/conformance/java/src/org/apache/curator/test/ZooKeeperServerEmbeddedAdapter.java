package org.apache.curator.test;

import com.github.coordd.conformance.CoorddProcess;
import java.io.File;
import java.net.ServerSocket;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.zookeeper.server.ServerCnxnFactory;

/**
 * Stands in for the class of the same name in curator-test, which runs the servers
 * of Curator's tests: here they are coordd processes.
 */
public class ZooKeeperServerEmbeddedAdapter implements ZooKeeperMainFace {

    private volatile CoorddProcess process;
    private volatile int port;

    @Override
    public void start(QuorumPeerConfigBuilder builder) {
        try {
            Properties properties = builder.buildProperties();
            Map<String, String> lines = new TreeMap<>();
            for (Object key : properties.keySet()) {
                lines.put(key.toString(), properties.get(key).toString());
            }
            lines.put("4lw.commands.whitelist", "*");
            port = Integer.parseInt(lines.get("clientPort"));
            if (port == 0) {
                try (ServerSocket socket = new ServerSocket(0)) {
                    port = socket.getLocalPort();
                }
            }
            lines.put("clientPort", Integer.toString(port));
            boolean alone = lines.keySet().stream().noneMatch(key -> key.startsWith("server."));
            process = CoorddProcess.start(new File(lines.get("dataDir")), port,
                alone ? 0 : builder.getInstanceSpec().getServerId(), lines);
            if (alone) {
                process.awaitServing();
            }
        } catch (Exception e) {
            throw new FailedServerStartException(e);
        }
    }

    @Override
    public int getClientPort() {
        return port;
    }

    public ServerCnxnFactory getServerCnxnFactory() {
        throw new UnsupportedOperationException("the connections are in another process");
    }

    @Override
    public void kill() {
        if (process != null) {
            process.kill();
        }
    }

    @Override
    public void close() {
        if (process != null) {
            process.stop();
        }
    }
}
