// Package config turns zoo.cfg, the dynamic membership file and myid into one
// validated Config.
//
// It guarantees that the file is read as ZooKeeper reads it, that a value out
// of range or a key that asks for security or a topology which is not built
// yet is an error (never a weaker server), that no line is dropped in silence,
// and that a Config it returns is consistent in itself. Nothing is created,
// written, resolved or dialled here: whether a directory exists or a name
// resolves is found out by those who use it. What a value does is the
// server's business.
package config

import (
	"slices"
	"time"
)

// Config is one server's whole configuration. Load, Parse and Default return
// it complete and validated; after that it is never changed and may be read
// from any goroutine.
type Config struct {
	DataDir    string // snapshots and myid
	DataLogDir string // Raft log and stable store; DataDir when not set
	// DataDirAutocreate reports whether missing directories may be created.
	DataDirAutocreate bool

	// ClientAddress is where clients connect: a host name or address, empty
	// for all interfaces. From clientPortAddress or this member's ";addr:port".
	ClientAddress string
	ClientPort    int // 1 to 65535
	// ClientPortListenBacklog is shown by conf and otherwise unused; -1 is
	// the system's own.
	ClientPortListenBacklog int

	TickTime time.Duration
	// InitLimit and SyncLimit are in ticks; InitTimeout and SyncTimeout give
	// them as durations. Both are 0 on a standalone server that sets neither.
	InitLimit, SyncLimit                 int
	MinSessionTimeout, MaxSessionTimeout time.Duration

	// Members are the server.N lines, sorted by ID. Empty without any; a
	// single one may go with Standalone.
	Members []Member
	// ConfigVersion is the version of the membership: 0 from zoo.cfg, else
	// from the dynamic file's name.
	ConfigVersion     int64
	DynamicConfigFile string // empty when members are in zoo.cfg
	// MyID is this server's N, 1 to 255. A standalone server without myid
	// takes the one from its only server line, else 1.
	MyID uint8
	// Standalone reports that the server runs alone, without the ports
	// between servers.
	Standalone        bool
	StandaloneEnabled bool
	// PeerType is this server's role: that of its server line, which wins
	// over the key peerType.
	PeerType             PeerType
	QuorumListenOnAllIPs bool
	// ReconfigEnabled is always false: reconfig is not built yet.
	ReconfigEnabled bool

	Raft      Raft
	Admin     Admin
	Metrics   Metrics
	Container Container
	Log       Log
	Throttle  Throttle

	// FourLetterWords are the words clients may use; "*" alone means all.
	FourLetterWords []string

	MaxClientCnxns int // per client address; 0 is no limit
	MaxCnxns       int // in all; 0 is no limit
	// GlobalOutstandingLimit is this server's share of the limit.
	GlobalOutstandingLimit int
	// MaxBuffer is jute.maxbuffer, in bytes: the longest request frame.
	MaxBuffer int
	// SessionlessTimeout ends a connection that has not made a session.
	SessionlessTimeout time.Duration

	SkipACL              bool
	EnforceQuota         bool
	ExtendedTypesEnabled bool // TTL nodes
	// SuperDigest is "user:base64" of the super user, empty for none.
	SuperDigest string
	// DigestAuthEnabled reports whether the auth scheme digest exists.
	DigestAuthEnabled bool
	// DigestEnabled is for ZooKeeper's tree digest, which the word hash shows.
	DigestEnabled                 bool
	LocalSessionsEnabled          bool
	LocalSessionsUpgradingEnabled bool
	ReadOnlyMode                  bool
	LinearizableReads             bool // every read is preceded by a sync
	LeaderServes                  bool // false: the leader refuses clients
	TCPKeepAlive                  bool // on connections between servers
	ClientTCPKeepAlive            bool
	// FsyncWarning is how long a write to disk may take before it is logged.
	FsyncWarning time.Duration

	// SnapRetainCount is how many snapshots are kept, 3 or more.
	// PurgeInterval is 0 when autopurge is off.
	SnapRetainCount int
	PurgeInterval   time.Duration

	snapCount int
	words     string // 4lw.commands.whitelist as written
	text      string // see Text
	props     map[string]string
	name      string
	notes     []Note
	noted     map[spot]int // the place of a line in notes
	faults    []*Error     // reasons not to start
	sources   map[string]string
}

// PeerType is a member's role, in ZooKeeper's words.
type PeerType string

// The roles: a participant is a Raft voter, an observer a nonvoter.
const (
	Participant PeerType = "participant"
	Observer    PeerType = "observer"
)

// Raft holds what is handed to hashicorp/raft.
type Raft struct {
	HeartbeatTimeout   time.Duration // silence after which a follower stands for election
	ElectionTimeout    time.Duration // silence after which a candidate tries again; >= HeartbeatTimeout
	LeaderLeaseTimeout time.Duration // without a quorum for so long, a leader steps down; <= HeartbeatTimeout
	CommitTimeout      time.Duration // idle time after which followers are told of a new commit index
	SnapshotThreshold  uint64        // entries after which a snapshot is taken
	TrailingLogs       uint64        // entries kept behind a snapshot for slow followers
	LogStore           LogStore
	Bootstrap          Bootstrap
}

// LogStore names the store of the Raft log.
type LogStore string

// The log stores: raft-wal and raft-boltdb.
const (
	WAL  LogStore = "wal"
	Bolt LogStore = "bolt"
)

// Bootstrap is how many voters must be seen empty before a first start.
type Bootstrap string

// BootstrapMajority waits for all, then settles for a majority after a while;
// BootstrapAll insists on every voter.
const (
	BootstrapMajority Bootstrap = "majority"
	BootstrapAll      Bootstrap = "all"
)

// Admin is the HTTP AdminServer.
type Admin struct {
	Enabled     bool
	Address     string // 0.0.0.0 is all interfaces
	Port        int    // 0 is any free port
	CommandURL  string // starts with a slash
	IdleTimeout time.Duration
	// SnapshotEnabled is for the command snapshot, which is run no more than
	// once in SnapshotInterval.
	SnapshotEnabled  bool
	SnapshotInterval time.Duration
}

// Metrics is the Prometheus endpoint.
type Metrics struct {
	Enabled bool
	Host    string
	Port    int // 0 is any free port

	className string
}

// Container is how containers and TTL nodes are removed.
type Container struct {
	CheckInterval        time.Duration
	MaxPerMinute         int
	MaxNeverUsedInterval time.Duration // 0: containers never used are kept
}

// Log is how this server's own log looks.
type Log struct {
	Format string // text or json
	Level  string // trace, debug, info, warn or error
}

// InitTimeout is initLimit as a duration.
func (c *Config) InitTimeout() time.Duration { return time.Duration(c.InitLimit) * c.TickTime }

// SyncTimeout is syncLimit as a duration.
func (c *Config) SyncTimeout() time.Duration { return time.Duration(c.SyncLimit) * c.TickTime }

// Allows reports whether clients may use a four-letter word.
func (c *Config) Allows(word string) bool {
	return slices.Contains(c.FourLetterWords, "*") || slices.Contains(c.FourLetterWords, word)
}

// Source tells where a key was set, as "file:line", or "" if it has its default.
func (c *Config) Source(key string) string { return c.sources[key] }

// Notes says, line by line, what became of the file. The slice is shared: it
// is for reading only.
func (c *Config) Notes() []Note { return c.notes }

// Default is the configuration of a server started without any file: alone,
// on port 2181, with data in ./coordd-data, all four-letter words and the
// AdminServer on 8080. tickTime is 2000 ms, as in the sample file that comes
// with ZooKeeper, not the 3000 of a file that does not set it.
func Default() *Config {
	c := newConfig()
	c.name = "built-in defaults"
	c.DataDir = "coordd-data"
	c.ClientPort = 2181
	c.TickTime = 2 * time.Second
	c.words = "*"
	if err := c.finish(nil); err != nil {
		panic("config: defaults are not valid: " + err.Error()) // only a wrong default gets here
	}
	return c
}

// newConfig holds the defaults of every key, taken from the table.
func newConfig() *Config {
	c := &Config{sources: map[string]string{}, noted: map[spot]int{}}
	c.MinSessionTimeout, c.MaxSessionTimeout = unset, unset
	for i := range keys {
		k := &keys[i]
		if k.Default == "" || k.value.set == nil {
			continue
		}
		if err := k.value.set(c, k.Default); err != nil {
			panic("config: default of " + k.Name + ": " + err.Error()) // a fault in the table
		}
	}
	return c
}

// unset stands for a session timeout that follows from tickTime.
const unset = -1 * time.Millisecond
