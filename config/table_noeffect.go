package config

// reasons that several rows share
const (
	raftElects   = "Raft elects the leader; see coordd.heartbeatTimeout and coordd.electionTimeout."
	raftLog      = "The Raft log has its own layout and grouping of writes."
	raftCatchUp  = "Raft brings servers up to date; see coordd.trailingLogs."
	goRuntime    = "Threads are the Go runtime's business."
	ownSnapshots = "Snapshots have coordd's own format, compressed and checksummed."
	ownWatches   = "There is one watch manager, which needs no choice."
	zkMeter      = "This ZooKeeper-internal measurement does not exist here."
	needsTLS     = "Has a meaning with TLS only, which is refused as long as it is not built."
	needsSASL    = "Has a meaning with quorum.auth.enableSasl only, which is refused as long as it is not built."
)

// ignoredKeys have no effect. Where ZooKeeper's parser would not start with a
// value, the row has one that does not either.
func ignoredKeys() []Key {
	rows := []Key{
		{Name: "electionAlg", Default: "3", Doc: raftElects, value: fixed("3")},
		{Name: "connectToLearnerMasterLimit", Default: "0", Doc: raftCatchUp, value: number()},
		{Name: "observerMasterPort", Default: "0", Doc: "Observers get the log from the leader; nothing listens on this port.", value: number()},
		{Name: "syncEnabled", Default: "true", Doc: "Observers always keep log and snapshots.", value: fixed("true", "false")},
		{Name: "quorum.cnxn.threads.size", Default: "20", Doc: goRuntime, value: number()},
		{Name: "quorum.auth.learner.saslLoginContext", Default: "QuorumLearner", Doc: needsSASL},
		{Name: "quorum.auth.server.saslLoginContext", Default: "QuorumServer", Doc: needsSASL},
		{Name: "quorum.auth.kerberos.servicePrincipal", Doc: needsSASL},
		{Name: "metricsProvider.exportJvmInfo", Default: "true", Doc: "There is no JVM."},
		{Name: "metricsProvider.numWorkerThreads", Default: "1", Doc: goRuntime},
		{Name: "metricsProvider.maxQueueSize", Default: "1000000", Doc: "Metrics are counted in place, without a queue."},
		{Name: "metricsProvider.workerShutdownTimeoutMs", Default: "1000", Doc: "Metrics are counted in place, without a worker."},
		{Name: "metricsProvider.*", Doc: "ZooKeeper passes it on to the metrics provider; nothing reads it here."},
		{Name: "multiAddress.reachabilityCheckEnabled", Default: "true", Doc: "A member has one address.", value: fixed("true", "false")},
		{Name: "multiAddress.reachabilityCheckTimeoutMs", Default: "1000", Doc: "A member has one address.", value: number()},
		{Name: "jvm.pause.monitor", Default: "false", Doc: "There is no JVM.", value: fixed("true", "false")},
		{Name: "jvm.pause.warn-threshold.ms", Default: "10000", Doc: "There is no JVM.", value: number()},
		{Name: "jvm.pause.info-threshold.ms", Default: "1000", Doc: "There is no JVM.", value: number()},
		{Name: "jvm.pause.sleep.time.ms", Default: "500", Doc: "There is no JVM.", value: number()},
	}
	for _, k := range []Key{
		{Name: "admin.httpVersion", Default: "11", Doc: "The AdminServer speaks HTTP/1.1."},
		{Name: "admin.restore.enabled", Default: "true", Doc: "The command restore answers as if this were false: one server cannot take another state than its log gives it."},
		{Name: "snapSizeLimitInKb", Default: "4194304", Doc: "Snapshots go by the number of entries; see snapCount."},
		{Name: "txnLogSizeLimitInKb", Default: "-1", Doc: raftLog},
		{Name: "preAllocSize", Default: "65536", Doc: raftLog},
		{Name: "commitLogCount", Default: "500", Doc: raftCatchUp},
		{Name: "snapshotSizeFactor", Default: "0.33", Doc: raftCatchUp},
		{Name: "forceSnapshotSync", Default: "false", Doc: raftCatchUp},
		{Name: "forceSync", Default: "yes", Doc: "Every write is on the disks of a majority before it is answered; this cannot be switched off.", value: fixed("yes", "no")},
		{Name: "flushDelay", Default: "0", Doc: raftLog},
		{Name: "maxWriteQueuePollTime", Doc: raftLog},
		{Name: "maxBatchSize", Default: "1000", Doc: raftLog},
		{Name: "request_throttler.shutdownTimeout", Default: "10000", Doc: "At its end a server waits 2 seconds for what is under way; nothing that is acknowledged can get lost."},
		{Name: "maxResponseCacheSize", Default: "400", Doc: "Replies are encoded straight from memory, without a cache."},
		{Name: "maxGetChildrenResponseCacheSize", Default: "400", Doc: "Replies are encoded straight from memory, without a cache."},
		{Name: "enableEagerACLCheck", Default: "false", Doc: "ACLs are checked where the write is applied, on every server alike."},
		{Name: "serializeLastProcessedZxid.enabled", Default: "true", Doc: ownSnapshots},
		{Name: "snapshot.compression.method", Doc: ownSnapshots},
		{Name: "snapshot.trust.empty", Default: "false", Doc: "A log without a snapshot is a Raft log from its first entry on."},
		{Name: "db.autocreate", Default: "true", Doc: "An empty server always asks the others before it starts a new ensemble; see coordd.bootstrap."},
		{Name: "closeSessionTxn.enabled", Default: "true", Doc: "The end of a session is one log entry."},
		{Name: "cnxTimeout", Default: "5000", Doc: raftElects},
		{Name: "quorumCnxnTimeoutMs", Default: "-1", Doc: raftElects},
		{Name: "electionPortBindRetry", Default: "3", Doc: "A port that is taken stops the start at once, with a message."},
		{Name: "fastleader.minNotificationInterval", Default: "200", Doc: raftElects},
		{Name: "fastleader.maxNotificationInterval", Default: "60000", Doc: raftElects},
		{Name: "leader.maxConcurrentSnapSyncs", Default: "10", Doc: raftCatchUp},
		{Name: "leader.maxConcurrentDiffSyncs", Default: "100", Doc: raftCatchUp},
		{Name: "leader.maxTimeToWaitForEpoch", Default: "-1", Doc: raftElects},
		{Name: "leader.*", Doc: "Tunes ZooKeeper's own replication, in whose place Raft stands."},
		{Name: "learner.*", Doc: "Tunes ZooKeeper's own replication, in whose place Raft stands."},
		{Name: "follower.*", Doc: "Tunes ZooKeeper's own replication, in whose place Raft stands."},
		{Name: "observer.reconnectDelayMs", Default: "0", Doc: raftCatchUp},
		{Name: "observer.election.DelayMs", Default: "200", Doc: raftElects},
		{Name: "observer.*", Doc: raftCatchUp},
		{Name: "observerMaster.sizeLimit", Doc: "Observers get the log from the leader."},
		{Name: "nio.*", Doc: goRuntime},
		{Name: "nio.numSelectorThreads", Doc: goRuntime},
		{Name: "nio.numWorkerThreads", Doc: goRuntime},
		{Name: "netty.*", Doc: goRuntime},
		{Name: "serverCnxnFactory", Default: nioFactory, Doc: "Clients' connections are Go's; the ports that are opened do not depend on it.", value: fixed(nioFactory, nettyFactory)},
		{Name: "fips-mode", Default: "true", Doc: needsTLS, value: fixed("true", "false")},
		{Name: "watchManagerName", Default: "WatchManager", Doc: ownWatches},
		{Name: "watcherClean*", Doc: ownWatches},
		{Name: "maxInProcessingDeadWatchers", Default: "-1", Doc: ownWatches},
		{Name: "bitHashCacheSize", Default: "10", Doc: ownWatches},
		{Name: "pathStats.enabled", Default: "false", Doc: zkMeter},
		{Name: "pathStats.*", Doc: zkMeter},
		{Name: "messageTracker.Enabled", Default: "false", Doc: zkMeter},
		{Name: "messageTracker.*", Doc: zkMeter},
		{Name: "commitProcessor.numWorkerThreads", Doc: goRuntime},
		{Name: "commitProcessor.maxReadBatchSize", Default: "-1", Doc: goRuntime},
		{Name: "commitProcessor.maxCommitBatchSize", Default: "1", Doc: goRuntime},
		{Name: "commitProcessor.*", Doc: goRuntime},
		{Name: "intBufferStartingSizeBytes", Default: "1024", Doc: goRuntime},
		{Name: "jute.maxbuffer.extrasize", Doc: "Requests are logged as they came, so nothing needs room beyond jute.maxbuffer."},
	} {
		k.Property = true
		rows = append(rows, k)
	}
	for i := range rows {
		rows[i].Status = Ignored
	}
	return rows
}

const (
	nioFactory   = "org.apache.zookeeper.server.NIOServerCnxnFactory"
	nettyFactory = "org.apache.zookeeper.server.NettyServerCnxnFactory"
)

// refusedKeys ask for security or a topology that is not built yet. A server
// that was asked for either never starts without it; the harmless values are
// those with which ZooKeeper does not have it either.
func refusedKeys() []Key {
	const (
		tls      = "TLS for clients."
		quorum   = "TLS between servers."
		sasl     = "SASL and Kerberos authentication."
		provider = "Authentication providers beyond digest and ip, which are always there."
		adminTLS = "TLS for the AdminServer."
		require  = "Refusing clients that have not authenticated."
	)
	no := []string{"false"}
	rows := []Key{
		{Name: "secureClientPort", Doc: tls, Harmless: []string{"0"}},
		{Name: "secureClientPortAddress", Doc: tls},
		{Name: "sslQuorum", Default: "false", Doc: quorum, Harmless: no},
		{Name: "portUnification", Default: "false", Doc: quorum, Harmless: no},
		{Name: "sslQuorumReloadCertFiles", Default: "false", Doc: quorum, Harmless: no},
		{Name: "reconfigEnabled", Default: "false", Doc: "Changing the membership by the operation reconfig.", Harmless: no},
		{Name: "group.*", Doc: "Hierarchical quorums: every voter has one vote."},
		{Name: "weight.*", Doc: "Hierarchical quorums: every voter has one vote."},
		{Name: "oraclePath", Doc: "Two servers with an oracle."},
		{Name: "multiAddress.enabled", Default: "false", Doc: "Several addresses for one member.", Harmless: no},
		{Name: "quorum.auth.enableSasl", Default: "false", Doc: sasl, Harmless: no},
		{Name: "quorum.auth.learnerRequireSasl", Default: "false", Doc: sasl, Harmless: no},
		{Name: "quorum.auth.serverRequireSasl", Default: "false", Doc: sasl, Harmless: no},
		{Name: "quorum.auth.*", Doc: sasl},
		{Name: "metricsProvider.httpsPort", Doc: "TLS for the Prometheus port."},
		{Name: "metricsProvider.ssl.*", Doc: "TLS for the Prometheus port."},
	}
	for _, k := range []Key{
		{Name: "ssl.*", Doc: "TLS and its key stores."},
		{Name: "ssl.crl", Default: "false", Doc: tls, Harmless: no},
		{Name: "ssl.ocsp", Default: "false", Doc: tls, Harmless: no},
		{Name: "ssl.quorum.crl", Default: "false", Doc: quorum, Harmless: no},
		{Name: "ssl.quorum.ocsp", Default: "false", Doc: quorum, Harmless: no},
		{Name: "client.portUnification", Default: "false", Doc: tls, Harmless: no},
		{Name: "client.certReload", Default: "false", Doc: tls, Harmless: no},
		{Name: "admin.portUnification", Default: "false", Doc: adminTLS, Harmless: no},
		{Name: "admin.forceHttps", Default: "false", Doc: adminTLS, Harmless: no},
		{Name: "admin.needClientAuth", Default: "false", Doc: adminTLS, Harmless: no},
		{Name: "authProvider.*", Doc: provider, Harmless: []string{
			"org.apache.zookeeper.server.auth.DigestAuthenticationProvider", "org.apache.zookeeper.server.auth.IPAuthenticationProvider"}},
		{Name: "DigestAuthenticationProvider.digestAlg", Default: "SHA1", Doc: "Another hash for the scheme digest: every stored ACL depends on it.", Harmless: []string{"SHA1"}},
		{Name: "X509AuthenticationProvider.superUser", Doc: "A super user by certificate."},
		{Name: "SASLAuthenticationProvider.superPassword", Doc: sasl, secret: true},
		{Name: "superUser", Doc: "A super user by SASL."},
		{Name: "superUser.*", Doc: "A super user by SASL."},
		{Name: "letAnySaslUserDoX", Doc: sasl},
		{Name: "IPAuthenticationProvider.usexforwardedfor", Default: "false", Doc: "Taking a client's address from an HTTP header.", Harmless: no},
		{Name: "ensembleAuthName", Doc: "Turning away clients that ask for another ensemble."},
		{Name: "sessionRequireClientSASLAuth", Default: "false", Doc: require, Harmless: no},
		{Name: "enforce.auth.enabled", Default: "false", Doc: require, Harmless: no},
		{Name: "enforce.auth.*", Doc: require},
		{Name: "enforce.auth.schemes", Doc: require},
		{Name: "allowSaslFailedClients", Default: "false", Doc: sasl, Harmless: no},
		{Name: "sasl.*", Doc: sasl},
		{Name: "sasl.serverconfig", Default: "Server", Doc: sasl, Harmless: []string{"Server"}},
		{Name: "kerberos.*", Doc: sasl, Harmless: no},
		{Name: "kerberos.removeHostFromPrincipal", Default: "false", Doc: sasl, Harmless: no},
		{Name: "kerberos.removeRealmFromPrincipal", Default: "false", Doc: sasl, Harmless: no},
		{Name: "requireKerberosConfig", Default: "false", Doc: sasl, Harmless: no},
		{Name: "security.auth_to_local", Doc: sasl},
		{Name: "emulate353TTLNodes", Default: "false", Doc: "TTL nodes in the encoding of ZooKeeper 3.5.3.", Harmless: no},
		{Name: "audit.enable", Default: "false", Doc: "An audit log.", Harmless: no},
		{Name: "audit.impl.class", Doc: "An audit log."},
	} {
		k.Property = true
		rows = append(rows, k)
	}
	for i := range rows {
		rows[i].Status = Refused
	}
	return rows
}
