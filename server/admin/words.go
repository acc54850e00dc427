package admin

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/coordd/coordd/server/metrics"
)

func (a *Admin) srvr(b *bytes.Buffer) { a.writeServer(b, false) }

func (a *Admin) stat(b *bytes.Buffer) { a.writeServer(b, true) }

// writeServer is StatCommand, which does srvr as well.
func (a *Admin) writeServer(b *bytes.Buffer, clients bool) {
	fmt.Fprintf(b, "Zookeeper version: %s\n", a.version)
	if a.src.ReadOnly() {
		b.WriteString("READ-ONLY mode; serving only read-only clients\n")
	}
	if clients {
		b.WriteString("Clients:\n")
		for _, c := range a.src.Connections() {
			writeConnection(b, c, true)
		}
		b.WriteByte('\n')
	}
	s, tree, mode := a.set, a.src.Tree(), a.state()
	fmt.Fprintf(b, "Latency min/avg/max: %d/%s/%d\n", s.Latency.Min(), metrics.JavaDouble(s.Latency.Avg()), s.Latency.Max())
	fmt.Fprintf(b, "Received: %d\n", s.PacketsReceived.Load())
	fmt.Fprintf(b, "Sent: %d\n", s.PacketsSent.Load())
	fmt.Fprintf(b, "Connections: %d\n", s.AliveConnections.Load())
	fmt.Fprintf(b, "Outstanding: %d\n", s.OutstandingRequests.Load())
	fmt.Fprintf(b, "Zxid: 0x%x\n", uint64(tree.Zxid))
	fmt.Fprintf(b, "Mode: %s\n", mode)
	fmt.Fprintf(b, "Node count: %d\n", tree.NodeCount)
	if mode == string(Leader) {
		last, least, greatest := s.ProposalSize.Load()
		fmt.Fprintf(b, "Proposal sizes last/min/max: %d/%d/%d\n", last, least, greatest)
	}
}

func (a *Admin) cons(b *bytes.Buffer) {
	for _, c := range a.src.Connections() {
		writeConnection(b, c, false)
	}
	b.WriteByte('\n')
}

// writeConnection is ServerCnxn.dumpConnectionInfo.
func writeConnection(b *bytes.Buffer, c Connection, brief bool) {
	fmt.Fprintf(b, " /%s[%x](queued=%d,recved=%d,sent=%d", c.Remote, interest(c), c.Outstanding, c.Received, c.Sent)
	if !brief && c.SessionID != 0 {
		fmt.Fprintf(b, ",sid=0x%x,lop=%s,est=%d,to=%d", uint64(c.SessionID), c.LastOp, c.Established.UnixMilli(), c.Timeout.Milliseconds())
		if c.LastCxid >= 0 {
			fmt.Fprintf(b, ",lcxid=0x%x", c.LastCxid)
		}
		fmt.Fprintf(b, ",lzxid=0x%x,lresp=%d,llat=%d,minlat=%d,avglat=%d,maxlat=%d", uint64(c.LastZxid), c.LastResponse.Milliseconds(),
			c.LastLatencyMs, c.MinLatencyMs, c.AvgLatencyMs, c.MaxLatencyMs)
	}
	b.WriteString(")\n")
}

// interest is the set of java.nio's SelectionKey: 1 read, 4 write.
func interest(c Connection) (set int) {
	if c.Reading {
		set |= 1
	}
	if c.Writing {
		set |= 4
	}
	return set
}

func (a *Admin) mntr(b *bytes.Buffer) {
	a.eachMonitored(func(name, value string, _ bool) { fmt.Fprintf(b, "zk_%s\t%s\n", name, value) })
}

// eachMonitored calls emit for each line of mntr; number reports that the value
// is one.
func (a *Admin) eachMonitored(emit func(name, value string, number bool)) {
	emit("version", a.version, false)
	emit("server_state", a.state(), false)
	if peer, ok := map[Mode]string{Leader: "leading", Follower: "following", Observer: "observing"}[a.src.Mode()]; ok {
		emit("peer_state", peer+" - broadcast", false)
	}
	a.set.Each(func(name, value string) { emit(name, value, true) })
}

func (a *Admin) conf(b *bytes.Buffer) {
	c := a.src.Conf()
	fmt.Fprintf(b, "clientPort=%d\nsecureClientPort=%d\n", c.ClientPort, c.SecurePort)
	fmt.Fprintf(b, "dataDir=%s\ndataDirSize=%d\n", c.DataDir, dirSize(c.DataDir))
	fmt.Fprintf(b, "dataLogDir=%s\ndataLogSize=%d\n", c.DataLogDir, dirSize(c.DataLogDir))
	fmt.Fprintf(b, "tickTime=%d\nmaxClientCnxns=%d\n", c.TickTime.Milliseconds(), c.MaxClientCnxns)
	fmt.Fprintf(b, "minSessionTimeout=%d\nmaxSessionTimeout=%d\n", c.MinSessionTimeout.Milliseconds(), c.MaxSessionTimeout.Milliseconds())
	fmt.Fprintf(b, "clientPortListenBacklog=%d\nserverId=%d\n", c.ListenBacklog, c.ServerID)
	if !c.Member {
		return
	}
	peerType := 0
	if c.Observer {
		peerType = 1
	}
	fmt.Fprintf(b, "initLimit=%d\nsyncLimit=%d\nelectionAlg=3\n", c.InitLimit, c.SyncLimit)
	fmt.Fprintf(b, "electionPort=%d\nquorumPort=%d\npeerType=%d\n", c.ElectionPort, c.QuorumPort, peerType)
	if a.inEnsemble() {
		b.WriteString("membership: \n" + c.Membership)
	}
}

func (a *Admin) isro(b *bytes.Buffer) {
	switch {
	case !a.src.Serving():
		b.WriteString("null")
	case a.src.ReadOnly():
		b.WriteString("ro")
	default:
		b.WriteString("rw")
	}
}

func (a *Admin) dirs(b *bytes.Buffer) {
	c := a.src.Conf()
	fmt.Fprintf(b, "datadir_size: %d\nlogdir_size: %d\n", dirSize(c.DataDir), dirSize(c.DataLogDir))
}

func (a *Admin) srst(b *bytes.Buffer) {
	a.set.ResetServerStats()
	if a.src.Mode() == Leader {
		a.set.ResetProposalStats() // which the command over HTTP leaves alone, as in ZooKeeper
	}
	b.WriteString("Server stats reset.\n")
}

func (a *Admin) crst(b *bytes.Buffer) {
	a.src.ResetConnectionStats()
	b.WriteString("Connection stats reset.\n")
}

func (a *Admin) wchs(b *bytes.Buffer) {
	w := a.src.Watches()
	fmt.Fprintf(b, "%d connections watching %d paths\nTotal watches:%d\n", w.Connections, w.Paths, w.Data)
}

func (a *Admin) wchc(b *bytes.Buffer) {
	bySession := a.src.WatchedPaths()
	for _, id := range slices.Sorted(maps.Keys(bySession)) {
		fmt.Fprintf(b, "0x%x\n", uint64(id))
		for _, path := range slices.Sorted(slices.Values(bySession[id])) {
			fmt.Fprintf(b, "\t%s\n", path)
		}
	}
	b.WriteByte('\n')
}

func (a *Admin) wchp(b *bytes.Buffer) {
	byPath := a.sessionsByPath()
	for _, path := range slices.Sorted(maps.Keys(byPath)) {
		fmt.Fprintf(b, "%s\n", path)
		for _, id := range byPath[path] {
			fmt.Fprintf(b, "\t0x%x\n", uint64(id))
		}
	}
	b.WriteByte('\n')
}

// sessionsByPath turns WatchedPaths round; sessions are sorted.
func (a *Admin) sessionsByPath() map[string][]int64 {
	bySession := a.src.WatchedPaths()
	byPath := map[string][]int64{}
	for _, id := range slices.Sorted(maps.Keys(bySession)) {
		for _, path := range bySession[id] {
			byPath[path] = append(byPath[path], id)
		}
	}
	return byPath
}

// sortedSessions is Source.Sessions in the order of ids.
func (a *Admin) sortedSessions() []Session {
	sessions := slices.Clone(a.src.Sessions())
	slices.SortFunc(sessions, func(x, y Session) int { return cmp.Compare(x.ID, y.ID) })
	return sessions
}

func (a *Admin) dump(b *bytes.Buffer) {
	sessions := a.sortedSessions()
	global, local := []Session{}, []Session{}
	for _, s := range sessions {
		if s.Local {
			local = append(local, s)
		} else {
			global = append(global, s)
		}
	}
	b.WriteString("SessionTracker dump:\n")
	title := "Session Sets"
	if a.src.Conf().LocalSessions || len(local) > 0 {
		writeSessions(b, "Local Session Sets", local)
		title = "Global Session Sets"
	}
	if m := a.src.Mode(); m == Standalone || m == Leader {
		writeSessions(b, title, global)
	} else {
		fmt.Fprintf(b, "Global Sessions(%d):\n", len(global))
		for _, s := range global {
			fmt.Fprintf(b, "0x%x\t%dms\n", uint64(s.ID), s.Timeout.Milliseconds())
		}
	}
	with := slices.DeleteFunc(slices.Clone(sessions), func(s Session) bool { return len(s.Ephemerals) == 0 })
	fmt.Fprintf(b, "ephemeral nodes dump:\nSessions with Ephemerals (%d):\n", len(with))
	for _, s := range with {
		fmt.Fprintf(b, "0x%x:\n", uint64(s.ID))
		for _, path := range slices.Sorted(slices.Values(s.Ephemerals)) {
			fmt.Fprintf(b, "\t%s\n", path)
		}
	}
	b.WriteString("Connections dump:\n")
	writeBuckets(b, "Connections Sets", a.src.Connections(), func(c Connection) time.Time { return c.Expires },
		func(c Connection) string {
			return fmt.Sprintf("ip: /%s sessionId: 0x%x", c.Remote, uint64(c.SessionID))
		})
}

func writeSessions(b *bytes.Buffer, title string, sessions []Session) {
	writeBuckets(b, title, sessions, func(s Session) time.Time { return s.Expires },
		func(s Session) string { return fmt.Sprintf("0x%x", uint64(s.ID)) })
}

// writeBuckets is ExpiryQueue.dump: items by the second in which they expire.
func writeBuckets[T any](b *bytes.Buffer, title string, items []T, expires func(T) time.Time, line func(T) string) {
	buckets := map[int64][]T{}
	for _, item := range items {
		t := expires(item).Unix()
		buckets[t] = append(buckets[t], item)
	}
	fmt.Fprintf(b, "%s (%d)/(%d):\n", title, len(buckets), len(items))
	for _, t := range slices.Sorted(maps.Keys(buckets)) {
		fmt.Fprintf(b, "%d expire at %s:\n", len(buckets[t]), javaDate(time.Unix(t, 0)))
		for _, item := range buckets[t] {
			fmt.Fprintf(b, "\t%s\n", line(item))
		}
	}
}

func (a *Admin) envi(b *bytes.Buffer) {
	b.WriteString("Environment:\n")
	for _, f := range a.environment() {
		fmt.Fprintf(b, "%s=%s\n", f[0], f[1])
	}
}

// hash is DigestCommand.
func (a *Admin) hash(b *bytes.Buffer) {
	if !a.src.Serving() {
		b.WriteString(notServing)
		return
	}
	for _, d := range a.src.Digests() {
		fmt.Fprintf(b, "%x: %d\n", uint64(d.Zxid), int64(d.Digest))
	}
}

// defaultTraceMask is what a ZooKeeper starts with.
const defaultTraceMask = 306

func (a *Admin) gtmk(b *bytes.Buffer) { fmt.Fprint(b, a.traceMask.Load()) }

// stmk wants the mask as eight bytes in the word's own packet; without them it
// has no answer.
func (a *Admin) stmk(b *bytes.Buffer, rest []byte) {
	if len(rest) < 8 {
		return
	}
	a.traceMask.Store(int64(binary.BigEndian.Uint64(rest)))
	a.gtmk(b)
}
