package server

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server/admin"
	"github.com/coordd/coordd/server/auth"
)

var _ admin.Source = (*Server)(nil)

// Serving implements admin.Source.
func (s *Server) Serving() bool { return s.forwarder.ready() && s.inContact() || s.ReadOnly() }

// Withdrawn implements admin.Source.
func (s *Server) Withdrawn() bool { return s.withdrawn.Load() }

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
	for _, b := range s.locals.tracker.Dump() {
		for _, id := range b.IDs {
			all = append(all, admin.Session{ID: id, Expires: b.Due, Local: true})
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
	now, running := time.Now(), s.running()
	for _, c := range s.connections() {
		c.mu.Lock()
		st := c.stats
		a := admin.Connection{
			Remote: javaAddr(c.nc.RemoteAddr()), Reading: !c.asked && !c.heldLocked(), Writing: c.writing,
			Outstanding: len(c.queue), Received: st.received, Sent: st.sent,
			Established: st.established, LastOp: "NA", LastCxid: st.lastCxid, LastZxid: st.lastZxid,
			LastLatencyMs: st.last, MinLatencyMs: st.min, MaxLatencyMs: st.max,
		}
		c.mu.Unlock()
		if st.lastOp != 0 {
			a.LastOp = st.lastOp.Short()
		}
		if !st.lastResponse.IsZero() {
			a.LastResponse = st.lastResponse.Sub(s.started)
		}
		if st.count > 0 {
			a.AvgLatencyMs = st.sum / st.count
		}
		a.Expires = st.established.Add(s.cfg.SessionlessTimeout)
		if a.SessionID = c.sessionID.Load(); a.SessionID != 0 {
			a.Timeout = c.timeout()
			a.Expires = now.Add(time.Duration(c.acked.Load()) + a.Timeout - running)
		}
		all = append(all, a)
	}
	return all
}

// javaAddr is an address as Java writes it: IPv6 without ::.
func javaAddr(addr net.Addr) string {
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return addr.String()
	}
	return net.JoinHostPort(auth.FromAddr(ap.Addr()).List()[0].ID, strconv.Itoa(int(ap.Port())))
}

// ResetConnectionStats implements admin.Source.
func (s *Server) ResetConnectionStats() {
	for _, c := range s.connections() {
		c.mu.Lock()
		c.stats = connStats{established: c.stats.established, lastCxid: -1, lastZxid: -1}
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
	e := admin.Ensemble{QuorumSize: len(s.cfg.Voters())}
	_, e.Term = s.replica.Leader()
	e.LastIndex, e.AppliedIndex = s.replica.Indexes()
	s.mu.Lock()
	if s.reign == nil {
		s.mu.Unlock()
		return e
	}
	e.LeaderUptime = time.Since(s.reignedAt)
	following := map[uint8]bool{}
	for l := range s.learners {
		following[l.member] = true
	}
	s.mu.Unlock()
	votes := map[uint8]bool{}
	for _, m := range s.replica.Members() {
		votes[m.ID] = m.Voter
	}
	e.Learners = len(following)
	for id := range following {
		switch m, _ := s.cfg.Member(id); {
		case m.Observer:
			e.SyncedObservers++
		case votes[id]:
			e.SyncedFollowers++
		default:
			e.Pending++
		}
	}
	return e
}

// Quotas implements admin.Source.
func (s *Server) Quotas(most int) map[string]admin.Quota {
	all := map[string]admin.Quota{}
	s.replica.View(func(m *fsm.Machine) {
		for name, q := range m.Quotas(most) {
			all[name] = admin.Quota(q)
		}
	})
	return all
}

// Conf implements admin.Source.
func (s *Server) Conf() admin.Conf { return admin.ConfOf(s.cfg) }

// Fault implements admin.Source.
func (s *Server) Fault() string { return s.replica.Fault() }

// Digests implements admin.Source.
func (s *Server) Digests() (all []admin.Digest) {
	if !s.cfg.DigestEnabled {
		return nil
	}
	s.replica.View(func(m *fsm.Machine) {
		for _, d := range m.Digests() {
			all = append(all, admin.Digest(d))
		}
	})
	return all
}

// LastSnapshot implements admin.Source.
func (s *Server) LastSnapshot() (zxid int64, at time.Time) {
	last := s.replica.LastSnapshot()
	return last.Zxid, last.At
}

// TakeSnapshot implements admin.Source.
func (s *Server) TakeSnapshot() (*admin.Snapshot, error) {
	info, rc, err := s.replica.TakeSnapshot()
	if err != nil {
		s.log.Warn("no snapshot for the AdminServer", "error", err)
		return nil, err
	}
	return &admin.Snapshot{ReadCloser: rc, Zxid: info.Zxid, Size: info.Size}, nil
}

// Authorize implements admin.Source. As in ZooKeeper the address counts only
// for a client that names the scheme ip.
func (s *Server) Authorize(remote netip.Addr, scheme string, claim []byte) (authentic, allowed bool) {
	who, code := s.auth.Authenticate(auth.FromAddr(remote), scheme, claim)
	if code != protocol.OK {
		return false, false
	}
	ids := slices.DeleteFunc(slices.Clone(who.List()), func(id protocol.ID) bool {
		return id.Scheme == "ip" && scheme != "ip"
	})
	s.replica.View(func(m *fsm.Machine) { allowed = m.HasAll("/", ids) })
	return true, allowed
}
