package server

import (
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
)

// numbers is what mntr shows, but for what is no whole number.
func numbers(s *Server) map[string]int64 {
	all := map[string]int64{}
	s.metrics.Each(func(name, value string) {
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			all[name] = n
		}
	})
	return all
}

// some is the change of a number that must have grown, whatever by.
const some = -1 << 40

// moved says which of the numbers have not changed by what is wanted.
func moved(before, now, want map[string]int64) (wrong []string) {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		have, known := now[name]
		change := have - before[name]
		if !known || change != want[name] && (want[name] != some || change <= 0) {
			wrong = append(wrong, name+" by "+strconv.FormatInt(change, 10))
		}
	}
	return wrong
}

// TestThingsAreCounted does things, one after another, and looks at the
// numbers that they must move, in units of ZooKeeper's.
func TestThingsAreCounted(t *testing.T) {
	s := startStandalone(t, "enforceQuota=true", patientClients)
	var w, other *wire
	multi := &protocol.MultiRequest{Ops: []protocol.MultiOp{
		{Type: protocol.OpCreate, Body: create("/q/over", "")}, {Type: protocol.OpDelete, Body: remove("/q")},
	}}
	for _, step := range []struct {
		what string
		do   func()
		want map[string]int64
	}{
		{"a session", func() { w = dial(t, s) }, map[string]int64{
			"connection_request_count": 1, "connection_revalidate_count": 0, "packets_received": 1, "packets_sent": 1, "bytes_received_count": 33,
			"response_bytes": 0, "cnt_updatelatency": 1, "num_alive_connections": 1, "non_mtls_local_conn_count": 1, "non_mtls_remote_conn_count": 0, "global_sessions": 1,
			"proposal_count": 1, "commit_count": 1, "request_commit_queued": 1, "learner_commit_received_count": 0, "coordd_entries": some,
			"cnt_fsynctime": some, "cnt_sync_processor_batch_size": some, "coordd_log_stores": some, "cnt_quorum_ack_latency": some,
			"cnt_propagation_latency": some, "coordd_raft_applied_index": some, "coordd_raft_last_index": some}},
		{"create", func() { w.call(protocol.OpCreate, create("/app", "12345"), protocol.OK) }, map[string]int64{
			"cnt_updatelatency": 1, "cnt_readlatency": 0, "packets_received": 1, "packets_sent": 1, "response_bytes": 24, "bytes_received_count": 60,
			"cnt_app_write_per_namespace": 1, "sum_app_write_per_namespace": 9, "znode_count": 1, "cnt_requests_in_session_queue": 1}},
		{"create below", func() { w.call(protocol.OpCreate, create("/app/kid", "6"), protocol.OK) }, map[string]int64{
			"sum_app_write_per_namespace": 9, "cnt_node_created_watch_count": 0}},
		{"getData", func() { w.call(protocol.OpGetData, watching("/app"), protocol.OK) }, map[string]int64{
			"cnt_updatelatency": 0, "cnt_readlatency": 1, "cnt_app_read_per_namespace": 1, "sum_app_read_per_namespace": 77, "response_bytes": 93,
			"watch_count": 1, "last_client_response_size": 93 - 28}},
		{"exists", func() { w.call(protocol.OpExists, read("/app"), protocol.OK) }, map[string]int64{"sum_app_read_per_namespace": 72}},
		{"exists not", func() { w.call(protocol.OpExists, watching("/new"), protocol.NoNode) }, map[string]int64{"cnt_readlatency": 1, "cnt_app_read_per_namespace": 0}},
		{"getChildren", func() { w.call(protocol.OpGetChildren, watching("/app"), protocol.OK) }, map[string]int64{"sum_app_read_per_namespace": 75}},
		{"getData of the root", func() { w.call(protocol.OpGetData, read("/"), protocol.OK) }, map[string]int64{"cnt_app_read_per_namespace": 0, "cnt_readlatency": 1}},
		{"sync", func() { w.call(protocol.OpSync, read("/"), protocol.OK) }, map[string]int64{"cnt_updatelatency": 0, "cnt_readlatency": 1}},
		{"ping", func() {
			w.send(request(protocol.XidPing, protocol.OpPing, nil))
			w.expect(protocol.XidPing, protocol.OK)
		}, map[string]int64{"cnt_readlatency": 1, "packets_received": 1, "packets_sent": 1}},
		{"a changed node", func() {
			other = dial(t, s)
			other.call(protocol.OpSetData, setData("/app", "x"), protocol.OK)
			w.expectEvent(protocol.NodeDataChanged, "/app")
		}, map[string]int64{"cnt_node_changed_watch_count": 1, "sum_node_changed_watch_count": 1, "watch_bytes": 32, "sum_app_write_per_namespace": 5, "watch_count": -1}},
		{"a removed child", func() {
			other.call(protocol.OpDelete, remove("/app/kid"), protocol.OK)
			w.expectEvent(protocol.NodeChildrenChanged, "/app")
		}, map[string]int64{"cnt_node_children_watch_count": 1, "cnt_node_deleted_watch_count": 0, "sum_app_write_per_namespace": 8}},
		{"a created and removed node", func() {
			other.call(protocol.OpCreate, create("/new", ""), protocol.OK)
			w.expectEvent(protocol.NodeCreated, "/new")
			w.call(protocol.OpExists, watching("/new"), protocol.OK)
			other.call(protocol.OpDelete, remove("/new"), protocol.OK)
			w.expectEvent(protocol.NodeDeleted, "/new")
		}, map[string]int64{"cnt_node_created_watch_count": 1, "cnt_node_deleted_watch_count": 1, "cnt_new_write_per_namespace": 2, "sum_new_write_per_namespace": 8}},
		{"reads behind a write", func() {
			w.send(request(1, protocol.OpSetData, setData("/app", "")), request(2, protocol.OpExists, read("/app")), request(3, protocol.OpExists, read("/app")))
			for xid := range int32(3) {
				w.expect(xid+1, protocol.OK)
			}
		}, map[string]int64{"cnt_reads_after_write_in_session_queue": 1, "sum_reads_after_write_in_session_queue": 2, "cnt_app_read_per_namespace": 2}},
		{"quotas", func() {
			for _, n := range [][2]string{{"/q", ""}, {"/zookeeper/quota/q", ""}, {"/zookeeper/quota/q/zookeeper_limits", "count=1,bytes=9=;byteHardLimit=-1;countHardLimit=1"}, {"/zookeeper/quota/q/zookeeper_stats", ""}} {
				w.call(protocol.OpCreate, create(n[0], n[1]), protocol.OK)
			}
			w.call(protocol.OpCreate, create("/q/over", ""), protocol.QuotaExceeded)
			w.call(protocol.OpMulti, multi, protocol.OK)
		}, map[string]int64{"q_quota_exceeded_error_per_namespace": 2, "q_quota_count_limit_per_namespace": 1, "q_quota_bytes_limit_per_namespace": 9,
			"q_quota_count_usage_per_namespace": 1, "q_quota_bytes_usage_per_namespace": 0, "cnt_q_write_per_namespace": 1}},
		{"a session taken up again", func() {
			next := dialRaw(t, s)
			if !next.connect(other.again(0)) || next.id != other.id {
				t.Fatal("not taken up")
			}
			other.expectClosed()
			other = next
		}, map[string]int64{"connection_revalidate_count": 1, "revalidate_count": 1, "connection_request_count": 1, "connection_drop_count": 0, "num_alive_connections": 0}},
		{"a closed session", func() {
			other.call(protocol.OpCloseSession, nil, protocol.OK)
			other.expectClosed()
		}, map[string]int64{"connection_drop_count": 0, "num_alive_connections": -1, "cnt_updatelatency": 1}},
		{"a dropped connection", func() { dial(t, s).nc.Close() }, map[string]int64{"connection_drop_count": 1, "num_alive_connections": 0}},
		{"bad credentials", func() {
			bad := dial(t, s)
			bad.send(request(protocol.XidAuth, protocol.OpAuth, &protocol.AuthRequest{Scheme: "nonsense"}))
			bad.expect(protocol.XidAuth, protocol.AuthFailed)
			bad.expectClosed()
		}, map[string]int64{"auth_failed_count": 1, "connection_drop_count": 0}},
		{"a write whose client goes", func() {
			resume := stall(s)
			gone := dialStalled(t, s, resume)
			gone.nc.Close()
			eventually(t, "the server knows", func() bool { return s.metrics.ConnectionDrops.Load() == 2 })
			resume()
		}, map[string]int64{"stale_replies": 1, "outstanding_requests": 0}},
		{"a silent session", func() {
			short := dialRaw(t, s)
			short.connect(protocol.ConnectRequest{TimeoutMs: 1})
			short.nc.Close()
		}, map[string]int64{"stale_sessions_expired": 1}},
		{"a snapshot", func() {
			if _, rc, err := s.replica.TakeSnapshot(); err != nil {
				t.Fatal(err)
			} else {
				rc.Close()
			}
		}, map[string]int64{"cnt_snapshottime": 1, "snapshot_error_count": 0}},
		{"a word", func() {
			asked := dialRaw(t, s)
			asked.send([]byte("ruok"))
			if _, err := io.ReadAll(asked.in); err != nil {
				t.Fatal(err)
			}
		}, map[string]int64{"packets_received": 1, "packets_sent": 1, "bytes_received_count": 4, "connection_drop_count": 0, "connection_request_count": 0}},
		{"a state that differs", func() {
			l := s.currentReign()
			l.add(0, 16, func(e *fsm.EntryBuilder) { e.Mark(1) })
			l.add(0, 32, func(e *fsm.EntryBuilder) { e.Verdict(1, 1) })
			<-s.Failed()
		}, map[string]int64{"digest_mismatches_count": 1, "unrecoverable_error_count": 1}},
	} {
		t.Run(step.what, func(t *testing.T) {
			before := numbers(s)
			step.do()
			var wrong []string
			for end := time.Now().Add(2 * time.Second); ; time.Sleep(2 * time.Millisecond) {
				wrong = moved(before, numbers(s), step.want)
				if len(wrong) == 0 || time.Now().After(end) {
					break
				}
			}
			if len(wrong) > 0 {
				t.Errorf("moved: %s; want %v", strings.Join(wrong, ", "), step.want)
			}
		})
	}
	if n := numbers(s); n["cnt_dbinittime"] != 1 || n["looking_count"] != 0 || n["coordd_faulty"] != 0 || n["uptime"] == 0 || s.metrics.LogStoreSeconds.Load() == 0 {
		t.Errorf("dbinittime %d, looking %d, faulty %d", n["cnt_dbinittime"], n["looking_count"], n["coordd_faulty"])
	}
}

// dialStalled opens a session, and sends a write that stays under way until
// resume is called.
func dialStalled(t *testing.T, s *Server, resume func()) *wire {
	t.Helper()
	resume() // for the session
	w := dial(t, s)
	stall(s)
	w.send(request(1, protocol.OpSetData, setData("/app", "y")))
	eventually(t, "the write waits", func() bool { return s.metrics.OutstandingRequests.Load() == 1 })
	return w
}

func TestSessionlessConnectionsAreCounted(t *testing.T) {
	s := startStandalone(t, "nio.sessionlessCnxnTimeout=50")
	dialRaw(t, s).expectClosed()
	dialRaw(t, s).nc.Close()
	eventually(t, "both are counted", func() bool {
		return s.metrics.SessionlessExpired.Load() == 1 && s.metrics.ConnectionDrops.Load() == 1
	})
}

func TestClosedWithoutServingIsCounted(t *testing.T) {
	e := newEnsemble(t, 3, "nio.sessionlessCnxnTimeout=300")
	s := e.start(0)
	if dialRaw(t, s).connect(protocol.ConnectRequest{TimeoutMs: 10_000}) {
		t.Fatal("a server without the others serves")
	}
	eventually(t, "the closed connection is counted", func() bool { return numbers(s)["cnxn_closed_without_zk_server_running"] == 1 })
	if n := numbers(s); n["looking_count"] != 1 || n["cnt_election_time"] != 0 {
		t.Errorf("looking %d, elections %d", n["looking_count"], n["cnt_election_time"])
	}
}

// TestLeadershipIsCounted looks at what an ensemble counts at its start, while
// it works, when it loses its leader, and when a server needs a snapshot.
func TestLeadershipIsCounted(t *testing.T) {
	e := newEnsemble(t, 4, calm, "coordd.trailingLogs=0")
	e.observers = map[int]bool{3: true}
	e.startAll()
	// On a busy machine leadership may change more than once.
	wait := func(what string, who func() *Server, before, want map[string]int64) {
		t.Helper()
		var wrong []string
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
			if wrong = moved(before, numbers(who()), want); wrong == nil {
				return
			}
		}
		t.Fatalf("%s: moved %v, want %v", what, wrong, want)
	}
	server := func(i int) func() *Server { return func() *Server { return e.running[i] } }
	wait("the leader's start", e.leads, nil, map[string]int64{
		"quorum_size": 3, "learners": 3, "synced_followers": 2, "synced_observers": 1, "synced_non_voting_followers": 0, "pending_syncs": 0,
		"leader_uptime": some, "looking_count": some, "cnt_election_time": some, "cnt_unavailable_time": some, "cnt_leader_unavailable_time": some,
		"diff_count": some, "snap_count": 0, "cnt_startup_snap_load_time": 0, "last_proposal_size": some, "coordd_raft_term": some})
	f := e.follower(e.leads())
	wait("a follower's start", server(f), nil, map[string]int64{
		"quorum_size": 3, "synced_observers": 0, "looking_count": some, "cnt_election_time": some, "cnt_unavailable_time": some, "cnt_follower_sync_time": some})
	wait("the observer's start", server(3), nil, map[string]int64{"cnt_observer_sync_time": some, "cnt_follower_sync_time": 0, "looking_count": some})
	if _, known := numbers(e.running[3])["synced_followers"]; known {
		t.Error("an observer counts followers")
	}

	before, led := numbers(e.running[f]), numbers(e.leads())
	w := dial(t, e.running[f])
	w.call(protocol.OpCreate, create("/app", "12345"), protocol.OK)
	wait("a write on a follower", server(f), before, map[string]int64{"request_commit_queued": 2, "learner_commit_received_count": some,
		"cnt_app_write_per_namespace": 1, "cnt_updatelatency": 2, "cnt_propagation_latency": some})
	wait("a write on the leader", e.leads, led, map[string]int64{"request_commit_queued": 2, "commit_count": some, "proposal_count": some,
		"cnt_app_write_per_namespace": 1, "cnt_updatelatency": 0, "cnt_quorum_ack_latency": some})

	last := int(e.leads().id) - 1
	e.stop(last)
	wait("the next leader", e.leads, nil, map[string]int64{"coordd_leader_changes": some, "cnt_leader_unavailable_time": some,
		"learners": 2, "synced_followers": 1, "synced_observers": 1})
	if n := numbers(e.leads()); n["cnt_unavailable_time"] < 2 || n["cnt_election_time"] < 2 || n["looking_count"] < 2 {
		t.Errorf("the next leader: %d times without a way, %d elections, %d looked", n["cnt_unavailable_time"], n["cnt_election_time"], n["looking_count"])
	}

	// Entries that the leader was about to send when its log went are sent: then
	// once more.
	for round := 0; ; round++ {
		e.write()
		for _, s := range e.running { // whoever leads then has no log for it
			if s == nil {
				continue
			}
			_, rc, err := s.replica.TakeSnapshot()
			if err != nil {
				t.Fatal(err)
			}
			rc.Close()
		}
		e.start(last)
		wait("all are in sync", e.leads, nil, map[string]int64{"learners": 3, "synced_followers": 2})
		if numbers(e.running[last])["coordd_snapshots_installed"] > 0 || round == 10 {
			break
		}
		e.stop(last)
	}
	wait("a snapshot is installed", server(last), nil, map[string]int64{"coordd_snapshots_installed": some})
	wait("a snapshot is sent", e.leads, nil, map[string]int64{"snap_count": some, "learners": 3, "synced_followers": 2})
	e.stop(last)
	e.start(last)
	wait("a snapshot is loaded", server(last), nil, map[string]int64{"cnt_startup_snap_load_time": 1})
}
