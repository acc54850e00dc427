// Package metrics declares every number that a server counts, once: a field of
// Set with its name, its kind (the field's type) and a sentence. The word mntr,
// the AdminServer and the Prometheus page render the same Set.
//
// It guarantees that touching a field never locks or allocates, and that
// rendering may happen at any time meanwhile. Numbers of one rendering need not
// be of one moment. Names are ZooKeeper's where ZooKeeper has the number, so
// that dashboards carry over; our own begin with coordd_. What is counted when
// is up to those who touch the fields.
package metrics

import (
	"reflect"
	"sync/atomic"
)

// Set is one server's metrics. It must come from New and not be copied.
type Set struct {
	// Clients. Those marked "since reset" are set to zero by the word srst.
	PacketsReceived     Counter `name:"packets_received" help:"Packets received from clients since reset."`
	PacketsSent         Counter `name:"packets_sent" help:"Packets sent to clients since reset, watch events included."`
	BytesReceived       Counter `name:"bytes_received_count" help:"Bytes received from clients."`
	ResponseBytes       Counter `name:"response_bytes" help:"Bytes sent to clients in replies."`
	AliveConnections    Gauge   `name:"num_alive_connections" help:"Open client connections."`
	OutstandingRequests Gauge   `name:"outstanding_requests" help:"Requests of this server's clients without a reply yet."`
	Latency             Latency `name:"latency" help:"Milliseconds from a request to its reply, since reset."`
	ReadLatency         Summary `name:"readlatency" help:"Milliseconds from a read request to its reply."`
	UpdateLatency       Summary `name:"updatelatency" help:"Milliseconds from a write request to its reply."`
	ResponseSize        Sizes   `name:"client_response_size" help:"Bytes of a reply, since reset."`

	ConnectionRequests   Counter `name:"connection_request_count" help:"Handshakes of clients."`
	ConnectionRejected   Counter `name:"connection_rejected" help:"Connections refused for a limit on their number."`
	ConnectionDrops      Counter `name:"connection_drop_count" help:"Connections that ended, by the client or by us."`
	ConnectionRevalidate Counter `name:"connection_revalidate_count" help:"Handshakes that took up an existing session."`
	SessionlessExpired   Counter `name:"sessionless_connections_expired" help:"Connections closed because they made no session in time."`
	AuthFailed           Counter `name:"auth_failed_count" help:"Credentials that were refused."`
	LargeRejected        Counter `name:"large_requests_rejected" help:"Requests longer than jute.maxbuffer."`
	SlowClientsCut       Counter `name:"coordd_slow_clients_closed" help:"Connections closed because the client did not read its replies."`
	InsecureRemote       Gauge   `name:"non_mtls_remote_conn_count" help:"Open client connections from other machines without mutual TLS."`
	InsecureLocal        Gauge   `name:"non_mtls_local_conn_count" help:"Open client connections from this machine without mutual TLS."`
	TLSHandshakes        Gauge   `name:"outstanding_tls_handshake" help:"TLS handshakes under way."`

	// The state machine.
	Commits          Counter `name:"commit_count" help:"Writes applied, refused ones included."`
	Entries          Counter `name:"coordd_entries" help:"Raft log entries applied."`
	Proposals        Counter `name:"proposal_count" help:"Raft log entries proposed as leader."`
	ProposalSize     Sizes   `name:"proposal_size" help:"Bytes of a proposed log entry." on:"leader"`
	SessionsExpired  Counter `name:"stale_sessions_expired" help:"Sessions that ended because nothing was heard of them."`
	SnapshotTime     Summary `name:"snapshottime" help:"Milliseconds to write a snapshot."`
	SnapshotsLoaded  Counter `name:"coordd_snapshots_installed" help:"Snapshots received from the leader and installed."`
	DigestMismatches Counter `name:"digest_mismatches_count" help:"Comparisons in which this server's state differed from another's."`

	// Batches between servers.
	BatchesResent    Counter `name:"coordd_batches_resent" help:"Batches sent to a leader again."`
	RequestsResent   Counter `name:"coordd_requests_resent" help:"Requests in batches that were sent again."`
	BatchesDuplicate Counter `name:"coordd_batches_duplicate" help:"Batches skipped because they had been applied."`
	BatchesGap       Counter `name:"coordd_batches_gap" help:"Batches skipped because one before them was missing."`
	BatchesRefused   Counter `name:"coordd_batches_refused" help:"Batches the leader would not take."`
	LeaderChanges    Counter `name:"coordd_leader_changes" help:"Times another leader than before was seen."`
	Looking          Counter `name:"looking_count" help:"Times this server was left without a leader."`
	ElectionTime     Summary `name:"election_time" help:"Milliseconds without a leader, each time one was found."`

	// The disk.
	LogStores       Counter `name:"coordd_log_stores" help:"Appends to the Raft log, each with an fsync."`
	LogStoreSeconds Seconds `name:"coordd_log_store_seconds" help:"Time spent in appends to the Raft log."`
	FsyncTime       Summary `name:"fsynctime" help:"Milliseconds of an append to the Raft log with its fsync."`
	FsyncSlow       Counter `name:"fsync_threshold_exceed_count" help:"Appends slower than fsync.warningthresholdms."`

	// Watch events, by what happened: the number of watches each one fired.
	NodeCreatedWatches  Summary `name:"node_created_watch_count" help:"Watches fired by the creation of a node."`
	NodeDeletedWatches  Summary `name:"node_deleted_watch_count" help:"Watches fired by the deletion of a node."`
	NodeChangedWatches  Summary `name:"node_changed_watch_count" help:"Watches fired by a change of data."`
	NodeChildrenWatches Summary `name:"node_children_watch_count" help:"Watches fired by a change of children."`
	WatchBytes          Counter `name:"watch_bytes" help:"Bytes sent to clients in watch events."`

	// Filled in by the hook of OnCollect, from the server's state.
	ZnodeCount          Gauge `name:"znode_count" help:"Znodes, as ZooKeeper counts them."`
	WatchCount          Gauge `name:"watch_count" help:"Watches held by this server."`
	EphemeralsCount     Gauge `name:"ephemerals_count" help:"Ephemeral znodes."`
	ApproximateDataSize Gauge `name:"approximate_data_size" help:"Bytes of paths and data."`
	GlobalSessions      Gauge `name:"global_sessions" help:"Open sessions of the ensemble."`
	LocalSessions       Gauge `name:"local_sessions" help:"Open local sessions of this server."`
	OpenFiles           Gauge `name:"open_file_descriptor_count" help:"Open file descriptors, -1 if not known."`
	MaxFiles            Gauge `name:"max_file_descriptor_count" help:"Limit of open file descriptors, -1 if not known."`
	Uptime              Gauge `name:"uptime" help:"Milliseconds since this server began to serve."`
	DropProbability     Ratio `name:"connection_drop_probability" help:"Share of new connections that is dropped by throttling."`

	QuorumSize      Gauge `name:"quorum_size" help:"Voting members." on:"member"`
	Learners        Gauge `name:"learners" help:"Connected members besides the leader." on:"leader"`
	SyncedFollowers Gauge `name:"synced_followers" help:"Voting members close behind the leader." on:"leader"`
	SyncedNonVoting Gauge `name:"synced_non_voting_followers" help:"Members close behind that will vote but do not yet." on:"leader"`
	SyncedObservers Gauge `name:"synced_observers" help:"Observers close behind the leader." on:"leader"`
	PendingSyncs    Gauge `name:"pending_syncs" help:"Members that are catching up." on:"leader"`
	LeaderUptime    Gauge `name:"leader_uptime" help:"Milliseconds since this server became leader." on:"leader"`

	table   []metric
	collect atomic.Pointer[func() Role]
}

// Role decides which metrics exist: some make sense on members or leaders only.
type Role uint8

// The roles; a Leader has what a Member has.
const (
	Alone Role = iota
	Member
	Leader
)

// metric is one row of a Set's table.
type metric struct {
	name, help string
	on         Role
	value      value
}

// New is a Set with everything at zero.
func New() *Set {
	s := &Set{}
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		if tag.Get("name") == "" {
			continue
		}
		m := metric{name: tag.Get("name"), help: tag.Get("help"), value: v.Field(i).Addr().Interface().(value)}
		switch tag.Get("on") {
		case "member":
			m.on = Member
		case "leader":
			m.on = Leader
		}
		m.value.reset()
		s.table = append(s.table, m)
	}
	return s
}

// OnCollect sets what runs before each rendering: it brings gauges up to date
// that nobody touches otherwise, and tells the server's role. Without it the
// role is Alone.
func (s *Set) OnCollect(hook func() Role) { s.collect.Store(&hook) }

// ResetServerStats is the word srst: packet counts, latency and reply sizes
// start anew, everything else goes on (ServerStats.reset).
func (s *Set) ResetServerStats() {
	for _, v := range []value{&s.PacketsReceived, &s.PacketsSent, &s.Latency, &s.ResponseSize} {
		v.reset()
	}
}
