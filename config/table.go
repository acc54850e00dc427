package config

import "time"

// keys is the table of every key, one row each: what has an effect first, then
// our own, then what is ignored and what is refused. It is filled in by init,
// since some rows hold functions that look at it.
var keys []Key

func init() {
	for _, part := range [][]Key{serverKeys(), tuningKeys(), throttleKeys(), ownKeys(), ignoredKeys(), refusedKeys()} {
		keys = append(keys, part...)
	}
}

// serverKeys are those of ZooKeeper's parser that have an effect.
func serverKeys() []Key {
	return []Key{
		{Name: "dataDir", Doc: "Directory for snapshots and the file myid; required.",
			value: text(func(c *Config) *string { return &c.DataDir })},
		{Name: "dataLogDir", Doc: "Directory for the Raft log and its stable store; the same as dataDir when not set.",
			value: text(func(c *Config) *string { return &c.DataLogDir })},
		{Name: "clientPort", Doc: "Port for clients and four-letter words, on all interfaces unless clientPortAddress says otherwise; 0 is the same as not set.",
			value: port(func(c *Config) *int { return &c.ClientPort }, 0)},
		{Name: "clientPortAddress", Doc: "Host name or address the client port is opened on; needs clientPort.",
			value: host(func(c *Config) *string { return &c.ClientAddress })},
		{Name: "clientPortListenBacklog", Default: "-1", Status: Ignored, Doc: "The operating system's limit for waiting connections applies; conf shows the value.",
			value: whole(func(c *Config) *int { return &c.ClientPortListenBacklog }, -1, maxInt32)},
		{Name: "tickTime", Default: "3000", Status: Mapped, Doc: "Milliseconds per tick: the unit of initLimit and syncLimit, and the grain of session expiry.",
			value: millis(func(c *Config) *time.Duration { return &c.TickTime }, 1, maxTick)},
		{Name: "initLimit", Status: Mapped, Doc: "Ticks a first start waits for all voters before a majority is enough; required with servers.",
			value: whole(func(c *Config) *int { return &c.InitLimit }, 0, maxInt32)},
		{Name: "syncLimit", Status: Mapped, Doc: "Ticks a server without contact to a leader holds its clients' connections; required with servers.",
			value: whole(func(c *Config) *int { return &c.SyncLimit }, 0, maxInt32)},
		{Name: "minSessionTimeout", Default: "-1", Doc: "Shortest session timeout a client gets, in milliseconds; -1 is 2 ticks.",
			value: sessionMillis(func(c *Config) *time.Duration { return &c.MinSessionTimeout })},
		{Name: "maxSessionTimeout", Default: "-1", Doc: "Longest session timeout a client gets, in milliseconds; -1 is 20 ticks.",
			value: sessionMillis(func(c *Config) *time.Duration { return &c.MaxSessionTimeout })},
		{Name: "maxClientCnxns", Default: "60", Doc: "Connections allowed from one client address; 0 is no limit.", clamps: true,
			value: wholeOr(func(c *Config) *int { return &c.MaxClientCnxns }, 0, maxInt32)},
		{Name: "peerType", Default: "participant", Doc: "Role of this server, participant or observer; the role in its server.N line wins.",
			value: value{set: setPeerType, get: func(c *Config) string { return string(c.PeerType) }}},
		{Name: "quorumListenOnAllIPs", Default: "false", Doc: "Opens the ports between servers on all interfaces instead of the address in server.N.",
			value: boolean(func(c *Config) *bool { return &c.QuorumListenOnAllIPs })},
		{Name: "dynamicConfigFile", Doc: "File with the server.N lines, which are then forbidden here; the version of the membership is the hexadecimal end of its name.",
			value: text(func(c *Config) *string { return &c.DynamicConfigFile })},
		{Name: "version", Doc: "Version of the membership as a hexadecimal number; written by servers, not by people.",
			value: value{set: setVersion, get: func(c *Config) string { return formatVersion(c.ConfigVersion) }}},
		{Name: "standaloneEnabled", Default: "true", Doc: "With true, a single server.N line makes a standalone server; with false, an ensemble of one that can grow.",
			value: boolean(func(c *Config) *bool { return &c.StandaloneEnabled })},
		{Name: "localSessionsEnabled", Default: "false", Doc: "New sessions are known to the server of their client alone, and cannot own ephemerals; not on a standalone server.",
			value: boolean(func(c *Config) *bool { return &c.LocalSessionsEnabled })},
		{Name: "localSessionsUpgradingEnabled", Default: "false", Doc: "A local session becomes a global one when it makes its first ephemeral, instead of being refused.",
			value: boolean(func(c *Config) *bool { return &c.LocalSessionsUpgradingEnabled })},
		{Name: "autopurge.snapRetainCount", Default: "3", Status: Mapped, Doc: "Snapshots to keep, 3 at least (less is taken for 3).", clamps: true,
			value: wholeOr(func(c *Config) *int { return &c.SnapRetainCount }, 3, maxInt32)},
		{Name: "autopurge.purgeInterval", Default: "0", Status: Mapped, Doc: "Accepted as hours, 0 for off; old snapshots and log entries are removed after each snapshot in any case.",
			value: hours(func(c *Config) *time.Duration { return &c.PurgeInterval })},
		{Name: "metricsProvider.className", Default: defaultProvider, Doc: "The PrometheusMetricsProvider opens the port for Prometheus; the others do not.",
			value: value{set: setMetricsClass, get: func(c *Config) string { return c.Metrics.className }}},
		{Name: "metricsProvider.httpHost", Default: "0.0.0.0", Doc: "Address of the port for Prometheus.",
			value: host(func(c *Config) *string { return &c.Metrics.Host })},
		{Name: "metricsProvider.httpPort", Default: "7000", Doc: "Port for Prometheus, path /metrics; 0 is any free port.",
			value: port(func(c *Config) *int { return &c.Metrics.Port }, 0)},
	}
}

// tuningKeys are ZooKeeper's system properties that have an effect.
func tuningKeys() []Key {
	return []Key{
		{Name: "4lw.commands.whitelist", Property: true, Doc: "Four-letter words clients may use, separated by commas, * for all; srvr always works, isro where read-only mode is on.",
			value: value{set: setWords, get: func(c *Config) string { return c.words }}},
		{Name: "admin.enableServer", Default: "true", Property: true, Doc: "Opens the AdminServer (HTTP).",
			value: boolean(func(c *Config) *bool { return &c.Admin.Enabled })},
		{Name: "admin.serverPort", Default: "8080", Property: true, Doc: "Port of the AdminServer; 0 is any free port.",
			value: port(func(c *Config) *int { return &c.Admin.Port }, 0)},
		{Name: "admin.serverAddress", Default: "0.0.0.0", Property: true, Doc: "Address of the AdminServer.",
			value: host(func(c *Config) *string { return &c.Admin.Address })},
		{Name: "admin.commandURL", Default: "/commands", Property: true, Doc: "Path of the AdminServer's commands.",
			value: value{set: setCommandURL, get: func(c *Config) string { return c.Admin.CommandURL }}},
		{Name: "admin.idleTimeout", Default: "30000", Property: true, Doc: "Milliseconds after which an idle connection to the AdminServer is closed.",
			value: millis(func(c *Config) *time.Duration { return &c.Admin.IdleTimeout }, 1, maxInt32)},
		{Name: "admin.snapshot.enabled", Default: "true", Property: true, Doc: "With false, the AdminServer's command snapshot answers 503.",
			value: boolean(func(c *Config) *bool { return &c.Admin.SnapshotEnabled })},
		{Name: "admin.rateLimiterIntervalInMS", Default: "300000", Property: true, Doc: "Microseconds, in spite of the name and as in ZooKeeper, in which the command snapshot is run once at most.",
			value: micros(func(c *Config) *time.Duration { return &c.Admin.SnapshotInterval })},
		{Name: "snapCount", Default: "100000", Property: true, Status: Mapped, Doc: "Raft log entries after which a snapshot is taken, 2 at least (less is taken for 2); an entry may hold many writes.", clamps: true,
			value: wholeOr(func(c *Config) *int { return &c.snapCount }, 2, maxInt32)},
		{Name: "fsync.warningthresholdms", Default: "1000", Property: true, Doc: "Milliseconds a write to disk may take before it is logged and counted.",
			value: millis(func(c *Config) *time.Duration { return &c.FsyncWarning }, 0, maxInt32)},
		{Name: "globalOutstandingLimit", Default: "1000", Property: true, Doc: "Requests in flight above which connections that wait for one are not read from.",
			value: whole(func(c *Config) *int { return &c.GlobalOutstandingLimit }, 1, maxInt32)},
		{Name: "maxCnxns", Default: "0", Property: true, Doc: "Connections allowed from all clients; 0 is no limit.",
			value: whole(func(c *Config) *int { return &c.MaxCnxns }, 0, maxInt32)},
		{Name: "extendedTypesEnabled", Default: "false", Property: true, Doc: "Allows TTL nodes; server ids end at 254 then.",
			value: boolean(func(c *Config) *bool { return &c.ExtendedTypesEnabled })},
		{Name: "enforceQuota", Default: "false", Property: true, Doc: "Refuses writes above a hard quota instead of only logging them.",
			value: boolean(func(c *Config) *bool { return &c.EnforceQuota })},
		{Name: "skipACL", Default: "no", Property: true, Doc: "With yes, no ACL is checked.",
			value: yesNo(func(c *Config) *bool { return &c.SkipACL })},
		{Name: "digest.enabled", Default: "true", Property: true, Status: Ignored, Doc: "ZooKeeper's digest of the tree is always kept.",
			value: boolean(func(c *Config) *bool { return &c.DigestEnabled })},
		{Name: "datadir.autocreate", Default: "true", Property: true, Doc: "Creates missing directories at the start; with false a missing one stops it.",
			value: boolean(func(c *Config) *bool { return &c.DataDirAutocreate })},
		{Name: "leaderServes", Default: "yes", Property: true, Doc: "With no, a server refuses clients while it leads.",
			value: yesNo(func(c *Config) *bool { return &c.LeaderServes })},
		{Name: "tcpKeepAlive", Default: "false", Property: true, Status: Ignored, Doc: "Servers ping each other, and keep-alive is on in any case.",
			value: boolean(func(c *Config) *bool { return &c.TCPKeepAlive })},
		{Name: "clientTcpKeepAlive", Default: "false", Property: true, Doc: "TCP keep-alive on clients' connections.",
			value: boolean(func(c *Config) *bool { return &c.ClientTCPKeepAlive })},
		{Name: "nio.sessionlessCnxnTimeout", Default: "10000", Property: true, Doc: "Milliseconds a connection may take to make a session.",
			value: millis(func(c *Config) *time.Duration { return &c.SessionlessTimeout }, 1, maxInt32)},
		{Name: "DigestAuthenticationProvider.superDigest", Property: true, secret: true, Doc: "Digest user:base64 of the super user, whom no ACL stops.",
			value: value{set: setSuperDigest, get: func(c *Config) string { return c.SuperDigest }}},
		{Name: "DigestAuthenticationProvider.enabled", Default: "true", Property: true, Doc: "With false there is no auth scheme digest.",
			value: boolean(func(c *Config) *bool { return &c.DigestAuthEnabled })},
		{Name: "jute.maxbuffer", Default: "1048575", Property: true, Doc: "Longest request in bytes; clients must agree. A system property only in ZooKeeper, honoured in the file here.",
			value: juteInt(func(c *Config) *int { return &c.MaxBuffer }, 1024)},
		{Name: "readonlymode.enabled", Default: "false", Doc: "A server without a leader for 2 seconds, or a tick if that is longer, takes clients that accept a read-only server. A system property only in ZooKeeper, honoured in the file here.",
			value: boolean(func(c *Config) *bool { return &c.ReadOnlyMode })},
		{Name: "znode.container.checkIntervalMs", Default: "60000", Property: true, Doc: "Milliseconds between looks for empty containers and expired TTL nodes. A system property only in ZooKeeper, honoured in the file here.",
			value: millis(func(c *Config) *time.Duration { return &c.Container.CheckInterval }, 1, maxInt32)},
		{Name: "znode.container.maxPerMinute", Default: "10000", Property: true, Doc: "Most containers and TTL nodes removed per minute. A system property only in ZooKeeper, honoured in the file here.",
			value: whole(func(c *Config) *int { return &c.Container.MaxPerMinute }, 1, maxInt32)},
		{Name: "znode.container.maxNeverUsedIntervalMs", Default: "0", Property: true, Doc: "Milliseconds after which a container that never had a child is removed, 0 for never. A system property only in ZooKeeper, honoured in the file here.",
			value: millis(func(c *Config) *time.Duration { return &c.Container.MaxNeverUsedInterval }, 0, maxInt32)},
	}
}

// Bounds of the Raft timings: the lower ones are hashicorp/raft's own.
const (
	minRaftTimeout   = 5 * time.Millisecond
	minCommitTimeout = time.Millisecond
	maxRaftTimeout   = time.Minute
)

// ownKeys are coordd's. An unknown key under their prefix is an error.
func ownKeys() []Key {
	return []Key{
		{Name: "coordd.bootstrap", Default: "majority", Doc: "Voters that must be seen empty before the first start: all insists on every one; majority settles for that after initLimit.",
			value: oneOf(func(c *Config) *Bootstrap { return &c.Raft.Bootstrap }, BootstrapMajority, BootstrapAll)},
		{Name: "coordd.heartbeatTimeout", Default: "500", Doc: "Silence of the leader after which a follower stands for election; milliseconds or with a unit.",
			value: timing(func(c *Config) *time.Duration { return &c.Raft.HeartbeatTimeout }, minRaftTimeout, maxRaftTimeout)},
		{Name: "coordd.electionTimeout", Default: "500", Doc: "Time after which an election without a winner is tried again, heartbeatTimeout at least; milliseconds or with a unit.",
			value: timing(func(c *Config) *time.Duration { return &c.Raft.ElectionTimeout }, minRaftTimeout, maxRaftTimeout)},
		{Name: "coordd.leaderLeaseTimeout", Doc: "Time without a majority after which a leader steps down, heartbeatTimeout at most, and when not set; milliseconds or with a unit.",
			value: timing(func(c *Config) *time.Duration { return &c.Raft.LeaderLeaseTimeout }, minRaftTimeout, maxRaftTimeout)},
		{Name: "coordd.commitTimeout", Default: "10", Doc: "Idle time after which followers are told what is committed; milliseconds or with a unit.",
			value: timing(func(c *Config) *time.Duration { return &c.Raft.CommitTimeout }, minCommitTimeout, maxRaftTimeout)},
		{Name: "coordd.logStore", Default: "wal", Doc: "Store of the Raft log: wal (raft-wal) or bolt (raft-boltdb).",
			value: oneOf(func(c *Config) *LogStore { return &c.Raft.LogStore }, WAL, Bolt)},
		{Name: "coordd.snapshotThreshold", Doc: "Raft log entries after which a snapshot is taken; snapCount when not set.",
			value: whole(func(c *Config) *uint64 { return &c.Raft.SnapshotThreshold }, 2, maxInt32)},
		{Name: "coordd.trailingLogs", Default: "10240", Doc: "Raft log entries kept after a snapshot, so that a server that was away a short while needs no snapshot.",
			value: whole(func(c *Config) *uint64 { return &c.Raft.TrailingLogs }, 0, maxInt32)},
		{Name: "coordd.linearizableReads", Default: "false", Doc: "With true every read waits for a sync of its own first, so that it sees all that was acknowledged before, anywhere.",
			value: boolean(func(c *Config) *bool { return &c.LinearizableReads })},
		{Name: "coordd.log.format", Default: "text", Doc: "Format of this server's log: text or json.",
			value: oneOf(func(c *Config) *string { return &c.Log.Format }, "text", "json")},
		{Name: "coordd.log.level", Default: "info", Doc: "Least level that is logged: trace, debug, info, warn or error.",
			value: oneOf(func(c *Config) *string { return &c.Log.Level }, "trace", "debug", "info", "warn", "error")},
	}
}
