package admin

import (
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/coordd/coordd/server/metrics"
)

func (a *Admin) serverStats() object {
	o := object{
		{"version", a.version},
		{"read_only", a.src.ReadOnly()},
		{"server_stats", a.statsBean()},
		{"client_response", sizes(&a.set.ResponseSize)},
	}
	if a.state() == string(Leader) {
		o = append(o, field{"proposal_stats", sizes(&a.set.ProposalSize)})
	}
	return append(o, field{"node_count", a.src.Tree().NodeCount})
}

// statsBean is ServerStats as Jackson shows it.
func (a *Admin) statsBean() object {
	s, c := a.set, a.src.Conf()
	return object{
		{"packets_sent", s.PacketsSent.Load()},
		{"packets_received", s.PacketsReceived.Load()},
		{"fsync_threshold_exceed_count", s.FsyncSlow.Load()},
		{"client_response_stats", sizes(&s.ResponseSize)},
		{"data_dir_size", dirSize(c.DataDir)},
		{"log_dir_size", dirSize(c.DataLogDir)},
		{"provider_null", false},
		{"last_processed_zxid", a.src.Tree().Zxid},
		{"outstanding_requests", s.OutstandingRequests.Load()},
		{"server_state", a.state()},
		{"avg_latency", s.Latency.Avg()},
		{"max_latency", s.Latency.Max()},
		{"min_latency", s.Latency.Min()},
		{"num_alive_client_connections", s.AliveConnections.Load()},
		{"uptime", a.src.Uptime().Milliseconds()},
		{"auth_failed_count", s.AuthFailed.Load()},
		{"non_mtlsremote_conn_count", s.InsecureRemote.Load()},
		{"non_mtlslocal_conn_count", s.InsecureLocal.Load()},
	}
}

func sizes(s *metrics.Sizes) object {
	last, least, greatest := s.Load()
	return object{{"last_buffer_size", last}, {"min_buffer_size", least}, {"max_buffer_size", greatest}}
}

func (a *Admin) stats() object { return append(a.serverStats(), a.connectionLists(true)...) }

func (a *Admin) connections() object { return a.connectionLists(false) }

func (a *Admin) connectionLists(brief bool) object {
	plain, secure := []object{}, []object{}
	for _, c := range a.src.Connections() {
		if c.Secure {
			secure = append(secure, connectionFields(c, brief))
		} else {
			plain = append(plain, connectionFields(c, brief))
		}
	}
	return object{{"connections", plain}, {"secure_connections", secure}}
}

// connectionFields is ServerCnxn.getConnectionInfo.
func connectionFields(c Connection, brief bool) object {
	o := object{
		{"remote_socket_address", c.Remote},
		{"interest_ops", interest(c)},
		{"outstanding_requests", c.Outstanding},
		{"packets_received", c.Received},
		{"packets_sent", c.Sent},
	}
	if brief {
		return o
	}
	return append(o, object{
		{"session_id", c.SessionID},
		{"last_operation", c.LastOp},
		{"established", c.Established.UnixMilli()},
		{"session_timeout", c.Timeout.Milliseconds()},
		{"last_cxid", c.LastCxid},
		{"last_zxid", c.LastZxid},
		{"last_response_time", c.LastResponse.Milliseconds()},
		{"last_latency", c.LastLatencyMs},
		{"min_latency", c.MinLatencyMs},
		{"avg_latency", c.AvgLatencyMs},
		{"max_latency", c.MaxLatencyMs},
	}...)
}

// monitor knows by itself that the server is not serving, as in ZooKeeper.
func (a *Admin) monitor(url.Values) (o object, fault string) {
	if !a.src.Serving() {
		return nil, notServing
	}
	a.eachMonitored(func(name, value string, number bool) {
		if number && value != "NaN" { // which JSON does not have
			o = append(o, field{name, json.RawMessage(value)})
		} else {
			o = append(o, field{name, value})
		}
	})
	return o, ""
}

func (a *Admin) configuration() object {
	c := a.src.Conf()
	return object{
		{"client_port", c.ClientPort},
		{"data_dir", c.DataDir},
		{"data_log_dir", c.DataLogDir},
		{"tick_time", c.TickTime.Milliseconds()},
		{"max_client_cnxns", c.MaxClientCnxns},
		{"min_session_timeout", c.MinSessionTimeout.Milliseconds()},
		{"max_session_timeout", c.MaxSessionTimeout.Milliseconds()},
		{"server_id", c.ServerID},
		{"client_port_listen_backlog", c.ListenBacklog},
	}
}

func (a *Admin) isReadOnly() object { return object{{"read_only", a.src.ReadOnly()}} }

func (a *Admin) dumpFields() object {
	expiry := map[int64][]int64{}
	ephemerals := object{}
	for _, s := range a.sortedSessions() {
		if !s.Expires.IsZero() {
			t := s.Expires.UnixMilli()
			expiry[t] = append(expiry[t], s.ID)
		}
		if len(s.Ephemerals) > 0 {
			ephemerals = append(ephemerals, field{strconv.FormatInt(s.ID, 10), slices.Sorted(slices.Values(s.Ephemerals))})
		}
	}
	buckets := object{}
	for _, t := range slices.Sorted(maps.Keys(expiry)) {
		buckets = append(buckets, field{strconv.FormatInt(t, 10), expiry[t]})
	}
	return object{{"expiry_time_to_session_ids", buckets}, {"session_id_to_ephemeral_paths", ephemerals}}
}

func (a *Admin) watchSummary() object {
	w := a.src.Watches()
	return object{{"num_connections", w.Connections}, {"num_paths", w.Paths}, {"num_total_watches", w.Data}}
}

func (a *Admin) watches() object {
	bySession := a.src.WatchedPaths()
	o := object{}
	for _, id := range slices.Sorted(maps.Keys(bySession)) {
		o = append(o, field{strconv.FormatInt(id, 10), slices.Sorted(slices.Values(bySession[id]))})
	}
	return object{{"session_id_to_watched_paths", o}}
}

func (a *Admin) watchesByPath() object {
	byPath := a.sessionsByPath()
	o := object{}
	for _, path := range slices.Sorted(maps.Keys(byPath)) {
		o = append(o, field{path, byPath[path]})
	}
	return object{{"path_to_session_ids", o}}
}

func (a *Admin) environmentFields() (o object) {
	for _, f := range a.environment() {
		o = append(o, field{f[0], f[1]})
	}
	return o
}

func (a *Admin) dirFields() object {
	c := a.src.Conf()
	return object{{"datadir_size", dirSize(c.DataDir)}, {"logdir_size", dirSize(c.DataLogDir)}}
}

func (a *Admin) resetConnections() object {
	a.src.ResetConnectionStats()
	return nil
}

func (a *Admin) resetServer() object {
	a.set.ResetServerStats()
	return nil
}

// leader is LeadCommand, which does not know standalone servers, nor those in
// read-only mode.
func (a *Admin) leader(url.Values) (object, string) {
	if !a.inEnsemble() {
		return nil, "server is not initialized"
	}
	l := a.src.LeaderInfo()
	return object{{"is_leader", a.src.Mode() == Leader}, {"leader_id", l.ID}, {"leader_ip", l.Host}}, ""
}

func (a *Admin) hashFields() object {
	digests := []object{}
	for _, d := range a.src.Digests() {
		digests = append(digests, object{{"zxid", d.Zxid}, {"digest_version", 2}, {"digest", int64(d.Digest)}})
	}
	return object{{"digests", digests}}
}

func (a *Admin) traceMaskFields() object { return object{{"tracemask", a.traceMask.Load()}} }

func (a *Admin) setTraceMask(args url.Values) (object, string) {
	const wanted = "setTraceMask requires long traceMask argument"
	if !args.Has("traceMask") {
		return nil, wanted
	}
	mask, err := strconv.ParseInt(args.Get("traceMask"), 10, 64)
	if err != nil {
		return nil, wanted + ", got " + args.Get("traceMask")
	}
	a.traceMask.Store(mask)
	return a.traceMaskFields(), ""
}

// initialConfiguration is null on members, as in ZooKeeper.
func (a *Admin) initialConfiguration() object {
	if c := a.src.Conf(); !c.Member && c.Text != "" {
		return object{{"initial_configuration", c.Text}}
	}
	return object{{"initial_configuration", nil}}
}

// lastSnapshot is LastSnapshotCommand: -1 for both where there is none.
func (a *Admin) lastSnapshot() object {
	zxid, at := a.src.LastSnapshot()
	if at.IsZero() {
		return object{{"zxid", "ffffffffffffffff"}, {"timestamp", -1}}
	}
	return object{{"zxid", strconv.FormatUint(uint64(zxid), 16)}, {"timestamp", at.Unix()}}
}

// systemProperties are those of the file, and those of a JVM that say
// something here.
func (a *Admin) systemProperties() (o object) {
	properties := map[string]string{"file.separator": "/", "path.separator": ":", "line.separator": "\n", "file.encoding": "UTF-8"}
	for _, f := range a.environment() {
		if !strings.HasPrefix(f[0], "zookeeper.") && !strings.HasPrefix(f[0], "os.memory.") && f[0] != "host.name" && f[1] != "<NA>" {
			properties[f[0]] = f[1]
		}
	}
	maps.Copy(properties, a.src.Conf().Properties)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		o = append(o, field{name, properties[name]})
	}
	return o
}

// health is the answer of /health and /ready; ready asks for writes to work.
func (a *Admin) health(ready bool) (o object, ok bool) {
	reason := a.src.Fault()
	switch {
	case reason != "":
	case !a.src.Serving():
		reason = notServing
	case ready && a.src.Withdrawn():
		reason = "this server is shutting down"
	case ready && a.src.ReadOnly():
		reason = "READ-ONLY mode; serving only read-only clients"
	}
	o = object{{"mode", a.state()}, {"serving", a.src.Serving()}, {"read_only", a.src.ReadOnly()}, {"leader_id", a.src.LeaderInfo().ID}}
	if reason != "" {
		return append(o, field{"error", reason}), false
	}
	return append(o, field{"error", nil}), true
}
