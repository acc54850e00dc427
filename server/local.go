package server

import (
	"crypto/subtle"
	"sync"
	"time"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server/session"
)

// locals are the sessions that only this server knows: those of
// localSessionsEnabled (UpgradeableSessionTracker), and those of read-only
// mode. They end with the process.
type locals struct {
	tracker *session.Tracker

	mu       sync.Mutex
	sessions map[int64]*local // guarded by mu
}

// local is one such session.
type local struct {
	password []byte
	readOnly bool // made in read-only mode where there are no local sessions otherwise
}

func (s *Server) startLocals() {
	s.locals.sessions = map[int64]*local{}
	s.locals.tracker = session.New(s.cfg.TickTime, s.expireLocal)
	s.locals.tracker.Start(nil)
}

// makesLocal reports whether new sessions are local ones.
func (s *Server) makesLocal() bool { return s.cfg.LocalSessionsEnabled && !s.cfg.Standalone }

func (l *locals) add(id int64, made *local, timeout time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sessions[id] = made
	l.tracker.Open(id, timeout, fsm.LocalEpoch)
}

// get is the session id; nil when it is none of these.
func (l *locals) get(id int64) *local {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sessions[id]
}

// remove forgets a session and returns what it was.
func (l *locals) remove(id int64) *local {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.sessions[id]
	delete(l.sessions, id)
	l.tracker.Close(id)
	return was
}

// endReadOnly forgets the sessions that were there for read-only mode alone.
func (l *locals) endReadOnly() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, s := range l.sessions {
		if s.readOnly {
			delete(l.sessions, id)
			l.tracker.Close(id)
		}
	}
}

// count is how many local sessions there are.
func (l *locals) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sessions)
}

// expireLocal is the word of the locals' tracker that a session's time is over.
func (s *Server) expireLocal(id int64, _ uint32) {
	if s.locals.remove(id) == nil {
		return // it has just become a global one
	}
	if c := s.owner(id); c != nil {
		c.close()
	}
}

// openLocal makes a session that only this server knows.
func (c *conn) openLocal(req *protocol.ConnectRequest) {
	id, password := c.s.newSession()
	c.s.locals.add(id, &local{password, !c.s.makesLocal()}, c.timeout())
	c.welcomeLocal(req, id, password)
}

// attachLocal brings such a session to this connection.
func (c *conn) attachLocal(req *protocol.ConnectRequest, l *local) {
	if subtle.ConstantTimeCompare(l.password, req.Password) != 1 {
		c.welcomeLocal(req, 0, nil)
		return
	}
	if old := c.s.owner(req.SessionID); old != nil {
		old.close()
	}
	c.s.locals.tracker.Open(req.SessionID, c.timeout(), fsm.LocalEpoch)
	c.welcomeLocal(req, req.SessionID, l.password)
}

// welcomeLocal answers a handshake that needs no log.
func (c *conn) welcomeLocal(req *protocol.ConnectRequest, id int64, password []byte) {
	c.s.replica.View(func(*fsm.Machine) { c.answerHandshake(req, id, fsm.LocalEpoch, password) })
	c.flush()
}

// globalizeLocked makes the connection's local session a global one when the
// request is to make an ephemeral: the session is created under its id, right
// before the request (QuorumZooKeeperServer.checkUpgradeSession). The first
// attachment of a session always has epoch 1.
func (c *conn) globalizeLocked(op protocol.OpCode, body []byte) {
	id := c.sessionID.Load()
	if c.epoch != fsm.LocalEpoch || c.readOnly.Load() || !c.s.cfg.LocalSessionsUpgradingEnabled || !makesEphemeral(op, body) {
		return
	}
	l := c.s.locals.remove(id)
	if l == nil {
		return // it has just expired
	}
	c.epoch = 1
	c.acked.Store(int64(c.s.running()))
	create := fsm.CreateSession{ID: id, TimeoutMs: c.timeoutMs.Load(), Password: l.password}
	c.gatherLocked(&write{
		request: fsm.Request{Session: id, Op: protocol.OpCreateSession, Body: create.AppendTo(nil)},
		ids:     c.ids.List(),
		done:    func(*fsm.Result) {}, // a refusal shows in the request behind it
	})
}

// makesEphemeral reports whether a request asks for an ephemeral. ZooKeeper
// looks at create, create2 and multi alone, and at the flags alone.
func makesEphemeral(op protocol.OpCode, body []byte) bool {
	d := protocol.NewDecoder(body)
	switch op {
	case protocol.OpCreate, protocol.OpCreate2:
		var r protocol.CreateRequest
		r.Decode(&d)
		return d.Err() == nil && r.Mode.Ephemeral()
	case protocol.OpMulti:
		var r protocol.MultiRequest
		r.Decode(&d)
		sound, _ := r.Sound()
		return sound && d.Err() == nil && r.MakesEphemeral()
	}
	return false
}

// closeLocalLocked ends a local session at its client's wish. Nothing of this
// enters the log.
func (c *conn) closeLocalLocked(m *fsm.Machine, xid int32) {
	c.s.locals.remove(c.sessionID.Load())
	c.replyLocked(xid, protocol.OpCloseSession, m.Zxid(), protocol.OK, c.now, nil)
	c.finishLocked()
}

// minReadOnlyWait is how long a server is without a leader before it serves
// read-only clients, unless a tick is longer (QuorumPeer.run).
const minReadOnlyWait = 2 * time.Second

// ReadOnly implements admin.Source. A server that has not been part of the
// ensemble since it was started does not know what is committed, and serves
// nobody.
func (s *Server) ReadOnly() bool {
	return s.cfg.ReadOnlyMode && !s.cfg.Standalone && s.forwarder.ready() && !s.forwarder.connected() &&
		s.running()-time.Duration(s.contact.Load()) >= max(minReadOnlyWait, s.cfg.TickTime)
}

// leaveReadOnly closes the connections that were opened in read-only mode once
// it is over: their clients come back as ordinary ones.
func (s *Server) leaveReadOnly() {
	if !s.readers.Load() || s.ReadOnly() {
		return
	}
	s.readers.Store(false)
	s.locals.endReadOnly()
	for _, c := range s.connections() {
		if c.readOnly.Load() {
			c.close()
		}
	}
}

// handshakeReadOnly answers the first frame in read-only mode; mine is the
// client's session, if it is a local one. A global session cannot be checked
// without a leader: its client tries another server
// (ReadOnlyZooKeeperServer.validateSession).
func (c *conn) handshakeReadOnly(req *protocol.ConnectRequest, mine *local) bool {
	c.readOnly.Store(true)
	c.s.readers.Store(true)
	switch {
	case req.SessionID == 0:
		c.openLocal(req)
	case mine != nil:
		c.attachLocal(req, mine)
	default:
		global := false
		c.s.replica.View(func(m *fsm.Machine) { _, global = m.Session(req.SessionID) })
		if global {
			return false
		}
		c.welcomeLocal(req, 0, nil)
	}
	return true
}
