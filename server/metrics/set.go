// Package metrics declares every number that a server counts, once: a field of
// Set with its name, its kind (the field's type) and a sentence. The word mntr,
// the AdminServer and the Prometheus page render the same Set.
//
// It guarantees that touching a field never locks or allocates, but for a key
// of a set that is new, and that rendering may happen at any time meanwhile. Numbers of one rendering need not
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
	PacketsReceived     Gauge       `name:"packets_received" help:"Packets received from clients since reset."`
	PacketsSent         Gauge       `name:"packets_sent" help:"Packets sent to clients since reset, watch events included."`
	BytesReceived       Counter     `name:"bytes_received_count" help:"Bytes received from clients, in whole packets."`
	ResponseBytes       Counter     `name:"response_bytes" help:"Bytes sent to clients in replies to requests."`
	AliveConnections    Gauge       `name:"num_alive_connections" help:"Open client connections."`
	OutstandingRequests Gauge       `name:"outstanding_requests" help:"Writes of this server's clients without a reply yet."`
	Latency             Latency     `name:"latency" help:"Milliseconds from a request to its reply, since reset."`
	ReadLatency         Percentiles `name:"readlatency" help:"Milliseconds from a read request to its reply."`
	UpdateLatency       Percentiles `name:"updatelatency" help:"Milliseconds from a write request to its reply."`
	ResponseSize        Sizes       `name:"client_response_size" help:"Bytes of a reply, since reset."`
	ReadPerNamespace    SummarySet  `name:"read_per_namespace" help:"Bytes of path, data or children's names, and stat, for each read below a node of the root; key is the node's name."`
	WritePerNamespace   SummarySet  `name:"write_per_namespace" help:"Bytes of path and data for each write below a node of the root, on every server; key is the node's name."`

	ConnectionRequests   Counter     `name:"connection_request_count" help:"Handshakes of clients."`
	ConnectionRejected   Counter     `name:"connection_rejected" help:"Connections refused for a limit on their number."`
	TokenDeficit         Summary     `name:"connection_token_deficit" help:"Tokens that were missing after a handshake had taken its own, with connection_throttle_tokens."`
	ConnectionDrops      Counter     `name:"connection_drop_count" help:"Connections that the client ended without closing its session."`
	ConnectionRevalidate Counter     `name:"connection_revalidate_count" help:"Handshakes that took up an existing session."`
	SessionlessExpired   Counter     `name:"sessionless_connections_expired" help:"Connections closed because they made no session in time."`
	ClosedNotServing     Counter     `name:"cnxn_closed_without_zk_server_running" help:"Connections closed because this server did not serve."`
	AuthFailed           Gauge       `name:"auth_failed_count" help:"Credentials that were refused."`
	LargeRejected        Counter     `name:"large_requests_rejected" help:"Requests refused because large ones took too many bytes already."`
	ThrottleWaits        Counter     `name:"request_throttle_wait_count" help:"Times that a request waited because too many were under way."`
	ThrottleTime         Percentiles `name:"request_throttle_queue_time_ms" help:"Milliseconds that a request waited for its turn, with request_throttle_max_requests."`
	ThrottledOps         Counter     `name:"throttled_ops" help:"Requests answered with ThrottledOp (-127) because they had waited too long."`
	StaleRequests        Counter     `name:"stale_requests" help:"Requests too old when their turn came, or whose client had gone."`
	StaleDropped         Counter     `name:"stale_requests_dropped" help:"Those of them that were dropped, with their connections."`
	StaleReplies         Counter     `name:"stale_replies" help:"Writes applied when their connection had ended."`
	SessionQueue         Summary     `name:"requests_in_session_queue" help:"Requests of a connection that waited when one of its writes was applied."`
	ReadsAfterWrite      Summary     `name:"reads_after_write_in_session_queue" help:"Reads that were answered right behind the write they waited for."`
	SlowClientsCut       Counter     `name:"coordd_slow_clients_closed" help:"Connections closed because the client did not read its replies."`
	InsecureRemote       Gauge       `name:"non_mtls_remote_conn_count" help:"Open client connections from other machines without mutual TLS."`
	InsecureLocal        Gauge       `name:"non_mtls_local_conn_count" help:"Open client connections from this machine without mutual TLS."`
	TLSHandshakes        Gauge       `name:"outstanding_tls_handshake" help:"TLS handshakes under way."`

	// The state machine.
	Proposals          Counter     `name:"proposal_count" help:"Writes proposed as leader."`
	Commits            Counter     `name:"commit_count" help:"Writes committed as leader, refused ones included."`
	CommitsQueued      Counter     `name:"request_commit_queued" help:"Writes committed, in whatever role, refused ones included."`
	CommitsAsFollower  Counter     `name:"learner_commit_received_count" help:"Writes committed by another leader."`
	Entries            Counter     `name:"coordd_entries" help:"Raft log entries applied; one holds many writes."`
	ProposalSize       Sizes       `name:"proposal_size" help:"Bytes of a proposed log entry." on:"leader"`
	QuorumAckLatency   Percentiles `name:"quorum_ack_latency" help:"Milliseconds from the proposal of a log entry until a quorum has it and the leader has applied it."`
	PropagationLatency Percentiles `name:"propagation_latency" help:"Milliseconds from the leader's making a log entry until it is applied here, by the clocks of both."`
	SessionsExpired    Counter     `name:"stale_sessions_expired" help:"Sessions that the leader let expire because nothing was heard of them."`
	Revalidations      Counter     `name:"revalidate_count" help:"Sessions taken up again anywhere in the ensemble, counted by the leader."`
	DigestMismatches   Counter     `name:"digest_mismatches_count" help:"Comparisons that found the servers' states to differ."`
	Unrecoverable      Counter     `name:"unrecoverable_error_count" help:"Faults for which this process must end."`

	SnapshotTime     Summary `name:"snapshottime" help:"Milliseconds to write a snapshot."`
	SnapshotErrors   Counter `name:"snapshot_error_count" help:"Snapshots that could not be written."`
	SnapshotsLimited Counter `name:"snapshot_rate_limited_count" help:"Snapshots that the AdminServer refused because there had just been one."`
	SnapshotsLoaded  Counter `name:"coordd_snapshots_installed" help:"Snapshots received from the leader and installed."`
	LoadTime         Summary `name:"dbinittime" help:"Milliseconds to open the log and to load the newest snapshot at the start."`
	SnapLoadTime     Summary `name:"startup_snap_load_time" help:"Milliseconds to load the newest snapshot at the start."`

	QuotaExceeded   CounterSet `name:"quota_exceeded_error_per_namespace" help:"Writes of this server's clients that a hard quota refused; key is the node of the root."`
	QuotaCountLimit GaugeSet   `name:"quota_count_limit_per_namespace" help:"Nodes that the quotas below a node of the root allow, -1 for no limit."`
	QuotaBytesLimit GaugeSet   `name:"quota_bytes_limit_per_namespace" help:"Bytes that the quotas below a node of the root allow, -1 for no limit."`
	QuotaCountUsage GaugeSet   `name:"quota_count_usage_per_namespace" help:"Nodes counted for the quotas below a node of the root."`
	QuotaBytesUsage GaugeSet   `name:"quota_bytes_usage_per_namespace" help:"Bytes counted for the quotas below a node of the root."`

	// Leaders and batches between servers.
	Looking           Counter `name:"looking_count" help:"Times this server was without a leader, the start included."`
	ElectionTime      Summary `name:"election_time" help:"Milliseconds without a leader, each time one was found."`
	Unavailable       Summary `name:"unavailable_time" help:"Milliseconds without a way to a leader, each time there was one again."`
	LeaderUnavailable Summary `name:"leader_unavailable_time" help:"Those of them that ended with this server's own leadership."`
	FollowerSyncTime  Summary `name:"follower_sync_time" help:"Milliseconds from dialling a new leader until its stream was open."`
	ObserverSyncTime  Summary `name:"observer_sync_time" help:"The same on an observer."`
	LeaderChanges     Counter `name:"coordd_leader_changes" help:"Times another leader than before was seen."`
	Diffs             Counter `name:"diff_count" help:"Servers that took this one for their leader; what they lacked came from the log, or from a snapshot."`
	Snaps             Counter `name:"snap_count" help:"Snapshots sent to servers that lacked more than the log holds."`
	BatchesResent     Counter `name:"coordd_batches_resent" help:"Batches sent to a leader again."`
	RequestsResent    Counter `name:"coordd_requests_resent" help:"Requests in batches that were sent again."`
	BatchesDuplicate  Counter `name:"coordd_batches_duplicate" help:"Batches skipped because they had been applied."`
	BatchesGap        Counter `name:"coordd_batches_gap" help:"Batches skipped because one before them was missing."`
	BatchesRefused    Counter `name:"coordd_batches_refused" help:"Batches the leader would not take."`

	// The disk.
	FsyncTime       Summary `name:"fsynctime" help:"Milliseconds of an append to the Raft log with its fsync."`
	BatchSize       Summary `name:"sync_processor_batch_size" help:"Raft log entries of an append, which share one fsync."`
	LogStores       Counter `name:"coordd_log_stores" help:"Appends to the Raft log, each with an fsync."`
	LogStoreSeconds Seconds `name:"coordd_log_store_seconds" help:"Time spent in appends to the Raft log."`
	FsyncSlow       Counter `name:"coordd_log_stores_slow" help:"Appends slower than fsync.warningthresholdms."`

	// Watch events, by what happened: how many connections each event was for.
	NodeCreatedWatches  Summary `name:"node_created_watch_count" help:"Connections that watched a node when it was created, if any."`
	NodeDeletedWatches  Summary `name:"node_deleted_watch_count" help:"Connections that watched a node when it was deleted, if any."`
	NodeChangedWatches  Summary `name:"node_changed_watch_count" help:"Connections that watched a node when its data changed, if any."`
	NodeChildrenWatches Summary `name:"node_children_watch_count" help:"Connections that watched a node when its children changed, if any."`
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
	DropProbability     Real  `name:"connection_drop_probability" help:"Share of new connections that is dropped by throttling."`
	Term                Gauge `name:"coordd_raft_term" help:"Raft's term, as this server knows it."`
	LastIndex           Gauge `name:"coordd_raft_last_index" help:"Index of the last entry in this server's log."`
	AppliedIndex        Gauge `name:"coordd_raft_applied_index" help:"Index of the last entry applied here."`
	Faulty              Gauge `name:"coordd_faulty" help:"1 while /health tells of a fault, such as a full disk."`

	QuorumSize      Gauge `name:"quorum_size" help:"Voting members." on:"member"`
	SyncedObservers Gauge `name:"synced_observers" help:"Observers that follow this leader; 0 on other servers." on:"member"`
	Learners        Gauge `name:"learners" help:"Servers that follow this leader." on:"leader"`
	SyncedFollowers Gauge `name:"synced_followers" help:"Voting members that follow this leader." on:"leader"`
	SyncedNonVoting Gauge `name:"synced_non_voting_followers" help:"Members that follow this leader, and vote only once they have caught up." on:"leader"`
	PendingSyncs    Gauge `name:"pending_syncs" help:"Members that are catching up before they vote." on:"leader"`
	LeaderUptime    Gauge `name:"leader_uptime" help:"Milliseconds since this server became leader." on:"leader"`

	// The process, under the names that Prometheus' own libraries use.
	CPUSeconds     Seconds `name:"process_cpu_seconds_total" help:"Processor time of this process." only:"prometheus"`
	StartTime      Real    `name:"process_start_time_seconds" help:"When this process started, in seconds since 1970." only:"prometheus"`
	ProcessFiles   Gauge   `name:"process_open_fds" help:"Open file descriptors, -1 if not known." only:"prometheus"`
	ProcessMaxFile Gauge   `name:"process_max_fds" help:"Limit of open file descriptors, -1 if not known." only:"prometheus"`
	VirtualMemory  Gauge   `name:"process_virtual_memory_bytes" help:"Virtual memory of this process, -1 if not known." only:"prometheus"`
	ResidentMemory Gauge   `name:"process_resident_memory_bytes" help:"Resident memory of this process, -1 if not known." only:"prometheus"`

	table          []metric
	collect        atomic.Pointer[func() Role]
	prometheusForm atomic.Bool
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
	name, help     string
	on             Role
	prometheusOnly bool
	value          value
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
		m.prometheusOnly = tag.Get("only") == "prometheus"
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

// ResetProposalStats is what srst does on a leader besides (StatResetCommand).
func (s *Set) ResetProposalStats() { s.ProposalSize.reset() }
