package server

import (
	"crypto/rand"
	"time"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
)

// handshake answers the first frame. It returns when the session is open, and
// reports false when the connection must end.
func (c *conn) handshake(frame []byte) bool {
	if !c.shake(frame) {
		return false
	}
	c.ready.Wait()
	return !c.dead.Load()
}

// shake takes the first frame and asks for its session, which is open once
// ready (ZooKeeperServer's processConnectRequest). It reports false when the
// connection must end.
func (c *conn) shake(frame []byte) bool {
	var req protocol.ConnectRequest
	d := protocol.NewDecoder(frame)
	req.Decode(&d)
	c.mu.Lock()
	c.stats.received++
	c.stats.shook = time.Now()
	c.tally.Received(4 + len(frame))
	c.mu.Unlock()
	if d.Err() != nil {
		return false
	}
	if !c.awaitServing() {
		c.s.metrics.ClosedNotServing.Inc()
		return false
	}
	if req.ReadOnly && req.SessionID == 0 && !c.awaitMode() {
		return false
	}
	readOnly := c.s.ReadOnly()
	if readOnly && !req.ReadOnly {
		return false
	}
	if !c.s.cfg.LeaderServes && !c.s.cfg.Standalone && c.s.currentReign() != nil {
		return false
	}
	if b := c.s.bucket; b != nil && !b.take(b.price(req.SessionID != 0, c.s.makesLocal())) {
		c.s.metrics.ConnectionRejected.Inc()
		return false
	}
	c.s.metrics.ConnectionRequests.Inc()
	if !c.awaitZxid(req.LastZxidSeen) {
		return false // the client has seen more than this server: it tries another
	}
	timeout := time.Duration(req.TimeoutMs) * time.Millisecond
	timeout = min(max(timeout, c.s.cfg.MinSessionTimeout), c.s.cfg.MaxSessionTimeout)
	c.timeoutMs.Store(int32(timeout.Milliseconds()))
	if req.SessionID != 0 {
		c.s.metrics.ConnectionRevalidate.Inc()
	}
	mine := c.s.locals.get(req.SessionID)
	switch {
	case readOnly:
		if !c.handshakeReadOnly(&req, mine) {
			return false
		}
	case mine != nil:
		c.attachLocal(&req, mine)
	case req.SessionID != 0:
		c.attachSession(&req, nil)
	case c.s.makesLocal():
		c.openLocal(&req)
	case !c.openInTurn(&req):
		return false
	}
	return true
}

// newSession makes up the id and the password of a session.
func (s *Server) newSession() (id int64, password []byte) {
	password = make([]byte, fsm.PasswordSize)
	rand.Read(password)
	return s.ids().Next(), password
}

// openSession makes a new session; the answer leaves in apply.
func (c *conn) openSession(req *protocol.ConnectRequest) {
	id, password := c.s.newSession()
	body := fsm.CreateSession{ID: id, TimeoutMs: c.timeoutMs.Load(), Password: password}
	began := time.Now()
	c.s.forwarder.submit(&write{
		request: fsm.Request{Session: id, Op: protocol.OpCreateSession, Body: body.AppendTo(nil)},
		ids:     c.ids.List(),
		done: func(r *fsm.Result) {
			if r.Err != protocol.OK {
				id = 0
			}
			ms := max(0, time.Since(began).Milliseconds())
			c.s.metrics.Latency.Observe(ms)
			c.s.metrics.UpdateLatency.Observe(ms)
			c.answerHandshake(req, id, r.Epoch, password)
			c.s.markDirty(c)
		},
	})
}

// attachSession brings a session to this connection. It names the epoch that
// it replaces as this server knows it, or as last answered; when that has
// moved on it asks again, while the connection lives.
func (c *conn) attachSession(req *protocol.ConnectRequest, known *uint32) {
	a := fsm.Attach{Password: append([]byte{}, req.Password...), TimeoutMs: c.timeoutMs.Load()}
	if known != nil {
		a.Replaces = *known
	} else {
		c.s.replica.View(func(m *fsm.Machine) {
			if i, ok := m.Session(req.SessionID); ok {
				a.Replaces = i.Epoch
			}
		})
	}
	req.Password = a.Password // the frame's buffer is used again
	c.s.forwarder.submit(&write{
		request: fsm.Request{Session: req.SessionID, Op: fsm.OpAttach, Body: a.AppendTo(nil)},
		ids:     c.ids.List(),
		done: func(r *fsm.Result) {
			switch {
			case r.Err == protocol.OK:
				c.answerHandshake(req, req.SessionID, r.Epoch, a.Password)
			case r.Err == protocol.BadVersion && !c.dead.Load():
				c.attachSession(req, &r.Epoch)
				return
			default:
				c.answerHandshake(req, 0, 0, nil)
			}
			c.s.markDirty(c)
		},
	})
}

// answerHandshake queues the answer; the caller holds the replica's lock, for
// reading or in apply. Session 0 says that it has expired; it has no password.
func (c *conn) answerHandshake(req *protocol.ConnectRequest, id int64, epoch uint32, password []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	resp := protocol.ConnectResponse{SessionID: id, Password: password, HasReadOnly: req.HasReadOnly, ReadOnly: c.readOnly.Load()}
	if id != 0 {
		resp.TimeoutMs = c.timeoutMs.Load()
		c.epoch = epoch
		c.acked.Store(int64(c.s.running()))
		if req.SessionID == 0 {
			c.stats.lastOp, c.stats.lastCxid, c.stats.lastZxid = protocol.OpCreateSession, 0, c.s.replica.Machine().Zxid()
			c.stats.took(c.stats.shook, time.Now())
		}
		c.sessionID.Store(id)
		c.watching = c.s.watches.Register(c, id)
		if c.dead.Load() { // closed meanwhile: nobody else will drop it
			c.s.watches.Close(c.watching)
		}
		c.s.own(c)
	} else {
		resp.Password = make([]byte, fsm.PasswordSize)
		c.finishLocked()
	}
	start := len(c.out)
	c.out = resp.AppendTo(protocol.AppendInt(c.out, 0))
	patchLength(c.out, start)
	c.stats.sent++
	c.tally.Sent()
	c.readyOnce.Do(c.ready.Done)
}

// await polls until holds, and reports false when the connection or the server
// ends first, or late comes; nil never does.
func (c *conn) await(late <-chan time.Time, holds func() bool) bool {
	for !holds() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-late:
			return false
		case <-c.s.stop:
			return false
		}
		if c.dead.Load() {
			return false
		}
	}
	return true
}

// awaitMode waits, for a new client that accepts a read-only server, until this
// one has a leader or is read-only: a session of before would soon be cut off.
// It reports false when the connection ended or the server stops.
func (c *conn) awaitMode() bool {
	s := c.s
	return c.await(nil, func() bool {
		return !s.cfg.ReadOnlyMode || s.cfg.Standalone || s.forwarder.connected() || s.ReadOnly()
	})
}

// catchUp is how long a client whose server has just died may have to wait at
// the next one, which may have yet to apply the last write that it saw.
const catchUp = 250 * time.Millisecond

// awaitZxid reports whether this server has applied all up to zxid. It waits a
// moment for that: a client that is closed instead, as by a ZooKeeper, counts it
// as another failed attempt.
func (c *conn) awaitZxid(zxid int64) bool {
	has := func() (has bool) {
		c.s.replica.View(func(m *fsm.Machine) { has = zxid <= m.Zxid() })
		return has
	}
	if c.s.cfg.Standalone {
		return has()
	}
	return c.await(time.After(catchUp), has)
}

// awaitServing waits until this server may take clients. It reports false
// when the connection ended or the server stops, and at once when the server
// has closed its clients' connections for want of a leader (see holdOn): the
// client is to try another.
func (c *conn) awaitServing() bool {
	s, serving := c.s, false
	c.await(time.After(s.cfg.SessionlessTimeout), func() bool {
		serving = s.Serving()
		return serving || s.contact.Load() != 0 && !s.inContact()
	})
	return serving
}
