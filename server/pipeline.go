package server

import (
	"encoding/binary"
	"time"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
)

// requestLocked takes one frame: writes go to the forwarder, anything else
// runs at once if nothing of this session is before it, and otherwise inside
// apply, right behind the write that it waits for. An error ends the
// connection without a reply.
func (c *conn) requestLocked(m *fsm.Machine, frame []byte) error {
	if len(frame) < protocol.RequestHeaderSize {
		return errGone
	}
	var h protocol.RequestHeader
	d := protocol.NewDecoder(frame)
	h.Decode(&d)
	body := d.Rest()
	c.s.metrics.PacketsReceived.Add(1)
	c.stats.received++
	if c.closing {
		return nil // behind a closeSession or a refusal: not answered
	}
	op := protocol.Lookup(h.Op)
	switch {
	case op != nil && op.Class == protocol.Immediate:
		return c.immediateLocked(h, body)
	case op != nil && (op.Class == protocol.Write || op.Class == protocol.Order):
		if r, ok := loggedRequest(h.Op, body); ok {
			c.submitLocked(h, r, len(body))
			return nil
		}
	}
	if len(c.queue) == 0 {
		c.runLocked(m, h.Xid, h.Op, body, c.ids)
		return nil
	}
	c.queue = append(c.queue, &pending{xid: h.Xid, op: h.Op, body: append([]byte{}, body...), ids: c.ids, size: len(body) + 64, since: time.Now()})
	c.queued += len(body) + 64
	return nil
}

// loggedRequest makes a write's request for the log. It reports false for a
// body that cannot be decoded: that never enters the log, except as an error
// where ZooKeeper numbers it all the same (multi).
func loggedRequest(op protocol.OpCode, body []byte) (fsm.Request, bool) {
	r := fsm.Request{Op: op}
	if make := protocol.Lookup(op).Request; make != nil {
		d := protocol.NewDecoder(body)
		make().Decode(&d)
		if d.Err() != nil {
			if op != protocol.OpMulti {
				return r, false
			}
			r.Op, r.Body = fsm.OpInvalid, protocol.AppendInt(nil, int32(protocol.MarshallingError))
			return r, true
		}
	}
	r.Body = append([]byte{}, body...)
	return r, true
}

// submitLocked hands a write to the forwarder and reserves its reply's place.
func (c *conn) submitLocked(h protocol.RequestHeader, r fsm.Request, size int) {
	p := &pending{xid: h.Xid, op: h.Op, write: true, size: size + 64, since: time.Now()}
	c.queue = append(c.queue, p)
	c.queued += p.size
	r.Session, r.Epoch = c.sessionID.Load(), c.epoch
	c.s.metrics.OutstandingRequests.Add(1)
	c.s.forwarder.submit(&write{request: r, ids: c.ids.List(), done: func(r *fsm.Result) { c.applied(p, r) }})
}

// applied runs in apply: it answers the write p, then runs what waited for it.
func (c *conn) applied(p *pending, r *fsm.Result) {
	c.s.metrics.OutstandingRequests.Add(-1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 || c.queue[0] != p {
		return // the connection has ended
	}
	c.popLocked()
	switch r.Err {
	case protocol.SessionMoved, protocol.SessionExpired, protocol.UnknownSession:
		c.finishLocked() // as ZooKeeper: closed without a reply
	default:
		c.replyLocked(p.xid, p.op, r.Zxid, r.Err, p.since, func(b []byte) []byte { return append(b, r.Body...) })
		if p.op == protocol.OpCloseSession {
			c.finishLocked()
		}
	}
	m := c.s.replica.Machine()
	for len(c.queue) > 0 && !c.queue[0].write {
		q := c.queue[0]
		c.popLocked()
		c.runLocked(m, q.xid, q.op, q.body, q.ids)
	}
	c.s.markDirty(c)
}

func (c *conn) popLocked() {
	c.queued -= c.queue[0].size
	c.queue[0] = nil
	if c.queue = c.queue[1:]; len(c.queue) == 0 {
		c.queue = nil
	}
	c.room.Signal()
}

// replyLocked queues a reply; body appends what follows the header, and may be
// nil.
func (c *conn) replyLocked(xid int32, op protocol.OpCode, zxid int64, code protocol.ErrCode, since time.Time, body func([]byte) []byte) {
	if c.overflowLocked() {
		return
	}
	start := len(c.out)
	h := protocol.ReplyHeader{Xid: xid, Zxid: zxid, Err: code}
	c.out = h.AppendTo(protocol.AppendInt(c.out, 0))
	if body != nil {
		c.out = body(c.out)
	}
	patchLength(c.out, start)
	c.sentLocked(xid, op, zxid, since)
}

// sentLocked keeps the books of a reply.
func (c *conn) sentLocked(xid int32, op protocol.OpCode, zxid int64, since time.Time) {
	st := &c.stats
	st.sent++
	c.s.metrics.PacketsSent.Add(1)
	st.lastOp, st.lastCxid, st.lastZxid = op, int64(xid), zxid
	if since.IsZero() {
		return
	}
	ms := time.Since(since).Milliseconds()
	st.last, st.max, st.sum = ms, max(st.max, ms), st.sum+ms
	if st.count == 0 || ms < st.min {
		st.min = ms
	}
	st.count++
	c.s.metrics.Latency.Observe(ms)
}

// patchLength writes the length of the frame that begins at start.
func patchLength(b []byte, start int) {
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
}

// immediateLocked answers auth and sasl, ahead of replies that wait.
func (c *conn) immediateLocked(h protocol.RequestHeader, body []byte) error {
	d := protocol.NewDecoder(body)
	if h.Op == protocol.OpSasl {
		var req protocol.SaslRecord
		if req.Decode(&d); d.Err() != nil || req.Token == nil {
			return errGone
		}
		c.replyLocked(h.Xid, h.Op, 0, protocol.OK, time.Time{}, (&protocol.SaslRecord{}).AppendTo)
		return nil
	}
	var req protocol.AuthRequest
	if req.Decode(&d); d.Err() != nil {
		return errGone
	}
	ids, code := c.s.auth.Authenticate(c.ids, req.Scheme, req.Auth)
	c.replyLocked(h.Xid, h.Op, 0, code, time.Time{}, nil)
	if code != protocol.OK {
		c.s.metrics.AuthFailed.Add(1)
		c.finishLocked()
		return nil
	}
	c.ids = ids
	return nil
}
