package org.apache.zookeeper.server;

import com.github.coordd.conformance.CoorddFactory;

/** Stands in for ZooKeeper's class of the same name: the server is a coordd process. */
public class NIOServerCnxnFactory extends CoorddFactory {
}
