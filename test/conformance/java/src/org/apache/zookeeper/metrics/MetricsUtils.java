package org.apache.zookeeper.metrics;

import com.github.coordd.conformance.CoorddProcess;
import java.util.HashMap;
import java.util.Map;

/**
 * Stands in for the class of the same name in ZooKeeper's tests, which reads the
 * metrics of the server in its own process: here they are what mntr answers.
 */
public abstract class MetricsUtils {

    private MetricsUtils() {
    }

    public static Map<String, Object> currentServerMetrics() {
        Map<String, Object> metrics = new HashMap<>();
        for (String line : CoorddProcess.latest().ask("mntr").split("\n")) {
            String[] parts = line.split("\t");
            if (parts.length == 2 && parts[0].startsWith("zk_")) {
                String key = parts[0].substring("zk_".length());
                try {
                    metrics.put(key, Long.valueOf(parts[1]));
                } catch (NumberFormatException e) {
                    metrics.put(key, parts[1]);
                }
            }
        }
        return metrics;
    }
}
