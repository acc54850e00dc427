package admin

import (
	"io"
	"net/netip"
	"time"

	"github.com/coordd/coordd/config"
)

// Mode is a server's part in its ensemble, as srvr prints it.
type Mode string

// The modes, in ZooKeeper's words. Read-only is no mode here: see
// Source.ReadOnly.
const (
	Standalone Mode = "standalone"
	Leader     Mode = "leader"
	Follower   Mode = "follower"
	Observer   Mode = "observer"
)

// Source is what the commands ask of the server. All methods may be called
// from any goroutine at any time between the start of the listeners and the
// end of the process. Serving, ReadOnly, Fault and Mode must not wait for apply or
// for a disk: probes call them.
type Source interface {
	// Serving reports whether this server takes clients now: it has applied
	// its own begin entry and is in contact with a leader, or serves
	// read-only clients.
	Serving() bool
	// ReadOnly reports whether only read-only clients are served, because
	// there is no leader.
	ReadOnly() bool
	// Fault says in a few words what makes this server unhealthy though it may
	// still serve (a full disk, a state that differs); "" if nothing does.
	Fault() string
	// Withdrawn reports that this server is about to end, and that no new
	// clients should be sent to it.
	Withdrawn() bool
	// Mode is Follower while no leader is known, Observer for a nonvoter.
	Mode() Mode
	// Uptime is the time since this server began to serve.
	Uptime() time.Duration

	// Tree is the applied state in numbers; it must cost O(1).
	Tree() Tree
	// Sessions lists every session of the ensemble, in any order. It copies
	// and so is only called for dump.
	Sessions() []Session

	Watches() WatchCounts
	// WatchedPaths lists the paths each session on this server watches for
	// data or existence (child watches are not shown), in any order.
	WatchedPaths() map[int64][]string

	// Connections lists the open client connections in any order, those
	// without a session included.
	Connections() []Connection
	// ResetConnectionStats sets the counts of every open connection to zero.
	ResetConnectionStats()

	// LeaderInfo is who leads. The zero value: nobody known.
	LeaderInfo() LeaderInfo
	// Observers are those with a stream to this leader, in any order.
	Observers() []ObserverStream
	// ResetObserverStats sets their counts to zero.
	ResetObserverStats()
	// Ensemble is what the members look like from here. Counts of synced and
	// pending members matter on the leader only.
	Ensemble() Ensemble
	// Quotas adds up the quotas below each node of the root, by its name, for
	// so many nodes at most.
	Quotas(most int) map[string]Quota

	// Conf is the configuration that conf prints; see ConfOf.
	Conf() Conf

	// Digests are the latest digests of the tree, oldest first.
	Digests() []Digest
	// LastSnapshot is the state and the time of the last snapshot on this
	// server's disk; the time is zero if there is none.
	LastSnapshot() (zxid int64, at time.Time)
	// TakeSnapshot brings the snapshot on the disk up to date and opens it.
	TakeSnapshot() (*Snapshot, error)
	// Authorize judges what a client at the address remote claims to be: a
	// scheme and what the scheme wants, nil if nothing was given. authentic
	// reports that the scheme accepts it, and allowed that those identities
	// may do everything to the root node.
	Authorize(remote netip.Addr, scheme string, claim []byte) (authentic, allowed bool)
}

// Digest is ZooKeeper's digest of the tree as it was at a zxid.
type Digest struct {
	Zxid   int64
	Digest uint64
}

// Snapshot is a snapshot, open for reading. Whoever gets one closes it.
type Snapshot struct {
	io.ReadCloser
	Zxid int64 // the last one it has
	Size int64 // bytes
}

// Tree is the applied state in numbers.
type Tree struct {
	Zxid      int64 // last one given
	NodeCount int   // as ZooKeeper counts: one more than there are znodes
	DataSize  int64 // bytes of paths and data, approximately
	// Ephemerals counts ephemeral znodes; GlobalSessions and LocalSessions
	// count open sessions.
	Ephemerals, GlobalSessions, LocalSessions int
}

// Session is one open session.
type Session struct {
	ID      int64
	Timeout time.Duration
	// Expires is when the session ends if nothing more is heard of it; zero
	// where this is not known (only the leader knows).
	Expires    time.Time
	Local      bool
	Ephemerals []string // paths
}

// WatchCounts are the watches this server holds. Connections, Paths and Data
// are about data and existence watches only, as in ZooKeeper's wchs.
type WatchCounts struct {
	Connections, Paths, Data int
	// All counts watches of every kind.
	All int
}

// Connection is one client connection.
type Connection struct {
	Remote string // host:port
	Secure bool
	// Reading and Writing report whether the server waits to read from it,
	// or to write because the client is slow.
	Reading, Writing bool

	// Expires is when the server closes it if nothing more is heard; zero if
	// not known.
	Expires time.Time

	Outstanding    int   // requests without a reply yet
	Received, Sent int64 // packets

	// All below is zero, and not shown, without a session.
	SessionID    int64
	Timeout      time.Duration
	LastOp       string // four letters as in ZooKeeper, e.g. "GETD"; "NA" at first
	Established  time.Time
	LastCxid     int64 // negative (pings and the like) is not shown
	LastZxid     int64
	LastResponse time.Duration // since the process started; only differences mean something
	// LastLatencyMs and the rest are in milliseconds, 0 when idle.
	LastLatencyMs, MinLatencyMs, AvgLatencyMs, MaxLatencyMs int64
}

// LeaderInfo is who leads.
type LeaderInfo struct {
	ID   uint8  // 0 when no leader is known
	Host string // as in its server.N line
}

// Quota is what a quota allows, and what counts for it; a limit of -1 is none.
type Quota struct {
	CountLimit, BytesLimit, Count, Bytes int64
}

// ObserverStream is an observer's stream to this leader.
type ObserverStream struct {
	ID             uint8
	Remote         string // host:port
	Established    time.Time
	Received, Sent int64 // messages
	Requests       int64 // batches of requests among those received
}

// Ensemble is what the members look like from this server.
type Ensemble struct {
	QuorumSize int // voters configured
	// Learners counts the members that follow this leader; the Synced ones are
	// those of them that are what zoo.cfg says, Pending those that do not vote
	// yet, but will when they have caught up.
	Learners, SyncedFollowers, SyncedObservers, Pending int
	LeaderUptime                                        time.Duration
	// Raft's term, and the last entries of this server's log and state.
	Term, LastIndex, AppliedIndex uint64
}

// Conf is the configuration that conf shows.
type Conf struct {
	ClientAddress          string // empty or 0.0.0.0 is all interfaces
	ClientPort, SecurePort int    // SecurePort is -1 when there is none
	DataDir, DataLogDir    string
	TickTime               time.Duration
	MaxClientCnxns         int
	MinSessionTimeout      time.Duration
	MaxSessionTimeout      time.Duration
	ListenBacklog          int
	CommandURL             string // path of the commands over HTTP; empty is /commands
	// SnapshotEnabled lets the command snapshot be used, once in
	// SnapshotInterval.
	SnapshotEnabled  bool
	SnapshotInterval time.Duration
	// Text is the configuration file as written, empty if there is none.
	// Properties are its lines that are system properties in ZooKeeper, by
	// name. Both without credentials.
	Text       string
	Properties map[string]string
	ServerID   uint8 // 0 on a standalone server without servers

	// Member reports whether this server is one of an ensemble; the rest is
	// shown only then.
	Member                   bool
	InitLimit, SyncLimit     int
	ElectionPort, QuorumPort int
	Observer                 bool
	// Membership is the text of /zookeeper/config.
	Membership string
	Members    []config.Member
	// LocalSessions reports whether new sessions are local ones.
	LocalSessions bool
}

// ConfOf is the Conf of a server that runs with c.
func ConfOf(c *config.Config) Conf {
	conf := Conf{
		ClientAddress:     c.ClientAddress,
		ClientPort:        c.ClientPort,
		SecurePort:        -1,
		DataDir:           c.DataDir,
		DataLogDir:        c.DataLogDir,
		TickTime:          c.TickTime,
		MaxClientCnxns:    c.MaxClientCnxns,
		MinSessionTimeout: c.MinSessionTimeout,
		MaxSessionTimeout: c.MaxSessionTimeout,
		ListenBacklog:     c.ClientPortListenBacklog,
		CommandURL:        c.Admin.CommandURL,
		SnapshotEnabled:   c.Admin.SnapshotEnabled,
		SnapshotInterval:  c.Admin.SnapshotInterval,
		Text:              c.Text(),
		Properties:        c.Properties(),
		InitLimit:         c.InitLimit,
		SyncLimit:         c.SyncLimit,
	}
	if c.Standalone {
		return conf // ZooKeeper shows serverId 0 on a standalone server
	}
	m, _ := c.Member(c.MyID)
	conf.ServerID = c.MyID
	conf.Member = true
	conf.ElectionPort, conf.QuorumPort = m.ElectionPort, m.QuorumPort
	conf.Observer = c.PeerType == config.Observer
	conf.Membership = c.DynamicText(c.ConfigVersion)
	conf.Members = c.Members
	conf.LocalSessions = c.LocalSessionsEnabled
	return conf
}
