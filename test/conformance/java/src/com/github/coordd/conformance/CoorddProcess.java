package com.github.coordd.conformance;

import java.io.File;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;

/**
 * One coordd, run as an operator would: COORDD_BIN start --config zoo.cfg.
 *
 * <p>Its files are in the directory coordd below the test's own data directory,
 * because ZooKeeper's classes leave a version-2 in that. A process that is started
 * on a directory again goes on from what is there.
 *
 * <p>Java system properties are how tests configure a server in their own process,
 * so those with ZooKeeper's prefix become lines of zoo.cfg.
 */
public final class CoorddProcess {

    private static final long START_MS = 30_000;
    private static final long STOP_MS = 20_000;

    /** What a client or the harness is told by properties with the same prefix. */
    private static final List<String> NOT_FOR_SERVERS = List.of(
        "serverCnxnFactory", "clientCnxnSocket", "client.", "sasl.client", "request.timeout", "junit.",
        "kinit", "disableAutoWatchReset", "preAllocSize");

    /** Properties that are honoured without the prefix. */
    private static final List<String> BARE = List.of(
        "jute.maxbuffer", "readonlymode.enabled", "znode.container.checkIntervalMs",
        "znode.container.maxPerMinute", "znode.container.maxNeverUsedIntervalMs");

    private static volatile CoorddProcess latest;

    private final Process process;
    private final String host;
    private final int clientPort;
    private final Path log;

    private CoorddProcess(Process process, String host, int clientPort, Path log) {
        this.process = process;
        this.host = host;
        this.clientPort = clientPort;
        this.log = log;
    }

    /**
     * Starts a server on the data directory of a test, without waiting for it.
     * Lines are those of zoo.cfg, dataDir and the system properties apart; they win
     * over the properties. The server's number is 0 where it has none.
     */
    public static CoorddProcess start(File testDir, int clientPort, long myId, Map<String, String> lines) throws IOException {
        Path dir = testDir.toPath().toAbsolutePath().resolve("coordd");
        Path data = dir.resolve("data");
        if (Files.notExists(data)) {
            Files.createDirectories(data);
            if (Files.exists(testDir.toPath().resolve("initialize"))) {
                Files.createFile(data.resolve("initialize"));
            }
        }
        if (myId > 0) {
            Files.writeString(data.resolve("myid"), myId + "\n");
        }
        Map<String, String> all = new TreeMap<>(properties());
        all.putIfAbsent("admin.enableServer", "false");
        all.put("clientPort", Integer.toString(clientPort));
        all.putAll(lines);
        all.put("dataDir", data.toString());
        StringBuilder config = new StringBuilder();
        all.forEach((key, value) -> config.append(key).append('=').append(value.replace("\\", "\\\\")).append('\n'));
        Path file = dir.resolve("zoo.cfg");
        Files.writeString(file, config);

        String binary = System.getenv("COORDD_BIN");
        if (binary == null) {
            throw new IOException("COORDD_BIN is not set");
        }
        Path log = dir.resolve("log");
        Process process = new ProcessBuilder(binary, "start", "--config", file.toString())
            .redirectErrorStream(true)
            .redirectOutput(ProcessBuilder.Redirect.appendTo(log.toFile()))
            .start();
        latest = new CoorddProcess(process, all.getOrDefault("clientPortAddress", "127.0.0.1"), clientPort, log);
        return latest;
    }

    private static Map<String, String> properties() {
        Map<String, String> lines = new TreeMap<>();
        for (String name : System.getProperties().stringPropertyNames()) {
            String value = System.getProperty(name);
            if (BARE.contains(name)) {
                lines.put(name, value);
            }
            if (name.startsWith("zookeeper.")) {
                String key = name.substring("zookeeper.".length());
                // AuthTest's provider refuses whoever comes, and so does a server without it.
                boolean refuses = value.equals("org.apache.zookeeper.test.InvalidAuthProvider");
                if (!refuses && NOT_FOR_SERVERS.stream().noneMatch(key::startsWith)) {
                    lines.put(key, value);
                }
            }
        }
        return lines;
    }

    /** Waits until the server serves; ends it and fails with its log if that takes too long. */
    public void awaitServing() throws IOException {
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(START_MS);
        while (mode() == null) {
            if (!process.isAlive() || System.nanoTime() > deadline) {
                kill();
                throw new IOException("coordd does not serve: " + Files.readString(log));
            }
            sleep(20);
        }
    }

    /** What srvr says of the server: standalone, leader, follower, observer, read-only; null if it does not serve. */
    public String mode() {
        for (String line : ask("srvr").split("\n")) {
            if (line.startsWith("Mode: ")) {
                return line.substring("Mode: ".length());
            }
        }
        return null;
    }

    /** The answer to a four-letter word; empty if there is none. */
    public String ask(String word) {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress(host, clientPort), 1000);
            socket.setSoTimeout(5000);
            socket.getOutputStream().write(word.getBytes(StandardCharsets.US_ASCII));
            return new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            return ""; // Not up yet, or gone.
        }
    }

    /** The server that was started last. */
    public static CoorddProcess latest() {
        return latest;
    }

    public boolean isAlive() {
        return process.isAlive();
    }

    public void awaitExit() throws InterruptedException {
        process.waitFor();
    }

    /** Ends the server as systemd would. */
    public void stop() {
        process.destroy();
        try {
            if (!process.waitFor(STOP_MS, TimeUnit.MILLISECONDS)) {
                throw new IllegalStateException("coordd does not end");
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } finally {
            kill();
        }
    }

    /** Ends the server without a chance to do anything. */
    public void kill() {
        process.destroyForcibly();
        try {
            process.waitFor();
            keepLog();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /** Keeps the log where the test's own clean-up does not reach: a file a process in COORDD_LOGS. */
    private void keepLog() {
        String logs = System.getenv("COORDD_LOGS");
        if (logs == null || Files.notExists(log)) {
            return;
        }
        try {
            Path kept = Path.of(logs, clientPort + "-" + process.pid() + ".log");
            Files.copy(log, kept, StandardCopyOption.REPLACE_EXISTING);
        } catch (IOException e) {
            e.printStackTrace();
        }
    }

    private static void sleep(long ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
