package server

import (
	"time"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/server/admin"
)

var _ admin.Source = (*Server)(nil)

// Serving implements admin.Source.
func (s *Server) Serving() bool { return s.forwarder.ready() && s.inContact() || s.ReadOnly() }

// Mode implements admin.Source.
func (s *Server) Mode() admin.Mode {
	switch {
	case s.cfg.Standalone:
		return admin.Standalone
	case s.currentReign() != nil:
		return admin.Leader
	case s.cfg.PeerType == config.Observer:
		return admin.Observer
	}
	return admin.Follower
}

// Uptime implements admin.Source.
func (s *Server) Uptime() time.Duration { return time.Since(s.started) }

// Tree implements admin.Source.
func (s *Server) Tree() (t admin.Tree) {
	s.replica.View(func(m *fsm.Machine) {
		st := m.Stats()
		t = admin.Tree{
			Zxid: m.Zxid(), NodeCount: st.NodeCount, DataSize: st.DataSize,
			Ephemerals: st.Ephemerals, GlobalSessions: st.Sessions, LocalSessions: s.locals.count(),
		}
	})
	return t
}

// Sessions implements admin.Source.
func (s *Server) Sessions() (all []admin.Session) {
	due := map[int64]time.Time{}
	for _, b := range s.tracker.Dump() {
		for _, id := range b.IDs {
			due[id] = b.Due
		}
	}
	s.replica.View(func(m *fsm.Machine) {
		m.EachSession(func(i fsm.SessionInfo) bool {
			all = append(all, admin.Session{
				ID: i.ID, Timeout: time.Duration(i.TimeoutMs) * time.Millisecond,
				Expires: due[i.ID], Ephemerals: m.Ephemerals(i.ID, ""),
			})
			return true
		})
	})
	return all
}

// Watches implements admin.Source.
func (s *Server) Watches() (w admin.WatchCounts) {
	w.Connections, w.Paths, w.Data = s.watches.DataCounts()
	_, _, w.All = s.watches.Counts()
	return w
}

// WatchedPaths implements admin.Source.
func (s *Server) WatchedPaths() map[int64][]string {
	all := map[int64][]string{}
	for _, w := range s.watches.EachBySession() {
		all[w.Session] = w.Paths
	}
	return all
}

// Connections implements admin.Source.
func (s *Server) Connections() []admin.Connection {
	var all []admin.Connection
	for _, c := range s.connections() {
		c.mu.Lock()
		st := c.stats
		a := admin.Connection{
			Remote: c.nc.RemoteAddr().String(), Reading: !c.heldLocked(), Writing: c.writing,
			Outstanding: len(c.queue), Received: st.received, Sent: st.sent,
		}
		c.mu.Unlock()
		if a.SessionID = c.sessionID.Load(); a.SessionID != 0 {
			a.Timeout = time.Duration(c.timeoutMs.Load()) * time.Millisecond
			a.Established, a.LastCxid, a.LastZxid = st.established, st.lastCxid, st.lastZxid
			a.LastOp = st.lastOp.Short()
			a.LastResponse = st.lastResponse.Sub(s.started)
			a.LastLatencyMs, a.MinLatencyMs, a.MaxLatencyMs = st.last, st.min, st.max
			if st.count > 0 {
				a.AvgLatencyMs = st.sum / st.count
			}
		}
		all = append(all, a)
	}
	return all
}

// ResetConnectionStats implements admin.Source.
func (s *Server) ResetConnectionStats() {
	for _, c := range s.connections() {
		c.mu.Lock()
		c.stats = connStats{established: c.stats.established, lastCxid: -1, lastZxid: c.stats.lastZxid}
		c.mu.Unlock()
	}
}

// LeaderInfo implements admin.Source.
func (s *Server) LeaderInfo() admin.LeaderInfo {
	id, _ := s.replica.Leader()
	m, _ := s.cfg.Member(id)
	return admin.LeaderInfo{ID: id, Host: m.Host}
}

// Ensemble implements admin.Source.
func (s *Server) Ensemble() admin.Ensemble {
	n := int(s.learners.Load())
	e := admin.Ensemble{QuorumSize: len(s.cfg.Voters()), Learners: n, SyncedFollowers: n}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reign != nil {
		e.LeaderUptime = time.Since(s.reignedAt)
	}
	return e
}

// Conf implements admin.Source.
func (s *Server) Conf() admin.Conf { return admin.ConfOf(s.cfg) }

// Fault implements admin.Source.
func (s *Server) Fault() string { return s.replica.Fault() }
